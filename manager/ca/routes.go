package ca

import (
	"net/netip"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// checkRoutes refuses a host that has a way of its own to addresses of the
// cluster's networks. As a node it would have two, and lose one of them: its
// local network, perhaps, and with it the cluster.
func checkRoutes(routes []netip.Prefix, v *state.View) error {
	for n := range v.Networks() {
		for _, c := range n.IPAM.Configs {
			subnet, err := netip.ParsePrefix(c.Subnet)
			if err != nil {
				continue // none such gets in
			}
			for _, r := range routes {
				if r.Overlaps(subnet) {
					return api.Errorf(api.CodeInvalid, "this host has a route to %s, and network %s of the cluster is %s: take the route away, or make the network anew with another --subnet (a cluster that is to be on many networks gets its own range with `init --default-addr-pool`)",
						r, n.Spec.Name, subnet)
				}
			}
		}
	}
	return nil
}
