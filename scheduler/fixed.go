package scheduler

import (
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/constraint"
)

// check returns the first of the fixed rules that refuses the node.
func (f *fixedNeeds) check(n *api.Node) rule {
	switch {
	case n == nil:
		return absent
	case !available(n) && !(f.follows && reachable(n)):
		return ruleAvailable
	case !engineAnswers(n):
		return ruleEngine
	case f.badConstraint != nil || !f.constraints.Match(n):
		return ruleConstraints
	case !f.platformOK(n):
		return rulePlatform
	case len(f.missingPlugins(n)) > 0:
		return rulePlugin
	}
	return fits
}

// available reports whether new tasks may be placed on the node at all.
func available(n *api.Node) bool {
	return reachable(n) && (n.Spec.Availability == swarm.NodeAvailabilityActive || n.Spec.Availability == "")
}

// reachable reports whether the node is there.
func reachable(n *api.Node) bool {
	return n.Status.State == api.NodeReady && !n.Status.SessionLost
}

// engineAnswers reports whether the node's container engine can start anything.
// A node says so by naming the engine's version: one that has only just joined
// and has not described itself yet names none either.
func engineAnswers(n *api.Node) bool { return n.Description.Engine.EngineVersion != "" }

func (f *fixedNeeds) platformOK(n *api.Node) bool { return f.strange(n) == nil }

// strange are the platforms, of the task or of one of its sidecars, none of which is
// the node's; nil: it is one of those that are asked for.
func (f *fixedNeeds) strange(n *api.Node) []swarm.Platform {
	os, arch := n.Description.Platform.OS, n.Description.Platform.Architecture
	if len(f.platforms) > 0 && !slices.ContainsFunc(f.platforms, func(p swarm.Platform) bool {
		return (p.OS == "" || p.OS == strings.ToLower(os)) && (p.Architecture == "" || p.Architecture == platformArch(arch))
	}) {
		return f.platforms
	}
	for i := range f.beside {
		if list := f.beside[i].strange(n); list != nil {
			return list
		}
	}
	return nil
}

// platformArch brings the kernel's names of architectures (armv7l) and those
// of image manifests (arm) together. It is coarser than a constraint's idea of
// equality: the node's engine picks the variant, here only the family counts.
func platformArch(name string) string {
	name = strings.ToLower(constraint.Arch(name))
	switch {
	case strings.HasPrefix(name, "armv"), name == "armhf", name == "armel":
		return "arm"
	case name == "i386", name == "i686":
		return "386"
	}
	return name
}

// missingPlugins names the plugins that the node should have and does not
// report. A node that reports no log driver at all, as old engines do, is
// given the benefit of the doubt.
func (f *fixedNeeds) missingPlugins(n *api.Node) []string {
	e := &n.Description.Engine
	var missing []string
	for _, name := range f.volumePlugins {
		if _, ok := findPlugin(e.Plugins, "Volume", name); !ok {
			missing = append(missing, "volume plugin "+name)
		}
	}
	if f.logPlugin != "" {
		if kindKnown, ok := findPlugin(e.Plugins, "Log", f.logPlugin); kindKnown && !ok {
			missing = append(missing, "log driver "+f.logPlugin)
		}
	}
	for i := range f.beside {
		for _, name := range f.beside[i].missingPlugins(n) {
			if !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
		}
	}
	return missing
}

func findPlugin(plugins []swarm.PluginDescription, kind, name string) (kindKnown, ok bool) {
	for _, p := range plugins {
		if p.Type != kind {
			continue
		}
		kindKnown = true
		if p.Name == name || p.Name == name+":latest" {
			return true, true
		}
	}
	return kindKnown, false
}

// class is what is remembered of equal fixed needs: the verdict on each node,
// valid while the node is the same as when it was asked.
type class struct {
	verdicts []rule
	ages     []uint32
}

// maxClasses bounds the memory of verdicts: five bytes a node and class.
const maxClasses = 256

// class returns the verdicts for the needs, one for every node; those that
// are out of date are for fixedRule to renew.
func (c *Cluster) class(n *needs) *class {
	cl := c.classes[n.fixedKey]
	if cl == nil {
		if len(c.classes) >= maxClasses {
			clear(c.classes)
		}
		cl = &class{}
		c.classes[n.fixedKey] = cl
	}
	if missing := len(c.slots) - len(cl.verdicts); missing > 0 {
		cl.verdicts = append(cl.verdicts, make([]rule, missing)...)
		cl.ages = append(cl.ages, make([]uint32, missing)...)
	}
	return cl
}

// fixedRule is the verdict of the fixed rules on node i.
func (c *Cluster) fixedRule(cl *class, n *needs, i int32) rule {
	if cl.ages[i] != c.rooms[i].age {
		cl.verdicts[i], cl.ages[i] = n.fixed.check(c.slots[i].node), c.rooms[i].age
	}
	return cl.verdicts[i]
}
