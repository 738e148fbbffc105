package docker

import (
	"cmp"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/go-connections/nat"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/expand"
	"github.com/swarmctl/swarmctl/api/setting"
)

// Plan is a container as the Engine API wants it described.
type Plan struct {
	Name       string
	Config     *container.Config
	HostConfig *container.HostConfig
	// Networking has all networks of the cluster that it is on; see forVersion.
	Networking *network.NetworkingConfig `json:",omitempty"`
}

// DefaultStopGrace is how long a container has between its stop signal and
// SIGKILL where its spec does not say: Docker's own default.
const DefaultStopGrace = 10 * time.Second

// MakePlan turns the spec of a task into a container. It is a pure function.
// Errors have code invalid, or unsupported for what this version cannot do.
func MakePlan(r *Request) (*Plan, error) {
	t := &r.Spec.TaskTemplate
	if err := carriesOut(t); err != nil {
		return nil, err
	}
	own, err := setting.Parse(r.Spec.Labels)
	if err != nil {
		return nil, err
	}
	spec, err := expand.Container(t.ContainerSpec, factsOf(r))
	if err != nil {
		return nil, err
	}
	if err := checkMounts(spec.Mounts); err != nil {
		return nil, err
	}
	ports := hostPorts(r.Spec.EndpointSpec)
	p := &Plan{
		Name:       api.TaskName(r.Spec, r.Task),
		Config:     config(r, spec, ports),
		HostConfig: hostConfig(t, spec, ports),
	}
	applySettings(p.HostConfig, &own)
	if err := p.mountFiles(r); err != nil {
		return nil, err
	}
	if err := p.join(r); err != nil {
		return nil, err
	}
	return p, nil
}

// carriesOut refuses what is no container, or asks for what is yet to come.
func carriesOut(t *api.TaskSpec) error {
	c := t.ContainerSpec
	switch {
	case c == nil:
		return api.Errorf(api.CodeUnsupported, "runtime %q: only services of containers are supported", cmp.Or(string(t.Runtime), "none"))
	case c.Image == "":
		return api.Errorf(api.CodeInvalid, "the spec names no image")
	}
	return nil
}

func config(r *Request, spec *swarm.ContainerSpec, ports nat.PortMap) *container.Config {
	grace := graceSeconds(spec)
	c := &container.Config{
		Labels:      labels(r, spec),
		Image:       ImageName(spec.Image),
		Env:         append(spec.Env, resourceEnv(r.Task.GenericResources)...),
		Hostname:    spec.Hostname,
		User:        spec.User,
		WorkingDir:  spec.Dir,
		Tty:         spec.TTY,
		OpenStdin:   spec.OpenStdin,
		StopSignal:  spec.StopSignal,
		StopTimeout: &grace,
		Healthcheck: spec.Healthcheck,
	}
	// A command replaces the image's entry point; arguments alone go to it.
	if len(spec.Command) > 0 {
		c.Entrypoint = spec.Command
	}
	c.Cmd = spec.Args
	for port := range ports {
		if c.ExposedPorts == nil {
			c.ExposedPorts = nat.PortSet{}
		}
		c.ExposedPorts[port] = struct{}{}
	}
	return c
}

// graceSeconds rounds up: the engine counts whole seconds. It is stored in the
// container, so that stopping one never needs its spec.
func graceSeconds(spec *swarm.ContainerSpec) int {
	d := DefaultStopGrace
	if spec.StopGracePeriod != nil {
		d = max(0, *spec.StopGracePeriod)
	}
	return int((d + time.Second - 1) / time.Second)
}

func labels(r *Request, spec *swarm.ContainerSpec) map[string]string {
	l := maps.Clone(spec.Labels)
	if l == nil {
		l = map[string]string{}
	}
	l[api.LabelTask] = ""
	l[api.LabelTaskID] = string(r.Task.ID)
	l[api.LabelTaskName] = api.TaskName(r.Spec, r.Task)
	l[api.LabelNodeID] = string(r.Node.ID)
	l[api.LabelServiceID] = string(r.Task.ServiceID)
	l[api.LabelServiceName] = r.Spec.Name
	l[api.LabelCluster] = r.Cluster
	l[api.LabelOurTask] = string(r.Task.ID)
	// A daemon that is started where no manager can be reached has nothing else.
	if after, ok := r.Spec.Labels[setting.LabelSelfStop]; ok {
		l[setting.LabelSelfStop] = after
	}
	return l
}

// ImageName is the name the engine knows an image by: with a tag, without
// Docker Hub's host. What is no reference (an image ID) stays as it is.
func ImageName(image string) string {
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	return reference.FamiliarString(reference.TagNameOnly(ref))
}

func hostConfig(t *api.TaskSpec, spec *swarm.ContainerSpec, ports nat.PortMap) *container.HostConfig {
	h := &container.HostConfig{
		Resources:      resources(t.Resources, spec),
		GroupAdd:       spec.Groups,
		PortBindings:   ports,
		Mounts:         spec.Mounts,
		ReadonlyRootfs: spec.ReadOnly,
		Isolation:      spec.Isolation,
		Init:           spec.Init,
		Sysctls:        spec.Sysctls,
		CapAdd:         spec.CapabilityAdd,
		CapDrop:        spec.CapabilityDrop,
		OomScoreAdj:    int(spec.OomScoreAdj),
		SecurityOpt:    securityOpt(spec.Privileges),
		ExtraHosts:     extraHosts(spec.Hosts),
		// The managers restart tasks, never the engine: a container that it
		// started again would be a replica too many.
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
	}
	if d := spec.DNSConfig; d != nil {
		h.DNS, h.DNSSearch, h.DNSOptions = d.Nameservers, d.Search, d.Options
	}
	if l := t.LogDriver; l != nil {
		h.LogConfig = container.LogConfig{Type: l.Name, Config: l.Options}
	}
	return h
}

// extraHosts turns lines of hosts(5), "address name [alias...]", into the
// engine's "name:address". Aliases get entries of their own.
func extraHosts(lines []string) []string {
	var out []string
	for _, line := range lines {
		fields := strings.Fields(line)
		for i := 1; i < len(fields); i++ {
			out = append(out, fields[i]+":"+fields[0])
		}
	}
	return out
}

// minReservation is the smallest memory reservation that the engine accepts.
const minReservation = 6 << 20

func resources(req *swarm.ResourceRequirements, spec *swarm.ContainerSpec) container.Resources {
	r := container.Resources{Ulimits: spec.Ulimits}
	if req == nil {
		return r
	}
	if l := req.Limits; l != nil {
		r.NanoCPUs, r.Memory = l.NanoCPUs, l.MemoryBytes
		if l.Pids > 0 {
			pids := l.Pids
			r.PidsLimit = &pids
		}
	}
	// A reservation is the scheduler's business first. As a soft limit it
	// helps the container when memory runs short; where the engine would refuse
	// it (too small, or above the limit) it stays with the scheduler.
	if res := req.Reservations; res != nil && res.MemoryBytes >= minReservation && (r.Memory == 0 || res.MemoryBytes <= r.Memory) {
		r.MemoryReservation = res.MemoryBytes
	}
	return r
}

// hostPorts are the ports that the container itself publishes on its node.
func hostPorts(e *swarm.EndpointSpec) nat.PortMap {
	if e == nil {
		return nil
	}
	var out nat.PortMap
	for _, p := range e.Ports {
		if p.PublishMode != swarm.PortConfigPublishModeHost {
			continue
		}
		if out == nil {
			out = nat.PortMap{}
		}
		protocol := strings.ToLower(cmp.Or(string(p.Protocol), "tcp"))
		port := nat.Port(fmt.Sprintf("%d/%s", p.TargetPort, protocol))
		binding := nat.PortBinding{} // no host port: the engine picks one
		if p.PublishedPort != 0 {
			binding.HostPort = strconv.Itoa(int(p.PublishedPort))
		}
		out[port] = append(out[port], binding)
	}
	return out
}
