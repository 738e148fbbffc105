package agent

import (
	"net/netip"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// needed are the networks that this node must be part of: those of the
// endpoints that it has, those that its containers are on, and the one of
// published ports, which every node answers. A network that is gone is not among them.
func needed(set *fabric.Set, self api.NodeID, holds map[string][]api.Attachment) map[api.NetworkID]bool {
	need := map[api.NetworkID]bool{}
	want := func(list []api.Attachment) {
		for _, at := range list {
			if set.Networks[at.Network] != nil {
				need[at.Network] = true
			}
		}
	}
	for _, e := range set.Endpoints {
		if e.Node == self {
			want(e.Networks)
		}
	}
	for _, list := range holds {
		want(list)
	}
	for id, n := range set.Networks {
		if n.Ingress {
			need[id] = true
		}
	}
	return need
}

// gateways are the addresses of this node in the networks it needs: where
// its containers ask for names.
func gateways(set *fabric.Set, self api.NodeID, need map[api.NetworkID]bool) []netip.Addr {
	host := set.Hosts[self]
	if host == nil {
		return nil
	}
	var out []netip.Addr
	for _, at := range host.Gateways {
		if need[at.Network] {
			out = append(out, at.Addrs...)
		}
	}
	return out
}
