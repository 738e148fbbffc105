package balance

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/nft"
)

// plan is what all containers of this node have to agree with, each as far as
// its networks go. It never changes; what is the same in two plans that follow
// one another is the same pointer, so that agreeing costs what has changed.
type plan struct {
	networks map[api.NetworkID]*network
	ways     *ways // nil without an ingress network
}

// network is the virtual addresses of one network.
type network struct{ v4, v6 nft.Targets }

func (n *network) of(v6 bool) nft.Targets {
	switch {
	case n == nil:
		return nil
	case v6:
		return n.v6
	}
	return n.v4
}

// ways are how replies to clients outside go back: to the gateway of the host
// that the client called, which is known by its hardware address.
type ways struct {
	network  api.NetworkID
	prefixes []netip.Prefix
	self     []netip.Addr // this host's gateway
	hosts    []host       // by number
}

// host is a way back.
type host struct {
	number   uint32
	mac      [6]byte
	gateways [2]netip.Addr // IPv4, and IPv6 where there is one
}

// mark is that of connections which came by the host, and the number of the
// routing table that leads back to it.
func (h host) mark() uint32 { return markBase | h.number }

// newPlan decides what to agree with, from what was decided before.
func newPlan(old *plan, set *fabric.Set, suspect func(api.NodeID) bool, self api.NodeID) *plan {
	p := &plan{networks: map[api.NetworkID]*network{}}
	serving := nft.Serving(set, suspect)
	for _, s := range set.Services {
		for _, vip := range s.VIPs {
			if n := set.Networks[vip.Network]; n == nil || n.Ingress {
				continue // published ports are answered by the hosts
			}
			p.add(vip, s, serving[s.ID])
		}
	}
	p.ways = newWays(set, self)
	p.keep(old)
	return p
}

func (p *plan) add(vip api.Attachment, s *fabric.Service, serving []*fabric.Endpoint) {
	n := p.networks[vip.Network]
	if n == nil {
		n = &network{v4: nft.Targets{}, v6: nft.Targets{}}
		p.networks[vip.Network] = n
	}
	for _, a := range vip.Addrs {
		key := string(a.AsSlice())
		n.of(a.Is6())[key] = &nft.Target{
			Key: key, Chain: chainOf(a), Comment: s.Name,
			To: nft.Addresses(serving, vip.Network, a.Is6()),
		}
	}
}

// chainOf is the name of an address's chain. nft takes no colons in names.
func chainOf(a netip.Addr) string { return "vip-" + strings.ReplaceAll(a.String(), ":", "-") }

// keep takes over from the old plan what is the same.
func (p *plan) keep(old *plan) {
	if old == nil {
		return
	}
	for id, n := range p.networks {
		if o := old.networks[id]; o != nil && same(o.v4, n.v4) && same(o.v6, n.v6) {
			p.networks[id] = o
		}
	}
	if p.ways.equal(old.ways) {
		p.ways = old.ways
	}
}

// same reports whether two maps of targets are equal; equal targets become the old ones.
func same(old, now nft.Targets) bool {
	all := len(old) == len(now)
	for key, n := range now {
		if o := old[key]; o != nil && o.Equal(n) {
			now[key] = o
		} else {
			all = false
		}
	}
	return all
}

// receivers are those who are sent connections, and in which network.
func (p *plan) receivers() map[netip.Addr]api.NetworkID {
	out := map[netip.Addr]api.NetworkID{}
	for id, n := range p.networks {
		for _, targets := range []nft.Targets{n.v4, n.v6} {
			for _, t := range targets {
				for _, a := range t.To {
					out[a] = id
				}
			}
		}
	}
	return out
}

// losing are the receivers that a virtual address sends connections to no more.
func (p *plan) losing(now *plan) map[netip.Addr]api.NetworkID {
	out := map[netip.Addr]api.NetworkID{}
	if p == nil {
		return out
	}
	for id, n := range p.networks {
		for _, v6 := range []bool{false, true} {
			next := now.networks[id].of(v6)
			for key, t := range n.of(v6) {
				to := next[key]
				if to == t {
					continue
				}
				for _, a := range t.To {
					if to == nil || !slices.Contains(to.To, a) {
						out[a] = id
					}
				}
			}
		}
	}
	return out
}

func newWays(set *fabric.Set, self api.NodeID) *ways {
	n := nft.Ingress(set)
	if n == nil {
		return nil
	}
	w := &ways{network: n.ID}
	for _, s := range n.Subnets {
		w.prefixes = append(w.prefixes, s.Prefix)
	}
	for _, h := range set.Hosts {
		at := fabric.In(h.Gateways, n.ID)
		if at == nil || h.Number > maxNumber {
			continue
		}
		v4 := nft.Of(at.Addrs, false)
		if !v4.IsValid() {
			continue // hardware addresses are derived from IPv4 addresses
		}
		w.hosts = append(w.hosts, host{h.Number, fabric.MAC(v4), [2]netip.Addr{v4, nft.Of(at.Addrs, true)}})
		if h.ID == self {
			w.self = at.Addrs
		}
	}
	slices.SortFunc(w.hosts, func(a, b host) int { return cmp.Compare(a.number, b.number) })
	return w
}

func (w *ways) equal(o *ways) bool {
	if w == nil || o == nil {
		return w == o
	}
	return w.network == o.network && slices.Equal(w.prefixes, o.prefixes) && slices.Equal(w.self, o.self) && slices.Equal(w.hosts, o.hosts)
}

// prefix is the network's subnet of a family, or none.
func (w *ways) prefix(v6 bool) netip.Prefix {
	for _, p := range w.prefixes {
		if p.Addr().Is6() == v6 {
			return p
		}
	}
	return netip.Prefix{}
}

// view is the part of a plan that concerns a container.
type view struct {
	networks []*network
	ways     *ways
}

// of is the view of a container with these attachments.
func (p *plan) of(list []api.Attachment) view {
	v := view{networks: make([]*network, len(list))}
	for i, at := range list {
		v.networks[i] = p.networks[at.Network]
		if p.ways != nil && at.Network == p.ways.network {
			v.ways = p.ways
		}
	}
	return v
}
