package ingress

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/nft"
)

// plan is what the host has to answer. It never changes.
type plan struct {
	node     string       // as operators call it
	bridge   string       // of the ingress network
	vxlan    string       // its way to other hosts
	far      []netip.Addr // of it, on other hosts
	gateways [2]netip.Addr
	subnets  [2][]netip.Prefix // not answered: all networks of the cluster, IPv4 and IPv6
	ports    []port
}

// place is where clients connect to.
type place struct {
	protocol string
	number   uint16
	ip       netip.Addr // invalid: every address of the host
}

func (p place) String() string {
	if p.ip.IsValid() {
		return fmt.Sprintf("%s/%s", netip.AddrPortFrom(p.ip, p.number), p.protocol)
	}
	return fmt.Sprintf("%d/%s", p.number, p.protocol)
}

// port is a published port, and who answers it.
type port struct {
	place
	service string
	target  uint16
	to      [2][]netip.Addr
}

// numbers are those of the protocols that can be published.
var numbers = map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}

// newPlan decides what this host has to answer; nil where it has no part in
// an ingress network.
func newPlan(set *fabric.Set, suspect func(api.NodeID) bool, self api.NodeID) *plan {
	n, host := nft.Ingress(set), set.Hosts[self]
	if n == nil || host == nil {
		return nil
	}
	at := fabric.In(host.Gateways, n.ID)
	if at == nil {
		return nil
	}
	p := &plan{
		node: host.Hostname, bridge: fabric.BridgeName(n.ID), vxlan: fabric.VXLANName(n.ID), far: far(set, n.ID, self),
		gateways: [2]netip.Addr{nft.Of(at.Addrs, false), nft.Of(at.Addrs, true)},
		subnets:  subnets(set),
	}
	serving := nft.Serving(set, suspect)
	for _, s := range sorted(set.Services) {
		for _, pub := range s.Ports {
			p.add(s, pub, n.ID, serving[s.ID])
		}
	}
	slices.SortFunc(p.ports, func(a, b port) int {
		return cmp.Or(cmp.Compare(a.number, b.number), strings.Compare(a.protocol, b.protocol), a.ip.Compare(b.ip))
	})
	return p
}

// far are the addresses in a network of the endpoints of other hosts, whether they serve
// or not: connections that they have stay until they are gone.
func far(set *fabric.Set, network api.NetworkID, self api.NodeID) (list []netip.Addr) {
	for _, e := range set.Endpoints {
		if at := fabric.In(e.Networks, network); at != nil && e.Node != self {
			list = append(list, at.Addrs...)
		}
	}
	return list
}

// sorted makes the older service win where two publish the same port, which
// the cluster does not let happen.
func sorted(services map[api.ServiceID]*fabric.Service) []*fabric.Service {
	var list []*fabric.Service
	for _, s := range services {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *fabric.Service) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func (p *plan) add(s *fabric.Service, pub fabric.Port, network api.NetworkID, serving []*fabric.Endpoint) {
	at := place{pub.Protocol, pub.Published, pub.HostIP.Unmap()}
	if numbers[at.protocol] == 0 || slices.ContainsFunc(p.ports, func(o port) bool { return o.place == at }) {
		return
	}
	p.ports = append(p.ports, port{
		place: at, service: s.Name, target: pub.Target,
		to: [2][]netip.Addr{nft.Addresses(serving, network, false), nft.Addresses(serving, network, true)},
	})
}

// loopback6 is refused rather than answered: the kernel lets nothing with this
// address out of the host, and who tries localhost goes on to 127.0.0.1.
var loopback6 = netip.MustParsePrefix("::1/128")

func subnets(set *fabric.Set) [2][]netip.Prefix {
	out := [2][]netip.Prefix{nil, {loopback6}}
	for _, n := range set.Networks {
		for _, s := range n.Subnets {
			out[index(s.Prefix.Addr().Is6())] = append(out[index(s.Prefix.Addr().Is6())], s.Prefix.Masked())
		}
	}
	for i := range out {
		slices.SortFunc(out[i], netip.Prefix.Compare)
		// A set of ranges has none that overlap. Networks do not either; if they
		// did, this would not be the place to fail.
		out[i] = slices.CompactFunc(out[i], netip.Prefix.Overlaps)
	}
	return out
}

// tcp are the published ports that may have connections, and whether all that are for a
// port of the host can be let in unasked: nobody else answers it at any address.
func (p *plan) tcp(open bool, taken map[place]bool) map[uint16]bool {
	ports := map[uint16]bool{}
	for _, o := range p.ports {
		if o.protocol == "tcp" {
			others, known := ports[o.number]
			ports[o.number] = open && (others || !known) && !o.ip.IsValid() && !taken[o.place]
		}
	}
	return ports
}

// receivers are those who are sent connections. All are in the same network.
func (p *plan) receivers() map[netip.Addr]api.NetworkID {
	out := map[netip.Addr]api.NetworkID{}
	for _, o := range p.ports {
		for _, list := range o.to {
			for _, a := range list {
				out[a] = ""
			}
		}
	}
	return out
}

func index(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// targets are the ports of one family, but for those that somebody else has:
// those of all addresses, and those of one.
func (p *plan) targets(v6 bool, taken map[place]bool) (all, addressed nft.Targets) {
	all, addressed = nft.Targets{}, nft.Targets{}
	for _, o := range p.ports {
		if taken[o.place] || o.ip.IsValid() && o.ip.Is6() != v6 {
			continue
		}
		t := &nft.Target{Key: o.key(), Chain: o.chain(), Comment: o.service, To: o.to[index(v6)], Port: o.target}
		if o.ip.IsValid() {
			addressed[t.Key] = t
		} else {
			all[t.Key] = t
		}
	}
	return all, addressed
}

// key is how maps have the place: every part fills up registers of four bytes.
func (p place) key() string {
	key := p.ip.AsSlice()
	key = append(key, numbers[p.protocol], 0, 0, 0)
	key = binary.BigEndian.AppendUint16(key, p.number)
	return string(append(key, 0, 0))
}

func (p place) chain() string {
	name := fmt.Sprintf("%s-%d", p.protocol, p.number)
	if p.ip.IsValid() {
		name += "-" + strings.ReplaceAll(p.ip.String(), ":", "-")
	}
	return name
}
