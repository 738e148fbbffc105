package stack

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/go-units"
)

func (c *converter) mounts(s *types.ServiceConfig) ([]mount.Mount, error) {
	out := make([]mount.Mount, 0, len(s.Volumes)+len(s.Tmpfs))
	for i := range s.Volumes {
		m, err := c.mount(&s.Volumes[i])
		if err != nil {
			return nil, fmt.Errorf("volumes: %s: %w", s.Volumes[i].Target, err)
		}
		out = append(out, m)
	}
	for _, text := range s.Tmpfs {
		m, err := tmpfs(text)
		if err != nil {
			return nil, fmt.Errorf("tmpfs: %q: %w", text, err)
		}
		out = append(out, m)
	}
	return out, nil
}

func (c *converter) mount(v *types.ServiceVolumeConfig) (mount.Mount, error) {
	m := mount.Mount{Type: mount.Type(v.Type), Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly, Consistency: mount.Consistency(v.Consistency)}
	for kind, given := range map[string]bool{
		types.VolumeTypeBind: v.Bind != nil, types.VolumeTypeVolume: v.Volume != nil,
		types.VolumeTypeTmpfs: v.Tmpfs != nil, types.VolumeTypeImage: v.Image != nil,
	} {
		if given && kind != v.Type {
			return m, fmt.Errorf("it is of type %s: options for %s have no place", v.Type, kind)
		}
	}
	switch v.Type {
	case types.VolumeTypeVolume:
		return m, c.volume(v, &m)
	case types.VolumeTypeBind:
		if v.Source == "" {
			return m, fmt.Errorf("a bind mount needs a source")
		}
		if v.Bind != nil {
			m.BindOptions = &mount.BindOptions{Propagation: mount.Propagation(v.Bind.Propagation)}
		}
	case types.VolumeTypeTmpfs:
		if v.Source != "" {
			return m, fmt.Errorf("a tmpfs has no source")
		}
		if v.Tmpfs != nil {
			m.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: int64(v.Tmpfs.Size), Mode: fileMode(v.Tmpfs.Mode)}
		}
	default:
		return m, fmt.Errorf("volumes of type %q are not supported: use volume, bind or tmpfs", v.Type)
	}
	return m, nil
}

// volume fills in a volume that the node makes; compose-go has checked that a
// named one is declared.
func (c *converter) volume(v *types.ServiceVolumeConfig, m *mount.Mount) error {
	m.VolumeOptions = &mount.VolumeOptions{}
	if v.Volume != nil {
		m.VolumeOptions.NoCopy, m.VolumeOptions.Subpath = v.Volume.NoCopy, v.Volume.Subpath
	}
	if v.Source == "" {
		if !m.VolumeOptions.NoCopy && m.VolumeOptions.Subpath == "" {
			m.VolumeOptions = nil
		}
		return nil
	}
	spec, ok := c.p.Volumes[v.Source]
	if !ok {
		return fmt.Errorf("the volume %q is not defined", v.Source)
	}
	m.Source = c.named(v.Source, spec.Name, bool(spec.External))
	if spec.External {
		return nil
	}
	m.VolumeOptions.Labels = c.labels(spec.Labels)
	if spec.Driver != "" || spec.DriverOpts != nil {
		m.VolumeOptions.DriverConfig = &mount.Driver{Name: spec.Driver, Options: spec.DriverOpts}
	}
	return nil
}

// tmpfs reads PATH[:OPTION,OPTION...] as `docker run --tmpfs` does.
func tmpfs(text string) (mount.Mount, error) {
	target, options, _ := strings.Cut(text, ":")
	m := mount.Mount{Type: mount.TypeTmpfs, Target: target}
	if options == "" {
		return m, nil
	}
	m.TmpfsOptions = &mount.TmpfsOptions{}
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "size":
			n, err := units.RAMInBytes(value)
			if err != nil {
				return m, err
			}
			m.TmpfsOptions.SizeBytes = n
		case "mode":
			n, err := strconv.ParseUint(value, 8, 32)
			if err != nil {
				return m, err
			}
			m.TmpfsOptions.Mode = fileMode(uint32(n))
		case "ro":
			m.ReadOnly = true
		case "rw", "":
		default:
			return m, fmt.Errorf("the option %q is not known: use size, mode or ro", key)
		}
	}
	return m, nil
}
