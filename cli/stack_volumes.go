package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/mount"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/services/stack"
)

// checkVolumes refuses a stack whose volumes are on a node already, with other
// options than its file has: the tasks would be rejected there. What is secret in
// options only the nodes can compare.
func (c *call) checkVolumes(ctx context.Context, s *stack.Stack) error {
	mounts := optionedMounts(s)
	if len(mounts) == 0 {
		return nil
	}
	list, err := c.volumes(ctx, "", nil)
	if err != nil {
		return err
	}
	var errs []error
	for i := range mounts {
		for k := range list {
			v := &list[k]
			if v.Name != mounts[i].Source || v.GivenUp || !v.Reported {
				continue
			}
			if why := setting.VolumeDiffers(&mounts[i], &v.Volume); why != "" {
				errs = append(errs, fmt.Errorf("volume %s on node %s: %s: remove it with what is in it (`swarmctl volume rm --node %s %s`), or give the volume another name", v.Name, v.Hostname, why, v.Hostname, v.Name))
			}
		}
	}
	return errors.Join(errs...)
}

// optionedMounts are the stack's mounts of volumes that say how those are made,
// each volume once, without secrets.
func optionedMounts(s *stack.Stack) (list []mount.Mount) {
	seen := map[string]bool{}
	for i := range s.Services {
		for _, m := range s.Services[i].TaskTemplate.ContainerSpec.Mounts {
			if m.Type != mount.TypeVolume || m.VolumeOptions == nil || seen[m.Source] || strings.Contains(m.Source, "{{") {
				continue
			}
			seen[m.Source] = true
			o := *m.VolumeOptions
			if o.DriverConfig != nil {
				o.DriverConfig = &mount.Driver{Name: o.DriverConfig.Name, Options: api.MaskOptions(o.DriverConfig.Options)}
			}
			m.VolumeOptions = &o
			list = append(list, m)
		}
	}
	return list
}
