package runtimetest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/mount"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// Volumes lists the volumes by name.
func (e *Engine) Volumes(ctx context.Context) ([]api.Volume, error) {
	if err := e.enter(ctx, "volumes"); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	list := slices.SortedFunc(maps.Values(e.volumes), func(a, b api.Volume) int { return strings.Compare(a.Name, b.Name) })
	return slices.DeleteFunc(list, func(v api.Volume) bool { return docker.IsAnonymous(v.Name) }), nil
}

// await takes as long as the drivers of volumes do.
func (e *Engine) await(ctx context.Context, mounts []mount.Mount) error {
	e.mu.Lock()
	stuck := slices.ContainsFunc(mounts, func(m mount.Mount) bool { return e.stuck[m.Source] })
	e.mu.Unlock()
	if !stuck {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// check refuses volumes that are not what is asked for, as the real engine does.
func (e *Engine) check(mounts []mount.Mount) error {
	for i := range mounts {
		v, there := e.volumes[mounts[i].Source]
		if !there {
			continue
		}
		if err := docker.CheckVolume(&mounts[i], &v); err != nil {
			return err
		}
	}
	return nil
}

// mount makes the volumes that a container mounts and that are not there.
func (e *Engine) mount(mounts []mount.Mount) {
	for i := range mounts {
		m := &mounts[i]
		if _, there := e.volumes[m.Source]; there || m.Type != mount.TypeVolume || m.Source == "" {
			continue
		}
		v := api.Volume{Name: m.Source, Driver: "local"}
		if o := m.VolumeOptions; o != nil {
			v.Labels = o.Labels
			if d := o.DriverConfig; d != nil && d.Name != "" {
				v.Driver = d.Name
			}
			if d := o.DriverConfig; d != nil {
				v.Options = d.Options
			}
		}
		e.putVolume(v)
	}
}

func (e *Engine) putVolume(v api.Volume) {
	e.serial++
	v.CreatedAt = time.Unix(int64(e.serial), 0).UTC().Format(time.RFC3339)
	e.volumes[v.Name] = v
	e.tellAll(docker.Event{Type: docker.EventVolumeMade, Name: v.Name, Driver: v.Driver, At: time.Now()})
}

// PutVolume makes a volume, as `docker volume create` does.
func (e *Engine) PutVolume(v api.Volume) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.putVolume(v)
}

// StickVolume has the driver of a volume never answer.
func (e *Engine) StickVolume(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stuck[name] = true
}

// LoseVolume removes a volume, as `docker volume rm` does.
func (e *Engine) LoseVolume(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.volumes, name)
	e.tellAll(docker.Event{Type: docker.EventVolumeGone, Name: name, At: time.Now()})
}

// tellAll tells every watcher, whatever its cluster.
func (e *Engine) tellAll(ev docker.Event) {
	for w := range e.watchers {
		w.hear(ev)
	}
}

func (w *watcher) hear(ev docker.Event) {
	w.events = append(w.events, ev)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
