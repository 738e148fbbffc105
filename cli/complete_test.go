package cli

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// completions are what the cluster of the tests has.
var completions = map[string][]string{
	"SERVICE": {"web", "web-10", "web-2", "db"}, "NODE": {"h1", "h2"}, "SERVICE.SLOT": {"web.1", "web.2", "agent.h1"},
	"NETWORK": {"net"}, "SECRET": {"key"}, "CONFIG": {"conf"}, "IMAGE": {"demo:1"}, "VOLUME": {"shop_db"},
}

func TestWhatCompletesAWord(t *testing.T) {
	app := App{}.commands(&streams{})
	for _, c := range []struct{ typed, want string }{
		{"eve", "events"},
		{"ser", "service"},
		{"secret create ", ""},
		{"secret create new ", ":files"},
		{"config rm ", "conf"},
		{"network create --driver o", "overlay"},
		{"swarm j", "join join-token"},
		{"service r", "rebalance rm rollback"},
		{"service rm ", "db web web-2 web-10"},
		{"service rm web", "web web-2 web-10"},
		{"service rm web web", "web-2 web-10"}, // one that is there is not offered again
		{"service rollback web ", ""},
		{"service scale ", "db= web-2= web-10= web="},
		{"service scale web=", ""},
		{"service exec w", "web web-2 web-10 web.1 web.2"},
		{"service exec agent", "agent.h1"},
		{"service exec -it -u root web.1 ", ""},
		{"service exec web.1 -- ls --", ""}, // the container's own
		{"service exec -i --t", "--tty"},
		{"service create --m", "--max-concurrent --mode --mount"},
		{"service create --mode ", "global global-job replicated replicated-job"},
		{"service create --mode=r", "--mode=replicated --mode=replicated-job"},
		{"service create --name ", ""},
		{"service create --name --mode ", "demo:1"}, // --mode is the name
		{"service create --network ", "net"},
		{"service create -q -d d", "demo:1"},
		{"service create --env-file ", ":files"},
		{"service create --constraint node.r", "node.role==manager node.role==worker"},
		{"service update --network-r", "--network-rm"},
		{"service update --network-rm ", "net"},
		{"service update --secret-add k", "key"},
		{"service update --update-order s", "start-first stop-first"},
		{"service update --update-failure-action ", "continue pause rollback"},
		{"service ps web -f n", "name= node="},
		{"service ps web --filter node=h", "node=h1 node=h2"},
		{"service ps web --filter=node=h2", "--filter=node=h2"},
		{"service ls --format ", "json table"},
		{"service inspect --format ", "json"},
		{"service ls --quiet --q", ""},
		{"service logs -f ", "db web web-2 web-10"},
		{"node ls -f role=", "role=manager role=worker"},
		{"node update --availability ", "active drain pause"},
		{"node update --availability drain ", "h1 h2"},
		{"node update h1 --role w", "worker"},
		{"events --format ", "json"},
		{"events -f type=n", "type=network type=node"},
		{"events --filter service=w", "service=web service=web-2 service=web-10"},
		{"node inspect ", "h1 h2 self"},
		{"node ps ", "h1 h2"},
		{"node rm --", "--force --help --socket --version"},
		{"join-token ", "manager worker"},
		{"completion ", "bash fish zsh"},
		{"--socket /x node i", "inspect"},
		{"node nonsense ", ""},
		{"nonsense ", ""},
		{"service rm --nonsense=", ""},
		{"-", "--help --socket --version"},
	} {
		live := func(kind string) []candidate { return plain(completions[kind]...) }
		var got []string
		for _, x := range locate(app, strings.Split(c.typed, " ")).complete(app, live) {
			got = append(got, x.value)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.typed, strings.Join(got, " "), c.want)
		}
	}
}

// Whatever is on a command line, completing it never panics and never offers
// what does not begin as the word does.
func FuzzComplete(f *testing.F) {
	for _, s := range []string{"service rm -", "--a=", "service ps --filter= =", "-qf", "service create -p80:80 -- ", "a\x00b"} {
		f.Add(s)
	}
	app := App{}.commands(&streams{})
	f.Fuzz(func(t *testing.T, typed string) {
		words := strings.Split(typed, " ")
		for _, x := range locate(app, words).complete(app, func(kind string) []candidate { return plain(completions[kind]...) }) {
			if x != wantFiles[0] && !strings.HasPrefix(x.value, words[len(words)-1]) {
				t.Errorf("%q: offers %q", typed, x.value)
			}
		}
	})
}

// A flag whose help names its values is completed with them.
func TestChoicesOfHelpTexts(t *testing.T) {
	for usage, want := range map[string]string{
		`Role of the node ("worker", "manager")`:                     "worker manager",
		`Advertised address (format: "<ip|interface>[:port]")`:       "",
		`Add or update a node label ("key=value")`:                   "",
		`Show logs since timestamp (e.g. "2013-01-02T13:23:37Z")`:    "",
		`Action on update failure ("pause", "continue", "rollback")`: "pause continue rollback",
	} {
		if got := strings.Join(choices(usage), " "); got != want {
			t.Errorf("%s: %q", usage, got)
		}
	}
}

func TestLiveNamesComplete(t *testing.T) {
	w := newWorld()
	addr := w.start(t)
	run := func(args ...string) string {
		var out, errs bytes.Buffer
		if code := w.app().Run(t.Context(), args, strings.NewReader(""), &out, &errs); code != 0 || errs.Len() > 0 {
			t.Errorf("%q: exit %d: %s", args, code, errs.String())
		}
		return out.String()
	}
	var out, errs bytes.Buffer
	w.app().Run(t.Context(), []string{"--socket", addr, "service", "create", "-d", "-q", "--name", "web", "--replicas", "2", "app:1"}, nil, &out, &errs)
	w.app().Run(t.Context(), []string{"--socket", addr, "service", "create", "-d", "-q", "--name", "agent", "--mode", "global", "app:1"}, nil, &out, &errs)
	for words, want := range map[string]string{
		"service exec w":  "web\tapp:1\nweb.1\trunning h1\nweb.2\trunning h2\n",
		"service exec a":  "agent\tapp:1\nagent.h1\trunning h1\nagent.h2\trunning h2\nagent.h10\trunning h10\n",
		"node ps h1":      "h1\tmanager, ready\nh10\tworker, ready\n",
		"service rm agen": "agent\tapp:1\n",
	} {
		if got := run(append([]string{"__complete", "--socket", addr}, strings.Split(words, " ")...)...); got != want {
			t.Errorf("%s:\n got %q\nwant %q", words, got, want)
		}
	}
	// No daemon, and one that never answers: silence, and soon.
	start := time.Now()
	if got := run("__complete", "--socket", "/nonexistent/socket", "service", "rm", ""); got != "" {
		t.Errorf("without a daemon: %q", got)
	}
	hangs := hangingListener(t)
	if got := run("__complete", "--socket", hangs, "service", "rm", ""); got != "" {
		t.Errorf("a daemon that hangs: %q", got)
	}
	if took := time.Since(start); took > 3*completePatience {
		t.Errorf("it took %s", took)
	}
}

// The script is run by a bash without bash-completion, as bash itself would.
func TestBashCompletes(t *testing.T) {
	w := newWorld()
	addr := w.start(t)
	var sink bytes.Buffer
	w.app().Run(t.Context(), []string{"--socket", addr, "service", "create", "-d", "-q", "--name", "web", "app:1"}, nil, &sink, &sink)
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The test program plays swarmctl: see TestMain.
	program := fmt.Sprintf("#!/bin/sh\nSWARMCTL_SOCKET=%s SWARMCTL_TEST_AS=swarmctl exec %s \"$@\"\n", addr, self)
	if err := os.WriteFile(filepath.Join(dir, "swarmctl"), []byte(program), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ line, want string }{
		{"swarmctl serv", "[service]"},
		{"swarmctl service rm ", "[web]"},
		{"swarmctl service ps web --filter desired-state=r", "[ready][running]"},
		{"swarmctl service ps web --filter desired-state=", "[accepted][ready][running][shutdown]"},
		{"swarmctl service create --mode=replicated-", "[replicated-job]"},
		{"swarmctl service scale w", "[web=]nospace"},
		{"swarmctl service create --env-file ", "default"},
		{"swarmctl service nonsense ", ""},
	} {
		script := bashCompletion + `
compopt() { [[ $2 == nospace || $2 == default ]] && options=$2; }
COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2)) options=
complete -p swarmctl >/dev/null && _swarmctl
for r in "${COMPREPLY[@]}"; do printf '[%s]' "$r"; done
printf '%s' "$options"
`
		cmd := exec.Command("bash", append([]string{"--norc", "-uc", script, "bash", c.line}, bashWords(c.line)...)...)
		cmd.Env, cmd.Dir = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH")), dir
		got, err := cmd.CombinedOutput()
		if err != nil || string(got) != c.want {
			t.Errorf("%s:\n got %s (%v)\nwant %s", c.line, got, err, c.want)
		}
	}
}

// bashWords are a line's words as bash has them in COMP_WORDS: = and : are
// words of their own.
func bashWords(line string) (words []string) {
	for _, field := range strings.Split(line, " ") {
		parts := breaks.FindAllString(field, -1)
		if len(parts) == 0 {
			parts = []string{""}
		}
		words = append(words, parts...)
	}
	return words
}

var breaks = regexp.MustCompile(`[=:]|[^=:]+`)

// hangingListener takes connections and never answers.
func hangingListener(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return "tcp://" + l.Addr().String()
}
