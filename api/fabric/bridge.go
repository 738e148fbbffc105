package fabric

import (
	"net/netip"
	"slices"

	"github.com/swarmctl/swarmctl/api"
)

// Bridge is a host's part of a network: a plain bridge network of its engine,
// which gives containers their interfaces.
type Bridge struct {
	ID        string // the engine's for it
	Cluster   string
	Network   api.NetworkID
	Name      string // the network's, on the engine as in the cluster
	Interface string // of the host
	Subnets   []BridgeSubnet
	MTU       int  // 0: the engine's own
	Internal  bool // no way out of it
}

// BridgeSubnet is one range of a bridge's addresses, with the host's own in it.
type BridgeSubnet struct {
	Prefix  netip.Prefix
	Gateway netip.Addr
}

// SameAs reports whether a bridge will do for another one. Its MTU can be
// changed on its interfaces: no container has to leave for it.
func (b *Bridge) SameAs(o *Bridge) bool {
	return b.Name == o.Name && b.Interface == o.Interface && b.Internal == o.Internal &&
		len(b.Subnets) == len(o.Subnets) &&
		!slices.ContainsFunc(o.Subnets, func(s BridgeSubnet) bool { return !slices.Contains(b.Subnets, s) })
}
