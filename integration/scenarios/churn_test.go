package scenarios

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

const (
	churners = 32
	// churnNames are fewer than the clients can have at once, so that they
	// get into each other's way.
	churnNames = 24
	// What a daemon may grow by, in memory and in goroutines, from one churn to
	// the next: some of both comes and goes, with the garbage collector's turns
	// and with connections that are kept for a while.
	churnMemory     = 24 // MB
	churnGoroutines = 60
)

// Many clients at once, at every manager, create, change and remove services.
// Each is answered as Docker's API documents it, and when all are gone nothing
// is left: no service, task or container, and the daemons are no larger than
// after a first round. That no version of a spec outlives its service and tasks
// is a law of raftstore/state's tests.
func TestServicesThatComeAndGoLeaveNothing(t *testing.T) {
	l := newLab(t)
	length := time.Duration(fromEnv(t, "CHURN_SECONDS", 8)) * time.Second
	first := l.countGoroutines()
	l.churn(min(length, 10*time.Second))
	l.nothingLeft()
	before := l.memory()
	l.churn(length)
	l.nothingLeft()
	after := l.memory()
	for _, n := range l.Nodes {
		t.Logf("%s: %d MB before, %d MB after", n.Name, before[n], after[n])
		if grown := after[n] - before[n]; grown > churnMemory {
			t.Errorf("the daemon of %s grew by %d MB in %s, from %d MB", n.Name, grown, length, before[n])
		}
	}
	last := l.countGoroutines()
	for _, n := range l.Nodes {
		t.Logf("%s: %d goroutines before, %d after", n.Name, first[n], last[n])
		if grown := last[n] - first[n]; grown > churnGoroutines {
			t.Errorf("the daemon of %s has %d goroutines more than before", n.Name, grown)
		}
	}
}

// churn lets all clients loose for a time and fails on what none of them should hear.
func (l *lab) churn(length time.Duration) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, length)
	defer cancel()
	heard := &answers{count: map[string]int{}}
	var clients sync.WaitGroup
	for i := range churners {
		at, dice := l.Nodes[i%managers], rand.New(rand.NewPCG(uint64(i), 0))
		clients.Go(func() {
			for ctx.Err() == nil {
				verb, err := comeOrGo(l.ctx, at, dice) // to its end: a call that is cut off tells nothing
				heard.add(verb, at, err)
			}
		})
	}
	clients.Wait()
	l.t.Logf("%d clients heard in %s:\n%s", churners, length, heard)
	l.must(errors.Join(heard.wrong...))
}

// comeOrGo does one thing to one of the services.
func comeOrGo(ctx context.Context, at *cluster.Node, dice *rand.Rand) (verb string, err error) {
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	name, replicas := fmt.Sprintf("churn%d", dice.IntN(churnNames)), uint64(dice.IntN(3))
	spec := swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: name},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{Image: cluster.Image, Args: []string{"sleep"}},
			ForceUpdate:   uint64(dice.IntN(2)),
		},
		Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
	}
	switch dice.IntN(4) {
	case 0:
		return "remove", at.API.ServiceRemove(ctx, name)
	case 1:
		s, _, err := at.API.ServiceInspectWithRaw(ctx, name, swarm.ServiceInspectOptions{})
		if err == nil {
			_, err = at.API.ServiceUpdate(ctx, s.ID, s.Version, spec, swarm.ServiceUpdateOptions{})
		}
		return "update", err
	case 2:
		_, err := at.API.TaskList(ctx, swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("service", name))})
		return "list the tasks of", err
	default:
		_, err := at.API.ServiceCreate(ctx, spec, swarm.ServiceCreateOptions{})
		return "create", err
	}
}

// answers counts what clients heard, and keeps what none should have.
type answers struct {
	mu    sync.Mutex
	count map[string]int
	wrong []error
}

func (a *answers) add(verb string, at *cluster.Node, err error) {
	outcome := "done"
	switch {
	case err == nil:
	case verb == "create" && errdefs.IsConflict(err) && strings.Contains(err.Error(), "name conflicts with an existing object"):
		outcome = "the name is taken"
	case verb == "update" && strings.Contains(err.Error(), "update out of sequence"):
		outcome = "changed meanwhile"
	case verb != "create" && errdefs.IsNotFound(err):
		outcome = "not found"
	default:
		outcome = "wrong"
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count[verb+" a service: "+outcome]++
	if outcome == "wrong" && len(a.wrong) < 10 {
		a.wrong = append(a.wrong, fmt.Errorf("%s a service at %s: %w", verb, at.Name, err))
	}
}

// String is one line an outcome.
func (a *answers) String() string {
	var out strings.Builder
	for _, what := range slices.Sorted(maps.Keys(a.count)) {
		fmt.Fprintf(&out, "%6d  %s\n", a.count[what], what)
	}
	return out.String()
}

// nothingLeft removes the services and waits until nothing is left of them.
func (l *lab) nothingLeft() {
	l.t.Helper()
	start := time.Now()
	l.must(cluster.Eventually(l.ctx, 4*soon, func(ctx context.Context) error {
		n := l.Nodes[0]
		services, err := n.API.ServiceList(ctx, swarm.ServiceListOptions{})
		for _, s := range services {
			err = errors.Join(err, n.API.ServiceRemove(ctx, s.ID))
		}
		if err != nil {
			return err
		}
		tasks, err := n.API.TaskList(ctx, swarm.TaskListOptions{})
		if err == nil && len(tasks) > 0 {
			err = fmt.Errorf("%d tasks are left, one of them %s, %s on node %s", len(tasks), tasks[0].ID, tasks[0].Status.State, tasks[0].NodeID)
		}
		return err
	}))
	for _, n := range l.Nodes {
		l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
			list, err := n.Docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", cluster.OurTaskLabel))})
			if err == nil && len(list) > 0 {
				err = fmt.Errorf("%d containers are left on %s, one of them %s (%s)", len(list), n.Name, list[0].Names, list[0].Status)
			}
			return err
		}))
	}
	l.t.Logf("nothing is left after %.1f s", time.Since(start).Seconds())
}

// memory is what each daemon holds, in MB, without the pages of files that the
// kernel lends it.
func (l *lab) memory() map[*cluster.Node]int {
	l.t.Helper()
	out := map[*cluster.Node]int{}
	for _, n := range l.Nodes {
		status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(n.DaemonPID()), "status"))
		l.must(err)
		found := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(status)
		if found == nil {
			l.t.Fatalf("the daemon of %s shows no memory:\n%s", n.Name, status)
		}
		kb, err := strconv.Atoi(string(found[1]))
		l.must(err)
		out[n] = kb >> 10
	}
	return out
}

// countGoroutines has every daemon in turn say what its goroutines do, which a
// Go program does at its end when it is told to quit, and starts it again.
func (l *lab) countGoroutines() map[*cluster.Node]int {
	l.t.Helper()
	out := map[*cluster.Node]int{}
	for _, n := range l.Nodes {
		seen, err := os.ReadFile(n.Log("swarmctl"))
		l.must(err)
		n.SignalDaemon(syscall.SIGQUIT)
		log, err := os.ReadFile(n.Log("swarmctl"))
		l.must(err)
		out[n] = len(regexp.MustCompile(`(?m)^goroutine \d+ .*\[`).FindAll(log[len(seen):], -1))
		if out[n] == 0 {
			l.t.Fatalf("the daemon of %s named no goroutine at its end", n.Name)
		}
		l.must(n.StartDaemon(l.ctx))
		l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	}
	l.must(l.AwaitManagers(l.ctx))
	return out
}
