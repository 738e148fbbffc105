package docker

import (
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/versions"

	"github.com/swarmctl/swarmctl/api"
)

// since says which version of the Engine API brought a part of a plan. An
// engine that is older drops what it does not know without a word: the
// container would not be what was asked for.
type since struct {
	api    string
	engine string // for people
	what   string
	used   func(*Plan) bool
}

var sinces = []since{
	{"1.44", "25.0", "the interval of a health check in its start period (--health-start-interval)", func(p *Plan) bool {
		return p.Config.Healthcheck != nil && p.Config.Healthcheck.StartInterval != 0
	}},
	{"1.42", "23.0", "a bind that makes its source (bind-create-src)", anyMount(func(m *mount.Mount) bool {
		return m.BindOptions != nil && m.BindOptions.CreateMountpoint
	})},
	{"1.44", "25.0", "a bind that is read-only all the way down (bind-recursive=readonly)", anyMount(func(m *mount.Mount) bool {
		return m.BindOptions != nil && m.BindOptions.ReadOnlyForceRecursive
	})},
	{"1.45", "26.0", "a part of a volume (volume-subpath)", anyMount(func(m *mount.Mount) bool {
		return m.VolumeOptions != nil && m.VolumeOptions.Subpath != ""
	})},
	{"1.46", "27.0", "options of a tmpfs (TmpfsOptions.Options)", anyMount(func(m *mount.Mount) bool {
		return m.TmpfsOptions != nil && len(m.TmpfsOptions.Options) > 0
	})},
}

func anyMount(is func(*mount.Mount) bool) func(*Plan) bool {
	return func(p *Plan) bool {
		for i := range p.HostConfig.Mounts {
			if is(&p.HostConfig.Mounts[i]) {
				return true
			}
		}
		return false
	}
}

// checkVersion refuses a plan of which an engine of that API would drop something.
func checkVersion(p *Plan, version string) error {
	for _, s := range sinces {
		if versions.LessThan(version, s.api) && s.used(p) {
			return api.Errorf(api.CodeUnsupported, "%s needs Docker Engine %s (API %s), and this node's speaks API %s: leave it out, or keep the service to nodes with a newer engine by a constraint", s.what, s.engine, s.api, version)
		}
	}
	return nil
}
