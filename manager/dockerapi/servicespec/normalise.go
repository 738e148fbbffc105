package servicespec

import (
	"slices"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// Normalise fills in what Docker's API always shows, so that what is stored
// reads back as from a real swarm. It replaces what it changes instead of
// writing through pointers.
func Normalise(s *api.ServiceSpec) {
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	if s.Mode == (swarm.ServiceMode{}) {
		s.Mode.Replicated = &swarm.ReplicatedService{}
	}
	if r := s.Mode.Replicated; r != nil && r.Replicas == nil && setting.PodOf(s.Labels) == "" {
		one := uint64(1)
		s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &one}
	}
	if s.Mode.ReplicatedJob != nil {
		job := api.Service{Spec: *s}
		atOnce, total := job.Completions()
		s.Mode.ReplicatedJob = &swarm.ReplicatedJob{MaxConcurrent: &atOnce, TotalCompletions: &total}
	}
	if s.TaskTemplate.Runtime == "" {
		s.TaskTemplate.Runtime = swarm.RuntimeContainer
	}
	if c := s.TaskTemplate.ContainerSpec; c != nil && c.Isolation == "" {
		c := *c
		c.Isolation = container.IsolationDefault
		s.TaskTemplate.ContainerSpec = &c
	}
	normaliseNetworks(s)
	normaliseEndpoint(s)
}

// normaliseNetworks has all networks where the API has had them since version
// 1.25. Where both places name some, Validate says so.
func normaliseNetworks(s *api.ServiceSpec) {
	if len(s.TaskTemplate.Networks) == 0 {
		s.TaskTemplate.Networks, s.Networks = s.Networks, nil //nolint:staticcheck // deprecated, and still sent
	}
}

func normaliseEndpoint(s *api.ServiceSpec) {
	if s.EndpointSpec == nil {
		return
	}
	e := *s.EndpointSpec
	if e.Mode == "" {
		e.Mode = swarm.ResolutionModeVIP
	}
	e.Ports = slices.Clone(e.Ports)
	for i := range e.Ports {
		p := &e.Ports[i]
		if p.Protocol == "" {
			p.Protocol = swarm.PortConfigProtocolTCP
		}
		if p.PublishMode == "" {
			p.PublishMode = swarm.PortConfigPublishModeIngress
		}
	}
	s.EndpointSpec = &e
}

// What an unset field means: Docker Swarm's defaults.
const (
	stopGracePeriod = 10 * time.Second
	restartDelay    = 5 * time.Second
	updateMonitor   = 5 * time.Second
)

// WithDefaults returns the spec with every unset field that has a default
// filled in: what "service inspect" shows. The spec itself stays as it is.
func WithDefaults(s api.ServiceSpec) api.ServiceSpec {
	t := &s.TaskTemplate
	if t.ContainerSpec != nil {
		c := *t.ContainerSpec
		c.StopGracePeriod = orValue(c.StopGracePeriod, stopGracePeriod)
		if c.DNSConfig == nil {
			c.DNSConfig = &swarm.DNSConfig{}
		}
		t.ContainerSpec = &c
	}
	if t.Resources == nil {
		t.Resources = &swarm.ResourceRequirements{}
	}
	if t.Placement == nil {
		t.Placement = &swarm.Placement{}
	}
	restart := swarm.RestartPolicy{}
	if t.RestartPolicy != nil {
		restart = *t.RestartPolicy
	}
	if restart.Condition == "" {
		restart.Condition = swarm.RestartPolicyConditionAny
	}
	restart.Delay = orValue(restart.Delay, restartDelay)
	restart.MaxAttempts = orValue(restart.MaxAttempts, 0)
	t.RestartPolicy = &restart
	s.UpdateConfig, s.RollbackConfig = updateDefaults(s.UpdateConfig), updateDefaults(s.RollbackConfig)
	return s
}

func updateDefaults(u *swarm.UpdateConfig) *swarm.UpdateConfig {
	if u == nil {
		return &swarm.UpdateConfig{
			Parallelism: 1, FailureAction: swarm.UpdateFailureActionPause,
			Monitor: updateMonitor, Order: swarm.UpdateOrderStopFirst,
		}
	}
	out := *u
	if out.FailureAction == "" {
		out.FailureAction = swarm.UpdateFailureActionPause
	}
	if out.Monitor == 0 {
		out.Monitor = updateMonitor
	}
	if out.Order == "" {
		out.Order = swarm.UpdateOrderStopFirst
	}
	return &out
}

func orValue[T any](p *T, value T) *T {
	if p != nil {
		return p
	}
	return &value
}
