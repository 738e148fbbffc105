package worker

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/docker/docker/api/types/mount"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/expand"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// volumes are the engine's named volumes as far as they are known. A task that
// follows another to its data relies on them, so a volume is known from the
// moment that a container was made which mounts it, or from the event of its
// creation, whichever is first; the rest that there is to say of it follows from a list.
type volumes struct {
	mu     sync.Mutex
	now    []api.Volume // by name
	known  bool         // the engine has named them, once at least
	events int          // so many have come
	told   bool         // the session's manager has heard the latest

	stale chan struct{} // has room for one: the list is to be asked for
	wake  chan struct{} // has room for one: there is something to tell
}

func newVolumes() *volumes {
	return &volumes{stale: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
}

// happened takes an event.
func (v *volumes) happened(ev docker.Event) {
	if docker.IsAnonymous(ev.Name) {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.events++
	i, found := v.find(ev.Name)
	next := slices.Clone(v.now) // what was handed out stays as it was
	switch {
	case ev.Type == docker.EventVolumeMade && !found:
		v.now = slices.Insert(next, i, api.Volume{Name: ev.Name, Driver: ev.Driver})
	case ev.Type == docker.EventVolumeGone && found:
		v.now = slices.Delete(next, i, i+1)
	}
	v.changed()
	signal(v.stale)
}

// mounted takes in that a task's container was made, and with it its volumes.
// The event may be late: what becomes of the container must not be told before.
func (v *volumes) mounted(n *docker.Node, t *task) {
	node := &api.Node{ID: n.ID, Description: api.NodeDescription{Hostname: n.Hostname}}
	node.Description.Platform.OS, node.Description.Platform.Architecture = n.OS, n.Architecture
	if t.assigned == nil {
		return
	}
	for i := range t.spec.TaskTemplate.ContainerSpec.Mounts {
		m := &t.spec.TaskTemplate.ContainerSpec.Mounts[i]
		if m.Type != mount.TypeVolume || m.Source == "" {
			continue
		}
		ev := docker.Event{Type: docker.EventVolumeMade, Name: expand.VolumeName(m.Source, t.spec, t.assigned, node), Driver: "local"}
		if o := m.VolumeOptions; o != nil && o.DriverConfig != nil && o.DriverConfig.Name != "" {
			ev.Driver = o.DriverConfig.Name
		}
		if !v.has(ev.Name) {
			v.happened(ev)
		}
	}
}

func (v *volumes) has(name string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, found := v.find(name)
	return found
}

func (v *volumes) find(name string) (i int, found bool) {
	return slices.BinarySearchFunc(v.now, name, func(o api.Volume, name string) int { return strings.Compare(o.Name, name) })
}

// changed has the manager told, once there is all to tell.
func (v *volumes) changed() {
	if v.told = false; v.known {
		signal(v.wake)
	}
}

// set takes a list that was asked for after so many events. Where another one
// has come since, the list may be older than that: it counts for nothing.
func (v *volumes) set(list []api.Volume, events int) (taken bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.events != events {
		return false
	}
	v.now, v.known = list, true
	v.changed()
	return true
}

func (v *volumes) seen() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.events
}

// all is what a session begins with; nil where it is not known.
func (v *volumes) all() *wire.Volumes {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.known {
		return nil
	}
	v.told = true
	return wire.EncodeVolumes(v.now)
}

// news is all, or nil where the manager has heard it.
func (v *volumes) news() *wire.Volumes {
	v.mu.Lock()
	told := v.told
	v.mu.Unlock()
	if told {
		return nil
	}
	return v.all()
}

// follow keeps the list current: it asks the engine whenever something says that
// there may be something new.
func (v *volumes) follow(ctx context.Context, cfg *Config) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-v.stale:
		}
		events := v.seen()
		asked, cancel := context.WithTimeout(ctx, cfg.CallTimeout)
		list, err := cfg.Engine.Volumes(asked)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			cfg.Log.Warn("the engine's volumes are not known; it is asked again", "err", err, "after", lastRetry)
			pause(ctx, lastRetry)
			signal(v.stale)
		case len(list) > wire.MaxVolumes:
			cfg.Log.Warn("this node has more volumes than the cluster is told of: tasks do not stay with the last ones by name", "volumes", len(list), "told", wire.MaxVolumes)
			fallthrough
		default:
			if !v.set(list, events) {
				signal(v.stale)
			}
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// tellVolumes tells the manager of the volumes, if it is news.
func (s *session) tellVolumes() error {
	m := s.volumes.news()
	if m == nil {
		return nil
	}
	return s.send(&wire.FromNode{Message: &wire.FromNode_Volumes{Volumes: m}})
}
