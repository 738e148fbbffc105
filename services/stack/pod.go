package stack

import (
	"fmt"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api/setting"
)

// podOf is the service of the file whose network namespace, and so whose pod, a
// service is in; empty: it has its own.
func podOf(s *types.ServiceConfig) string {
	name, _ := strings.CutPrefix(s.NetworkMode, types.ServicePrefix)
	if name == s.NetworkMode {
		return ""
	}
	return name
}

// pod is the full name of the service whose tasks those of s are sidecars of.
func (c *converter) pod(s *types.ServiceConfig) (string, error) {
	name := podOf(s)
	if name == "" {
		return "", nil
	}
	with, ok := c.p.Services[name]
	switch {
	case name == s.Name:
		return "", fmt.Errorf("network_mode: %q: a service cannot be a sidecar of itself", s.NetworkMode)
	case !ok:
		return "", fmt.Errorf("network_mode: %q: there is no service %s, or none whose profile is active", s.NetworkMode, name)
	case podOf(&with) != "":
		return "", fmt.Errorf("network_mode: %q: service %s is a sidecar itself: use network_mode: %q", s.NetworkMode, name, with.NetworkMode)
	case dependsOn(&with, s.Name):
		return "", fmt.Errorf("network_mode: %q: service %s depends on it, and it starts when that has started: leave its depends_on out", s.NetworkMode, name)
	case isJob(&with):
		return "", fmt.Errorf("network_mode: %q: service %s is a job, and jobs have no sidecars", s.NetworkMode, name)
	}
	return Scoped(c.name, name), nil
}

func dependsOn(s *types.ServiceConfig, name string) bool {
	_, ok := s.DependsOn[name]
	return ok
}

// followed are the keys of a sidecar that have no effect, because it follows
// another service in them.
func (l *leftovers) followed(name string, s *types.ServiceConfig) {
	with := podOf(s)
	if with == "" {
		return
	}
	why := fmt.Sprintf("it has a task beside each of service %s", with)
	if s.Scale != nil || s.Deploy != nil && s.Deploy.Replicas != nil { // compose-go makes one of the other
		l.add("services."+name+".deploy.replicas", why)
	}
	if s.Deploy != nil && s.Deploy.Mode != "" {
		l.add("services."+name+".deploy.mode", why)
	}
}

// follows orders services after those that they are sidecars of.
func follows(a, b ServiceChange) int {
	rank := func(s *swarm.ServiceSpec) int {
		if setting.PodOf(s.Labels) != "" {
			return 1
		}
		return 0
	}
	return rank(&a.Spec) - rank(&b.Spec)
}
