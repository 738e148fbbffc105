package cli

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/swarm"
)

// TestMain lets the test program play swarmctl: init and join start it anew
// with the daemon command, and it serves a world that is no member yet. Shells
// call it to complete a line.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "daemon" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		os.Exit(App{Daemon: playDaemon}.Run(ctx, os.Args[1:], nil, os.Stdout, os.Stderr))
	}
	if os.Getenv("SWARMCTL_TEST_AS") == "swarmctl" { // for shells that call the program
		os.Exit(App{}.Run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// playDaemon serves a world until ctx ends. A state directory that has a file
// "broken" makes it fail, one that has "member" makes it a member.
func playDaemon(ctx context.Context, cfg DaemonConfig) error {
	if _, err := os.Stat(filepath.Join(cfg.StateDir, "broken")); err == nil {
		return errors.New("the state directory is broken: mend it")
	}
	w := newWorld()
	w.state = swarm.LocalNodeStateInactive
	if _, err := os.Stat(filepath.Join(cfg.StateDir, "member")); err == nil {
		w.state = swarm.LocalNodeStateActive
	}
	l, err := net.Listen("unix", strings.TrimPrefix(cfg.Socket, "unix://"))
	if err != nil {
		return err
	}
	cfg.Log.Info("serving", "engine", cfg.EngineHost)
	srv := &http.Server{Handler: http.HandlerFunc(w.serve)}
	context.AfterFunc(ctx, func() { srv.Close() })
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// node is a place for a daemon: a socket and a state directory.
type node struct {
	t           *testing.T
	dir, socket string
}

func newNode(t *testing.T) *node {
	dir, err := os.MkdirTemp("", "swarmctl") // short, for the socket's path
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, dir: dir, socket: "unix://" + filepath.Join(dir, "s")}
	t.Cleanup(func() {
		n.run("daemon", "--stop")
		os.RemoveAll(dir)
	})
	return n
}

func (n *node) run(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = App{}.Run(context.Background(), append([]string{"-H", n.socket}, args...), nil, &o, &e)
	return code, o.String(), e.String()
}

// serves reports whether a daemon listens on the socket.
func (n *node) serves() bool {
	c, err := net.Dial("unix", strings.TrimPrefix(n.socket, "unix://"))
	if err == nil {
		c.Close()
	}
	return err == nil
}

func TestInitStartsADaemonThatStopsAgain(t *testing.T) {
	n := newNode(t)
	code, out, errs := n.run("init", "--state-dir", n.dir, "--engine-host=unix:///e.sock", "--log-level", "debug")
	if code != 0 || !strings.HasPrefix(out, "Swarm initialized: current node (node1") {
		t.Fatalf("init: exit %d\n%s%s", code, out, errs)
	}
	log, err := os.ReadFile(filepath.Join(n.dir, "daemon.log"))
	if err != nil || !bytes.Contains(log, []byte("engine=unix:///e.sock")) {
		t.Errorf("the daemon was not given its flags: %v\n%s", err, log)
	}
	if code, out, errs := n.run("init"); code != 1 || !strings.Contains(errs, "already part of a swarm") || !n.serves() {
		t.Errorf("a second init: exit %d\n%s%s", code, out, errs)
	}
	if code, _, errs := n.run("leave", "--stop-daemon"); code != 1 || !strings.Contains(errs, "--force") || !n.serves() {
		t.Errorf("a manager left without force: exit %d, serves %t\n%s", code, n.serves(), errs)
	}
	if code, out, errs := n.run("leave", "--force", "--stop-daemon"); code != 0 || out != "Node left the swarm.\n" || n.serves() {
		t.Errorf("leave: exit %d, serves %t\n%s%s", code, n.serves(), out, errs)
	}
	if code, out, errs := n.run("leave", "--force", "--stop-daemon"); code != 0 {
		t.Errorf("leaving again: exit %d\n%s%s", code, out, errs)
	}
	if code, _, errs := n.run("node", "ls"); code != 1 || !strings.Contains(errs, "no swarmctl daemon answers at "+n.socket) {
		t.Errorf("without a daemon: exit %d\n%s", code, errs)
	}
}

func TestAJoinThatFailsLeavesNoDaemonBehind(t *testing.T) {
	n := newNode(t)
	code, _, errs := n.run("join", "--state-dir", n.dir, "--token", "wrong", "10.0.0.1:2377")
	if code != 1 || !strings.Contains(errs, "invalid join token") || n.serves() {
		t.Errorf("exit %d, serves %t\n%s", code, n.serves(), errs)
	}
}

func TestAnInitThatFailsLeavesAMembersDaemonRunning(t *testing.T) {
	n := newNode(t)
	if err := os.WriteFile(filepath.Join(n.dir, "member"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := n.run("init", "--state-dir", n.dir)
	if code != 1 || !strings.Contains(errs, "already part of a swarm") || !n.serves() {
		t.Errorf("exit %d, serves %t\n%s", code, n.serves(), errs)
	}
}

func TestADaemonThatEndsAtOnceSaysWhy(t *testing.T) {
	n := newNode(t)
	if err := os.WriteFile(filepath.Join(n.dir, "broken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := n.run("init", "--state-dir", n.dir)
	if code != 1 || !strings.Contains(errs, "the state directory is broken: mend it") {
		t.Errorf("exit %d\n%s", code, errs)
	}
}

func TestStopLeavesWhatIsNoDaemonAlone(t *testing.T) {
	n := newNode(t)
	l, err := net.Listen("unix", strings.TrimPrefix(n.socket, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if code, _, errs := n.run("daemon", "--stop"); code != 1 || !strings.Contains(errs, "is not a swarmctl daemon") {
		t.Errorf("exit %d\n%s", code, errs)
	}
}

func TestTheUnitQuotesItsCommandLine(t *testing.T) {
	u := unit([]string{"/opt/a b/swarmctl", "daemon", "--state-dir=/x%y$z"})
	if want := `ExecStart="/opt/a b/swarmctl" "daemon" "--state-dir=/x%%y$$z"` + "\n"; !strings.Contains(u, want) {
		t.Errorf("no %s in\n%s", want, u)
	}
}

func TestCtrlCWhileWaitingLeavesTheWorkGoing(t *testing.T) {
	w := newWorld()
	addr := w.start(t)
	ctx, interrupt := context.WithCancel(context.Background())
	shown := make(chan struct{})
	out := &noticing{word: "overall progress", seen: shown}
	go func() {
		<-shown
		interrupt()
	}()
	var errs bytes.Buffer
	code := w.app().Run(ctx, []string{"-H", addr, "service", "create", "--name", "web", "--no-resolve-image", "broken:1"}, nil, out, &errs)
	if code != 0 || !strings.Contains(out.String(), "Operation continuing in background.\nUse `swarmctl service ps service1") {
		t.Errorf("exit %d\n%s%s", code, out.String(), errs.String())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.services) != 1 || slices.ContainsFunc(w.requests, func(r string) bool { return strings.HasPrefix(r, "DELETE") }) {
		t.Errorf("the service did not survive: %v", w.requests)
	}
}

// noticing is a buffer that closes seen once a word was written to it.
type noticing struct {
	text bytes.Buffer
	word string
	seen chan struct{}
}

func (n *noticing) String() string { return n.text.String() }

func (n *noticing) Write(b []byte) (int, error) {
	had := strings.Contains(n.String(), n.word)
	c, err := n.text.Write(b)
	if !had && strings.Contains(n.String(), n.word) {
		close(n.seen)
	}
	return c, err
}

func TestEventsThatConcernAService(t *testing.T) {
	task := func(service string) events.Message {
		return events.Message{Type: "task", Actor: events.Actor{ID: "t", Attributes: map[string]string{"service.id": service}}}
	}
	tests := []struct {
		m    events.Message
		want bool
	}{
		{task("mine"), true},
		{task("other"), false},
		{events.Message{Type: events.ServiceEventType, Actor: events.Actor{ID: "mine"}}, true},
		{events.Message{Type: events.ServiceEventType, Actor: events.Actor{ID: "other"}}, false},
		{events.Message{Type: events.NodeEventType, Actor: events.Actor{ID: "n"}}, true},
	}
	for _, tt := range tests {
		if got := concerns(tt.m, "mine"); got != tt.want {
			t.Errorf("%v: %t, want %t", tt.m, got, tt.want)
		}
	}
}

func TestEventsWakeTheWait(t *testing.T) {
	wake := make(chan struct{}, 1)
	wake <- struct{}{}
	start := time.Now()
	if err := pause(context.Background(), wake, time.Hour); err != nil || time.Since(start) > time.Minute {
		t.Errorf("not woken: %v after %s", err, time.Since(start))
	}
}
