package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/network/netns/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m.Run)) }

// States of TCP, and one of the kernel's.
const (
	synSent     = 1
	established = 3
	confirmed   = 1 << 3 // as whatever is tracked
)

// space is a namespace in which nothing is tracked yet.
func space(t *testing.T) *Space {
	t.Helper()
	ns, err := sandbox.Namespace()
	if err != nil {
		t.Fatal(err)
	}
	s := Open(ns)
	t.Cleanup(func() {
		s.Close()
		ns.Close()
	})
	return s
}

// track has the kernel keep a connection of a client's port.
func track(t testing.TB, s *Space, port uint16, f flow) {
	t.Helper()
	c, err := s.tracking()
	if err != nil {
		t.Fatal(err)
	}
	client := netip.MustParseAddr("192.0.2.1")
	if f.by.Is6() {
		client = netip.MustParseAddr("2001:db8::1")
	}
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	tuple := func(kind uint16, from, to netip.Addr, source, destination uint16) {
		e.Nested(kind, func(e *netlink.AttributeEncoder) error {
			e.Nested(tupleIP, func(e *netlink.AttributeEncoder) error {
				first := map[bool]uint16{false: ipv4Source, true: ipv6Source}[from.Is6()]
				e.Bytes(first, from.AsSlice())
				e.Bytes(first+1, to.AsSlice())
				return nil
			})
			e.Nested(tupleProto, func(e *netlink.AttributeEncoder) error {
				e.Uint8(protoNumber, f.protocol)
				e.Uint16(2, source)
				e.Uint16(3, destination)
				return nil
			})
			return nil
		})
	}
	tuple(ctTupleOrig, client, f.to, port, 80)
	tuple(ctTupleReply, f.by, client, 80, port)
	if f.answered {
		e.Uint32(ctStatus, seenReply|confirmed)
	}
	e.Uint32(7, 100) // seconds
	if f.state != 0 {
		e.Nested(ctProtoInfo, func(e *netlink.AttributeEncoder) error {
			e.Nested(protoInfoTCP, func(e *netlink.AttributeEncoder) error {
				e.Uint8(tcpState, f.state)
				return nil
			})
			return nil
		})
	}
	data, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	family := byte(unix.AF_INET)
	if f.by.Is6() {
		family = unix.AF_INET6
	}
	_, err = c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_CTNETLINK << 8, Flags: netlink.Request | netlink.Acknowledge | netlink.Create},
		Data:   append([]byte{family, 0, 0, 0}, data...),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// tracked is whom the connections that are left were sent on to.
func tracked(t *testing.T, s *Space) string {
	t.Helper()
	c, err := s.tracking()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, v6 := range []bool{false, true} {
		all, err := c.Execute(netlink.Message{Header: netlink.Header{Type: trackedGet, Flags: netlink.Request | netlink.Dump}, Data: question{}.request(v6, netip.Addr{})})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			if f, ok := parseFlow(m.Data); ok {
				list = append(list, fmt.Sprintf("%v/%d", f.by, f.protocol))
			}
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func addrs(list ...string) map[netip.Addr]api.NetworkID {
	out := map[netip.Addr]api.NetworkID{}
	for _, a := range list {
		out[netip.MustParseAddr(a)] = "net"
	}
	return out
}

func TestConnectionsOfWhoHasLeftAreForgotten(t *testing.T) {
	const tcp, udp = unix.IPPROTO_TCP, unix.IPPROTO_UDP
	vip, vip6 := netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr("fd00::2")
	a, b, a6 := netip.MustParseAddr("10.0.1.5"), netip.MustParseAddr("10.0.1.6"), netip.MustParseAddr("fd00::5")
	flows := []flow{
		{vip, a, tcp, established, true}, {vip, a, udp, 0, true}, {vip6, a6, tcp, established, true}, {vip6, a6, udp, 0, true},
		{vip, b, tcp, established, true}, {vip, b, tcp, synSent, false}, {vip, b, udp, 0, false}, {vip, vip, tcp, synSent, false},
	}
	many := addrs("10.0.1.5", "fd00::5")
	for i := range 2 * maxAsked {
		many[netip.AddrFrom4([4]byte{10, 9, 0, byte(i)})] = "net"
	}
	const all = "10.0.1.2/6 10.0.1.5/17 10.0.1.5/6 10.0.1.6/17 10.0.1.6/6 10.0.1.6/6 fd00::5/17 fd00::5/6"
	for name, c := range map[string]struct {
		forget func(*Space) error
		want   string
	}{
		"nobody":            {func(s *Space) error { return s.Forget(nil, true) }, all},
		"one":               {func(s *Space) error { return s.Forget(&Left{addrs: addrs("10.0.1.5", "fd00::5")}, true) }, "10.0.1.2/6 10.0.1.6/17 10.0.1.6/6 10.0.1.6/6"},
		"one, without IPv6": {func(s *Space) error { return s.Forget(&Left{addrs: addrs("10.0.1.5", "fd00::5")}, false) }, "10.0.1.2/6 10.0.1.6/17 10.0.1.6/6 10.0.1.6/6 fd00::5/17 fd00::5/6"},
		"many":              {func(s *Space) error { return s.Forget(&Left{addrs: many}, true) }, "10.0.1.2/6 10.0.1.6/17 10.0.1.6/6 10.0.1.6/6"},
		"unanswered": {func(s *Space) error {
			return s.Forget(&Left{addrs: addrs("10.0.1.6", "10.0.1.5"), unanswered: true}, true)
		}, "10.0.1.2/6 10.0.1.5/17 10.0.1.5/6 10.0.1.6/6 fd00::5/17 fd00::5/6"},
		"strays": {func(s *Space) error {
			return s.Forget(&Left{protocol: udp, stray: func(x netip.Addr) bool { return x == a || x == a6 }}, true)
		}, "10.0.1.2/6 10.0.1.5/6 10.0.1.6/17 10.0.1.6/6 10.0.1.6/6 fd00::5/6"},
		"what was sent nowhere": {func(s *Space) error { return s.ForgetUnsent(map[netip.Addr]bool{vip: true, a: true}, true) }, "10.0.1.5/17 10.0.1.5/6 10.0.1.6/17 10.0.1.6/6 10.0.1.6/6 fd00::5/17 fd00::5/6"},
	} {
		t.Run(name, func(t *testing.T) {
			s := space(t)
			for i, f := range flows {
				track(t, s, uint16(1000+i), f)
			}
			if got := tracked(t, s); got != all {
				t.Fatalf("tracked are %s, want %s", got, all)
			}
			if err := c.forget(s); err != nil {
				t.Fatal(err)
			}
			if got := tracked(t, s); got != c.want {
				t.Errorf("left are %s, want %s", got, c.want)
			}
		})
	}
}

// The kernel keeps what is over for two minutes; to name each of them would take
// as long as to read them.
func TestConnectionsThatAreOverAreLeftToTheKernel(t *testing.T) {
	s := space(t)
	vip, a := netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr("10.0.1.5")
	track(t, s, 1000, flow{vip, a, unix.IPPROTO_TCP, tcpTimeWait, true})
	track(t, s, 1001, flow{vip, a, unix.IPPROTO_TCP, established, true})
	if err := s.Forget(&Left{addrs: addrs("10.0.1.5")}, false); err != nil {
		t.Fatal(err)
	}
	if got := tracked(t, s); got != "10.0.1.5/6" {
		t.Errorf("left are %q, want the one that is over", got)
	}
}

func TestTheKernelSaysWhetherItTracksConnections(t *testing.T) {
	s := space(t)
	want := func(want bool) {
		t.Helper()
		if some, err := s.tracks(); some != want || err != nil {
			t.Errorf("%v, want %v: %v", some, want, err)
		}
	}
	want(false)
	track(t, s, 1000, flow{netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.0.1.5"), unix.IPPROTO_TCP, established, true})
	want(true)
	if err := s.Forget(&Left{addrs: addrs("10.0.1.5")}, false); err != nil {
		t.Fatal(err)
	}
	want(false)
}

// BenchmarkForget is what it takes to forget nothing of 100,000 connections.
func BenchmarkForget(b *testing.B) {
	s := Open(nil)
	defer s.Close()
	for i := range 100_000 {
		by := netip.AddrFrom4([4]byte{10, 0, 1, byte(i%20 + 5)})
		vip := netip.AddrFrom4([4]byte{10, 1, byte(i >> 15), 1})
		track(b, s, uint16(i&0x7fff)+1000, flow{vip, by, unix.IPPROTO_TCP, tcpTimeWait, true})
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Forget(&Left{addrs: addrs("10.0.1.200")}, false); err != nil {
			b.Fatal(err)
		}
	}
}
