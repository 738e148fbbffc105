package servicespec

import (
	"cmp"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// minHealthDuration is the engine's minimum for the times of a health check; 0 is unset.
const minHealthDuration = time.Millisecond

func checkContainer(c *swarm.ContainerSpec) error {
	if c.Image == "" {
		return invalid("ContainerSpec: image reference must be provided")
	}
	if _, err := reference.ParseNormalizedNamed(c.Image); err != nil {
		return invalid("ContainerSpec: %q is not a valid repository/tag", c.Image)
	}
	if c.StopGracePeriod != nil && *c.StopGracePeriod < 0 {
		return invalid("ContainerSpec: stop-grace-period cannot be negative")
	}
	for _, e := range c.Env {
		if name, _, _ := strings.Cut(e, "="); name == "" {
			return invalid("ContainerSpec: invalid environment variable: %q has no name", e)
		}
	}
	for _, h := range c.Hosts {
		if len(strings.Fields(h)) < 2 {
			return invalid("ContainerSpec: invalid host entry %q: give ADDRESS NAME [ALIAS...]", h)
		}
	}
	switch {
	case !c.Isolation.IsDefault():
		return invalid("ContainerSpec: invalid isolation: %q - linux only supports 'default'", c.Isolation)
	case c.OomScoreAdj < -1000 || c.OomScoreAdj > 1000:
		return invalid("ContainerSpec: invalid value %d, range for oom score adj is [-1000, 1000]", c.OomScoreAdj)
	}
	if err := checkPrivileges(c.Privileges); err != nil {
		return err
	}
	if err := checkMounts(c.Mounts); err != nil {
		return err
	}
	if err := checkContents(c); err != nil {
		return err
	}
	return checkHealth(c.Healthcheck)
}

// checkPrivileges refuses modes that nobody knows: an engine would run the
// container without what they ask for.
func checkPrivileges(p *swarm.Privileges) error {
	if p == nil {
		return nil
	}
	if s := p.Seccomp; s != nil {
		switch {
		case !slices.Contains([]swarm.SeccompMode{"", swarm.SeccompModeDefault, swarm.SeccompModeUnconfined, swarm.SeccompModeCustom}, s.Mode):
			return invalid("ContainerSpec: invalid seccomp mode %q: use default, unconfined or custom", s.Mode)
		case (s.Mode == swarm.SeccompModeCustom) != (len(s.Profile) > 0):
			return invalid("ContainerSpec: a seccomp profile goes with mode custom, and mode custom with a profile")
		}
	}
	if a := p.AppArmor; a != nil && !slices.Contains([]swarm.AppArmorMode{"", swarm.AppArmorModeDefault, swarm.AppArmorModeDisabled}, a.Mode) {
		return invalid("ContainerSpec: invalid AppArmor mode %q: use default or disabled", a.Mode)
	}
	return nil
}

func checkMounts(mounts []mount.Mount) error {
	targets := map[string]bool{}
	for _, m := range mounts {
		if err := checkMount(m); err != nil {
			return err
		}
		target := path.Clean(m.Target)
		if targets[target] {
			return invalid("ContainerSpec: duplicate mount point: %s", m.Target)
		}
		targets[target] = true
	}
	return nil
}

func checkMount(m mount.Mount) error {
	if !path.IsAbs(m.Target) {
		return invalid("invalid mount target %q: it must be an absolute path in the container", m.Target)
	}
	switch m.Type {
	case mount.TypeBind:
		if !path.IsAbs(m.Source) {
			return invalid("invalid mount of type bind at %s: source %q must be an absolute path on the node", m.Target, m.Source)
		}
	case mount.TypeVolume:
		if path.IsAbs(m.Source) {
			return invalid("invalid mount of type volume at %s: source %q is a path: give a volume's name, or use type=bind", m.Target, m.Source)
		}
	case mount.TypeTmpfs:
		if m.Source != "" {
			return invalid("invalid mount of type tmpfs at %s: it has no source, but %q is given", m.Target, m.Source)
		}
	case mount.TypeImage:
		return invalid("invalid MountType: \"image\" at %s: services have volumes, binds and tmpfs; put what is needed into the service's own image", m.Target)
	case mount.TypeNamedPipe:
		return unsupported("mount of type npipe at %s: named pipes exist on Windows, which swarmctl does not run on", m.Target)
	case mount.TypeCluster:
		return notYet("mount of type cluster at %s: CSI volumes come with a later version of swarmctl", m.Target)
	default:
		return invalid("invalid MountType: %q: mount %s as bind, volume or tmpfs", m.Type, m.Target)
	}
	return checkMountOptions(m)
}

func checkMountOptions(m mount.Mount) error {
	switch {
	case m.BindOptions != nil && m.Type != mount.TypeBind:
		return invalid("mount at %s: bind options are for mounts of type bind, not %s", m.Target, m.Type)
	case m.VolumeOptions != nil && m.Type != mount.TypeVolume:
		return invalid("mount at %s: volume options are for mounts of type volume, not %s", m.Target, m.Type)
	case m.VolumeOptions != nil && setting.CheckVolumeLabels(m.VolumeOptions.Labels) != nil:
		return invalid("mount at %s: %v", m.Target, setting.CheckVolumeLabels(m.VolumeOptions.Labels))
	case m.TmpfsOptions != nil && m.Type != mount.TypeTmpfs:
		return invalid("mount at %s: tmpfs options are for mounts of type tmpfs, not %s", m.Target, m.Type)
	case m.ImageOptions != nil:
		return invalid("mount at %s: image options are for mounts of type image, not %s", m.Target, m.Type)
	case m.ClusterOptions != nil:
		return invalid("mount at %s: cluster options are for mounts of type cluster, not %s", m.Target, m.Type)
	case m.TmpfsOptions != nil && m.TmpfsOptions.SizeBytes < 0:
		return invalid("mount at %s: tmpfs-size cannot be negative", m.Target)
	case m.BindOptions != nil && m.BindOptions.Propagation != "" && !slices.Contains(mount.Propagations, m.BindOptions.Propagation):
		return invalid("invalid MountPropagation: %q at %s: use rprivate, private, rshared, shared, rslave or slave", m.BindOptions.Propagation, m.Target)
	case m.VolumeOptions != nil && !filepath.IsLocal(cmp.Or(m.VolumeOptions.Subpath, ".")):
		return invalid("mount at %s: invalid volume-subpath %q: it must be a relative path within the volume", m.Target, m.VolumeOptions.Subpath)
	case !slices.Contains([]mount.Consistency{"", mount.ConsistencyDefault, mount.ConsistencyFull, mount.ConsistencyCached, mount.ConsistencyDelegated}, m.Consistency):
		return invalid("mount at %s: invalid consistency %q: use default, consistent, cached or delegated", m.Target, m.Consistency)
	}
	return nil
}

func checkHealth(h *container.HealthConfig) error {
	if h == nil {
		return nil
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Interval", h.Interval}, {"Timeout", h.Timeout}, {"StartPeriod", h.StartPeriod}, {"StartInterval", h.StartInterval}} {
		if d.value != 0 && d.value < minHealthDuration {
			return invalid("ContainerSpec: %s in HealthConfig cannot be less than %s", d.name, minHealthDuration)
		}
	}
	if h.Retries < 0 {
		return invalid("ContainerSpec: Retries in HealthConfig cannot be negative")
	}
	return nil
}

func checkResources(t *api.TaskSpec) error {
	r := t.Resources
	if r == nil {
		return nil
	}
	limits, reserved := swarm.Limit{}, swarm.Resources{}
	if r.Limits != nil {
		limits = *r.Limits
	}
	if r.Reservations != nil {
		reserved = *r.Reservations
	}
	for _, v := range []struct {
		name string
		cpu  int64
		mem  int64
	}{{"limit", limits.NanoCPUs, limits.MemoryBytes}, {"reservation", reserved.NanoCPUs, reserved.MemoryBytes}} {
		if v.cpu != 0 && v.cpu < minCPU {
			return invalid("invalid cpu value %g: Must be at least 0.001: so must the cpu %s", float64(v.cpu)/1e9, v.name)
		}
		if v.mem != 0 && v.mem < minMemory {
			return invalid("invalid memory value %d: Must be at least 6MiB: the memory %s is below the container engine's minimum", v.mem, v.name)
		}
	}
	switch {
	case limits.Pids < 0:
		return invalid("pids limit: %d cannot be negative: use 0 for no limit", limits.Pids)
	case limits.MemoryBytes != 0 && reserved.MemoryBytes > limits.MemoryBytes:
		return invalid("memory limit %d must not be less than the memory reservation %d", limits.MemoryBytes, reserved.MemoryBytes)
	case limits.NanoCPUs != 0 && reserved.NanoCPUs > limits.NanoCPUs:
		return invalid("cpu limit %g must not be less than the cpu reservation %g", float64(limits.NanoCPUs)/1e9, float64(reserved.NanoCPUs)/1e9)
	}
	return checkGeneric(reserved.GenericResources)
}

// checkGeneric lets a service ask for a number of each kind: which ones a task
// gets is the scheduler's choice, where they have names.
func checkGeneric(list []swarm.GenericResource) error {
	kinds := map[string]bool{}
	for _, r := range list {
		d := r.DiscreteResourceSpec
		switch {
		case r.NamedResourceSpec != nil:
			return invalid("invalid argument for resource %s: ask for a number of them, as in %[1]s=1, and not by name", r.NamedResourceSpec.Kind)
		case d == nil || d.Kind == "":
			return invalid("generic resource: it has no kind: give KIND=NUMBER")
		case d.Value < 0:
			return invalid("generic resource %s: %d of it cannot be reserved: give a number from 1", d.Kind, d.Value)
		case strings.ContainsAny(d.Kind, "=,\x00 \t\n"):
			return invalid("generic resource %q: the name of a kind has no spaces, commas or equals signs", d.Kind)
		case kinds[strings.ToUpper(d.Kind)]:
			return invalid("generic resource %s: it is given twice", d.Kind)
		}
		kinds[strings.ToUpper(d.Kind)] = true
	}
	return nil
}

func checkRestart(t *api.TaskSpec) error {
	r := t.RestartPolicy
	if r == nil {
		return nil
	}
	known := []swarm.RestartPolicyCondition{"", swarm.RestartPolicyConditionNone, swarm.RestartPolicyConditionOnFailure, swarm.RestartPolicyConditionAny}
	switch {
	case !slices.Contains(known, r.Condition):
		return invalid("invalid RestartCondition: %q: use none, on-failure or any", r.Condition)
	case r.Delay != nil && *r.Delay < 0:
		return invalid("TaskSpec: restart-delay cannot be negative")
	case r.Window != nil && *r.Window < 0:
		return invalid("TaskSpec: restart-window cannot be negative")
	}
	return nil
}

func checkUpdateConfigs(s *api.ServiceSpec) error {
	if job := s.Mode.ReplicatedJob != nil || s.Mode.GlobalJob != nil; job && s.UpdateConfig != nil {
		return invalid("Jobs may not have an update config: a change of what its tasks run begins a job anew")
	} else if job && s.RollbackConfig != nil {
		return invalid("Jobs may not have a rollback config: a rollback begins a job anew")
	}
	if err := checkUpdateConfig("update", s.UpdateConfig); err != nil {
		return err
	}
	if s.RollbackConfig != nil && s.RollbackConfig.FailureAction == swarm.UpdateFailureActionRollback {
		return invalid("rollback-failure-action: %q is for updates only: use pause or continue", swarm.UpdateFailureActionRollback)
	}
	return checkUpdateConfig("rollback", s.RollbackConfig)
}

func checkUpdateConfig(kind string, u *swarm.UpdateConfig) error {
	if u == nil {
		return nil
	}
	actions := []string{"", swarm.UpdateFailureActionPause, swarm.UpdateFailureActionContinue, swarm.UpdateFailureActionRollback}
	switch {
	case !slices.Contains(actions, u.FailureAction):
		return invalid("unrecognized %s failure action %s: use pause, continue or rollback", kind, u.FailureAction)
	case u.Order != "" && u.Order != swarm.UpdateOrderStopFirst && u.Order != swarm.UpdateOrderStartFirst:
		return invalid("unrecognized %s order %s: use stop-first or start-first", kind, u.Order)
	case u.Delay < 0:
		return invalid("TaskSpec: %s-delay cannot be negative", kind)
	case u.Monitor < 0:
		return invalid("TaskSpec: %s-monitor cannot be negative", kind)
	case u.MaxFailureRatio < 0 || u.MaxFailureRatio > 1:
		return invalid("TaskSpec: %s-maxfailureratio cannot be less than 0 or bigger than 1", kind)
	}
	return nil
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
