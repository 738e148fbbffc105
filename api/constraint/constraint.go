// Package constraint reads placement constraints ("node.labels.zone==a") and
// tells which nodes satisfy them. The API parses with it what a user asks for,
// so that a mistake is refused where it is made; the scheduler matches nodes
// with it. The language is Docker Swarm's: a key, == or !=, a value that is
// compared without regard to case. Names of labels and of services keep their
// case, other keys do not. Beside what a node is, a constraint may name what
// else runs there: service.name==db asks for nodes with tasks of that service,
// service.name!=db for nodes without. See List.Services.
package constraint

import (
	"net/netip"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// Constraint is one parsed constraint.
type Constraint struct {
	field field
	not   bool         // != and not ==
	label string       // the name of the label, for fields that are labels
	value string       // what to compare with
	net   netip.Prefix // the same, for node.ip
}

// List is a list of constraints, all of which a node must satisfy. The empty
// list is satisfied by every node.
type List []Constraint

// field is what a constraint looks at.
type field uint8

const (
	nodeID field = iota
	nodeHostname
	nodeIP
	nodeRole
	nodeOS
	nodeArch
	nodeLabel
	engineLabel
	serviceName
)

// keys are the spellings of the fields; those of labels end in a dot, which
// the label's name follows.
var keys = [...]string{
	nodeID:       "node.id",
	nodeHostname: "node.hostname",
	nodeIP:       "node.ip",
	nodeRole:     "node.role",
	nodeOS:       "node.platform.os",
	nodeArch:     "node.platform.arch",
	nodeLabel:    "node.labels.",
	engineLabel:  "engine.labels.",
	serviceName:  "service.name",
}

// String returns the constraint in its canonical form, without spaces.
func (c *Constraint) String() string {
	op := "=="
	if c.not {
		op = "!="
	}
	return keys[c.field] + c.label + op + c.value
}

// Match reports whether the node satisfies every constraint of the list, those
// on services left aside: they are no matter of the node alone.
func (l List) Match(n *api.Node) bool {
	for i := range l {
		if !l[i].Match(n) {
			return false
		}
	}
	return true
}

// Match reports whether the node satisfies the constraint. A node that lacks
// the label, or has not said the fact, satisfies != and not ==. A constraint on
// a service every node satisfies.
func (c *Constraint) Match(n *api.Node) bool {
	return c.field == serviceName || c.equal(n) != c.not
}

func (c *Constraint) equal(n *api.Node) bool {
	switch c.field {
	case nodeIP:
		addr, err := netip.ParseAddr(n.Status.Addr)
		return err == nil && c.net.Contains(addr.Unmap())
	case nodeArch:
		return strings.EqualFold(Arch(c.value), Arch(n.Description.Platform.Architecture))
	default:
		actual, ok := c.actual(n)
		return ok && strings.EqualFold(c.value, actual)
	}
}

// actual is what the node has where the constraint looks; ok is false where it has nothing.
func (c *Constraint) actual(n *api.Node) (value string, ok bool) {
	switch c.field {
	case nodeID:
		value = string(n.ID)
	case nodeHostname:
		value = n.Description.Hostname
	case nodeIP:
		value = n.Status.Addr
	case nodeRole:
		value = role(n)
	case nodeOS:
		value = n.Description.Platform.OS
	case nodeArch:
		value = n.Description.Platform.Architecture
	case nodeLabel:
		value, ok = n.Spec.Labels[c.label]
		return value, ok
	case engineLabel:
		value, ok = n.Description.Engine.Labels[c.label]
		return value, ok
	}
	return value, value != ""
}

// role is the role that the node plays, which during a promotion is not yet
// the one that was asked for.
func role(n *api.Node) string {
	if n.IsManager() {
		return string(swarm.NodeRoleManager)
	}
	return string(swarm.NodeRoleWorker)
}

// Arch returns the name that Go and image manifests have for an architecture
// that an engine reports as the kernel does: amd64 for x86_64, arm64 for
// aarch64. Other names it returns as they are.
func Arch(name string) string {
	switch {
	case strings.EqualFold(name, "x86_64"), strings.EqualFold(name, "x86-64"):
		return "amd64"
	case strings.EqualFold(name, "aarch64"):
		return "arm64"
	}
	return name
}
