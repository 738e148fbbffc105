package docker

import (
	"path"

	"github.com/docker/docker/api/types/mount"

	"github.com/swarmctl/swarmctl/api"
)

// checkMounts refuses mounts that the engine would misread: to it a source
// that is a path is a bind, and any other a volume.
func checkMounts(mounts []mount.Mount) error {
	for i := range mounts {
		if err := checkMount(&mounts[i]); err != nil {
			return err
		}
	}
	return nil
}

func checkMount(m *mount.Mount) error {
	switch {
	case m.Type == mount.TypeNamedPipe:
		return api.Errorf(api.CodeUnsupported, "mount %q: type npipe exists on Windows only", m.Target)
	case m.Type == mount.TypeCluster:
		return api.Errorf(api.CodeUnsupported, "mount %q: cluster volumes are not supported yet", m.Target)
	case !path.IsAbs(m.Target):
		return api.Errorf(api.CodeInvalid, "mount target %q: must be an absolute path", m.Target)
	}
	switch m.Type {
	case mount.TypeBind:
		if !path.IsAbs(m.Source) {
			return api.Errorf(api.CodeInvalid, "mount %q: source %q of a bind must be an absolute path", m.Target, m.Source)
		}
	case mount.TypeVolume:
		if path.IsAbs(m.Source) {
			return api.Errorf(api.CodeInvalid, "mount %q: source %q of a volume must be a name: use type bind for a path", m.Target, m.Source)
		}
	case mount.TypeTmpfs:
		if m.Source != "" {
			return api.Errorf(api.CodeInvalid, "mount %q: a tmpfs has no source, but %q is given", m.Target, m.Source)
		}
	default:
		return api.Errorf(api.CodeInvalid, "mount %q: unknown type %q: use bind, volume or tmpfs", m.Target, m.Type)
	}
	return nil
}
