package runtimetest

import (
	"net"
	"slices"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// Exit ends the container of a task by itself.
func (e *Engine) Exit(id api.TaskID, code int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.of(id); b != nil {
		e.end(b, code)
	}
}

// Lose removes the container of a task behind everybody's back.
func (e *Engine) Lose(id api.TaskID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.of(id); b != nil {
		e.end(b, 137)
		delete(e.containers, b.ID)
		e.tell(b, docker.Event{Type: docker.EventGone})
	}
}

// Again starts a container that has ended, as `docker start` does.
func (e *Engine) Again(id api.TaskID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.of(id); b != nil && b.State == docker.Exited {
		e.begin(b)
	}
}

// Health is what the health check of a task's container says from now on.
func (e *Engine) Health(id api.TaskID, h docker.Health) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.of(id); b != nil && b.State == docker.Running {
		b.Health = h
		e.tell(b, docker.Event{Type: docker.EventHealth, Health: h})
	}
}

// StopByHand ends the container of a task as `docker stop` does, and as an
// engine does on its way down.
func (e *Engine) StopByHand(id api.TaskID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.of(id); b != nil && b.State == docker.Running {
		e.kill(b)
		e.end(b, 0)
	}
}

// Down ends the engine and with it, unless live says that they survive (as
// Docker's live-restore has it), the containers: with exit code 0, and nobody
// to see it.
func (e *Engine) Down(live bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = true
	for w := range e.watchers {
		close(w.gone)
		delete(e.watchers, w)
	}
	for _, b := range e.containers {
		b.sawExit = false
		if !live {
			e.end(b, 0)
		}
	}
}

// Up starts the engine again.
func (e *Engine) Up() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = false
}

// Wipe forgets every container, as an engine does that lost its disk.
func (e *Engine) Wipe() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.containers)
	clear(e.volumes)
}

// Hang has every call wait until goOn is called.
func (e *Engine) Hang() (goOn func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	hung := make(chan struct{})
	e.hung = hung
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.hung = nil
		close(hung)
	}
}

// Bind has containers start only if their files are there.
func (e *Engine) Bind(f *Files) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.files = f
}

// Pace is how long a create and a start take together.
func (e *Engine) Pace(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pace = d
}

// Fail has the next call of a kind fail: describe, watch, list, find, pull, load,
// create, start, inspect, ended, stop, remove, dial, volumes.
func (e *Engine) Fail(call string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults[call] = append(e.faults[call], err)
}

// MissingImage takes an image away. A pull brings it back, or fails with why.
func (e *Engine) MissingImage(name string, why error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.absent[docker.ImageName(name)] = why
}

// HasImage has a name, and an ID, be that image's.
func (e *Engine) HasImage(name string, i api.Image) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.absent, docker.ImageName(name))
	e.images[docker.ImageName(name)], e.images[i.ID] = i, i
}

// InRegistry has a pull of a name bring that image.
func (e *Engine) InRegistry(name string, i api.Image) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.registry[docker.ImageName(name)] = i
}

// ImageOf is what the container of a task was made of.
func (e *Engine) ImageOf(id api.TaskID) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.of(id); b != nil {
		return b.image
	}
	return ""
}

// Loads is how many archives were read to their end.
func (e *Engine) Loads() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.loads
}

// Asked are the credentials of all pulls, in turn.
func (e *Engine) Asked() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.asked)
}

// CutOff has the next create make a container that is on no network, and fail:
// an engine that takes one network at a time went away between two calls.
func (e *Engine) CutOff() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cutOff = true
}

// Pulls is how often an image was pulled.
func (e *Engine) Pulls(name string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pulled[docker.ImageName(name)]
}

// Auth is what an image was asked for with last.
func (e *Engine) Auth(name string) api.RegistryAuth {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.auths[docker.ImageName(name)]
}

// Containers are all there are, ordered by name.
func (e *Engine) Containers() []docker.Container {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.list(func(*box) bool { return true })
}

// Of returns the container of a task; ok is false where there is none.
func (e *Engine) Of(id api.TaskID) (c docker.Container, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.of(id); b != nil {
		return b.Container, true
	}
	return docker.Container{}, false
}

// Networks are those that the container of a task is on.
func (e *Engine) Networks(id api.TaskID) (names []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.of(id); b != nil {
		for _, n := range b.networks {
			names = append(names, n.Name)
		}
	}
	return names
}

// Pod is the task whose container's network namespace that of another task
// shares; empty where it has its own.
func (e *Engine) Pod(id api.TaskID) api.TaskID {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.of(id); b != nil && e.containers[b.pod] != nil {
		return e.containers[b.pod].Task
	}
	return ""
}

// Starts is how often the container of a task was started.
func (e *Engine) Starts(id api.TaskID) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.of(id); b != nil {
		return b.starts
	}
	return 0
}

// Busiest is how many starts were under way at once, at most.
func (e *Engine) Busiest() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.busiest
}

// Accept returns the engine's end of a connection that was dialled.
func (e *Engine) Accept() net.Conn { return <-e.conns }

func (e *Engine) of(id api.TaskID) *box {
	for _, b := range e.containers {
		if b.Task == id {
			return b
		}
	}
	return nil
}
