package nft

import (
	"net/netip"
	"slices"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// Serving is who takes connections for each service: its serving endpoints on
// hosts that nobody doubts. Where no such host is left, a doubted one is better
// than none.
func Serving(set *fabric.Set, suspect func(api.NodeID) bool) map[api.ServiceID][]*fabric.Endpoint {
	sure := make(map[api.ServiceID][]*fabric.Endpoint, len(set.Services))
	doubted := map[api.ServiceID][]*fabric.Endpoint{}
	for _, e := range set.Endpoints {
		if e.State != fabric.Serving || e.Service == "" {
			continue
		}
		if host := set.Hosts[e.Node]; host != nil && host.Down || suspect != nil && suspect(e.Node) {
			doubted[e.Service] = append(doubted[e.Service], e)
			continue
		}
		sure[e.Service] = append(sure[e.Service], e)
	}
	for id, list := range doubted {
		if len(sure[id]) == 0 {
			sure[id] = list
		}
	}
	return sure
}

// Addresses are those of endpoints in a network, of one family, in order.
func Addresses(list []*fabric.Endpoint, network api.NetworkID, v6 bool) []netip.Addr {
	var out []netip.Addr
	for _, e := range list {
		if at := fabric.In(e.Networks, network); at != nil {
			if a := Of(at.Addrs, v6); a.IsValid() {
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// Of is the address of a family, or none.
func Of(addrs []netip.Addr, v6 bool) netip.Addr {
	for _, a := range addrs {
		if a.Is6() == v6 {
			return a
		}
	}
	return netip.Addr{}
}

// Ingress is the network of published ports, or nil.
func Ingress(set *fabric.Set) *fabric.Network {
	for _, n := range set.Networks {
		if n.Ingress {
			return n
		}
	}
	return nil
}
