package runtimetest

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// CreateBridge makes a bridge network; one of that name is the same one.
func (e *Engine) CreateBridge(ctx context.Context, b *fabric.Bridge) error {
	if err := e.enter(ctx, "bridge"); err != nil {
		return err
	}
	defer e.mu.Unlock()
	b.ID = "bridge-" + b.Name
	e.bridges[b.Name] = *b
	return nil
}

// Bridges are the bridges of a cluster, ordered by name.
func (e *Engine) Bridges(ctx context.Context, cluster string) ([]fabric.Bridge, error) {
	if err := e.enter(ctx, "bridges"); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	list := slices.DeleteFunc(slices.Collect(maps.Values(e.bridges)), func(b fabric.Bridge) bool { return b.Cluster != cluster })
	slices.SortFunc(list, func(a, b fabric.Bridge) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// RemoveBridge removes a bridge that no container runs on.
func (e *Engine) RemoveBridge(ctx context.Context, id string) error {
	if err := e.enter(ctx, "remove bridge"); err != nil {
		return err
	}
	defer e.mu.Unlock()
	for name, b := range e.bridges {
		if b.ID == id && e.used(name) {
			return api.Errorf(api.CodeConflict, "bridge %s is in use", name)
		}
	}
	maps.DeleteFunc(e.bridges, func(_ string, b fabric.Bridge) bool { return b.ID == id })
	return nil
}

// Prune removes the bridges that no container runs on, as `docker network prune` does.
func (e *Engine) Prune() {
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.DeleteFunc(e.bridges, func(name string, _ fabric.Bridge) bool { return !e.used(name) })
}

func (e *Engine) used(name string) bool {
	for _, b := range e.containers {
		if b.State == docker.Running && slices.ContainsFunc(b.networks, func(n docker.EndpointPlan) bool { return n.Name == name }) {
			return true
		}
	}
	return false
}

// missing is the engine's no to a container whose network there is none.
func (e *Engine) missing(list []docker.EndpointPlan) error {
	for _, n := range list {
		if _, ok := e.bridges[n.Name]; !ok {
			return api.Errorf(api.CodeUnavailable, "container engine memory://%s: network %s not found: it is made again", e.host, n.Name)
		}
	}
	return nil
}

// runs reports whether a process is that of a container that runs.
func (e *Engine) runs(task api.TaskID, pid int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.of(task)
	return b != nil && b.State == docker.Running && b.PID == pid
}
