package scenarios

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

func TestWorkerLosesPower(t *testing.T) {
	l := newLab(t)
	before := l.run("web", 5)
	worker := l.Workers()[0]
	worker.PowerOff()
	l.elsewhere("web", 5, worker)
	l.must(worker.PowerOn(l.ctx))
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	after := l.count("web", 5)
	kept := 0
	for _, c := range before {
		for _, now := range after {
			if c.ID == now.ID {
				kept++
			}
		}
	}
	if kept != 4 {
		t.Errorf("%d of the 4 containers that had power all the time still run", kept)
	}
}

func TestLeaderLosesPower(t *testing.T) {
	l := newLab(t)
	l.run("web", 5)
	leader := l.leader()
	leader.PowerOff()
	start := time.Now()
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		return l.Any(ctx, func(ctx context.Context, n *cluster.Node) error {
			_, err := n.CLI(ctx, "service", "create", "--quiet", "--detach", "--name", "written", "--replicas", "2", cluster.Image)
			return err
		})
	}))
	t.Logf("first write accepted after %.2f s", time.Since(start).Seconds())
	l.elsewhere("web", 5, leader)
	l.elsewhere("written", 2, leader)
	if now := l.leader(); now == leader {
		t.Errorf("%s leads without power", now.Name)
	}
}

func TestShortCablePullMovesNothing(t *testing.T) {
	l := newLab(t)
	before := l.run("web", 5)
	for _, n := range []*cluster.Node{l.Workers()[0], l.leader()} {
		l.must(n.Cut())
		time.Sleep(2 * time.Second)
		l.must(n.Heal())
		l.still("web", 8*time.Second, before)
	}
}

func TestDaemonKilledAndRestartedKeepsItsContainers(t *testing.T) {
	l := newLab(t)
	before := l.run("web", 5)
	for _, n := range []*cluster.Node{l.Workers()[0], l.leader()} {
		n.KillDaemon()
		l.must(n.StartDaemon(l.ctx))
		l.still("web", 5*time.Second, before)
	}
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	l.cli(l.leader(), "service", "scale", "--detach", "web=7")
	l.count("web", 7)
}

func TestEngineRestartedUnderTheDaemon(t *testing.T) {
	l := newLab(t)
	l.run("web", 5)
	worker := l.Workers()[1]
	worker.KillEngine()
	l.must(worker.StartEngine(l.ctx))
	l.count("web", 5)
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	l.cli(l.leader(), "service", "scale", "--detach", "web=10")
	running := l.count("web", 10)
	if cluster.Spread(running)[worker] == 0 {
		t.Errorf("%s gets no replicas since its engine was restarted", worker.Name)
	}
}

// A cluster that loses its power altogether finds its services on its disks.
func TestWholeClusterLosesPower(t *testing.T) {
	l := ownLab(t, "10.91.2", 3, 0)
	l.run("web", 6)
	for _, n := range l.Nodes {
		n.PowerOff()
	}
	for _, n := range l.Nodes {
		l.must(n.PowerOn(l.ctx))
	}
	l.must(l.AwaitReady(l.ctx, 3))
	l.count("web", 6)
}

// elsewhere waits until n replicas run, none of them at node.
func (l *lab) elsewhere(service string, n int, node *cluster.Node) {
	l.t.Helper()
	l.until(service, soon, strconv.Itoa(n)+" run, none at "+node.Name, func(cs []cluster.Container) bool {
		return len(cs) == n && cluster.Spread(cs)[node] == 0
	})
}
