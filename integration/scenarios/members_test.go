package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

func TestPromoteAndDemoteWhileServicesRun(t *testing.T) {
	l := newLab(t)
	before := l.run("web", 5)
	worker := l.Workers()[0]
	l.cli(l.leader(), "node", "promote", worker.Name)
	l.managerStatus(worker, "Reachable")
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error { // the others know it a moment before it does
		got, err := worker.CLI(ctx, "node", "ls", "-q")
		if err == nil && len(strings.Fields(got)) != len(l.Nodes) {
			err = fmt.Errorf("the promoted node does not serve the API: node ls -q printed %q", got)
		}
		return err
	}))
	l.cli(worker, "service", "scale", "--detach", "web=6") // it takes writes
	running := l.count("web", 6)
	l.cli(l.leader(), "node", "demote", worker.Name)
	l.managerStatus(worker, "")
	l.knowsItIsNoManager(worker)
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	l.refused(worker, []string{"node", "ls"}, "manager")
	l.still("web", 0, running)
	for _, c := range before {
		if !strings.Contains(strings.Join(ids(running), " "), c.ID) {
			t.Errorf("container %s did not survive the change of roles", c.ID)
		}
	}
}

// knowsItIsNoManager waits until a demoted node has done what the others knew a
// moment before it did.
func (l *lab) knowsItIsNoManager(n *cluster.Node) {
	l.t.Helper()
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		info, err := n.API.Info(ctx)
		if err == nil && info.Swarm.ControlAvailable {
			err = fmt.Errorf("%s still is a manager by what it says itself", n.Name)
		}
		return err
	}))
}

func TestLeaderIsDemoted(t *testing.T) {
	l := newLab(t)
	before := l.run("web", 5)
	old := l.leader()
	start := time.Now()
	l.cli(l.Nodes[1], "node", "demote", old.Name)
	t.Logf("answered after %.2f s", time.Since(start).Seconds())
	l.managerStatus(old, "")
	t.Logf("no manager after %.2f s", time.Since(start).Seconds())
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	old.Manager = false
	l.still("web", 0, before)
	t.Logf("its session is with another one after %.2f s", time.Since(start).Seconds())
	l.cli(l.leader(), "node", "promote", old.Name)
	old.Manager = true
	l.managerStatus(old, "Reachable")
	t.Logf("a manager again after %.2f s", time.Since(start).Seconds())
	l.still("web", 0, before)
}

// A slip of the hand that is corrected at once: the demotion is half done when
// the promotion comes.
func TestDemotedAndPromotedAgainAtOnce(t *testing.T) {
	l := newLab(t)
	before := l.run("web", 5)
	for range 4 {
		n := l.leader()
		at := l.Nodes[0]
		if n == at {
			at = l.Nodes[1]
		}
		l.cli(at, "node", "demote", n.Name)
		l.cli(at, "node", "promote", n.Name)
		start := time.Now()
		l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
			got, err := at.CLI(ctx, "node", "ls", "--format", "{{.ManagerStatus}}")
			if members := strings.Count(got, "Reachable") + strings.Count(got, "Leader"); err == nil && members != managers {
				err = fmt.Errorf("%d managers after %s was demoted and promoted again", members, n.Name)
			}
			return err
		}))
		l.must(l.AwaitManagers(l.ctx)) // and answers as one
		t.Logf("%s is a manager again after %.2f s", n.Name, time.Since(start).Seconds())
	}
	l.still("web", 0, before)
}

func TestDrainAndReturn(t *testing.T) {
	l := newLab(t)
	l.run("web", 8)
	n := l.Workers()[1]
	l.cli(l.Nodes[0], "node", "update", "--availability", "drain", n.Name)
	l.elsewhere("web", 8, n)
	l.cli(l.Nodes[0], "node", "update", "--availability", "active", n.Name)
	l.cli(l.Nodes[0], "service", "scale", "--detach", "web=10")
	if running := l.count("web", 10); cluster.Spread(running)[n] != 2 {
		t.Errorf("new replicas avoid %s though it is active and empty: it runs %d", n.Name, cluster.Spread(running)[n])
	}
}

func TestNodeLeavesAndIsRemoved(t *testing.T) {
	l := ownLab(t, "10.91.3", 1, 2)
	l.run("web", 6)
	manager, leaver := l.Nodes[0], l.Nodes[2]
	l.refused(manager, []string{"leave"}, "--force")
	l.refused(manager, []string{"node", "rm", leaver.Name}, leaver.ID)
	l.cli(leaver, "leave")
	l.elsewhere("web", 6, leaver)
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		_, err := manager.CLI(ctx, "node", "rm", leaver.Name)
		return err
	}))
	if got := l.cli(manager, "node", "ls", "-q"); len(strings.Fields(got)) != 2 {
		t.Errorf("node ls -q after the removal: %q", got)
	}
	l.must(leaver.Join(l.ctx, manager, false)) // and comes back as a new node
	l.must(l.AwaitReady(l.ctx, 3))
}

// managerStatus waits until node ls shows a node's manager status.
func (l *lab) managerStatus(n *cluster.Node, want string) {
	l.t.Helper()
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		got, err := l.leader().CLI(ctx, "node", "ls", "--format", "{{.Hostname}}={{.ManagerStatus}}")
		if err == nil && !strings.Contains("\n"+got, "\n"+n.Name+"="+want+"\n") {
			err = fmt.Errorf("%s should be %q:\n%s", n.Name, want, got)
		}
		return err
	}))
}
