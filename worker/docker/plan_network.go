package docker

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/versions"

	"github.com/swarmctl/swarmctl/api"
)

// Networking is how a container is on networks of the cluster.
type Networking struct {
	// Networks are its networks on this engine. The first is the one that it is
	// made in; it is on the others too before it starts.
	Networks []EndpointPlan
	// DNS are the servers that know the cluster's names. They come before those
	// of the container's own spec: only they can answer for a service, and the
	// engine asks the next one where they do not answer at all.
	DNS []string
}

// EndpointPlan is a container's place in one network: the network's name on the
// engine, and the addresses that the cluster has given it. What has no MAC gets
// the engine's.
type EndpointPlan struct {
	Name  string
	Addrs []netip.Addr
	MAC   net.HardwareAddr
}

// oneNetwork is before which version of the API a container is made in one
// network alone, and is given no hardware address in any other: such an engine
// derives those from IPv4 addresses, as the cluster does.
const oneNetwork = "1.44"

// join puts a container on its networks.
func (p *Plan) join(r *Request) error {
	mode, err := networkMode(r)
	if err != nil {
		return err
	}
	p.HostConfig.NetworkMode = mode
	if mode.IsContainer() { // whose names and resolvers are that container's: an engine refuses others
		p.Config.Hostname, p.HostConfig.ExtraHosts = "", nil
		p.HostConfig.DNS, p.HostConfig.DNSSearch, p.HostConfig.DNSOptions = nil, nil, nil
		return nil
	}
	list := r.Networking.Networks
	if len(list) == 0 {
		return nil
	}
	p.HostConfig.DNS = slices.Concat(r.Networking.DNS, p.HostConfig.DNS)
	p.Networking = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{string(mode): {}}}
	for i := range list {
		p.Networking.EndpointsConfig[list[i].Name] = list[i].settings()
	}
	if mode == container.NetworkMode(list[0].Name) {
		p.Config.MacAddress = list[0].MAC.String() //nolint:staticcheck // for engines before API 1.44; the client leaves it out for others
	}
	return nil
}

func (e *EndpointPlan) settings() *network.EndpointSettings {
	s := &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{}, MacAddress: e.MAC.String()}
	for _, a := range e.Addrs {
		if a.Is4() {
			s.IPAMConfig.IPv4Address = a.String()
		} else {
			s.IPAMConfig.IPv6Address = a.String()
		}
	}
	return s
}

// networkMode is the network that a container is made in: another container's,
// one of the engine's own by name, the first of the cluster's, or the engine's default bridge.
func networkMode(r *Request) (container.NetworkMode, error) {
	own, list := enginesOwn(r), r.Networking.Networks
	switch {
	case r.Task.PodOf != "" && (r.Pod == "" || len(own)+len(list) > 0):
		return "", api.Errorf(api.CodeInvalid, "a sidecar is in the network namespace of the task that it lives with, task %s, and in no network of its own", r.Task.PodOf)
	case r.Task.PodOf != "":
		return container.NetworkMode("container:" + r.Pod), nil
	case len(own) == 0 && len(list) == 0:
		return "", nil
	case len(own) == 0:
		return container.NetworkMode(list[0].Name), nil
	case len(own) > 1 || !slices.Contains([]string{network.NetworkHost, network.NetworkNone, network.NetworkBridge}, own[0]):
		return "", api.Errorf(api.CodeUnsupported, "network %q: the task has no address in a network of the cluster of that name, and of the engine's own it can use only one of host, none and bridge", own[len(own)-1])
	case len(list) > 0 && own[0] != network.NetworkBridge:
		return "", api.Errorf(api.CodeInvalid, "network %q: a task in it cannot be in network %q of the cluster too: leave one of them out", own[0], list[0].Name)
	}
	return container.NetworkMode(own[0]), nil
}

// enginesOwn are the networks of a spec that the task has no address of the cluster in.
func enginesOwn(r *Request) (own []string) {
	for _, n := range r.Spec.TaskTemplate.Networks {
		ours := slices.ContainsFunc(r.Task.Networks, func(a api.Attachment) bool { return string(a.Network) == n.Target }) ||
			slices.ContainsFunc(r.Networking.Networks, func(e EndpointPlan) bool { return e.Name == n.Target })
		if !ours {
			own = append(own, n.Target)
		}
	}
	return own
}

// connection is a network that a container is connected to after it was made.
type connection struct {
	network  string
	settings *network.EndpointSettings
}

// forVersion is what an engine of that API is told of a container's networks
// with the request to make it, and what is left to say after that.
func (p *Plan) forVersion(version string) (first *network.NetworkingConfig, rest []connection) {
	if p.Networking == nil || !versions.LessThan(version, oneNetwork) {
		return p.Networking, nil
	}
	first = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{}}
	for _, name := range slices.Sorted(maps.Keys(p.Networking.EndpointsConfig)) {
		s := *p.Networking.EndpointsConfig[name]
		s.MacAddress = ""
		if name == string(p.HostConfig.NetworkMode) {
			first.EndpointsConfig[name] = &s
		} else {
			rest = append(rest, connection{name, &s})
		}
	}
	return first, rest
}

// noNetwork tells the engine's word that a network does not exist: somebody has
// removed it, `docker network prune` for one, which does not count a container
// that has not started.
func noNetwork(err error) bool {
	s := plain(err)
	return strings.HasPrefix(s, "network ") && strings.Contains(s, "not found") || strings.Contains(s, "No such network")
}
