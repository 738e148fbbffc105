package stack

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// Cluster is what there is: all networks, secrets and configs, as files may
// name those of others, and the services of the stack.
type Cluster struct {
	Services []swarm.Service
	Networks []network.Summary
	Secrets  []swarm.Secret
	Configs  []swarm.Config
}

// ServiceChange is a service to create, or one to update.
type ServiceChange struct {
	Old     *swarm.Service    // nil for one to create
	Spec    swarm.ServiceSpec // what it is to be
	Changes []Change          // what differs from Old; empty where nothing does
}

// SecretChange is a secret to create, or one that may differ: in its labels, or
// in what it holds, which makes a new version of it.
type SecretChange struct {
	Old       *swarm.Secret
	Spec      swarm.SecretSpec
	Rewritten bool
	Changes   []Change
}

// ConfigChange is as SecretChange.
type ConfigChange struct {
	Old       *swarm.Config
	Spec      swarm.ConfigSpec
	Rewritten bool
	Changes   []Change
}

// Plan is what a deploy does, in this order: Remove, Networks, Secrets,
// Configs, Services, of which those come first that others depend on. A service
// that uses what is rewritten refers to the version that was, as the ID of the new
// one is not known yet: whoever carries the plan out moves it.
type Plan struct {
	Remove   []swarm.Service // services of the stack that the files have no more
	Networks []Network
	Secrets  []SecretChange
	Configs  []ConfigChange
	Services []ServiceChange
	Warnings []string
}

// Built adds what the daemon alone knows: that a service's image has been built
// anew, and its reference says so no more than before.
func (p *Plan) Built(changes []api.StackChange) {
	for i := range p.Services {
		s := &p.Services[i]
		for _, c := range changes {
			if c.Kind == "service" && c.Name == s.Spec.Name && c.ImageIs != "" {
				s.Changes = append(s.Changes, Change{"TaskTemplate.ContainerSpec.Image, built anew", c.ImageWas, c.ImageIs})
			}
		}
	}
}

// Empty reports whether nothing is to be done.
func (p *Plan) Empty() bool {
	return len(p.Remove)+len(p.Networks) == 0 &&
		!slices.ContainsFunc(p.Secrets, func(c SecretChange) bool { return c.Old == nil || len(c.Changes) > 0 }) &&
		!slices.ContainsFunc(p.Configs, func(c ConfigChange) bool { return c.Old == nil || len(c.Changes) > 0 }) &&
		!slices.ContainsFunc(p.Services, func(c ServiceChange) bool { return c.Old == nil || len(c.Changes) > 0 })
}

// Options are what a deploy may leave to whoever asks for it.
type Options struct {
	Prune bool // remove services that the files have no more
	// Pinned is the image of a service with its digest, where a registry has
	// told; by the service's name.
	Pinned map[string]Pin
	// Rewritten are the secrets, by name, that hold something else than the files
	// say: nobody but the API can tell.
	Rewritten map[string]bool
}

// Pin is an image with its digest, and the platforms that it is for.
type Pin struct {
	Image     string
	Platforms []swarm.Platform
}

// Against compares the stack with what there is. It is an error where the
// files need what is not there, or what is in somebody else's hands.
func (s *Stack) Against(have Cluster, o Options) (*Plan, error) {
	d := &differ{stack: s, have: have, options: o, plan: &Plan{}, rewritten: map[string]bool{}}
	errs := []error{d.externals()}
	for _, n := range s.Networks {
		errs = append(errs, d.network(n))
	}
	for _, spec := range s.Secrets {
		errs = append(errs, d.secret(spec))
	}
	for _, spec := range s.Configs {
		errs = append(errs, d.config(spec))
	}
	wanted := map[string]bool{}
	for _, spec := range inOrder(s.Services) {
		wanted[spec.Name] = true
		errs = append(errs, d.service(spec))
	}
	slices.SortStableFunc(d.plan.Services, follows)
	if o.Prune {
		for _, old := range have.Services {
			if !wanted[old.Spec.Name] {
				d.plan.Remove = append(d.plan.Remove, old)
			}
		}
		slices.SortFunc(d.plan.Remove, func(a, b swarm.Service) int { return strings.Compare(a.Spec.Name, b.Spec.Name) })
	}
	return d.plan, errors.Join(errs...)
}

type differ struct {
	stack   *Stack
	have    Cluster
	options Options
	plan    *Plan

	rewritten map[string]bool // "secret s" or "config c": a new version of it
}

// findBy is the element of a list with a name, or nil.
func findBy[T any](list []T, name string, nameOf func(*T) string) *T {
	for i := range list {
		if nameOf(&list[i]) == name {
			return &list[i]
		}
	}
	return nil
}

func networkName(n *network.Summary) string { return n.Name }
func secretName(s *swarm.Secret) string     { return s.Spec.Name }
func configName(c *swarm.Config) string     { return c.Spec.Name }
func serviceName(s *swarm.Service) string   { return s.Spec.Name }

// swarmNetwork is the cluster's network of a name: nodes may have their own
// under the same.
func (d *differ) swarmNetwork(name string) (found *network.Summary) {
	for i := range d.have.Networks {
		if n := &d.have.Networks[i]; n.Name == name && (found == nil || n.Scope == "swarm") {
			found = n
		}
	}
	return found
}

func (d *differ) externals() error {
	var errs []error
	for _, name := range d.stack.ExternalNetworks {
		n := d.swarmNetwork(name)
		switch {
		case !container.NetworkMode(name).IsUserDefined():
			// host, none and bridge: every node has its own
		case n == nil:
			errs = append(errs, fmt.Errorf("network %q is declared as external, but could not be found. You need to create a swarm-scoped network before the stack is deployed", name))
		case n.Scope != "swarm":
			errs = append(errs, fmt.Errorf("network %q is declared as external, but it is not in the right scope: %q instead of \"swarm\"", name, n.Scope))
		}
	}
	for _, name := range d.stack.ExternalSecrets {
		if findBy(d.have.Secrets, name, secretName) == nil {
			errs = append(errs, fmt.Errorf("secret %q is declared as external, but could not be found: create it before the stack is deployed", name))
		}
	}
	for _, name := range d.stack.ExternalConfigs {
		if findBy(d.have.Configs, name, configName) == nil {
			errs = append(errs, fmt.Errorf("config %q is declared as external, but could not be found: create it before the stack is deployed", name))
		}
	}
	return errors.Join(errs...)
}

// foreign refuses what another stack, or nobody's, has under the name.
func (d *differ) foreign(kind, name string, labels map[string]string) error {
	switch owner := labels[LabelNamespace]; owner {
	case d.stack.Name:
		return nil
	case "":
		return fmt.Errorf("%s %q is there already and is not of a stack: declare it as external, or give this one another name", kind, name)
	default:
		return fmt.Errorf("%s %q is there already and is of the stack %q: declare it as external, or give this one another name", kind, name, owner)
	}
}

// network creates what is not there. One that is there stays as it is, since
// networks cannot be changed: what differs is a warning.
func (d *differ) network(n Network) error {
	old := d.swarmNetwork(n.Name)
	if old == nil || old.Scope != "swarm" {
		d.plan.Networks = append(d.plan.Networks, n)
		return nil
	}
	if err := d.foreign("network", n.Name, old.Labels); err != nil {
		return err
	}
	if changes := networkChanges(old, n.Options); len(changes) > 0 {
		text := make([]string, len(changes))
		for i, c := range changes {
			text[i] = c.String()
		}
		d.plan.Warnings = append(d.plan.Warnings, fmt.Sprintf("network %s stays as it is, as networks cannot be changed: to have %s, remove it (`swarmctl network rm %s`, once no service uses it) and deploy again", n.Name, strings.Join(text, ", "), n.Name))
	}
	return nil
}

// networkChanges compares what a file can say of a network. What it leaves
// open the cluster has filled in.
func networkChanges(old *network.Summary, want network.CreateOptions) []Change {
	type shape struct {
		Driver, Subnets, Options string
		Internal, Attachable     bool
	}
	subnets := func(list []network.IPAMConfig) string {
		var out []string
		for _, c := range list {
			out = append(out, c.Subnet)
		}
		return strings.Join(out, " ")
	}
	was := shape{Driver: old.Driver, Internal: old.Internal, Attachable: old.Attachable}
	is := shape{Driver: want.Driver, Internal: want.Internal, Attachable: want.Attachable}
	if want.IPAM != nil && len(want.IPAM.Config) > 0 {
		was.Subnets, is.Subnets = subnets(old.IPAM.Config), subnets(want.IPAM.Config)
	}
	for _, k := range slices.Sorted(maps.Keys(want.Options)) {
		was.Options += k + "=" + old.Options[k] + " "
		is.Options += k + "=" + want.Options[k] + " "
	}
	return Diff(was, is)
}

// service compares a service with what it is. Its spec becomes what is to be
// written: with the image pinned, and with what a deploy does not touch.
func (d *differ) service(spec swarm.ServiceSpec) error {
	old := findBy(d.have.Services, spec.Name, serviceName)
	pin, pinned := d.options.Pinned[spec.Name]
	switch {
	case pinned:
		d.pin(&spec, pin)
	case old != nil && old.Spec.Labels[LabelImage] == spec.Labels[LabelImage] && old.Spec.TaskTemplate.ContainerSpec != nil:
		// Nobody asked for another image, or no registry answered: it stays pinned.
		var platforms []swarm.Platform
		if p := old.Spec.TaskTemplate.Placement; p != nil {
			platforms = p.Platforms
		}
		d.pin(&spec, Pin{old.Spec.TaskTemplate.ContainerSpec.Image, platforms})
	}
	if old == nil {
		d.plan.Services = append(d.plan.Services, ServiceChange{Spec: spec})
		return nil
	}
	if setting.PodOf(spec.Labels) != "" {
		spec.Mode = old.Spec.Mode // it shows that of the service which it is a sidecar of
	}
	spec.TaskTemplate.ForceUpdate = old.Spec.TaskTemplate.ForceUpdate
	d.identify(&spec)
	changes := append(d.serviceChanges(old.Spec, spec), d.follow(spec.TaskTemplate.ContainerSpec)...)
	d.plan.Services = append(d.plan.Services, ServiceChange{old, spec, changes})
	return nil
}

// pin puts an image into a spec without touching what it was copied from.
func (d *differ) pin(spec *swarm.ServiceSpec, p Pin) {
	c, placement := *spec.TaskTemplate.ContainerSpec, swarm.Placement{}
	if spec.TaskTemplate.Placement != nil {
		placement = *spec.TaskTemplate.Placement
	}
	c.Image, placement.Platforms = p.Image, p.Platforms
	spec.TaskTemplate.ContainerSpec, spec.TaskTemplate.Placement = &c, &placement
}

// serviceChanges compares two specs with their networks by name.
func (d *differ) serviceChanges(old, next swarm.ServiceSpec) []Change {
	return Diff(d.networksByName(old), d.networksByName(next))
}

func (d *differ) networksByName(spec swarm.ServiceSpec) swarm.ServiceSpec {
	list := slices.Clone(spec.TaskTemplate.Networks)
	for i := range list {
		for j := range d.have.Networks {
			if d.have.Networks[j].ID == list[i].Target {
				list[i].Target = d.have.Networks[j].Name
			}
		}
	}
	slices.SortFunc(list, func(a, b swarm.NetworkAttachmentConfig) int { return strings.Compare(a.Target, b.Target) })
	spec.TaskTemplate.Networks = list
	return spec
}
