package stack

import (
	"fmt"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api/setting"
)

// conditions are Compose's, and what they are in a label.
var conditions = map[string]setting.Condition{
	"": setting.Started, types.ServiceConditionStarted: setting.Started,
	types.ServiceConditionHealthy: setting.Healthy, types.ServiceConditionCompletedSuccessfully: setting.Completed,
}

// dependencies are those of a service as its label spells them. What is not
// required, and not there, is not waited for.
func (c *converter) dependencies(s *types.ServiceConfig) (string, error) {
	var list []setting.Dependency
	for name, d := range s.DependsOn {
		if _, there := c.p.Services[name]; !there && !d.Required {
			continue
		}
		condition, known := conditions[d.Condition]
		if !known {
			return "", fmt.Errorf("depends_on.%s.condition: %q is none of service_started, service_healthy, service_completed_successfully", name, d.Condition)
		}
		if on := c.p.Services[name]; condition == setting.Completed && d.Required && alwaysRestarts(&on) {
			return "", fmt.Errorf("depends_on.%s: it is never completed, as its restart policy starts it again whatever it ends with: use on-failure there, or deploy.mode: replicated-job", name)
		}
		list = append(list, setting.Dependency{Service: Scoped(c.name, name), Condition: condition, Optional: !d.Required})
	}
	return setting.FormatDependencies(list), nil
}

// alwaysRestarts reports whether a service says that its containers are
// restarted after success too.
func alwaysRestarts(s *types.ServiceConfig) bool {
	if isJob(s) {
		return false
	}
	if s.Deploy != nil && s.Deploy.RestartPolicy != nil {
		c := s.Deploy.RestartPolicy.Condition
		return c == "" || c == string(swarm.RestartPolicyConditionAny)
	}
	return s.Restart == types.RestartPolicyAlways || s.Restart == types.RestartPolicyUnlessStopped
}

func isJob(s *types.ServiceConfig) bool {
	return s.Deploy != nil && (s.Deploy.Mode == "replicated-job" || s.Deploy.Mode == "global-job")
}

// endsOnce is the restart policy of a service that gives none, or "no", and that
// others want to be completed: Compose runs such a container once, a cluster would
// start it again for ever. One that fails is tried again, unless the file says no.
func (c *converter) endsOnce(s *types.ServiceConfig) *swarm.RestartPolicy {
	awaited := false
	for _, other := range c.p.Services {
		d, ok := other.DependsOn[s.Name]
		awaited = awaited || ok && d.Condition == types.ServiceConditionCompletedSuccessfully
	}
	switch {
	case !awaited || isJob(s):
		return nil
	case s.Restart == types.RestartPolicyNo:
		return &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionNone}
	}
	return &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionOnFailure}
}

// inOrder puts the services that others wait for before these: their new version
// is what the others wait for then, and no two of them wait for each other on the
// way from one file to the next.
func inOrder(specs []swarm.ServiceSpec) []swarm.ServiceSpec {
	out := make([]swarm.ServiceSpec, 0, len(specs))
	done := map[string]bool{}
	var add func(spec swarm.ServiceSpec)
	add = func(spec swarm.ServiceSpec) {
		if done[spec.Name] {
			return
		}
		done[spec.Name] = true
		for _, d := range setting.DependenciesOf(spec.Labels) {
			if i := slices.IndexFunc(specs, func(s swarm.ServiceSpec) bool { return s.Name == d.Service }); i >= 0 {
				add(specs[i])
			}
		}
		out = append(out, spec)
	}
	for _, spec := range specs {
		add(spec)
	}
	return out
}
