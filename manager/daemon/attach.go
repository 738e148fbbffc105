package daemon

import (
	"context"
	"net/netip"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
	"github.com/swarmctl/swarmctl/network/agent"
	"github.com/swarmctl/swarmctl/network/dns"
)

// containerNetworks is the network agent, as far as the containers of users
// need it, and those who ask how they are reached.
type containerNetworks interface {
	Networks() []*fabric.Network
	Lasting() (resolver netip.Addr, ok bool)
	Prepare(ctx context.Context, id string, networks []api.Attachment) (agent.Networking, error)
	Asks(id string, servers []netip.Addr)
	Attach(ctx context.Context, id string, pid int, networks []api.Attachment) error
	Detach(id string)
	Look(q *api.TraceRequest) []api.TraceStep
}

// serveContainers lets users put containers into the cluster's networks, and
// follows those that are there, for as long as the agent runs.
func (m *member) serveContainers(ctx context.Context, n containerNetworks) {
	m.containers.Store(&n)
	defer m.containers.Store(nil)
	m.d.api.KeepAttachments(ctx)
}

// networksFacade is this node's networks, of whatever membership there is, for
// the API.
type networksFacade struct{ d *Daemon }

var errNoNetworks = api.Errorf(api.CodeUnavailable, "this node's part of the cluster's networks does not run yet: `swarmctl info` says why, if it is more than a moment")

func (f networksFacade) networks() containerNetworks {
	if m := f.d.current(); m != nil {
		if n := m.containers.Load(); n != nil {
			return *n
		}
	}
	return nil
}

// Known implements dockerapi.Networks.
func (f networksFacade) Known() []*fabric.Network {
	if n := f.networks(); n != nil {
		return n.Networks()
	}
	return nil
}

// Prepare implements dockerapi.Networks.
func (f networksFacade) Prepare(ctx context.Context, id string, networks []api.Attachment) (out dockerapi.Networking, err error) {
	n := f.networks()
	if n == nil {
		return out, errNoNetworks
	}
	plan, err := n.Prepare(ctx, id, networks)
	if err != nil {
		return out, err
	}
	// A container keeps its servers for life, and may leave this network for another.
	if lasting, ok := n.Lasting(); ok {
		out.DNS = append(out.DNS, lasting)
	}
	out.DNS = append(out.DNS, plan.DNS...)
	for i, e := range plan.Networks {
		out.Networks = append(out.Networks, dockerapi.Bridge{Network: networks[i].Network, Name: e.Name, Addrs: e.Addrs, MAC: e.MAC})
	}
	return out, nil
}

// Attach implements dockerapi.Networks.
func (f networksFacade) Attach(ctx context.Context, id string, pid int, networks []api.Attachment, servers []netip.Addr) error {
	n := f.networks()
	if n == nil {
		return errNoNetworks
	}
	if len(servers) == 0 {
		servers = dns.Given()
	}
	n.Asks(id, servers)
	return n.Attach(ctx, id, pid, networks)
}

// Detach implements dockerapi.Networks.
func (f networksFacade) Detach(id string) {
	if n := f.networks(); n != nil {
		n.Detach(id)
	}
}
