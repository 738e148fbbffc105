package worker

import (
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// task is what the runner knows of one task.
type task struct {
	id api.TaskID
	// assigned is nil for one that is not in the node's set: its container was
	// found on the engine, or it has left the store.
	assigned  *api.Task
	spec      *api.ServiceSpec
	auth      api.RegistryAuth // for the spec's image
	image     *api.Image       // which one that is, where the cluster knows
	local     string           // what the engine has it as, once it was fetched
	status    api.TaskStatus
	container *docker.Container
	exit      cause

	refs  []api.ContentRef // of its spec: its secrets and configs
	filed bool             // they lie in files, or may

	podOf api.TaskID // the task that it is a sidecar of

	joined      bool               // the networks were told of it
	networking  *docker.Networking // what the next create puts the container on
	made        string             // the container whose creation has ended well
	attached    string             // the container that was attached to the networks
	limit       time.Duration      // its spec's self-stop
	selfStopped bool               // its container was stopped, or is being, since it was cut off

	stopping bool   // an assignment said stop
	held     bool   // and it is not out of the balancers yet, see drain.go
	stopAt   uint64 // the index of that assignment

	queued   bool
	busy     bool   // a call to the engine is under way
	giveUp   func() // ends the wait for an image; nil when there is none
	pulls    int
	failures int // calls that failed in a row and are tried again
}

func (t *task) view() *view {
	v := &view{assigned: t.assigned != nil, state: t.status.State, container: t.container, exit: t.exit}
	if !v.assigned {
		return v
	}
	v.desired, v.networks, v.files = t.assigned.Desired, len(t.assigned.Networks) > 0, len(t.refs) > 0
	v.prepared, v.held = t.networking != nil, t.held
	if c := t.container; c != nil {
		v.made, v.attached = t.made == c.ID, t.attached == c.ID
	}
	return v
}

// over says that no container of the task runs, or will.
func (t *task) over() bool {
	switch c := t.container; {
	case c != nil && c.State == docker.Running:
		return false
	case c == nil || c.State == docker.Created:
		return t.assigned == nil || t.status.State.Terminal()
	}
	return true
}

// selfStop is for how long its container may be cut off from the managers; 0:
// for ever. The spec says so, and to a daemon that has none yet the container.
func (t *task) selfStop() time.Duration {
	if t.limit == 0 && t.container != nil {
		return t.container.SelfStop
	}
	return t.limit
}

// observe takes what a call to the engine said of the container. Events may
// have told more since, so a container never goes back to an earlier state, and
// one that was removed does not come back.
func (t *task) observe(c docker.Container) {
	if t.container == nil && c.State != docker.Created {
		return
	}
	if old := t.container; old != nil && old.ID == c.ID && old.State > c.State {
		return
	}
	if old := t.container; old != nil && old.ID == c.ID && old.Health > c.Health {
		c.Health = old.Health
	}
	t.container = &c
}

// replace takes what the engine's own list says; nil is: there is no container.
func (t *task) replace(c *docker.Container) {
	same := c != nil && t.container != nil && c.ID == t.container.ID && c.State == t.container.State
	if !same {
		t.exit = unknown
	}
	t.container = c
}

// happened applies an event.
func (t *task) happened(ev *docker.Event) {
	if t.container == nil && ev.Type == docker.EventCreated {
		t.container = &docker.Container{ID: ev.Container, Task: ev.Task, Name: ev.Name, State: docker.Created}
	}
	c := t.container
	if c == nil || c.ID != ev.Container {
		return
	}
	next := *c // what was handed out before stays as it was
	switch ev.Type {
	case docker.EventStarted:
		next.State, next.Killed = docker.Running, false
	case docker.EventKilled:
		next.Killed = true
	case docker.EventDied:
		next.State, next.ExitCode, next.PID, next.EndedAt = docker.Exited, ev.ExitCode, 0, ev.At
		t.exit = byItself
		if c.Killed {
			t.exit = byForce
		}
	case docker.EventOOM:
		next.OOM = true
	case docker.EventHealth:
		next.Health = ev.Health
	case docker.EventGone:
		t.container = nil
		return
	}
	t.container = &next
}

// note makes s the task's status, if it is news, and returns it complete.
func (t *task) note(s *api.TaskStatus, now time.Time) *api.TaskStatus {
	if s == nil || s.State <= t.status.State {
		return nil
	}
	s.At = now
	if c := t.container; c != nil {
		s.Container = &api.ContainerStatus{ID: c.ID, PID: c.PID, ExitCode: c.ExitCode, Ports: c.Ports}
	}
	t.status = *s
	return s
}
