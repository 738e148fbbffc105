package ipam

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/swarmctl/swarmctl/api"
)

// maxBits is the longest prefix a subnet may have: six addresses for
// containers, gateways and the service's own.
const maxBits = 29

// Pool is where subnets come from: ranges of addresses, cut into subnets of
// one size, which are taken in their order.
type Pool struct {
	ranges []netip.Prefix
	bits   int
}

// NewPool reads one or more ranges in CIDR notation and the length of a
// subnet's prefix. What is wrong with them is told in Docker's words.
func NewPool(ranges []string, bits uint32) (Pool, error) {
	p := Pool{bits: int(bits)}
	if bits > maxBits {
		return p, api.Errorf(api.CodeInvalid, "subnet size is out of range: %d: use %d or less", bits, maxBits)
	}
	for _, text := range ranges {
		r, err := netip.ParsePrefix(text)
		switch {
		case err != nil || !r.Addr().Is4():
			return p, api.Errorf(api.CodeInvalid, "invalid base pool %s: give IPv4 addresses in CIDR notation, as in 10.0.0.0/8", text)
		case r.Bits() > p.bits:
			return p, api.Errorf(api.CodeInvalid, "invalid CIDR: %q. Subnet size is too small for pool: %d: give a larger pool or a longer mask", text, bits)
		}
		if err := checkHosts(r); err != nil {
			return p, fmt.Errorf("invalid base pool: %w", err)
		}
		p.ranges = append(p.ranges, r.Masked())
	}
	return p, nil
}

// next returns the first subnet of the pool that overlaps with nothing taken.
// The very first one is left to the ingress network, as in Docker Swarm.
func (p Pool) next(ingress bool, taken []netip.Prefix) (netip.Prefix, error) {
	taken = slices.Clone(taken)
	if !ingress {
		taken = append(taken, netip.PrefixFrom(p.ranges[0].Addr(), p.bits))
	}
	slices.SortFunc(taken, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	for _, r := range p.ranges {
		if s, ok := firstFree(r, p.bits, taken); ok {
			return s, nil
		}
	}
	return netip.Prefix{}, api.Errorf(api.CodeUnavailable, "no address space is left for a network: every subnet of /%d in %s is taken; "+
		"give one with --subnet, or remove networks that nobody uses", p.bits, p)
}

// String returns the ranges.
func (p Pool) String() string {
	texts := make([]string, len(p.ranges))
	for i, r := range p.ranges {
		texts[i] = r.String()
	}
	return strings.Join(texts, ", ")
}

// firstFree looks for a subnet within a range, from its beginning. Both it and
// what is taken are in the order of their addresses, so that each is passed once.
func firstFree(within netip.Prefix, bits int, taken []netip.Prefix) (netip.Prefix, bool) {
	size := uint64(1) << (32 - bits)
	at, end := first(within), last(within)
	for i := 0; at <= end; {
		for i < len(taken) && (!taken[i].Addr().Is4() || last(taken[i]) < at) {
			i++
		}
		if i == len(taken) || first(taken[i]) > at+size-1 {
			return netip.PrefixFrom(addr(at), bits), true
		}
		at = (last(taken[i])/size + 1) * size
	}
	return netip.Prefix{}, false
}

// first and last are the ends of a range of IPv4 addresses. 64 bits, so that
// one past the last address of all is a number too.
func first(p netip.Prefix) uint64 {
	a := p.Addr().As4()
	return uint64(binary.BigEndian.Uint32(a[:]))
}

func last(p netip.Prefix) uint64 { return first(p) + uint64(1)<<(32-p.Bits()) - 1 }

func addr(n uint64) netip.Addr {
	if n > math.MaxUint32 {
		panic("ipam: past the last address")
	}
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], uint32(n))
	return netip.AddrFrom4(a)
}
