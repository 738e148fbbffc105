package servicespec

import (
	"fmt"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// checkLifecycle holds the labels that say how tasks come and go, which parse,
// against the rest of the spec: one that can have no effect is refused.
func checkLifecycle(s *api.ServiceSpec) error {
	const (
		anew = "a job has no updates: a change of what its tasks run begins it anew"
		stay = "each task of a global service belongs to its node, and no other node takes it over"
		ends = "the tasks of a job end by themselves, and are not moved before"
	)
	global, job := s.Mode.Global != nil || s.Mode.GlobalJob != nil, s.Mode.ReplicatedJob != nil || s.Mode.GlobalJob != nil
	for _, rule := range []struct {
		label  string
		broken bool
		why    string
	}{
		{setting.LabelCanary, job, anew}, {setting.LabelProgressDeadline, job, anew},
		{setting.LabelRescheduleAfter, global, stay}, {setting.LabelSelfStop, global, stay},
		{setting.LabelRebalance, global, stay}, {setting.LabelRebalance, job, ends},
	} {
		if _, given := s.Labels[rule.label]; given && rule.broken {
			return invalid("label %s: %s: leave the label out", rule.label, rule.why)
		}
	}
	_, moves := s.Labels[setting.LabelRebalance]
	if _, alone := s.Labels[setting.LabelSelfStop]; moves && alone {
		return invalid("label %s: with %s a task would have to stop before its successor starts, so none is moved for balance: leave one of the two out", setting.LabelRebalance, setting.LabelSelfStop)
	}
	return checkCanary(s)
}

// checkCanary refuses a canary of more replicas than there are, and one of all
// of them where the two versions cannot run side by side. A service that is
// scaled to 0 may keep its canary for better days.
func checkCanary(s *api.ServiceSpec) error {
	share := setting.LifecycleOf(s.Labels).Canary
	if n, ok := (&api.Service{Spec: *s}).Replicas(); ok && n > 0 && share.Count > n {
		return invalid("label %s: %d replicas of %d in all: give at most %[3]d, or a percentage as in 10%%", setting.LabelCanary, share.Count, n)
	}
	if share.Percent < 100 {
		return nil
	}
	if port := hostPort(s); port != "" {
		return invalid("label %s: 100%% runs both versions side by side, and two tasks of a node cannot hold host port %s: give less than 100%%, or publish the port in mode ingress", setting.LabelCanary, port)
	}
	if _, alone := s.Labels[setting.LabelSelfStop]; alone {
		return invalid("label %s: 100%% runs both versions side by side, and with %s no task runs twice: give less than 100%%, or leave one of the two out", setting.LabelCanary, setting.LabelSelfStop)
	}
	return nil
}

// hostPort is a port, as in 8080/tcp, that only one task of a node can hold;
// empty: none.
func hostPort(s *api.ServiceSpec) string {
	if s.EndpointSpec == nil {
		return ""
	}
	for _, p := range s.EndpointSpec.Ports {
		if p.PublishMode == swarm.PortConfigPublishModeHost && p.PublishedPort != 0 {
			return fmt.Sprintf("%d/%s", p.PublishedPort, p.Protocol)
		}
	}
	return ""
}

// Warnings are what a valid, normalised spec asks for and does not get.
func Warnings(s *api.ServiceSpec) (list []string) {
	selfStop := setting.SelfStopOf(s.Labels)
	why := ""
	switch port := hostPort(s); {
	case port != "":
		why = "it publishes host port " + port + ", which two tasks of a node cannot hold"
	case selfStop > 0:
		why = "with " + setting.LabelSelfStop + " no task runs twice"
	case setting.PodOf(s.Labels) != "":
		why = "two sidecars in one pod would want the same ports"
	default:
		return nil
	}
	for _, c := range []struct {
		kind   string
		config *swarm.UpdateConfig
	}{{"update", s.UpdateConfig}, {"rollback", s.RollbackConfig}} {
		if c.config != nil && c.config.Order == swarm.UpdateOrderStartFirst {
			list = append(list, fmt.Sprintf("%s order start-first does not hold for service %s: %s: tasks are stopped first", c.kind, s.Name, why))
		}
	}
	if after := setting.LifecycleOf(s.Labels).RescheduleAfter; after > 0 && after < selfStop {
		list = append(list, fmt.Sprintf("label %s of service %s: %v has no effect: with %s a task is replaced when it has stopped itself, which it does %v after its node was cut off",
			setting.LabelRescheduleAfter, s.Name, after, setting.LabelSelfStop, selfStop))
	}
	return list
}
