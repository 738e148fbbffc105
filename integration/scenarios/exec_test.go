package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/hosts"
)

// containerOf finds the container of each place of a service: web.1, web.2, ...
func (l *lab) containerOf(service string, running []cluster.Container) map[string]cluster.Container {
	l.t.Helper()
	byTask := map[string]cluster.Container{}
	for _, c := range running {
		byTask[c.Task] = c
	}
	places := map[string]cluster.Container{}
	for line := range strings.Lines(l.cli(l.Nodes[0], "service", "ps", service, "--no-trunc", "--format", "{{.ID}} {{.Name}}")) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		if c, ok := byTask[id]; ok {
			places[name] = c
		}
	}
	return places
}

// shell runs a line of shell at a node, with $CTL for swarmctl, and returns
// what it printed and its exit code.
func (l *lab) shell(n *cluster.Node, line string) (stdout, stderr string, code int) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, time.Minute)
	defer cancel()
	stdout, err := n.Run(ctx, "sh", "-c", "CTL="+tools.Swarmctl+"; "+line)
	var failed *hosts.RunError
	if errors.As(err, &failed) {
		return stdout, failed.Stderr, failed.ExitCode()
	}
	l.must(err)
	return stdout, "", 0
}

// Every manager reaches every task, whoever holds the session of its node.
func TestExecReachesTasksOnEveryNode(t *testing.T) {
	l := newLab(t)
	places := l.containerOf("web", l.run("web", managers+workers))
	if len(places) != managers+workers {
		t.Fatalf("places: %v", places)
	}
	for _, at := range l.Nodes[:managers] {
		code := 10
		for place, c := range places {
			code++
			stdout, stderr, got := l.shell(at, fmt.Sprintf("printf 'said at %s' | $CTL service exec -i -e A=b %s -- /demo echo --exit-code %d", at.Name, place, code))
			if want := fmt.Sprintf("echo in %s\nsaid at %s", c.ID[:12], at.Name); stdout != want || got != code || !strings.Contains(stderr, "bytes read") {
				t.Errorf("%s from %s on %s: exit %d, want %d, stdout %q, want %q, stderr %q", place, at.Name, c.Node.Name, got, code, stdout, want, stderr)
			}
		}
	}
	at := l.Nodes[0]
	if stdout, stderr, code := l.shell(at, "$CTL service exec web.1 -- /nosuch"); code != 126 && code != 127 || !strings.Contains(stdout+stderr, "/nosuch") {
		t.Errorf("a command that does not exist: exit %d, %q, %q", code, stdout, stderr)
	}
	if _, stderr, code := l.shell(at, "$CTL service exec web -- /demo echo"); code != 1 || !strings.Contains(stderr, "name one of web.1, web.2, web.3, web.4, web.5") {
		t.Errorf("a service without a slot: exit %d, %q", code, stderr)
	}
	l.cli(at, "service", "create", "--quiet", "--detach", "--name", "waits", "--constraint", "node.hostname==nowhere", cluster.Image)
	l.must(cluster.Eventually(l.ctx, soon, func(context.Context) error {
		_, stderr, code := l.shell(at, "$CTL service exec waits -- /demo echo")
		if code != 1 || !strings.Contains(stderr, "does not run: it is pending: no suitable node") {
			return fmt.Errorf("a task that waits: exit %d, %q", code, stderr)
		}
		return nil
	}))
}

// A command whose caller is killed goes on in the container, and leaves no
// connection behind, neither on its own node nor on managers in between.
func TestExecOfAKilledCallerLeavesNoConnection(t *testing.T) {
	l := newLab(t)
	places := l.containerOf("web", l.run("web", managers+workers))
	for _, at := range l.Nodes[:managers] { // what a node keeps for the next caller is there from now on
		for place := range places {
			l.shell(at, "$CTL service exec "+place+" -- /demo echo </dev/null")
		}
	}
	before := map[*cluster.Node]int{}
	for _, n := range l.Nodes {
		before[n] = l.engineConnections(n)
	}
	for _, at := range l.Nodes[:managers] {
		start, wait := "", ""
		for place := range places {
			start += fmt.Sprintf("$CTL service exec %s -- /demo --listen 127.0.0.1:0 >/tmp/%s & P=\"$P $!\"; ", place, place)
			wait += fmt.Sprintf("until grep -q listening /tmp/%s; do sleep 0.1; done; ", place)
		}
		if stdout, _, _ := l.shell(at, start+wait+"kill -9 $P && echo killed"); stdout != "killed\n" {
			t.Errorf("callers at %s: %q", at.Name, stdout)
		}
	}
	killed := time.Now()
	// Clients of an engine keep a connection for half a minute after its last use.
	l.must(cluster.Eventually(l.ctx, 2*soon, func(context.Context) error {
		var more error
		for _, n := range l.Nodes {
			if now := l.engineConnections(n); now > before[n]+1 { // the node itself may keep one more
				more = errors.Join(more, fmt.Errorf("the engine of %s has %d connections, %d before", n.Name, now, before[n]))
			}
		}
		return more
	}))
	t.Logf("the connections were gone after %.1f s", time.Since(killed).Seconds())
	l.still("web", time.Second, l.count("web", managers+workers))
}

// engineConnections counts the connections to a node's engine that somebody
// holds open. An engine keeps its own end of one whose caller has gone until the
// command ends, or says something.
func (l *lab) engineConnections(n *cluster.Node) int {
	l.t.Helper()
	out, err := n.Run(l.ctx, "ss", "-xH", "src", "/run/docker.sock")
	l.must(err)
	count := 0
	for line := range strings.Lines(out) {
		// State, queues, the engine's path and socket, and the caller's: 0 is gone.
		if f := strings.Fields(line); len(f) == 8 && f[1] == "ESTAB" && f[7] != "0" {
			count++
		}
	}
	if count == 0 {
		l.t.Fatalf("nobody is connected to the engine of %s:\n%s", n.Name, out)
	}
	return count
}

// Whether its death is known already or not: a node without power holds logs
// up for seconds at most, and costs them its own lines alone.
func TestLogsOfANodeWithoutPower(t *testing.T) {
	l := newLab(t)
	l.run("web", managers+workers)
	l.must(cluster.Eventually(l.ctx, soon, func(context.Context) error { // the cluster knows all five
		if ls := l.cli(l.Nodes[0], "service", "ls", "--format", "{{.Replicas}}"); ls != "5/5\n" {
			return fmt.Errorf("replicas: %s", ls)
		}
		return nil
	}))
	victim := l.Workers()[0]
	victim.PowerOff()
	for i := range 2 {
		for _, at := range l.Nodes[:managers] {
			start := time.Now()
			out, _, _ := l.shell(at, `$CTL service logs web 2>&1; echo "exit $?"`)
			took := time.Since(start)
			if lines := strings.Count(out, "listening on"); lines < managers+workers-1 || !strings.HasSuffix(out, "exit 0\n") {
				t.Errorf("%s: %d lines: %q", at.Name, lines, out)
			}
			if !strings.Contains(out, "warning: incomplete logs") || !strings.Contains(out, "on node "+victim.Name) {
				t.Errorf("%s does not warn of %s: %q", at.Name, victim.Name, out)
			}
			if took > 10*time.Second {
				t.Errorf("logs at %s took %.1f s", at.Name, took.Seconds())
			}
			t.Logf("round %d at %s: %.1f s", i, at.Name, took.Seconds())
		}
		l.elsewhere("web", managers+workers, victim)
	}
}
