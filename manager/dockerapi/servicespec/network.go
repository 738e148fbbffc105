package servicespec

import (
	"regexp"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// NodeNetwork reports whether every engine has a network of that name: what a
// service can be put into although it spans no nodes.
func NodeNetwork(name string) bool {
	return name == network.NetworkHost || name == network.NetworkBridge || name == network.NetworkNone
}

// ResolveNetworks puts the IDs of networks in the place of their names. The
// networks that each node has for itself keep theirs.
func ResolveNetworks(s *api.ServiceSpec, find func(ref string) (*api.Network, error)) error {
	list := slices.Clone(s.TaskTemplate.Networks)
	names := map[string]string{}
	for i := range list {
		if NodeNetwork(list[i].Target) {
			continue
		}
		n, err := find(list[i].Target)
		switch {
		case err != nil:
			return err
		case n.Spec.Ingress:
			return invalid("Service cannot be explicitly attached to the ingress network %q: it is on it by publishing a port in ingress mode", n.Spec.Name)
		case names[string(n.ID)] != "":
			return invalid("network %s is given twice: give it once, with all of its aliases", n.Spec.Name)
		}
		if err := checkAttachment(n.Spec.Name, &list[i]); err != nil {
			return err
		}
		list[i].Target, names[string(n.ID)] = string(n.ID), n.Spec.Name
	}
	s.TaskTemplate.Networks = list
	return nil
}

// checkAttachment holds what a service asks of a network to what is carried out.
func checkAttachment(name string, n *swarm.NetworkAttachmentConfig) error {
	if len(n.DriverOpts) > 0 {
		return unsupported("network %s: driver options of a service's place in it are not supported: leave out %s", name, strings.Join(sortedKeys(n.DriverOpts), ", "))
	}
	for _, a := range n.Aliases {
		if err := CheckAlias(a); err != nil {
			return invalid("network %s: %v", name, err)
		}
	}
	return nil
}

var hostLabel = regexp.MustCompile(`^[a-zA-Z0-9_](?:[-a-zA-Z0-9_]{0,61}[a-zA-Z0-9_])?$`)

const (
	maxHostName = 253 // of all labels and the dots between them
	// tasksOf begins the name of all tasks of a service.
	tasksOf = "tasks."
)

// CheckAlias refuses an alias that nobody could look up.
func CheckAlias(alias string) error {
	labels := strings.Split(alias, ".")
	digits := strings.Trim(labels[len(labels)-1], "0123456789") == ""
	switch {
	case len(alias) > maxHostName, slices.ContainsFunc(labels, func(l string) bool { return !hostLabel.MatchString(l) }):
		return invalid("alias %q is no name: use letters, digits, - and _, at most %d of them between dots and %d in all", alias, maxName, maxHostName)
	case digits && len(labels) > 1:
		return invalid("alias %q is no name: it reads as an address, which nobody looks up", alias)
	case strings.HasPrefix(strings.ToLower(alias), tasksOf):
		return invalid("alias %q: names that begin with %q stand for the tasks of a service", alias, tasksOf)
	}
	return nil
}

// checkNetworks holds the networks of a service against one another. Tasks
// that are in none are on their engine's bridge.
func checkNetworks(s *api.ServiceSpec) error {
	if len(s.Networks) > 0 { //nolint:staticcheck // deprecated, and still sent
		return invalid("network %s: give all networks in TaskTemplate.Networks: the service's own Networks are deprecated", s.Networks[0].Target) //nolint:staticcheck // as above
	}
	list := s.TaskTemplate.Networks
	var own []string
	for _, n := range list {
		if !NodeNetwork(n.Target) {
			continue
		}
		if len(n.Aliases) > 0 || len(n.DriverOpts) > 0 {
			return invalid("network %s: aliases and driver options are for networks that span nodes", n.Target)
		}
		own = append(own, n.Target)
	}
	switch {
	case len(own) == 0:
		return nil
	case len(own) > 1:
		return invalid("networks %s and %s: a task can be in one only of host, none and bridge", own[0], own[1])
	case own[0] == network.NetworkBridge:
		return nil
	case len(list) > 1:
		return invalid("network %s: a task in it cannot be in another network too: leave one of them out", own[0])
	}
	return checkPortsIn(own[0], s.EndpointSpec)
}

// checkPortsIn holds published ports against network host or none.
func checkPortsIn(name string, e *swarm.EndpointSpec) error {
	if e == nil {
		return nil
	}
	for _, p := range e.Ports {
		switch {
		case name == network.NetworkNone:
			return invalid("port %d: a task in network none cannot publish: leave the port or the network out", p.TargetPort)
		case p.PublishMode == swarm.PortConfigPublishModeIngress:
			return invalid("port %d: a task in network host listens on its node's own ports: publish it with mode=host, or leave the port out", p.TargetPort)
		case p.PublishedPort != p.TargetPort:
			return invalid("port %d: a task in network host listens on the node's own ports, so it cannot be published as %d: give the same number twice, or leave the port out", p.TargetPort, p.PublishedPort)
		}
	}
	return nil
}

func checkEndpoint(s *api.ServiceSpec) error {
	e := s.EndpointSpec
	if e == nil {
		return checkHostIPs(s, nil)
	}
	if e.Mode != swarm.ResolutionModeVIP && e.Mode != swarm.ResolutionModeDNSRR {
		return invalid("invalid resolution mode: %q: use vip or dnsrr", e.Mode)
	}
	taken := map[setting.HostPort]bool{}
	for _, p := range e.Ports {
		if err := checkPort(p, e.Mode); err != nil {
			return err
		}
		key := setting.HostPort{Published: p.PublishedPort, Protocol: p.Protocol}
		if p.PublishedPort != 0 && taken[key] {
			return invalid("EndpointSpec: duplicate published ports provided: %s", key)
		}
		taken[key] = true
	}
	return checkHostIPs(s, taken)
}

// checkHostIPs refuses an address for a port that is not published: it would
// protect nothing.
func checkHostIPs(s *api.ServiceSpec, published map[setting.HostPort]bool) error {
	for _, p := range setting.HostIPsOf(s.Labels).Ports() {
		if p != (setting.HostPort{}) && !published[p] {
			return invalid("label %s: the service does not publish port %s: publish it, or take it out of the label", setting.LabelHostIP, p)
		}
	}
	return nil
}

func checkPort(p swarm.PortConfig, mode swarm.ResolutionMode) error {
	switch p.Protocol {
	case swarm.PortConfigProtocolTCP, swarm.PortConfigProtocolUDP, swarm.PortConfigProtocolSCTP:
	default:
		return invalid("port %d: invalid protocol %q: use tcp, udp or sctp", p.TargetPort, p.Protocol)
	}
	switch {
	case p.TargetPort == 0 || p.TargetPort > 65535:
		return invalid("invalid target port %d: use 1 to 65535", p.TargetPort)
	case p.PublishedPort > 65535:
		return invalid("invalid published port %d: use 1 to 65535, or 0 for any", p.PublishedPort)
	case p.PublishMode == swarm.PortConfigPublishModeIngress && mode == swarm.ResolutionModeDNSRR:
		return invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode")
	case p.PublishMode != swarm.PortConfigPublishModeHost && p.PublishMode != swarm.PortConfigPublishModeIngress:
		return invalid("port %d: invalid publish mode %q: use ingress or host", p.TargetPort, p.PublishMode)
	}
	return nil
}
