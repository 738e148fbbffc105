package dns

import (
	"net/netip"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// table is what questions are answered from. It never changes.
type table struct {
	self     api.NodeID
	networks map[api.NetworkID]*fabric.Network
	// gateways are this node's own addresses in the networks: which of them a
	// question came to says which network it came from.
	gateways map[netip.Addr]api.NetworkID
	names    *book[key, *record]
	holders  *book[place, holder]
}

// place is an address in a network.
type place struct {
	network api.NetworkID
	addr    netip.Addr
}

// holder is who has an address.
type holder struct {
	owner    string           // the ID of the service or endpoint
	name     string           // for reverse lookups
	endpoint *fabric.Endpoint // nil: it is a virtual address
}

// asker is who asks a question.
type asker struct {
	// networks are those that names are looked up in: the one that the question
	// came from first, the others of the endpoint after it. The ingress network,
	// which joins what has nothing to do with each other, comes last.
	networks []*fabric.Network
	// own: it is on this node.
	own bool
	// forward: it may ask for names of the world outside. Where it may not,
	// refusal is what it is told.
	forward bool
	refusal int
}

// asker finds out who asked, from the address that it asked and its own.
func (t *table) asker(asked, from netip.Addr) asker {
	network := t.networks[t.gateways[asked]]
	if network != nil && network.Ingress && !network.Contains(from) {
		network = t.networkOf(from)
	}
	if network == nil || !network.Contains(from) {
		return asker{refusal: mdns.RcodeRefused}
	}
	if from == asked {
		// The host itself, by hand. Its own resolver may pass on to us what it does
		// not know, so nothing is passed back to it.
		return asker{networks: []*fabric.Network{network}, refusal: mdns.RcodeRefused}
	}
	h, _ := t.holders.get(place{network.ID, from})
	if h.endpoint == nil {
		// A container that the cluster has no part in: names of the cluster are not for it.
		return asker{forward: !network.Internal, refusal: mdns.RcodeServerFailure}
	}
	networks := t.networksOf(h.endpoint, network)
	return asker{
		networks: networks, own: h.endpoint.Node == t.self,
		forward: wayOut(networks), refusal: mdns.RcodeServerFailure,
	}
}

// networkOf is the network of this node that an address is of. In the ingress
// network this node answers whoever it can tell: its address there lasts, and
// is what containers keep that change their networks.
func (t *table) networkOf(a netip.Addr) *fabric.Network {
	for _, id := range t.gateways {
		if n := t.networks[id]; n != nil && n.Contains(a) {
			return n
		}
	}
	return nil
}

func (t *table) networksOf(e *fabric.Endpoint, asked *fabric.Network) []*fabric.Network {
	out := make([]*fabric.Network, 0, len(e.Networks))
	for _, in := range e.Networks {
		if n := t.networks[in.Network]; n != nil {
			out = append(out, n)
		}
	}
	return inOrder(out, asked)
}

// inOrder sorts networks as names are looked up in them.
func inOrder(list []*fabric.Network, asked *fabric.Network) []*fabric.Network {
	turn := func(n *fabric.Network) int {
		switch {
		case n.Ingress:
			return 2
		case n == asked:
			return 0
		}
		return 1
	}
	slices.SortStableFunc(list, func(a, b *fabric.Network) int { return turn(a) - turn(b) })
	return list
}

// wayOut reports whether what is in these networks may ask for names outside,
// as in Docker: not from internal networks alone, for a name can carry data
// out. There it is told of a failure, not that there is no such name.
// The ingress network, which every service with a published port is in, is no
// way out of an internal one.
func wayOut(networks []*fabric.Network) bool {
	internal := slices.ContainsFunc(networks, func(n *fabric.Network) bool { return n.Internal })
	return !internal || slices.ContainsFunc(networks, func(n *fabric.Network) bool { return !n.Internal && !n.Ingress })
}

// lookup finds a name in the first of the networks that has it. NAME.NETWORK is
// the name in that network alone.
func (t *table) lookup(networks []*fabric.Network, name string) (*fabric.Network, *record) {
	for _, n := range networks {
		if r, ok := t.names.get(key{n.ID, name}); ok {
			return n, r
		}
	}
	for _, n := range networks {
		if short, ok := strings.CutSuffix(name, "."+strings.ToLower(n.Name)); ok {
			if r, ok := t.names.get(key{n.ID, short}); ok {
				return n, r
			}
		}
	}
	return nil, nil
}

// reverse is the name of who has an address in one of the networks, followed
// by the network's. Where it is in a network's range and nobody has it, known is
// true all the same: nobody else could know better.
func (t *table) reverse(networks []*fabric.Network, addr netip.Addr) (name string, known bool) {
	for _, n := range networks {
		if !n.Contains(addr) {
			continue
		}
		if h, ok := t.holders.get(place{n.ID, addr}); ok {
			return h.name + "." + n.Name, true
		}
		known = true
	}
	return "", known
}
