package state

import (
	"iter"
	"net/netip"
	"slices"

	"github.com/swarmctl/swarmctl/api"
)

// lease is an address that is in use. Leases are derived from what tasks,
// nodes, services and attached containers say that they have: no snapshot
// holds them.
type lease struct {
	network api.NetworkID
	addr    netip.Addr
	holder
}

// holder is whose an address is: a task or an attached container on a node, a
// service, or, where neither is set, the node itself.
type holder struct {
	task     api.TaskID
	attached string
	node     api.NodeID
	service  api.ServiceID
}

// leaseKey orders the addresses of a network by their number.
func leaseKey(id api.NetworkID, a netip.Addr) []byte {
	b := a.As16()
	return append(key(id), b[:]...)
}

func placeKey(node api.NodeID, network api.NetworkID) []byte {
	return append(key(node), key(network)...)
}

// placeOf is the node and the network where something runs: what the node's
// gateway there is for.
func (l *lease) placeOf() []byte {
	if l.task == "" && l.attached == "" {
		return nil
	}
	return placeKey(l.node, l.network)
}

func (v *View) lease(id api.NetworkID, a netip.Addr) *lease {
	return first[lease](v, tableLeases, byID, leaseKey(id, a))
}

// leases yields those of a network in the order of their addresses.
func (v *View) leases(id api.NetworkID) iter.Seq[*lease] {
	return where[lease](v, tableLeases, byID+"_prefix", key(id))
}

// grant gives the holder an address of every family that the network has and
// that it has none of yet. The caller has seen that there is room.
func (x *tx) grant(id api.NetworkID, h holder, have ...netip.Addr) api.Attachment {
	a := api.Attachment{Network: id, Addrs: have}
	s := x.space(id)
	for _, is4 := range []bool{true, false} {
		if slices.ContainsFunc(have, func(a netip.Addr) bool { return a.Is4() == is4 }) {
			continue
		}
		if addr, ok := x.choose(s, is4); ok {
			x.take(s, addr, h)
			a.Addrs = append(a.Addrs, addr)
		}
	}
	return a
}

// choose finds a free address in the first subnet of a family that has one,
// and moves the place where the search goes on.
func (x *tx) choose(s *space, is4 bool) (netip.Addr, bool) {
	for i := range s.spans {
		sp := &s.spans[i]
		if sp.is4() != is4 || s.used[i] >= sp.size() {
			continue
		}
		from := sp.first
		if sp.within(s.Last[i]) && s.Last[i] != sp.last {
			from = s.Last[i].Next()
		}
		a, ok := x.firstFree(s.Network, sp, from)
		if !ok {
			a, ok = x.firstFree(s.Network, sp, sp.first)
		}
		if ok {
			s.Last[i] = a
			return a, true
		}
	}
	return netip.Addr{}, false
}

// firstFree is the first address, from one on, that nobody has. It walks along
// the leases, which come in the order of their addresses.
func (x *tx) firstFree(id api.NetworkID, sp *span, from netip.Addr) (netip.Addr, bool) {
	it, err := x.txn.LowerBound(tableLeases, byID, leaseKey(id, from))
	if err != nil {
		panic(err) // a wrong table name or index: a contradiction in this package
	}
	next, _ := it.Next().(*lease)
	for a := from; a.IsValid() && !sp.last.Less(a); a = a.Next() {
		switch {
		case next != nil && next.network == id && next.addr == a:
			next, _ = it.Next().(*lease)
		case a != sp.gateway:
			return a, true
		}
	}
	return netip.Addr{}, false
}

// take makes an address the holder's.
func (x *tx) take(s *space, a netip.Addr, h holder) {
	x.put(tableLeases, &lease{network: s.Network, addr: a, holder: h})
	if i := s.spanOf(a); i >= 0 {
		s.used[i]++
	}
}

// giveBack ends the leases of what the holder had. Those in a network that is
// gone went with it.
func (x *tx) giveBack(list []api.Attachment, h holder) {
	for _, a := range list {
		s := x.space(a.Network)
		if s == nil {
			continue
		}
		for _, addr := range a.Addrs {
			l := x.view().lease(a.Network, addr)
			if l == nil || l.holder != h {
				continue
			}
			x.deleteRow(tableLeases, l)
			if i := s.spanOf(addr); i >= 0 {
				s.used[i]--
			}
		}
	}
}

// has reports whether one of the attachments is to the network.
func has(list []api.Attachment, id api.NetworkID) bool {
	return slices.ContainsFunc(list, func(a api.Attachment) bool { return a.Network == id })
}

// deriveLeases makes the leases of a state that comes from a snapshot.
func (x *tx) deriveLeases() {
	v := x.view()
	for n := range v.Networks() {
		s := newSpace(n)
		if old := v.space(n.ID); old != nil && len(old.Last) == len(s.Last) {
			s.Last = slices.Clone(old.Last)
		}
		x.spaces[n.ID] = s
	}
	for t := range v.Tasks() {
		x.derive(t.Networks, holder{task: t.ID, node: t.NodeID})
	}
	for c := range v.AttachedContainers() {
		x.derive(c.Networks, holder{attached: c.ID, node: c.NodeID})
	}
	for n := range v.Nodes() {
		x.derive(n.Gateways, holder{node: n.ID})
	}
	for s := range v.Services() {
		x.derive(s.Endpoint.VIPs, holder{service: s.ID})
		x.publish(s.ID, s.Endpoint.Ports)
	}
}

func (x *tx) derive(list []api.Attachment, h holder) {
	for _, a := range list {
		s := x.spaces[a.Network]
		if s == nil {
			continue
		}
		for _, addr := range a.Addrs {
			x.take(s, addr, h)
		}
	}
}
