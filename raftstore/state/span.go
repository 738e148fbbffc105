package state

import (
	"fmt"
	"math"
	"math/bits"
	"net/netip"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// span is what is handed out of one subnet: from first to last, both included,
// but not the gateway that the network was made with. That one is nobody's:
// every node has a gateway of its own.
type span struct {
	subnet      netip.Prefix
	first, last netip.Addr
	gateway     netip.Addr
}

// spansOf are the spans of a network, one a subnet. What does not parse is
// left out: no such network gets in.
func spansOf(n *api.Network) []span {
	spans := make([]span, 0, len(n.IPAM.Configs))
	for _, c := range n.IPAM.Configs {
		if s, ok := spanOf(c); ok {
			spans = append(spans, s)
		}
	}
	return spans
}

// spanOf leaves out the subnet's own address, and in IPv4 the one for all of
// its hosts; where there is a range for containers, all that is not in it.
func spanOf(c swarm.IPAMConfig) (span, bool) {
	subnet, err := netip.ParsePrefix(c.Subnet)
	if err != nil {
		return span{}, false
	}
	subnet = subnet.Masked()
	part := subnet
	if r, err := netip.ParsePrefix(c.Range); err == nil && r.Bits() >= subnet.Bits() && subnet.Contains(r.Addr()) {
		part = r.Masked()
	}
	s := span{subnet: subnet, first: part.Addr(), last: lastOf(part)}
	if s.first == subnet.Addr() {
		s.first = s.first.Next()
	}
	if s.last == lastOf(subnet) && subnet.Addr().Is4() {
		s.last = s.last.Prev()
	}
	if g, err := netip.ParseAddr(c.Gateway); err == nil && s.within(g) {
		s.gateway = g
	}
	return s, true
}

func (s *span) is4() bool { return s.subnet.Addr().Is4() }

// empty reports whether the subnet is too small for anybody.
func (s *span) empty() bool { return !s.first.IsValid() || !s.last.IsValid() || s.last.Less(s.first) }

// within reports whether an address lies between the ends. One with a zone is
// of one host alone.
func (s *span) within(a netip.Addr) bool {
	return !s.empty() && a.Zone() == "" && a.BitLen() == s.first.BitLen() && !a.Less(s.first) && !s.last.Less(a)
}

// has reports whether the address may be handed out.
func (s *span) has(a netip.Addr) bool { return s.within(a) && a != s.gateway }

// size is how many addresses there are to hand out, math.MaxInt where there are
// more than that.
func (s *span) size() int {
	if s.empty() {
		return 0
	}
	n := distance(s.first.As16(), s.last.As16())
	if n == math.MaxInt || s.gateway.IsValid() {
		return n
	}
	return n + 1
}

// distance is to minus from, and no more than an int holds.
func distance(from, to [16]byte) int {
	low, borrow := bits.Sub64(number(to[8:]), number(from[8:]), 0)
	high, _ := bits.Sub64(number(to[:8]), number(from[:8]), borrow)
	if high > 0 || low > math.MaxInt {
		return math.MaxInt
	}
	return int(low)
}

func number(b []byte) (n uint64) {
	for _, digit := range b {
		n = n<<8 | uint64(digit)
	}
	return n
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// String is the subnet and how many addresses are handed out of it.
func (s *span) String() string {
	if n := s.size(); n < math.MaxInt {
		return fmt.Sprintf("%s has %d", s.subnet, n)
	}
	return s.subnet.String()
}
