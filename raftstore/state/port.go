package state

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// The ports that the cluster chooses from, where a service does not say which
// it wants on every node: those of Docker Swarm.
const (
	firstAutoPort = 30000
	lastAutoPort  = 32767
)

// published is a port that a service publishes. Like leases they are derived.
type published struct {
	protocol string
	port     uint32
	service  api.ServiceID
	ingress  bool // on every node, and not only where a task is
}

func portKey(protocol string, port uint32) []byte {
	return binary.BigEndian.AppendUint32(key(protocol), port)
}

// key has the mode too: nothing here keeps a service from publishing a port in both.
func (p *published) key() []byte {
	k := append(portKey(p.protocol, p.port), key(p.service)...)
	if p.ingress {
		return append(k, 1)
	}
	return append(k, 0)
}

func protocolOf(p swarm.PortConfig) string {
	return string(cmp.Or(p.Protocol, swarm.PortConfigProtocolTCP))
}

// publishers yields what services publish under a port.
func (v *View) publishers(protocol string, port uint32) iter.Seq[*published] {
	return where[published](v, tablePorts, byID+"_prefix", portKey(protocol, port))
}

// publish notes the ports that a service has.
func (x *tx) publish(id api.ServiceID, ports []swarm.PortConfig) {
	for _, p := range ports {
		if p.PublishedPort != 0 {
			x.put(tablePorts, &published{protocol: protocolOf(p), port: p.PublishedPort, service: id, ingress: isIngress(p)})
		}
	}
}

func (x *tx) unpublish(id api.ServiceID, ports []swarm.PortConfig) {
	for _, p := range ports {
		for row := range x.view().publishers(protocolOf(p), p.PublishedPort) {
			if row.service == id && row.ingress == isIngress(p) {
				x.deleteRow(tablePorts, row)
				break
			}
		}
	}
}

// ports are the ports of a service, with those that the cluster chooses. They
// are checked against what other services publish: first all that are asked
// for, then the others, so that none is chosen that is asked for beside it.
func (x *tx) ports(had []swarm.PortConfig, s *api.Service) (list []swarm.PortConfig, errs []error) {
	x.unpublish(s.ID, had)
	if s.Spec.EndpointSpec == nil {
		return nil, nil
	}
	list = slices.Clone(s.Spec.EndpointSpec.Ports)
	keepChosen(list, had)
	list = slices.DeleteFunc(list, func(p swarm.PortConfig) bool {
		err := x.checkPort(p)
		if err != nil {
			errs = append(errs, err)
		}
		return err != nil
	})
	x.publish(s.ID, list)
	for i := range list {
		if p := &list[i]; isIngress(*p) && p.PublishedPort == 0 {
			if err := x.choosePort(p); err != nil {
				errs = append(errs, err)
				continue
			}
			x.publish(s.ID, list[i:i+1])
		}
	}
	return slices.DeleteFunc(list, func(p swarm.PortConfig) bool { return isIngress(p) && p.PublishedPort == 0 }), errs
}

// keepChosen gives the ports that leave the choice to the cluster the numbers
// that the service has for them already.
func keepChosen(list, had []swarm.PortConfig) {
	for i := range list {
		if p := &list[i]; isIngress(*p) && p.PublishedPort == 0 {
			at := slices.IndexFunc(had, func(h swarm.PortConfig) bool { return sameTarget(h, *p) && !hasPort(list, h) })
			if at >= 0 {
				p.PublishedPort = had[at].PublishedPort
			}
		}
	}
}

func sameTarget(a, b swarm.PortConfig) bool {
	return isIngress(a) && isIngress(b) && a.TargetPort == b.TargetPort && protocolOf(a) == protocolOf(b) && a.Name == b.Name
}

func hasPort(list []swarm.PortConfig, p swarm.PortConfig) bool {
	return slices.ContainsFunc(list, func(o swarm.PortConfig) bool {
		return o.PublishedPort == p.PublishedPort && protocolOf(o) == protocolOf(p)
	})
}

// checkPort refuses a port that another service publishes on every node, and
// one on every node that another one publishes on some. Two services may
// publish a port where their tasks are: the scheduler keeps those apart. NB: a
// port is taken on all addresses of the hosts, whatever address a service's
// label may ask for.
func (x *tx) checkPort(p swarm.PortConfig) error {
	if isIngress(p) && x.view().Ingress() == nil {
		return api.Errorf(api.CodeUnavailable, "service needs ingress network, but no ingress network is present: make one with `swarmctl network create --driver overlay --ingress %s`, or publish in mode host", api.IngressNetwork)
	}
	if p.PublishedPort == 0 {
		return nil // the cluster chooses, or the engine
	}
	for other := range x.view().publishers(protocolOf(p), p.PublishedPort) {
		if s := x.view().Service(other.service); s != nil && (other.ingress || isIngress(p)) {
			return api.Errorf(api.CodeInvalid, "port '%d' is already in use by service '%s' (%s) as %s port: publish another one, or none to have one chosen, or take it from that service first (--publish-rm)",
				p.PublishedPort, s.Name(), s.ID, map[bool]string{true: "an ingress", false: "a host-published"}[other.ingress])
		}
	}
	return nil
}

// choosePort gives a port the lowest number that no service publishes.
func (x *tx) choosePort(p *swarm.PortConfig) error {
	for port := uint32(firstAutoPort); port <= lastAutoPort; port++ {
		free := true
		for range x.view().publishers(protocolOf(*p), port) {
			free = false
			break
		}
		if free {
			p.PublishedPort = port
			return nil
		}
	}
	return api.Errorf(api.CodeUnavailable, "no %s port is left between %d and %d for target port %d: say which one to publish (--publish published=PORT,target=%[4]d)",
		protocolOf(*p), firstAutoPort, lastAutoPort, p.TargetPort)
}
