package overlay

import (
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/swarmctl/swarmctl/api/fabric"
)

// usualRoom is what Ethernet carries, for a host about whose own network the
// kernel tells nothing.
const usualRoom = 1500

// mostRoom is the largest IP packet; the loopback interface claims more.
const mostRoom = 65535

// room is the largest packet that reaches all other hosts: the least MTU of the
// routes towards them, of the interfaces these use and of the one that has this
// host's own address. The kernel is asked where the hosts are others than the
// last time.
func (o *Overlay) room(set *fabric.Set) int {
	hosts := make([]netip.Addr, 0, len(set.Hosts))
	for _, h := range set.Hosts {
		if h.ID != o.cfg.Self && h.Addr.IsValid() {
			hosts = append(hosts, h.Addr)
		}
	}
	slices.SortFunc(hosts, netip.Addr.Compare)
	if self := set.Hosts[o.cfg.Self]; self != nil && self.Addr.IsValid() {
		hosts = append(hosts, self.Addr) // the last
	}
	o.mu.Lock()
	u := o.underlay
	o.mu.Unlock()
	if u.links != nil && slices.Equal(u.hosts, hosts) {
		return u.room
	}
	u = o.survey(hosts)
	o.mu.Lock()
	o.underlay = u
	o.mu.Unlock()
	return u.room
}

// survey asks the kernel for the way to each of the hosts. One that cannot be
// reached now says nothing; it is asked for again when the hosts change, and
// every time that everything is looked at.
func (o *Overlay) survey(hosts []netip.Addr) underlay {
	u := underlay{hosts: hosts, links: map[int]int{}}
	for _, h := range hosts {
		routes, err := o.host.RouteGet(h.AsSlice())
		if err != nil || len(routes) == 0 {
			continue
		}
		u.consider(routes[0].MTU)
		if routes[0].Type != unicast {
			o.own(&u, h)
			continue
		}
		o.through(&u, routes[0].LinkIndex)
	}
	if u.room == 0 {
		u.room = usualRoom
	}
	return u
}

// unicast is the type of a route that leaves this host.
const unicast = 1

// own considers the interface that has an address of this host.
func (o *Overlay) own(u *underlay, a netip.Addr) {
	family := netlink.FAMILY_V4
	if a.Is6() {
		family = netlink.FAMILY_V6
	}
	list, err := o.host.AddrList(nil, family)
	if err != nil {
		return
	}
	for _, at := range list {
		if has, ok := netip.AddrFromSlice(at.IP); ok && has.Unmap() == a {
			o.through(u, at.LinkIndex)
		}
	}
}

func (o *Overlay) through(u *underlay, index int) {
	if _, ok := u.links[index]; ok {
		return
	}
	if link, err := o.host.LinkByIndex(index); err == nil {
		u.links[index] = link.Attrs().MTU
		u.consider(link.Attrs().MTU)
	}
}

// consider lowers the room where an MTU is less; 0 is none.
func (u *underlay) consider(mtu int) {
	if mtu = min(mtu, mostRoom); mtu > 0 && (u.room == 0 || mtu < u.room) {
		u.room = mtu
	}
}
