package stack

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// Labels that Docker's stacks have.
const (
	LabelNamespace = api.LabelNamespace       // the stack's name, on all that is of it
	LabelImage     = "com.docker.stack.image" // of a service: its image as the file has it
)

// Network is one to create.
type Network struct {
	Name    string
	Options network.CreateOptions
}

// Stack is what the files ask for, in Docker's types, sorted by name. In the
// specs networks, secrets and configs stand by name: their IDs are the API's.
type Stack struct {
	Name     string
	Services []swarm.ServiceSpec
	Networks []Network
	Secrets  []swarm.SecretSpec
	Configs  []swarm.ConfigSpec

	// Names of what must be there already.
	ExternalNetworks, ExternalSecrets, ExternalConfigs []string
}

// Scoped is Docker's name for something of a stack.
func Scoped(stack, name string) string { return stack + "_" + name }

// Convert makes the specs. What cannot be, or is not supported, is an error
// that names the service and the key.
func (m *Model) Convert() (*Stack, error) {
	c := &converter{name: m.in.Name, p: m.Project, in: m.in}
	s := &Stack{Name: m.in.Name}
	if len(c.p.Services) == 0 {
		return nil, errors.New("no service to deploy: the files have none, or none whose profile is active")
	}
	var errs []error
	for _, name := range c.p.ServiceNames() {
		svc := c.p.Services[name]
		spec, err := c.service(&svc)
		if err != nil {
			errs = append(errs, fmt.Errorf("services.%s: %w", name, err))
			continue
		}
		s.Services = append(s.Services, spec)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c.networks(s)
	err := errors.Join(c.secrets(s), c.configs(s))
	slices.SortFunc(s.Networks, func(a, b Network) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Secrets, func(a, b swarm.SecretSpec) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Configs, func(a, b swarm.ConfigSpec) int { return strings.Compare(a.Name, b.Name) })
	return s, err
}

type converter struct {
	name string
	p    *types.Project
	in   Input
}

// labels adds the stack's to those of the file.
func (c *converter) labels(own map[string]string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, own)
	out[LabelNamespace] = c.name
	return out
}

// named is the name of something in the cluster: the one that the file gives
// it, its key where it is not of this stack, or Docker's.
func (c *converter) named(key, given string, external bool) string {
	switch {
	case given != "":
		return given
	case external:
		return key
	}
	return Scoped(c.name, key)
}

func (c *converter) networks(s *Stack) {
	used := map[string]bool{}
	for _, svc := range c.p.Services {
		for name := range svc.Networks {
			used[name] = true
		}
		if len(svc.Networks) == 0 && svc.NetworkMode == "" {
			used[defaultNetwork] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(used)) {
		n := c.p.Networks[key] // the default one need not be declared
		name := c.named(key, n.Name, bool(n.External))
		if n.External {
			s.ExternalNetworks = append(s.ExternalNetworks, name)
			continue
		}
		s.Networks = append(s.Networks, Network{name, network.CreateOptions{
			Driver: cmp.Or(n.Driver, "overlay"), Options: n.DriverOpts, Labels: c.labels(n.Labels), IPAM: ipam(n.Ipam),
			Internal: n.Internal, Attachable: n.Attachable, EnableIPv4: n.EnableIPv4, EnableIPv6: n.EnableIPv6,
		}})
	}
}

func ipam(from types.IPAMConfig) *network.IPAM {
	if from.Driver == "" && len(from.Config) == 0 && len(from.Options) == 0 {
		return nil
	}
	out := &network.IPAM{Driver: from.Driver, Options: from.Options}
	for _, pool := range from.Config {
		out.Config = append(out.Config, network.IPAMConfig{
			Subnet: pool.Subnet, Gateway: pool.Gateway, IPRange: pool.IPRange, AuxAddress: pool.AuxiliaryAddresses,
		})
	}
	return out
}

// Docker Swarm's bounds for the content of secrets and configs, in bytes.
const (
	maxSecret = 500<<10 - 1
	maxConfig = 1000<<10 - 1
)

func (c *converter) secrets(s *Stack) error {
	for _, key := range c.p.SecretNames() {
		from := types.FileObjectConfig(c.p.Secrets[key])
		name := c.named(key, from.Name, bool(from.External))
		if from.External {
			s.ExternalSecrets = append(s.ExternalSecrets, name)
			continue
		}
		spec := swarm.SecretSpec{Annotations: swarm.Annotations{Name: name, Labels: c.labels(from.Labels)}, Templating: driver(from.TemplateDriver, nil), Driver: driver(from.Driver, from.DriverOpts)}
		if spec.Driver == nil {
			var err error
			if spec.Data, err = c.content(from, maxSecret); err != nil {
				return fmt.Errorf("secrets.%s: %w", key, err)
			}
		}
		s.Secrets = append(s.Secrets, spec)
	}
	return nil
}

func (c *converter) configs(s *Stack) error {
	for _, key := range c.p.ConfigNames() {
		from := types.FileObjectConfig(c.p.Configs[key])
		name := c.named(key, from.Name, bool(from.External))
		if from.External {
			s.ExternalConfigs = append(s.ExternalConfigs, name)
			continue
		}
		data, err := c.content(from, maxConfig)
		if err != nil {
			return fmt.Errorf("configs.%s: %w", key, err)
		}
		s.Configs = append(s.Configs, swarm.ConfigSpec{Annotations: swarm.Annotations{Name: name, Labels: c.labels(from.Labels)}, Templating: driver(from.TemplateDriver, nil), Data: data})
	}
	return nil
}

func driver(name string, options map[string]string) *swarm.Driver {
	if name == "" {
		return nil
	}
	return &swarm.Driver{Name: name, Options: options}
}

// content is what a secret or a config holds.
func (c *converter) content(from types.FileObjectConfig, limit int64) (data []byte, err error) {
	switch {
	case from.File != "":
		if data, err = c.in.read(from.File, limit); err != nil {
			return nil, err
		}
	case from.Environment != "":
		v, ok := c.in.Env[from.Environment]
		if !ok {
			return nil, fmt.Errorf("the environment variable %s is not set", from.Environment)
		}
		data = []byte(v)
	default:
		data = []byte(from.Content)
	}
	switch {
	case len(data) == 0:
		return nil, errors.New("it is empty")
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("it has %d bytes, and %d are the most", len(data), limit)
	}
	return data, nil
}

// checkImage wants an image that can be run.
func checkImage(s *types.ServiceConfig) error {
	if s.Image == "" {
		return errors.New("image: there is none: images are built before they are deployed")
	}
	if _, err := reference.ParseAnyReference(s.Image); err != nil {
		return fmt.Errorf("image %q: %w", s.Image, err)
	}
	return nil
}

// oneOf wants one of some values, or none.
func oneOf(key, value string, known ...string) error {
	if value == "" || slices.Contains(known, value) {
		return nil
	}
	return fmt.Errorf("%s: %q is none of %s", key, value, strings.Join(known, ", "))
}
