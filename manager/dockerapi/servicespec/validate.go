package servicespec

import (
	"regexp"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/constraint"
	"github.com/swarmctl/swarmctl/api/expand"
	"github.com/swarmctl/swarmctl/api/setting"
)

const (
	maxName = 63 // a DNS label
	// maxReplicas is far above what a cluster can hold; it catches the slip of
	// a key before a million tasks are created.
	maxReplicas = 100_000
	// minMemory is the container engine's own minimum.
	minMemory = 6 << 20
	// minCPU is a thousandth of a core.
	minCPU = 1_000_000
)

var dnsName = regexp.MustCompile(`^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$`)

// Validate reports the first rule that a normalised spec breaks: invalid for
// what can never be, unsupported for what a later version brings.
func Validate(s *api.ServiceSpec) error {
	for _, check := range []func(*api.ServiceSpec) error{
		checkName, checkLabels, checkMode, checkRuntime, checkPod, checkNotBuilt, checkNetworks, checkEndpoint, checkUpdateConfigs, checkLifecycle,
	} {
		if err := check(s); err != nil {
			return err
		}
	}
	t := &s.TaskTemplate
	for _, check := range []func(*api.TaskSpec) error{checkResources, checkRestart, checkPlacement} {
		if err := check(t); err != nil {
			return err
		}
	}
	if err := checkContainer(t.ContainerSpec); err != nil {
		return err
	}
	_, err := expand.Container(t.ContainerSpec, expand.Example(s.Name, s.Labels))
	return err
}

// CheckUpdate reports what an update may not change.
func CheckUpdate(old, next *api.ServiceSpec) error {
	if old.Name != next.Name {
		return unsupported("renaming services is not supported: remove %q and create %q", old.Name, next.Name)
	}
	if modeName(old.Mode) != modeName(next.Mode) {
		return unsupported("service mode change is not allowed: it is %s; remove the service and create it anew", modeName(old.Mode))
	}
	if had, has := setting.PodOf(old.Labels), setting.PodOf(next.Labels); had != has {
		return unsupported("label %s cannot be changed from %q to %q: remove the service and create it anew", setting.LabelPod, had, has)
	}
	return nil
}

func invalid(format string, args ...any) error { return api.Errorf(api.CodeInvalid, format, args...) }

func unsupported(format string, args ...any) error {
	return api.Errorf(api.CodeUnsupported, format, args...)
}

func notYet(format string, args ...any) error {
	return api.Errorf(api.CodeUnsupported, "not supported yet: "+format, args...)
}

func checkName(s *api.ServiceSpec) error { return CheckName(s.Name) }

// CheckName holds the rules for the names of services and networks.
func CheckName(name string) error {
	switch {
	case name == "":
		return invalid("meta: name must be provided")
	case !dnsName.MatchString(name):
		return invalid("name must be valid as a DNS name component: %q is not: use letters, digits, - and _", name)
	case len(name) > maxName:
		return invalid("name must be %d characters or fewer: %q has %d", maxName, name, len(name))
	}
	return nil
}

// checkLabels refuses labels in our own name space that this version does not
// know or that say nothing it understands.
func checkLabels(s *api.ServiceSpec) error {
	if _, err := setting.Parse(s.Labels); err != nil {
		return err
	}
	if _, err := setting.ParseLifecycle(s.Labels); err != nil {
		return err
	}
	if c := s.TaskTemplate.ContainerSpec; c != nil {
		for _, k := range sortedKeys(c.Labels) {
			if strings.HasPrefix(k, setting.Prefix) {
				return invalid("container label %q: labels under %q are set by swarmctl itself; settings are labels of the service", k, setting.Prefix)
			}
		}
	}
	return nil
}

func modeName(m swarm.ServiceMode) string {
	switch {
	case m.Replicated != nil:
		return "replicated"
	case m.Global != nil:
		return "global"
	case m.ReplicatedJob != nil:
		return "replicated-job"
	case m.GlobalJob != nil:
		return "global-job"
	}
	return "unknown"
}

// ModeName is the mode as the filter of Docker's API names it.
func ModeName(s *api.ServiceSpec) string { return modeName(s.Mode) }

func checkMode(s *api.ServiceSpec) error {
	m, n := s.Mode, 0
	for _, set := range []bool{m.Replicated != nil, m.Global != nil, m.ReplicatedJob != nil, m.GlobalJob != nil} {
		if set {
			n++
		}
	}
	switch {
	case n > 1:
		return invalid("must specify only one service mode")
	case m.Replicated != nil && m.Replicated.Replicas != nil && *m.Replicated.Replicas > maxReplicas:
		return invalid("replicas: %d is more than the %d that one service may have", *m.Replicated.Replicas, maxReplicas)
	case m.ReplicatedJob != nil:
		return checkJob(m.ReplicatedJob)
	}
	return nil
}

// checkJob holds a normalised job to the limits of a service. A number that
// was negative before it became unsigned is told so, as Docker does.
func checkJob(j *swarm.ReplicatedJob) error {
	switch atOnce, total := *j.MaxConcurrent, *j.TotalCompletions; {
	case int64(atOnce) < 0:
		return invalid("Maximum concurrent jobs must not be negative")
	case int64(total) < 0:
		return invalid("Total completed jobs must not be negative")
	case total > maxReplicas:
		return invalid("total completions: %d is more than the %d that one job may have", total, maxReplicas)
	}
	return nil
}

func checkRuntime(s *api.ServiceSpec) error {
	t := s.TaskTemplate
	switch {
	case t.Runtime == swarm.RuntimePlugin || t.PluginSpec != nil:
		return unsupported("runtime %q is not supported: services run containers", swarm.RuntimePlugin)
	case t.Runtime != swarm.RuntimeContainer || t.NetworkAttachmentSpec != nil:
		return invalid("unsupported runtime: %q: services run containers", t.Runtime)
	case t.ContainerSpec == nil:
		return invalid("mismatched Runtime and *Spec fields: the spec has no ContainerSpec, so there is nothing to run")
	}
	return nil
}

// checkNotBuilt names what Docker Swarm does and this version does not do yet.
func checkNotBuilt(s *api.ServiceSpec) error {
	c := s.TaskTemplate.ContainerSpec
	switch {
	case c.Privileges != nil && c.Privileges.CredentialSpec != nil:
		return unsupported("credential specs are for Windows, which swarmctl does not run on")
	}
	return nil
}

func checkPlacement(t *api.TaskSpec) error {
	p := t.Placement
	if p == nil {
		return nil
	}
	for _, pref := range p.Preferences {
		if pref.Spread == nil || pref.Spread.SpreadDescriptor == "" {
			return invalid("placement preference: a spread descriptor is needed, as in spread=node.labels.zone")
		}
	}
	if _, err := constraint.Parse(p.Constraints); err != nil {
		return invalid("%s", err)
	}
	return nil
}
