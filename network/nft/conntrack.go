package nft

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api/fabric"
)

// Gone are the addresses that endpoints had in the old set and have no longer,
// though others may have them now.
func Gone(old, now *fabric.Set) Left {
	gone := map[netip.Addr]bool{}
	for id, e := range old.Endpoints {
		if now.Endpoints[id] != nil {
			continue
		}
		for _, at := range e.Networks {
			for _, a := range at.Addrs {
				gone[a] = true
			}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return func(a netip.Addr, _ uint8) bool { return gone[a] }
}

// Left reports whether what a connection of a protocol was sent on to is no
// longer there. It is nil where everything is.
type Left func(a netip.Addr, protocol uint8) bool

// Strays are the datagrams to addresses of networks that no endpoint has:
// whoever was there went while nobody looked. TCP connections are let be: the
// set may come from a manager that lags, and not know the endpoint yet.
func Strays(set *fabric.Set) Left {
	taken := map[netip.Addr]bool{}
	for _, e := range set.Endpoints {
		for _, at := range e.Networks {
			for _, a := range at.Addrs {
				taken[a] = true
			}
		}
	}
	return func(a netip.Addr, protocol uint8) bool {
		if protocol != unix.IPPROTO_UDP || taken[a] {
			return false
		}
		for _, n := range set.Networks {
			if n.Contains(a) {
				return true
			}
		}
		return false
	}
}

// Forget drops what the kernel keeps of connections whose end has left. The
// next packet of such a connection is the first of a new one: a stream of
// datagrams moves to somebody else, and a TCP connection is reset by somebody
// else at once, instead of hanging until it gives up.
func (s *Space) Forget(left Left, v6 bool) error {
	if left == nil {
		return nil
	}
	return s.forget(sentOn(left), v6)
}

// ForgetUnsent drops what the kernel keeps of connections to these addresses
// that were sent on to nobody: the next packet is the first again.
func (s *Space) ForgetUnsent(to map[netip.Addr]bool, v6 bool) error {
	if len(to) == 0 {
		return nil
	}
	return s.forget(unsent(to), v6)
}

func (s *Space) forget(which netlink.CustomConntrackFilter, v6 bool) error {
	h, err := s.tracking()
	if err != nil {
		return err
	}
	families := []netlink.InetFamily{unix.AF_INET}
	if v6 {
		families = append(families, unix.AF_INET6)
	}
	for _, family := range families {
		_, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, family, which)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("tracked connections: %w", err)
		}
	}
	return nil
}

// unsent matches connections to some addresses whose destination is as it was.
type unsent map[netip.Addr]bool

// MatchConntrackFlow is what the dump asks for each connection.
func (u unsent) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	a, ok := netip.AddrFromSlice(f.Forward.DstIP)
	return ok && f.Forward.DstIP.Equal(f.Reverse.SrcIP) && u[a.Unmap()]
}

// sentOn matches connections whose destination was changed.
type sentOn Left

// MatchConntrackFlow is what the dump asks for each connection.
func (s sentOn) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	if f.Forward.DstIP.Equal(f.Reverse.SrcIP) {
		return false
	}
	a, ok := netip.AddrFromSlice(f.Reverse.SrcIP)
	return ok && s(a.Unmap(), f.Forward.Protocol)
}
