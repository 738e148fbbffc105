package setting

import (
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// LabelDeny is the label of the cluster that forbids its services settings
// which reach out of their containers: some of Denials, with commas.
const LabelDeny = Prefix + "policy.deny"

// What a policy may forbid. Each is a way from a container to its node.
const (
	DenyPrivileged  = "privileged"
	DenyDevice      = "device" // devices of the node, and file systems mounted from them
	DenyGPUs        = "gpus"
	DenyHostPID     = "host-pid"
	DenyHostIPC     = "host-ipc"
	DenyHostNetwork = "host-network"
	DenyBindMount   = "bind-mount" // binds, and volumes that are binds in disguise
	DenyCapAdd      = "cap-add"
	DenyUnconfined  = "unconfined" // seccomp, AppArmor or SELinux switched off, or a profile of the service's own
)

// Denials are all of them.
var Denials = []string{
	DenyPrivileged, DenyDevice, DenyGPUs, DenyHostPID, DenyHostIPC, DenyHostNetwork, DenyBindMount, DenyCapAdd, DenyUnconfined,
}

// Policy is what the cluster forbids its services; nil forbids nothing.
type Policy []string

// ParsePolicy reads the labels of the cluster, as strictly as Parse those of a service.
func ParsePolicy(labels map[string]string) (Policy, error) {
	for _, name := range ours(labels) {
		if name != LabelDeny && name != LabelStrategy {
			return nil, api.Errorf(api.CodeInvalid, "cluster label %q: this version of swarmctl knows no such label: it knows %s, %s; other labels must not begin with %q", name, LabelDeny, LabelStrategy, Prefix)
		}
	}
	if name, ok := labels[LabelStrategy]; ok {
		if _, err := ParseStrategy(name); err != nil {
			return nil, api.Errorf(api.CodeInvalid, "cluster label %s: %v", LabelStrategy, err)
		}
	}
	text, ok := labels[LabelDeny]
	if !ok {
		return nil, nil
	}
	var p Policy
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		if !slices.Contains(Denials, word) {
			return nil, api.Errorf(api.CodeInvalid, "cluster label %s: %q cannot be denied: use some of %s", LabelDeny, word, strings.Join(Denials, ","))
		}
		if !slices.Contains(p, word) {
			p = append(p, word)
		}
	}
	return p, nil
}

// Check refuses, with code forbidden, a service that would break the policy by
// more than it does already: old is its spec so far, or nil. A service that was
// there before the policy can so still be scaled, and changed for the better.
func (p Policy) Check(old, next *api.ServiceSpec) error {
	var had []use
	if old != nil {
		had = usesOf(old)
	}
	for _, u := range usesOf(next) {
		if slices.Contains(p, u.denial) && !slices.Contains(had, u) {
			return api.Errorf(api.CodeForbidden, `service %q: %s: the cluster's policy denies %s (label %s): leave it out, or allow it for all services: "swarmctl update --policy-deny" with the list without it`,
				next.Name, u.what, u.denial, LabelDeny)
		}
	}
	return nil
}

// use is one thing of a spec that a policy may deny.
type use struct{ denial, what string }

type uses []use

func (l *uses) add(wanted bool, denial, format string, args ...any) {
	if wanted {
		*l = append(*l, use{denial, fmt.Sprintf(format, args...)})
	}
}

// usesOf finds them all. A label that does not parse uses nothing: such a spec
// is refused for that.
func usesOf(s *api.ServiceSpec) []use {
	var l uses
	t, _ := Parse(s.Labels)
	l.add(t.Privileged, DenyPrivileged, "%s=true", LabelPrivileged)
	for _, d := range t.Devices {
		l.add(true, DenyDevice, "device %s", d)
	}
	l.add(t.GPUs != nil, DenyGPUs, "%s=%s", LabelGPUs, s.Labels[LabelGPUs])
	l.add(t.PID == "host", DenyHostPID, "%s=host", LabelPID)
	l.add(t.IPC == "host", DenyHostIPC, "%s=host", LabelIPC)
	for _, n := range slices.Concat(s.TaskTemplate.Networks, s.Networks) { //nolint:staticcheck // deprecated, and still sent
		l.add(n.Target == network.NetworkHost, DenyHostNetwork, "network host")
	}
	if c := s.TaskTemplate.ContainerSpec; c != nil {
		l.container(c)
	}
	return l
}

func (l *uses) container(c *swarm.ContainerSpec) {
	for _, name := range c.CapabilityAdd {
		l.add(true, DenyCapAdd, "capability %s", strings.TrimPrefix(strings.ToUpper(name), "CAP_"))
	}
	for i := range c.Mounts {
		l.mount(&c.Mounts[i])
	}
	p := c.Privileges
	if p == nil {
		return
	}
	l.add(p.Seccomp != nil && p.Seccomp.Mode != "" && p.Seccomp.Mode != swarm.SeccompModeDefault, DenyUnconfined, "seccomp that is not the default")
	l.add(p.AppArmor != nil && p.AppArmor.Mode == swarm.AppArmorModeDisabled, DenyUnconfined, "AppArmor switched off")
	l.add(p.SELinuxContext != nil && *p.SELinuxContext != swarm.SELinuxContext{}, DenyUnconfined, "an SELinux context of its own")
}

// networkFS are the file systems that the local volume driver mounts from
// elsewhere; any other with a device comes from the node itself.
var networkFS = []string{"nfs", "nfs4", "cifs", "smb3", "tmpfs"}

func (l *uses) mount(m *mount.Mount) {
	l.add(m.Type == mount.TypeBind, DenyBindMount, "bind of %s at %s", m.Source, m.Target)
	if m.Type != mount.TypeVolume || m.VolumeOptions == nil || m.VolumeOptions.DriverConfig == nil {
		return
	}
	d := m.VolumeOptions.DriverConfig
	if d.Name != "" && d.Name != "local" {
		return // a plugin's options mean what the plugin makes of them
	}
	device, fs, flags := d.Options["device"], d.Options["type"], d.Options["o"]
	bind := binds(flags)
	what := fmt.Sprintf("volume of %q (type %q, options %q) at %s", device, fs, flags, m.Target)
	switch {
	case device == "":
	case strings.Contains(device+fs+flags, "{{"): // what the node makes of it is not known here
		l.add(true, DenyBindMount, "%s", what)
		l.add(true, DenyDevice, "%s", what)
	case !bind && slices.Contains(networkFS, fs):
	case !bind && strings.HasPrefix(device, "/dev/"):
		l.add(true, DenyDevice, "%s", what)
	default:
		l.add(true, DenyBindMount, "%s", what)
	}
}

// binds reports whether mount options ask for a bind, whatever the type says.
func binds(flags string) bool {
	for f := range strings.SplitSeq(flags, ",") {
		if f = strings.TrimSpace(f); f == "bind" || f == "rbind" {
			return true
		}
	}
	return false
}
