package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

func TestReplicatedJob(t *testing.T) {
	l := newLab(t)
	most := l.mostAtOnce("sum")
	out := l.cli(l.leader(), "service", "create", "--no-resolve-image", "--name", "sum", "--mode", "replicated-job", "--replicas", "5", "--max-concurrent", "2",
		cluster.Image, "serve", "--exit-after", "500ms")
	if !strings.Contains(out, "job progress: 5 out of 5 complete") || !strings.HasSuffix(out, "job complete\n") {
		t.Errorf("service create printed:\n%s", out)
	}
	if n := most(); n != 2 {
		t.Errorf("%d ran at one time, 2 may", n)
	}
	l.listed("sum", "replicated job 0/2 (5/5 completed)")
	first := l.jobTasks("sum")

	l.cli(l.leader(), "service", "scale", "sum=6")
	l.listed("sum", "replicated job 0/2 (6/6 completed)")
	l.cli(l.leader(), "service", "update", "--quiet", "--force", "sum")
	l.listed("sum", "replicated job 0/2 (6/6 completed)")
	again := l.jobTasks("sum")
	if len(first) != 5 || len(again) != 12 {
		t.Errorf("%d tasks after the first time, %d after the second", len(first), len(again))
	}
	for _, task := range append(first, again...) {
		if task.Status.State != swarm.TaskStateComplete || task.DesiredState != swarm.TaskStateComplete {
			t.Errorf("task %s of slot %d: desired %s, %s %s", task.ID, task.Slot, task.DesiredState, task.Status.State, task.Status.Err)
		}
	}
	l.still("sum", 2*time.Second, nil)

	l.refused(l.leader(), []string{"service", "create", "--no-resolve-image", "--name", "no", "--mode", "replicated-job", "--restart-condition", "on-failure",
		"--restart-max-attempts", "1", "--restart-delay", "1s", cluster.Image, "serve", "--exit-after", "100ms", "--exit-code", "3"},
		"job failed: 0 out of 1 tasks are complete", "non-zero exit (3)")
	if tasks := l.jobTasks("no"); len(tasks) != 2 {
		t.Errorf("%d attempts, 2 were allowed", len(tasks))
	}
}

func TestGlobalJobDoesItsPartOnEveryNode(t *testing.T) {
	l := newLab(t)
	drained := l.Workers()[0]
	l.cli(l.leader(), "node", "update", "--availability", "drain", drained.ID)
	l.cli(l.leader(), "service", "create", "--quiet", "--no-resolve-image", "--name", "scan", "--mode", "global-job", cluster.Image, "serve", "--exit-after", "300ms")
	l.listed("scan", "global job 0/0 (4/4 completed)")
	l.cli(l.leader(), "node", "update", "--availability", "active", drained.ID)
	l.must(cluster.Eventually(l.ctx, soon, func(context.Context) error {
		if n := len(l.jobTasks("scan")); n != 5 {
			return fmt.Errorf("%d tasks", n)
		}
		return nil
	}))
	l.must(cluster.Eventually(l.ctx, soon, func(context.Context) error { return l.lists("scan", "global job 0/0 (5/5 completed)") }))
}

// The leader loses power in the middle of a job, with tasks of it on its host.
func TestJobOutlivesItsLeader(t *testing.T) {
	l := newLab(t)
	l.cli(l.leader(), "service", "create", "--detach", "--no-resolve-image", "--name", "sum", "--mode", "replicated-job", "--replicas", "10", "--max-concurrent", "5",
		cluster.Image, "serve", "--exit-after", "3s")
	l.count("sum", 5)
	leader := l.leader()
	leader.PowerOff()
	l.must(cluster.Eventually(l.ctx, soon, func(context.Context) error { return l.lists("sum", "replicated job 0/5 (10/10 completed)") }))
	l.still("sum", 2*time.Second, nil)
	complete := map[int]int{}
	for _, task := range l.jobTasks("sum") {
		switch {
		case task.Status.State == swarm.TaskStateComplete:
			complete[task.Slot]++
		case task.NodeID != leader.ID:
			t.Errorf("task %s of slot %d on a node that had power: %s", task.ID, task.Slot, task.Status.State)
		}
	}
	for slot := range 10 {
		if complete[slot] != 1 {
			t.Errorf("slot %d is complete %d times", slot, complete[slot])
		}
	}
	l.must(leader.PowerOn(l.ctx))
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	l.must(l.lists("sum", "replicated job 0/5 (10/10 completed)"))
}

// mostAtOnce follows a service until it is asked how many ran at one time.
func (l *lab) mostAtOnce(service string) func() int {
	ctx, cancel := context.WithCancel(l.ctx)
	most, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		_, _ = l.w.Until(ctx, service, "for ever", func(cs []cluster.Container) bool {
			most = max(most, len(cs))
			return false
		})
	}()
	return func() int { cancel(); <-done; return most }
}

// lists checks a service's line of service ls, as any manager says it.
func (l *lab) lists(service, want string) error {
	return l.Any(l.ctx, func(ctx context.Context, n *cluster.Node) error {
		got, err := n.CLI(ctx, "service", "ls", "--filter", "name="+service, "--format", "{{.Mode}} {{.Replicas}}")
		if got = strings.TrimSpace(got); err == nil && got != want {
			err = fmt.Errorf("service %s is listed as %q, not %q", service, got, want)
		}
		return err
	})
}

func (l *lab) listed(service, want string) {
	l.t.Helper()
	if err := l.lists(service, want); err != nil {
		l.t.Error(err)
	}
}

func (l *lab) jobTasks(service string) []swarm.Task {
	l.t.Helper()
	var tasks []swarm.Task
	l.must(l.Any(l.ctx, func(ctx context.Context, n *cluster.Node) (err error) {
		tasks, err = n.API.TaskList(ctx, swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("service", service))})
		return err
	}))
	return tasks
}
