package scheduler

import (
	"cmp"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/constraint"
	"github.com/swarmctl/swarmctl/api/setting"
)

// needs is what a task asks of a node, taken from its spec once a version.
type needs struct {
	fixed fixedNeeds
	// fixedKey is equal for equal fixed needs, whichever service has them.
	fixedKey string

	// all is what it and its sidecars reserve together: see Cluster.accompany.
	all pledge

	cpu, memory int64 // nano CPUs and bytes; 0: asks for none
	generic     []amount
	ports       []hostPort
	maxReplicas int32 // a node; 0: no limit
	spread      []preference
	affinity    []affinity // see Cluster.relate
	networks    []*supply  // that have addresses for it: see Cluster.connect
	volumes     []volumeNeed
	mounts      []string // the sources of all named volumes, with templates
}

// fixedNeeds are those that a node meets or not, whatever runs on it.
type fixedNeeds struct {
	constraints   constraint.List
	badConstraint error // the list did not parse: no node will do
	platforms     []swarm.Platform
	volumePlugins []string
	logPlugin     string
	follows       bool         // it is a sidecar: it goes where its pod is, however available the node
	beside        []fixedNeeds // those of its sidecars
}

// amount is some of a generic resource.
type amount struct {
	kind string
	n    int64
}

// hostPort is a port of a node: the number, and above it the protocol.
type hostPort uint32

// preference spreads tasks over the values of a label.
type preference struct {
	engine bool // the engine's label and not the node's
	label  string
}

// needsOf reads the needs of a spec; nil means none.
func needsOf(spec *api.ServiceSpec) needs {
	var n needs
	if spec == nil {
		return n
	}
	n.readPlacement(spec.TaskTemplate.Placement)
	n.readResources(spec.TaskTemplate.Resources)
	n.readPlugins(&spec.TaskTemplate)
	n.readVolumes(spec)
	if spec.EndpointSpec != nil {
		n.ports = hostPorts(spec.EndpointSpec.Ports)
	}
	n.fixed.follows = setting.PodOf(spec.Labels) != ""
	n.fixedKey = n.fixed.key()
	n.all.add(&n)
	return n
}

func (n *needs) readPlacement(p *swarm.Placement) {
	if p == nil {
		return
	}
	n.fixed.constraints, n.fixed.badConstraint = constraint.Parse(p.Constraints)
	for _, platform := range p.Platforms {
		platform.Architecture, platform.OS = platformArch(platform.Architecture), strings.ToLower(platform.OS)
		n.fixed.platforms = append(n.fixed.platforms, platform)
	}
	n.maxReplicas = int32(min(p.MaxReplicas, 1<<31-1))
	for _, pref := range p.Preferences {
		if pref.Spread == nil {
			continue
		}
		if label, ok := cutFold(pref.Spread.SpreadDescriptor, "node.labels."); ok {
			n.spread = append(n.spread, preference{label: label})
		} else if label, ok := cutFold(pref.Spread.SpreadDescriptor, "engine.labels."); ok {
			n.spread = append(n.spread, preference{engine: true, label: label})
		}
	}
}

// cutFold cuts a prefix in any case off a name, of which something must remain.
func cutFold(s, prefix string) (string, bool) {
	if len(s) <= len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

func (n *needs) readResources(r *swarm.ResourceRequirements) {
	if r == nil || r.Reservations == nil {
		return
	}
	n.cpu, n.memory = max(0, r.Reservations.NanoCPUs), max(0, r.Reservations.MemoryBytes)
	n.generic = amounts(r.Reservations.GenericResources)
}

// amounts adds generic resources up by kind, sorted by it. A named resource
// (gpu=UUID1) counts as one of its kind; which one a task gets, see generic.go.
func amounts(resources []swarm.GenericResource) []amount {
	var list []amount
	for _, r := range resources {
		a := amount{n: 1}
		switch {
		case r.DiscreteResourceSpec != nil:
			a = amount{kind: r.DiscreteResourceSpec.Kind, n: r.DiscreteResourceSpec.Value}
		case r.NamedResourceSpec != nil:
			a.kind = r.NamedResourceSpec.Kind
		default:
			continue
		}
		list = add(list, a.kind, a.n)
	}
	slices.SortFunc(list, func(a, b amount) int { return cmp.Compare(a.kind, b.kind) })
	return list
}

func add(list []amount, kind string, n int64) []amount {
	for i := range list {
		if list[i].kind == kind {
			list[i].n += n
			return list
		}
	}
	return append(list, amount{kind, n})
}

func amountOf(list []amount, kind string) int64 {
	for i := range list {
		if list[i].kind == kind {
			return list[i].n
		}
	}
	return 0
}

func (n *needs) readPlugins(t *api.TaskSpec) {
	if t.LogDriver != nil && t.LogDriver.Name != "none" {
		n.fixed.logPlugin = t.LogDriver.Name
	}
	if t.ContainerSpec == nil {
		return
	}
	for _, m := range t.ContainerSpec.Mounts {
		if m.Type != mount.TypeVolume || m.VolumeOptions == nil || m.VolumeOptions.DriverConfig == nil {
			continue
		}
		if driver := m.VolumeOptions.DriverConfig.Name; driver != "" && driver != "local" {
			n.fixed.volumePlugins = append(n.fixed.volumePlugins, driver)
		}
	}
}

func hostPorts(ports []swarm.PortConfig) []hostPort {
	var list []hostPort
	for _, p := range ports {
		if p.PublishMode == swarm.PortConfigPublishModeHost && p.PublishedPort != 0 {
			list = append(list, makeHostPort(p.Protocol, p.PublishedPort))
		}
	}
	return list
}

func makeHostPort(protocol swarm.PortConfigProtocol, port uint32) hostPort {
	switch protocol {
	case swarm.PortConfigProtocolUDP:
		port |= 1 << 16
	case swarm.PortConfigProtocolSCTP:
		port |= 2 << 16
	}
	return hostPort(port)
}

// key writes the needs down, each part ended by a character that cannot occur in it.
func (f *fixedNeeds) key() string {
	var b strings.Builder
	if f.badConstraint != nil {
		b.WriteString(f.badConstraint.Error())
	}
	b.WriteByte(0)
	for i := range f.constraints {
		b.WriteString(f.constraints[i].String() + "\x01")
	}
	b.WriteByte(0)
	for _, p := range f.platforms {
		b.WriteString(p.OS + "/" + p.Architecture + "\x01")
	}
	b.WriteByte(0)
	b.WriteString(strings.Join(f.volumePlugins, "\x01"))
	b.WriteByte(0)
	b.WriteString(f.logPlugin)
	if f.follows {
		b.WriteByte(2)
	}
	for i := range f.beside {
		b.WriteString("\x00" + f.beside[i].key())
	}
	return b.String()
}
