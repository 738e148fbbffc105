package cluster

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

// Kill ends the container from outside, with SIGKILL.
func (c Container) Kill(ctx context.Context) error {
	return c.Node.Docker.ContainerKill(ctx, c.ID, "KILL")
}

// The labels that both Docker Swarm and swarmctl put on a task's container,
// and the one that only swarmctl puts there.
const (
	ServiceLabel = "com.docker.swarm.service.name"
	TaskLabel    = "com.docker.swarm.task.id"
	OurTaskLabel = "swarmctl.task"
)

// Container is one that runs, as its engine says.
type Container struct {
	ID      string
	Node    *Node
	Service string
	Task    string
}

// Watch follows which containers of services run on the engines of a cluster.
// It is fed by the engines' events, so it knows of a start within milliseconds.
// A host without power runs nothing.
type Watch struct {
	mu      sync.Mutex
	running map[*Node]map[string]Container
	changed chan struct{} // closed and replaced at every change
}

// Watch starts to follow; it ends with ctx. It returns when the state of
// every engine that has power is known.
func (c *Cluster) Watch(ctx context.Context) *Watch {
	w := &Watch{running: map[*Node]map[string]Container{}, changed: make(chan struct{})}
	var known sync.WaitGroup
	for _, n := range c.Nodes {
		known.Add(1)
		go w.follow(ctx, n, sync.OnceFunc(known.Done))
	}
	known.Wait()
	return w
}

// follow keeps one node's containers up to date, over power cycles.
func (w *Watch) follow(ctx context.Context, n *Node, known func()) {
	for ctx.Err() == nil {
		w.followOnce(ctx, n, known)
		w.set(n, nil) // the engine is gone
		known()
		select {
		case <-ctx.Done():
		case <-time.After(look):
		}
	}
}

// followOnce subscribes, lists, then applies events until the engine is gone.
func (w *Watch) followOnce(ctx context.Context, n *Node, known func()) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Since now: the engine answers before it has subscribed, and would lose what happens between.
	now := time.Now()
	stream, failed := n.Docker.Events(ctx, events.ListOptions{Since: fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond()),
		Filters: filters.NewArgs(filters.Arg("type", "container"), filters.Arg("event", "start"), filters.Arg("event", "die"))})
	list, err := n.Docker.ContainerList(ctx, container.ListOptions{Filters: filters.NewArgs(filters.Arg("label", ServiceLabel))})
	if err != nil {
		return
	}
	running := map[string]Container{}
	for _, c := range list {
		running[c.ID] = Container{c.ID, n, c.Labels[ServiceLabel], c.Labels[TaskLabel]}
	}
	w.set(n, running)
	known()
	for {
		select {
		case e := <-stream:
			w.apply(n, e)
		case <-failed:
			return
		}
	}
}

func (w *Watch) apply(n *Node, e events.Message) {
	service := e.Actor.Attributes[ServiceLabel]
	if service == "" {
		return
	}
	w.change(func() {
		if e.Action == events.ActionStart {
			w.running[n][e.Actor.ID] = Container{e.Actor.ID, n, service, e.Actor.Attributes[TaskLabel]}
		} else {
			delete(w.running[n], e.Actor.ID)
		}
	})
}

func (w *Watch) set(n *Node, running map[string]Container) {
	w.change(func() { w.running[n] = running })
}

func (w *Watch) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	close(w.changed)
	w.changed = make(chan struct{})
}

// Running returns what runs of a service, in the order of the container IDs.
func (w *Watch) Running(service string) []Container {
	running, _ := w.look(service)
	return running
}

func (w *Watch) look(service string) ([]Container, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var running []Container
	for _, containers := range w.running {
		for c := range maps.Values(containers) {
			if c.Service == service {
				running = append(running, c)
			}
		}
	}
	slices.SortFunc(running, func(a, b Container) int { return cmp.Compare(a.ID, b.ID) })
	return running, w.changed
}

// Until waits until what runs of a service is as asked, and returns it. The
// error says what ran instead.
func (w *Watch) Until(ctx context.Context, service, what string, ok func([]Container) bool) ([]Container, error) {
	for {
		running, changed := w.look(service)
		if ok(running) {
			return running, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return running, fmt.Errorf("service %s: %s: not so in time, %s", service, what, describe(running))
		}
	}
}

// Count waits until exactly n containers of a service run.
func (w *Watch) Count(ctx context.Context, service string, n int) ([]Container, error) {
	return w.Until(ctx, service, fmt.Sprintf("%d running", n), func(cs []Container) bool { return len(cs) == n })
}

// Spread says how many of the containers each node runs.
func Spread(cs []Container) map[*Node]int {
	spread := map[*Node]int{}
	for _, c := range cs {
		spread[c.Node]++
	}
	return spread
}

func describe(cs []Container) string {
	out := fmt.Sprintf("%d run:", len(cs))
	spread := Spread(cs)
	nodes := slices.SortedFunc(maps.Keys(spread), func(a, b *Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, n := range nodes {
		out += fmt.Sprintf(" %s=%d", n.Name, spread[n])
	}
	return out
}
