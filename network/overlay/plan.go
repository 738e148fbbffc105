package overlay

import (
	"net/netip"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/shortcut"
)

// mac is a hardware address that can be compared.
type mac = shortcut.MAC

// segment is what the kernel should have for one network.
type segment struct {
	id       api.NetworkID
	name     string
	gateways []netip.Prefix // this host's addresses in it, with the length of the subnet
	hardware mac            // of the bridge; zero where this host has no address yet
	vni      uint32
	local    netip.Addr // of this host, on the hosts' own network
	mtu      int
	ingress  bool
	// stations says where frames for others go: the host of each endpoint, and
	// each host for its own gateway.
	stations map[mac]netip.Addr
	// neighbours are whom questions for addresses are answered for.
	neighbours map[netip.Addr]mac
}

// plan is what the kernel of a host should have for the networks it needs.
// room is the largest packet that the other hosts can be sent.
//
// A network has one VXLAN device, whatever its subnets are: its bridge is one
// segment, and both IPv4 and IPv6 are in the same frames. The identifier is that
// of its first subnet; those of the others stay unused.
func plan(set *fabric.Set, need map[api.NetworkID]bool, self api.NodeID, room int) map[api.NetworkID]*segment {
	out := map[api.NetworkID]*segment{}
	host := set.Hosts[self]
	if host == nil {
		return out
	}
	for id := range need {
		if n := set.Networks[id]; n != nil && len(n.Subnets) > 0 {
			out[id] = newSegment(n, host, room)
		}
	}
	for _, h := range set.Hosts {
		if h.ID != self {
			add(out, h.Gateways, h.Addr)
		}
	}
	for _, e := range set.Endpoints {
		if h := set.Hosts[e.Node]; h != nil && h.ID != self {
			add(out, e.Networks, h.Addr)
		}
	}
	return out
}

func newSegment(n *fabric.Network, host *fabric.Host, room int) *segment {
	s := &segment{
		id: n.ID, name: n.Name, vni: n.Subnets[0].VXLAN, local: host.Addr, mtu: mtu(n, host.Addr, room), ingress: n.Ingress,
		stations: map[mac]netip.Addr{}, neighbours: map[netip.Addr]mac{},
	}
	at := fabric.In(host.Gateways, n.ID)
	if at == nil {
		return s
	}
	s.hardware, _ = hardware(at.Addrs)
	for _, a := range at.Addrs {
		for _, sub := range n.Subnets {
			if sub.Prefix.Contains(a) {
				s.gateways = append(s.gateways, netip.PrefixFrom(a, sub.Prefix.Bits()))
			}
		}
	}
	return s
}

// add makes a station known in the networks that it is on and that are needed
// here. One without an IPv4 address has no hardware address that all would know.
func add(to map[api.NetworkID]*segment, networks []api.Attachment, at netip.Addr) {
	for _, a := range networks {
		s := to[a.Network]
		hw, ok := hardware(a.Addrs)
		if s == nil || !ok || at == s.local || at.Is4() != s.local.Is4() || !at.IsValid() {
			continue
		}
		s.stations[hw] = at
		for _, addr := range a.Addrs {
			s.neighbours[addr] = hw
		}
	}
}

// hardware is the hardware address that belongs to an attachment's IPv4 address.
func hardware(addrs []netip.Addr) (mac, bool) {
	for _, a := range addrs {
		if a.Is4() {
			return fabric.MAC(a), true
		}
	}
	return mac{}, false
}

// What VXLAN puts around a frame: the outer IP header, UDP, VXLAN, and the
// Ethernet header of the frame itself.
const (
	overhead4 = 20 + 8 + 8 + 14
	overhead6 = 40 + 8 + 8 + 14
)

// smallest is the least MTU a network can have: IPv4's, and IPv6's where it has that.
func smallest(n *fabric.Network) int {
	for _, s := range n.Subnets {
		if s.Prefix.Addr().Is6() {
			return 1280
		}
	}
	return 576
}

// mtu is the largest packet between containers of a network: what the hosts'
// network leaves room for, or less where the network's option says so. The option
// cannot raise it: the packets would get lost.
func mtu(n *fabric.Network, underlay netip.Addr, room int) int {
	m := room - overhead4
	if underlay.Is6() {
		m = room - overhead6
	}
	if n.MTU > 0 {
		m = min(m, n.MTU)
	}
	return max(m, smallest(n))
}
