package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// Ten seconds are far more than a host without power is given.
func TestDaemonGoneForTenSecondsTouchesNoContainer(t *testing.T) {
	l := newLab(t)
	before := l.run("web", 5)
	for _, n := range []*cluster.Node{l.Workers()[0], l.leader()} {
		n.KillDaemon()
		l.still("web", 10*time.Second, before)
		l.nodeState(n, swarm.NodeStateUnknown, "its host answers but its daemon does not run")
		l.must(n.StartDaemon(l.ctx))
		l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
		l.still("web", 5*time.Second, before)
	}
	// A task that was replaced would be listed beside its successor.
	if tasks := strings.Fields(l.cli(l.leader(), "service", "ps", "--quiet", "web")); len(tasks) != 5 {
		t.Errorf("service web has had %d tasks, not 5", len(tasks))
	}
}

func TestNothingNewIsPlacedWhereTheDaemonIsGone(t *testing.T) {
	l := newLab(t)
	l.run("web", 5)
	n := l.Workers()[0]
	n.KillDaemon()
	l.nodeState(n, swarm.NodeStateUnknown, "its daemon does not run")
	l.cli(l.leader(), "service", "scale", "--detach", "web=10")
	if running := l.count("web", 10); cluster.Spread(running)[n] != 1 {
		t.Errorf("%s, whose daemon is gone, runs %d replicas, not the 1 that it had", n.Name, cluster.Spread(running)[n])
	}
	l.must(n.StartDaemon(l.ctx))
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
}

func TestHostLosesPowerWhileItsDaemonIsGone(t *testing.T) {
	l := newLab(t)
	l.run("web", 5)
	n := l.Workers()[0]
	n.KillDaemon()
	l.nodeState(n, swarm.NodeStateUnknown, "its daemon does not run")
	n.PowerOff()
	l.elsewhere("web", 5, n) // sooner than DaemonGrace
}

// nodeState waits until the cluster says of a node that it is in the state,
// for a reason with these words.
func (l *lab) nodeState(n *cluster.Node, state swarm.NodeState, because string) {
	l.t.Helper()
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		list, err := l.List(ctx)
		for _, m := range list {
			if m.ID == n.ID && (m.Status.State != state || !strings.Contains(m.Status.Message, because)) {
				err = fmt.Errorf("%s is %s (%s)", n.Name, m.Status.State, m.Status.Message)
			}
		}
		return err
	}))
}
