package docker

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// pluginPatience is how long the drivers that are plugins have to name their
// volumes: one that hangs must not keep the others' from being known.
const pluginPatience = 5 * time.Second

// Volumes lists the named volumes, by name. Those of plugins that do not answer
// in time are left out: it is the local ones that tasks stay with.
func (e *Engine) Volumes(ctx context.Context) ([]api.Volume, error) {
	local, err := e.cli.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("driver", "local"))})
	if err != nil {
		return nil, e.fail(err)
	}
	list := local.Volumes
	patient, cancel := context.WithTimeout(ctx, pluginPatience)
	defer cancel()
	if all, err := e.cli.VolumeList(patient, volume.ListOptions{}); err == nil {
		for _, v := range all.Volumes {
			if v != nil && v.Driver != "local" {
				list = append(list, v)
			}
		}
	}
	return namedVolumes(list), nil
}

// Volume returns a named volume as it is, and the folder on the host that it is
// in. Errors: not found.
func (e *Engine) Volume(ctx context.Context, name string) (v api.Volume, folder string, err error) {
	got, err := e.cli.VolumeInspect(ctx, name)
	if cerrdefs.IsNotFound(err) {
		return v, "", api.Errorf(api.CodeNotFound, "the engine has no volume %s", name)
	}
	if err != nil {
		return v, "", e.fail(err)
	}
	return api.Volume{Name: got.Name, Driver: got.Driver, Options: got.Options, Labels: got.Labels, CreatedAt: got.CreatedAt}, got.Mountpoint, nil
}

// CreateVolume makes a volume of the driver local; one that is there is left as it is.
func (e *Engine) CreateVolume(ctx context.Context, v *api.Volume) error {
	_, err := e.cli.VolumeCreate(ctx, volume.CreateOptions{Name: v.Name, Driver: v.Driver, DriverOpts: v.Options, Labels: v.Labels})
	if err != nil {
		return e.fail(err)
	}
	return nil
}

// RemoveVolume removes a volume with what is in it, and containers of the
// cluster's tasks that have ended and had it, which were kept for their logs.
// A volume that is not there is no error; one that another container has is.
func (e *Engine) RemoveVolume(ctx context.Context, name string) error {
	list, err := e.volumeUsers(ctx, name)
	if err != nil {
		return err
	}
	for i := range list {
		if c := &list[i]; isTask(c) && !alive(c) {
			if err := e.cli.ContainerRemove(ctx, c.ID, container.RemoveOptions{}); err != nil && !cerrdefs.IsNotFound(err) {
				return e.fail(err)
			}
		}
	}
	if err := e.cli.VolumeRemove(ctx, name, false); err != nil && !cerrdefs.IsNotFound(err) {
		return e.fail(err)
	}
	return nil
}

// VolumeUsers are the containers that have a volume, by name: those of the
// cluster's tasks that have not ended, and all others.
func (e *Engine) VolumeUsers(ctx context.Context, name string) (tasks, others []string, err error) {
	list, err := e.volumeUsers(ctx, name)
	for i := range list {
		switch c := &list[i]; {
		case !isTask(c):
			others = append(others, calledOf(c))
		case alive(c):
			tasks = append(tasks, calledOf(c))
		}
	}
	return tasks, others, err
}

func (e *Engine) volumeUsers(ctx context.Context, name string) ([]container.Summary, error) {
	list, err := e.cli.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("volume", name))})
	if err != nil {
		return nil, e.fail(err)
	}
	return slices.DeleteFunc(list, func(c container.Summary) bool { // the filter takes paths for names
		return !slices.ContainsFunc(c.Mounts, func(m container.MountPoint) bool { return m.Type == mount.TypeVolume && m.Name == name })
	}), nil
}

func isTask(c *container.Summary) bool { return c.Labels[api.LabelTaskID] != "" }

// alive reports whether a container may write to its volumes.
func alive(c *container.Summary) bool {
	return c.State != container.StateCreated && c.State != container.StateExited && c.State != container.StateDead && c.State != container.StateRemoving
}

func calledOf(c *container.Summary) string {
	if len(c.Names) > 0 {
		return strings.TrimPrefix(c.Names[0], "/")
	}
	return c.ID[:min(len(c.ID), 12)]
}

func namedVolumes(list []*volume.Volume) []api.Volume {
	out := make([]api.Volume, 0, len(list))
	for _, v := range list {
		if v != nil && !IsAnonymous(v.Name) {
			out = append(out, api.Volume{Name: v.Name, Driver: v.Driver, Options: api.MaskOptions(v.Options), Labels: v.Labels, CreatedAt: v.CreatedAt})
		}
	}
	slices.SortFunc(out, func(a, b api.Volume) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(out, func(a, b api.Volume) bool { return a.Name == b.Name })
}

var anonymous = regexp.MustCompile(`^[0-9a-f]{64}$`)

// IsAnonymous reports whether a volume has a name that the engine made up: it
// is one container's and goes with it.
func IsAnonymous(name string) bool { return anonymous.MatchString(name) }

// checkVolumes refuses a container whose volumes are there and are not what it asks for:
// the engine would take no notice of the options.
func (e *Engine) checkVolumes(ctx context.Context, mounts []mount.Mount) error {
	for i := range mounts {
		m := &mounts[i]
		if m.Type != mount.TypeVolume || m.Source == "" || m.VolumeOptions == nil {
			continue
		}
		v, err := e.cli.VolumeInspect(ctx, m.Source)
		if cerrdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("volume %s: %w", m.Source, e.fail(err))
		}
		if err := CheckVolume(m, &api.Volume{Name: v.Name, Driver: v.Driver, Options: v.Options, Labels: v.Labels}); err != nil {
			return err
		}
	}
	return nil
}

// CheckVolume refuses, with code conflict, a mount of a volume that is not what
// the mount asks for.
func CheckVolume(m *mount.Mount, v *api.Volume) error {
	if why := setting.VolumeDiffers(m, v); why != "" {
		return api.Errorf(api.CodeConflict, "mount %q: volume %s is there already: %s: remove it with what is in it (`swarmctl volume rm %s`), or give the service's volume another name", m.Target, m.Source, why, m.Source)
	}
	return nil
}
