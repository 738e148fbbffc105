package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/services/stack"
)

// show is a plan as people read it.
func (c *call) show(p *stack.Plan) {
	if p.Empty() {
		fmt.Fprintln(c.out, "no changes")
		return
	}
	for _, s := range p.Remove {
		fmt.Fprintf(c.out, "- service %s\n", s.Spec.Name)
	}
	for _, n := range p.Networks {
		c.object("network", n.Name, true, nil, stack.Diff(network.CreateOptions{}, n.Options))
	}
	for _, s := range p.Secrets {
		shown := s.Spec
		shown.Data = nil
		c.object("secret", s.Spec.Name, s.Old == nil, s.Changes, stack.Diff(swarm.SecretSpec{}, shown))
	}
	for _, o := range p.Configs {
		shown := o.Spec
		shown.Data = nil
		c.object("config", o.Spec.Name, o.Old == nil, o.Changes, stack.Diff(swarm.ConfigSpec{}, shown))
	}
	for _, s := range p.Services {
		c.object("service", s.Spec.Name, s.Old == nil, s.Changes, stack.Diff(swarm.ServiceSpec{}, s.Spec))
	}
}

// object shows one that is new, or what of it changes.
func (c *call) object(kind, name string, isNew bool, changes, whole []stack.Change) {
	switch {
	case isNew:
		fmt.Fprintf(c.out, "+ %s %s\n", kind, name)
		c.lines(whole)
	case len(changes) > 0:
		fmt.Fprintf(c.out, "~ %s %s\n", kind, name)
		c.lines(changes)
	}
}

func (c *call) lines(changes []stack.Change) {
	for _, change := range changes {
		if change.Path != "Name" {
			fmt.Fprintf(c.out, "    %s\n", strings.Replace(change.String(), "TaskTemplate.", "", 1))
		}
	}
}

// showContents is what differs between two deploys.
func (c *call) showContents(old, next *api.StackContent) {
	differs := both(c, "network", old.Networks, next.Networks, func(n network.CreateRequest) string { return n.Name })
	differs = both(c, "secret", old.Secrets, next.Secrets, func(r api.StackRef) string { return r.Name }) || differs
	differs = both(c, "config", old.Configs, next.Configs, func(r api.StackRef) string { return r.Name }) || differs
	differs = both(c, "service", servicesOf(old), servicesOf(next), func(s deployed) string { return s.Name }) || differs
	if !differs {
		fmt.Fprintln(c.out, "no changes")
	}
}

// deployed is a service as two deploys are compared.
type deployed struct {
	swarm.ServiceSpec
	// Image is which one a reference without a digest stood for.
	Image string `json:",omitempty"`
}

// servicesOf are the services of a deploy, without what it did not say: how many
// sidecars there are is told by the service that they belong to.
func servicesOf(content *api.StackContent) (list []deployed) {
	for _, spec := range content.Services {
		s := deployed{ServiceSpec: spec}
		if setting.PodOf(spec.Labels) != "" {
			s.Mode = swarm.ServiceMode{}
		}
		if image, ok := content.Images[spec.Name]; ok {
			s.Image = image.ShortID()
		}
		list = append(list, s)
	}
	return list
}

// both shows what differs between two lists, by name.
func both[T any](c *call, kind string, old, next []T, nameOf func(T) string) (differs bool) {
	was, is := map[string]*T{}, map[string]*T{}
	for i := range old {
		was[nameOf(old[i])] = &old[i]
	}
	for i := range next {
		is[nameOf(next[i])] = &next[i]
	}
	names := maps.Clone(was)
	maps.Copy(names, is)
	for _, name := range slices.SortedFunc(maps.Keys(names), naturalCompare) {
		switch a, b := was[name], is[name]; {
		case b == nil:
			fmt.Fprintf(c.out, "- %s %s\n", kind, name)
			differs = true
		case a == nil:
			var none T
			c.object(kind, name, true, nil, stack.Diff(none, *b))
			differs = true
		default:
			changes := stack.Diff(*a, *b)
			c.object(kind, name, false, changes, nil)
			differs = differs || len(changes) > 0
		}
	}
	return differs
}
