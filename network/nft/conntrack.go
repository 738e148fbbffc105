package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/netns"
)

// Left is who is not there any more for tracked connections that were sent on to
// them. A nil one is nobody.
type Left struct {
	addrs      map[netip.Addr]api.NetworkID // nil: whoever is a stray
	stray      func(netip.Addr) bool
	protocol   uint8 // of the connections; 0: any
	unanswered bool  // only those that nobody has answered
}

// Has reports whether connections of a protocol that were sent on to an address
// have lost their end.
func (l *Left) Has(a netip.Addr, protocol uint8) bool {
	switch {
	case l == nil || l.protocol != 0 && l.protocol != protocol:
		return false
	case l.addrs == nil:
		return l.stray(a)
	}
	_, left := l.addrs[a]
	return left
}

// In are those that were in some networks. Strays may have been anywhere.
func (l *Left) In(some func(api.NetworkID) bool) *Left {
	if l == nil || l.addrs == nil {
		return l
	}
	in := map[netip.Addr]api.NetworkID{}
	for a, network := range l.addrs {
		if some(network) {
			in[a] = network
		}
	}
	if len(in) == 0 {
		return nil
	}
	return &Left{addrs: in, protocol: l.protocol, unanswered: l.unanswered}
}

// Gone are the addresses that endpoints had in the old set and have no longer,
// though others may have them now.
func Gone(old, now *fabric.Set) *Left {
	gone := map[netip.Addr]api.NetworkID{}
	for id, e := range old.Endpoints {
		if now.Endpoints[id] != nil {
			continue
		}
		for _, at := range e.Networks {
			for _, a := range at.Addrs {
				gone[a] = at.Network
			}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return &Left{addrs: gone}
}

// Late is by when the first packet of a connection has been answered, if ever.
const Late = 50 * time.Millisecond

// Unheard are addresses, in some networks, that new connections were sent on to before
// and are not any more, for the connections that none of them has answered: their first
// packet was lost, or is late, and is sent again to the same address otherwise, as are
// all of a later connection from the same port. Who is told to stop would refuse it, and
// a host that is gone says nothing.
func Unheard(before, now map[netip.Addr]api.NetworkID) *Left {
	l := &Left{addrs: map[netip.Addr]api.NetworkID{}, unanswered: true}
	for a, network := range before {
		if _, still := now[a]; !still {
			l.addrs[a] = network
		}
	}
	if len(l.addrs) == 0 {
		return nil
	}
	return l
}

// Strays are the datagrams to addresses of networks that no endpoint has:
// whoever was there went while nobody looked. TCP connections are let be: the
// set may come from a manager that lags, and not know the endpoint yet.
func Strays(set *fabric.Set) *Left {
	taken := map[netip.Addr]bool{}
	for _, e := range set.Endpoints {
		for _, at := range e.Networks {
			for _, a := range at.Addrs {
				taken[a] = true
			}
		}
	}
	return &Left{protocol: unix.IPPROTO_UDP, stray: func(a netip.Addr) bool {
		if taken[a] {
			return false
		}
		for _, n := range set.Networks {
			if n.Contains(a) {
				return true
			}
		}
		return false
	}}
}

// Forget drops what the kernel keeps of connections whose end has left. The
// next packet of such a connection is the first of a new one: a stream of
// datagrams moves to somebody else, and a TCP connection is reset by somebody
// else at once, instead of hanging until it gives up.
func (s *Space) Forget(l *Left, v6 bool) error {
	if l == nil {
		return nil
	}
	return s.forget(question{slices.Collect(maps.Keys(l.addrs)), l.protocol, l.unanswered}, v6, func(f flow) bool {
		return f.to != f.by && l.Has(f.by, f.protocol)
	})
}

// ForgetUnsent drops what the kernel keeps of connections to these addresses
// that were sent on to nobody: the next packet is the first again.
func (s *Space) ForgetUnsent(to map[netip.Addr]bool, v6 bool) error {
	if len(to) == 0 {
		return nil
	}
	return s.forget(question{addrs: slices.Collect(maps.Keys(to))}, v6, func(f flow) bool { return f.to == f.by && to[f.by] })
}

// question is which tracked connections the kernel is asked for. It keeps those of
// two minutes, easily 100,000, and to read them all takes half a second and 90 MB:
// in that time nobody else's draining would get on. It finds those of an address itself,
// in 30 ms. Kernels before 5.8 do not know how, and tell of all.
type question struct {
	addrs      []netip.Addr // who answers; nil: whoever
	protocol   uint8        // 0: any
	unanswered bool
}

// maxAsked is for how many addresses the kernel is asked one by one.
const maxAsked = 16

func (s *Space) forget(q question, v6 bool, which func(flow) bool) error {
	if some, err := s.tracks(); err == nil && !some {
		return nil // most containers call nobody
	}
	c, err := s.tracking()
	if err != nil {
		return err
	}
	for _, of := range [2]bool{false, true} {
		if of && !v6 {
			break
		}
		for _, by := range q.asked(of) {
			if err := forget(c, q.request(of, by), q, which); err != nil {
				s.untrack() // what the kernel has still to say is not for the next question
				return fmt.Errorf("tracked connections: %w", err)
			}
		}
	}
	return nil
}

// asked are the addresses of a family to ask for one by one; an invalid one is for
// all at once. Asked for one of IPv6, kernels tell of all others: they compare
// the wrong way round.
func (q question) asked(v6 bool) (list []netip.Addr) {
	for _, a := range q.addrs {
		if a.Is6() == v6 {
			list = append(list, a)
		}
	}
	if q.addrs == nil || len(list) > maxAsked || v6 && len(list) > 0 {
		return []netip.Addr{{}}
	}
	return list
}

// tracks reports whether the kernel tracks any connection of the namespace, which it is
// quick to say, while it looks for one of them among those of all namespaces.
func (s *Space) tracks() (some bool, err error) {
	err = netns.Do(s.Path(), func() error {
		count, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		some = strings.TrimSpace(string(count)) != "0"
		return err
	})
	return some, err
}

func forget(c *netlink.Conn, request []byte, q question, which func(flow) bool) error {
	list, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: trackedGet, Flags: netlink.Request | netlink.Dump}, Data: request,
	})
	if err != nil {
		return err
	}
	for _, m := range list {
		f, ok := parseFlow(m.Data)
		if !ok || f.isOver() || q.unanswered && f.answered || !which(f) {
			continue
		}
		// It is named by all that was said of it, its ID among that.
		_, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: trackedDelete, Flags: netlink.Request | netlink.Acknowledge}, Data: append(header(m.Data[0], 0), m.Data[genHeader:]...),
		})
		if err != nil && !errors.Is(err, unix.ENOENT) { // it has ended this moment
			return err
		}
	}
	return nil
}

// The kernel's nfnetlink_conntrack.h, as far as it is used here.
const (
	trackedGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
	trackedDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2
	genHeader     = 4

	ctTupleOrig, ctTupleReply, ctStatus, ctProtoInfo, ctFilter, ctStatusMask = 1, 2, 3, 4, 25, 26
	tupleIP, tupleProto                                                      = 1, 2
	ipv4Source, ipv4Destination, ipv6Source, ipv6Destination                 = 1, 2, 3, 4
	protoNumber                                                              = 1
	protoInfoTCP, tcpState                                                   = 1, 1
	filterOrigFlags, filterReplyFlags                                        = 1, 2
	bySource, byProtocol                                                     = 1 << 0, 1 << 3
	seenReply                                                                = 1 << 1
	tcpTimeWait, tcpClose                                                    = 7, 8
)

// request is the question for the connections of one family, and of one address
// where that is valid.
func (q question) request(v6 bool, by netip.Addr) []byte {
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	var flags uint32
	tuple := func(e *netlink.AttributeEncoder) error {
		if by.IsValid() {
			flags |= bySource
			e.Nested(tupleIP, func(e *netlink.AttributeEncoder) error {
				e.Bytes(ipv4Source, by.AsSlice())
				return nil
			})
		}
		if q.protocol != 0 {
			flags |= byProtocol
			e.Nested(tupleProto, func(e *netlink.AttributeEncoder) error {
				e.Uint8(protoNumber, q.protocol)
				return nil
			})
		}
		return nil
	}
	if by.IsValid() || q.protocol != 0 {
		e.Nested(ctTupleReply, tuple)
		e.Nested(ctFilter, func(e *netlink.AttributeEncoder) error {
			e.Bytes(filterOrigFlags, binary.NativeEndian.AppendUint32(nil, 0))
			e.Bytes(filterReplyFlags, binary.NativeEndian.AppendUint32(nil, flags))
			return nil
		})
	}
	if q.unanswered {
		e.Uint32(ctStatus, 0)
		e.Uint32(ctStatusMask, seenReply)
	}
	family := byte(unix.AF_INET)
	if v6 {
		family = unix.AF_INET6
	}
	data, err := e.Encode()
	if err != nil {
		data = nil // it is about all then
	}
	return append(header(family, 0), data...)
}

// flow is a tracked connection.
type flow struct {
	to, by   netip.Addr // whom the caller has called, and who answers
	protocol uint8
	state    uint8 // of TCP; 0: another protocol
	answered bool
}

// isOver says that the next packet will be the first of another connection anyhow.
// Most of what is tracked under load is over.
func (f flow) isOver() bool { return f.state == tcpTimeWait || f.state == tcpClose }

// parseFlow reads what the kernel says of a connection.
func parseFlow(data []byte) (f flow, ok bool) {
	if len(data) < genHeader {
		return f, false
	}
	each(data[genHeader:], func(kind uint16, v []byte) {
		switch kind {
		case ctTupleOrig:
			_, f.to, f.protocol = parseTuple(v)
		case ctTupleReply:
			f.by, _, _ = parseTuple(v)
		case ctStatus:
			f.answered = len(v) == 4 && binary.BigEndian.Uint32(v)&seenReply != 0
		case ctProtoInfo:
			each(v, func(kind uint16, v []byte) {
				if kind != protoInfoTCP {
					return
				}
				each(v, func(kind uint16, v []byte) {
					if kind == tcpState && len(v) > 0 {
						f.state = v[0]
					}
				})
			})
		}
	})
	return f, f.to.IsValid() && f.by.IsValid()
}

func parseTuple(data []byte) (from, to netip.Addr, protocol uint8) {
	each(data, func(kind uint16, v []byte) {
		each(v, func(inner uint16, v []byte) {
			switch {
			case kind == tupleIP && (inner == ipv4Source || inner == ipv6Source):
				from, _ = netip.AddrFromSlice(v)
			case kind == tupleIP && (inner == ipv4Destination || inner == ipv6Destination):
				to, _ = netip.AddrFromSlice(v)
			case kind == tupleProto && inner == protoNumber && len(v) > 0:
				protocol = v[0]
			}
		})
	})
	return from, to, protocol
}

// each goes through attributes without a copy of any.
func each(data []byte, f func(kind uint16, value []byte)) {
	const header, flags = 4, unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
	for len(data) >= header {
		n := int(binary.NativeEndian.Uint16(data))
		if n < header || n > len(data) {
			return
		}
		f(binary.NativeEndian.Uint16(data[2:])&^flags, data[header:n])
		data = data[min(len(data), (n+3)&^3):]
	}
}
