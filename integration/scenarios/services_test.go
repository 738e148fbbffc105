package scenarios

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

func TestNodesAreListed(t *testing.T) {
	l := newLab(t)
	for _, n := range l.Nodes[:managers] { // the leader and the followers say the same
		got := l.cli(n, "node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}}")
		lines := strings.Split(strings.TrimSpace(got), "\n")
		if len(lines) != managers+workers || strings.Count(got, " Ready Active") != managers+workers ||
			strings.Count(got, "Leader") != 1 || strings.Count(got, "Reachable") != managers-1 {
			t.Errorf("node ls at %s:\n%s", n.Name, got)
		}
	}
}

func TestReplicasSpreadOverTheNodesAndAnswer(t *testing.T) {
	l := newLab(t)
	running := l.run("web", 10)
	for n, count := range cluster.Spread(running) {
		if count != 2 {
			t.Errorf("%s runs %d of 10 replicas on 5 nodes, not 2", n.Name, count)
		}
	}
	for _, c := range running {
		if body := l.get(c, 8080); !strings.HasPrefix(body, "hello from "+c.ID[:12]) {
			t.Errorf("container %s on %s answered %q", c.ID[:12], c.Node.Name, body)
		}
	}
}

func TestScaleUpAndDown(t *testing.T) {
	l := newLab(t)
	three := l.run("web", 3)
	l.cli(l.Nodes[1], "service", "scale", "--detach", "web=12")
	twelve := l.count("web", 12)
	for _, id := range ids(three) {
		if !slices.Contains(ids(twelve), id) {
			t.Errorf("scaling up replaced container %s", id)
		}
	}
	l.cli(l.Nodes[2], "service", "scale", "web=5") // waits until it has converged
	five := l.count("web", 5)
	for n, count := range cluster.Spread(five) {
		if count != 1 {
			t.Errorf("%s runs %d of 5 replicas on 5 nodes: scaling down unbalanced them", n.Name, count)
		}
	}
	l.cli(l.Nodes[0], "service", "scale", "web=0")
	l.count("web", 0)
}

func TestContainerThatDiesIsReplacedAtOnce(t *testing.T) {
	l := newLab(t)
	before := l.run("web", 5)
	victim := before[0]
	l.must(victim.Kill(l.ctx))
	after := l.until("web", 10*time.Second, "5 run, the dead one replaced", func(cs []cluster.Container) bool {
		return len(cs) == 5 && !slices.Contains(ids(cs), victim.ID)
	})
	for _, id := range ids(before[1:]) {
		if !slices.Contains(ids(after), id) {
			t.Errorf("container %s was replaced though it never died", id)
		}
	}
	l.must(cluster.Eventually(l.ctx, soon, func(context.Context) error {
		ps := l.cli(l.Nodes[0], "service", "ps", "web", "--format", "{{.DesiredState}} {{.CurrentState}} {{.Error}}")
		if !strings.Contains(ps, "Shutdown Failed") || !strings.Contains(ps, "137") {
			return fmt.Errorf("service ps does not tell of the death:\n%s", ps)
		}
		return nil
	}))
}

func TestCrashLoopBacksOff(t *testing.T) {
	l := newLab(t)
	l.cli(l.Nodes[0], "service", "create", "--quiet", "--detach", "--name", "crash", cluster.Image, "--exit-after", "50ms", "--exit-code", "3")
	started := map[string]bool{}
	ctx, cancel := context.WithTimeout(l.ctx, 20*time.Second)
	defer cancel()
	_, _ = l.w.Until(ctx, "crash", "nothing", func(cs []cluster.Container) bool {
		for _, c := range cs {
			started[c.ID] = true
		}
		return false
	})
	t.Logf("%d starts in 20 s", len(started))
	if len(started) < 2 || len(started) > 10 {
		t.Errorf("a container that dies at once was started %d times in 20 s, not at once and then ever more slowly", len(started))
	}
	if ps := l.cli(l.Nodes[0], "service", "ps", "crash", "--no-trunc", "--format", "{{.Error}}"); !strings.Contains(ps, "exit (3)") {
		t.Errorf("service ps does not name the exit code:\n%s", ps)
	}
}

// get asks a container over its bridge address, from inside its host. One that
// has just started may not listen yet.
func (l *lab) get(c cluster.Container, port int) string {
	l.t.Helper()
	info, err := c.Node.Docker.ContainerInspect(l.ctx, c.ID)
	l.must(err)
	var ip string
	for _, network := range info.NetworkSettings.Networks {
		ip = network.IPAddress
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: c.Node.Dial, DisableKeepAlives: true}}
	var resp *http.Response
	l.must(cluster.Eventually(l.ctx, 5*time.Second, func(context.Context) (err error) {
		resp, err = client.Get("http://" + net.JoinHostPort(ip, fmt.Sprint(port)))
		return err
	}))
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	l.must(err)
	return string(body)
}
