package scenarios

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// fromEnv is how much of something to do: little where every change is
// tested, much where somebody asks for it, such as CHAOS_KILLS=100.
func fromEnv(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: give it a number above 0", name, text)
	}
	return n
}

// Daemons die at any instant while replicas come and go. Afterwards every task
// that should run has one container, and no container runs for any other.
func TestDaemonKillsLeaveNoOrphansAndNoDuplicates(t *testing.T) {
	l := newLab(t)
	kills := fromEnv(t, "CHAOS_KILLS", 10)
	seed := uint64(fromEnv(t, "CHAOS_SEED", int(time.Now().UnixNano()%1_000_000)+1))
	t.Logf("CHAOS_SEED=%d CHAOS_KILLS=%d", seed, kills)
	dice := rand.New(rand.NewPCG(seed, 0))
	want := 10
	l.run("web", want)
	for i := range kills {
		n := l.Nodes[dice.IntN(len(l.Nodes))]
		want = 5 + dice.IntN(15)
		scaled := make(chan error, 1)
		go func(want int) { scaled <- l.scale("web", want) }(want)
		time.Sleep(time.Duration(dice.IntN(500)) * time.Millisecond) // not for anything: a random instant
		n.KillDaemon()
		l.must(n.StartDaemon(l.ctx))
		if err := <-scaled; err != nil {
			t.Fatalf("kill %d, of %s: %v", i+1, n.Name, err)
		}
	}
	l.count("web", want)
	var listed []string
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) (err error) {
		listed, err = l.exact(ctx, "web", want)
		return err
	}))
	running := l.until("web", soon, "what the engines' events tell is what they list", func(cs []cluster.Container) bool {
		return equal(ids(cs), listed)
	})
	l.still("web", 3*time.Second, running)
}

// scale asks every manager until one accepts, as a user would while a leader is elected.
func (l *lab) scale(service string, n int) error {
	return cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		return l.Any(ctx, func(ctx context.Context, at *cluster.Node) error {
			_, err := at.CLI(ctx, "service", "scale", "--detach", service+"="+strconv.Itoa(n))
			return err
		})
	})
}

// exact compares the engines with the cluster's own record: one running
// container for each task that should run, on that task's node, and not one
// container more. It returns the IDs of those that run, sorted.
func (l *lab) exact(ctx context.Context, service string, want int) (running []string, err error) {
	var tasks []swarm.Task
	err = l.Any(ctx, func(ctx context.Context, n *cluster.Node) (err error) {
		tasks, err = n.API.TaskList(ctx, swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("service", service))})
		return err
	})
	if err != nil {
		return nil, err
	}
	wanted, known := map[string]string{}, map[string]bool{} // task to node
	for _, task := range tasks {
		known[task.ID] = true
		if task.DesiredState == swarm.TaskStateRunning {
			wanted[task.ID] = task.NodeID
		}
	}
	if len(wanted) != want {
		return nil, fmt.Errorf("%d tasks should run, not %d", len(wanted), want)
	}
	for _, n := range l.Nodes {
		list, err := n.Docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", cluster.OurTaskLabel))})
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			task := c.Labels[cluster.OurTaskLabel]
			switch {
			case !known[task]:
				return nil, fmt.Errorf("orphan: container %s (%s) on %s belongs to no task", c.Names, c.State, n.Name)
			case c.State == "running" && wanted[task] != n.ID:
				return nil, fmt.Errorf("container %s runs on %s: a duplicate, or for a task that should not run", c.Names, n.Name)
			case c.State == "running":
				delete(wanted, task)
				running = append(running, c.ID)
			}
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("%d tasks have no container that runs", len(wanted))
	}
	slices.Sort(running)
	return running, nil
}
