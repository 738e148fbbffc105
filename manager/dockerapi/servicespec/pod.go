package servicespec

import (
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// checkPod refuses what a sidecar cannot have of its own, since it is the service's
// that it belongs to: how many there are, where they are, how they are reached, and
// what names they know.
func checkPod(s *api.ServiceSpec) error {
	with := setting.PodOf(s.Labels)
	if with == "" {
		return nil
	}
	refuse := func(what, wayOut string) error {
		return invalid("label %s: %s: a sidecar has none of its own: "+wayOut, setting.LabelPod, what, with)
	}
	t, e := &s.TaskTemplate, s.EndpointSpec
	switch p := t.Placement; {
	case s.Mode.Replicated == nil:
		return refuse("mode "+modeName(s.Mode), "its tasks follow those of service %s: leave the mode out")
	case s.Mode.Replicated.Replicas != nil:
		return refuse("a number of replicas", "it has a task for each of service %s: scale that one")
	case len(t.Networks) > 0:
		return refuse("network "+t.Networks[0].Target, "it shares the network namespace of a task of service %s: put that on the network")
	case e != nil && len(e.Ports) > 0:
		return refuse("a published port", "it shares the ports of a task of service %s: publish the port there")
	case p != nil && len(p.Constraints)+len(p.Preferences)+int(p.MaxReplicas) > 0:
		return refuse("a placement", "it is placed with service %s: give that one the constraints")
	}
	if what := names(t.ContainerSpec); what != "" {
		return refuse(what, "it has those of a container of service %s: give them to that one")
	}
	for _, label := range []string{setting.LabelCanary, setting.LabelRescheduleAfter, setting.LabelRebalance, setting.LabelStrategy, setting.LabelSelfStop} {
		if _, given := s.Labels[label]; given {
			return refuse("label "+label, "its tasks come and go with those of service %s: leave the label out, or give it to that one")
		}
	}
	return nil
}

// names is what a container spec says of names, which are the same in all of a pod;
// empty: nothing.
func names(c *swarm.ContainerSpec) string {
	switch {
	case c == nil:
		return ""
	case c.Hostname != "":
		return "a hostname"
	case len(c.Hosts) > 0:
		return "host entries"
	case c.DNSConfig != nil && len(c.DNSConfig.Nameservers)+len(c.DNSConfig.Search)+len(c.DNSConfig.Options) > 0:
		return "DNS settings"
	}
	return ""
}
