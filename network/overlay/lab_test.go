package overlay

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/netns"
	"github.com/swarmctl/swarmctl/network/netns/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m.Run)) }

// lab is some hosts on one switch.
type lab struct {
	t     *testing.T
	set   *fabric.Set
	hosts []*host
}

// host is a network namespace with an interface eth0, and an engine.
type host struct {
	*Overlay
	t      *testing.T
	id     api.NodeID
	ns     *os.File
	h      *netlink.Handle
	engine *engine
	log    *strings.Builder
	made   int // containers
}

var all = map[api.NetworkID]bool{nid: true}

// newLab makes the hosts of threeHosts.
func newLab(t *testing.T, mtu int) *lab {
	t.Helper()
	l := &lab{t: t, set: threeHosts()}
	own, err := netns.Handle(sandbox.Path(namespace(t)))
	check(t, err)
	t.Cleanup(own.Close)
	lan := &netlink.Bridge{LinkAttrs: named("lan")}
	check(t, own.LinkAdd(lan))
	check(t, own.LinkSetUp(lan))
	for i := 1; i <= 3; i++ {
		h := newHost(t, i)
		h.plugIn(own, lan, mtu)
		l.hosts = append(l.hosts, h)
	}
	return l
}

func newHost(t *testing.T, i int) *host {
	ns := namespace(t)
	handle, err := netns.Handle(sandbox.Path(ns))
	check(t, err)
	t.Cleanup(handle.Close)
	h := &host{t: t, id: api.NodeID(fmt.Sprint("h", i)), ns: ns, h: handle, log: &strings.Builder{}}
	h.engine = &engine{h: handle, known: map[string]fabric.Bridge{}}
	h.restart()
	return h
}

// restart is a new daemon on the host, which knows nothing.
func (h *host) restart() {
	h.t.Helper()
	o, err := New(Config{
		Self: h.id, Cluster: "c1", Engine: h.engine, Netns: sandbox.Path(h.ns), Log: slog.New(slog.NewTextHandler(h.log, nil)),
	})
	check(h.t, err)
	h.Overlay = o
}

// plugIn lays a cable from the switch.
func (h *host) plugIn(own *netlink.Handle, lan netlink.Link, mtu int) {
	veth := netlink.NewVeth(named("to-" + string(h.id)))
	veth.PeerName, veth.PeerNamespace, veth.MTU, veth.PeerMTU = "eth0", netlink.NsFd(h.ns.Fd()), mtu, uint32(mtu)
	veth.MasterIndex = lan.Attrs().Index
	check(h.t, own.LinkAdd(veth))
	check(h.t, own.LinkSetUp(veth))
	eth := link(h.t, h.h, "eth0")
	a, err := netlink.ParseAddr("192.0.2." + strings.TrimPrefix(string(h.id), "h") + "/24")
	check(h.t, err)
	check(h.t, h.h.AddrAdd(eth, a))
	check(h.t, h.h.LinkSetUp(eth))
}

// apply makes all hosts agree with the set.
func (l *lab) apply() {
	l.t.Helper()
	for _, h := range l.hosts {
		h.agree(l.set, all)
	}
}

func (h *host) agree(set *fabric.Set, need map[api.NetworkID]bool) {
	h.t.Helper()
	_, err := h.Build(h.t.Context(), set, need, false)
	check(h.t, err)
	check(h.t, h.Apply(set, need))
}

// container is a namespace with an interface in a network.
type container struct {
	t  *testing.T
	ns *os.File
	at *api.Attachment
}

// run starts a container on a host, and lets the set know of it.
func (l *lab) run(h *host, addrs ...string) *container {
	l.t.Helper()
	h.made++
	a := at(nid, addrs...)
	id := fmt.Sprintf("%s-%d", h.id, h.made)
	l.set = l.set.Clone()
	l.set.Apply(&fabric.Update{Index: l.set.Index + 1, Endpoints: []*fabric.Endpoint{{ID: id, Node: h.id, Networks: []api.Attachment{a}}}})
	l.apply()
	c := &container{t: l.t, ns: namespace(l.t), at: &a}
	hw := fabric.MAC(a.Addrs[0])
	veth := netlink.NewVeth(named(fmt.Sprintf("v%s-%d", h.id, h.made)))
	veth.PeerName, veth.PeerNamespace, veth.PeerHardwareAddr = "eth0", netlink.NsFd(c.ns.Fd()), hw[:]
	bridge := link(l.t, h.h, fabric.BridgeName(nid))
	veth.MTU, veth.PeerMTU, veth.MasterIndex = bridge.Attrs().MTU, uint32(bridge.Attrs().MTU), bridge.Attrs().Index
	check(l.t, h.h.LinkAdd(veth))
	check(l.t, h.h.LinkSetUp(veth))
	c.setUp(h, bridge.Attrs().MTU)
	return c
}

func (c *container) setUp(h *host, mtu int) {
	in, err := netns.Handle(sandbox.Path(c.ns))
	check(c.t, err)
	defer in.Close()
	eth := link(c.t, in, "eth0")
	for _, a := range c.at.Addrs {
		bits := 24
		if a.Is6() {
			bits = 64
		}
		check(c.t, in.AddrAdd(eth, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}, Flags: nodad(a)}))
	}
	check(c.t, in.LinkSetMTU(eth, mtu))
	check(c.t, in.LinkSetUp(eth))
}

func (c *container) setMTU(mtu int) {
	in, err := netns.Handle(sandbox.Path(c.ns))
	check(c.t, err)
	defer in.Close()
	check(c.t, in.LinkSetMTU(link(c.t, in, "eth0"), mtu))
}

// routesOut gives the container a default route, where one is named, and counts
// those that it has.
func (c *container) routesOut(via string) int {
	in, err := netns.Handle(sandbox.Path(c.ns))
	check(c.t, err)
	defer in.Close()
	if via != "" {
		check(c.t, in.RouteAdd(&netlink.Route{Gw: addr(via).AsSlice()}))
	}
	n := 0
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := in.RouteList(nil, family)
		check(c.t, err)
		for _, r := range routes {
			if r.Gw != nil {
				n++
			}
		}
	}
	return n
}

// attach hands the container to the overlay: a process runs in it.
func (c *container) attach(h *host) *container {
	c.t.Helper()
	sleep := exec.Command("sleep", "60")
	check(c.t, netns.Do(sandbox.Path(c.ns), sleep.Start))
	c.t.Cleanup(func() {
		_ = sleep.Process.Kill()
		_ = sleep.Wait()
	})
	check(c.t, h.Attach("c", sleep.Process.Pid, []api.Attachment{*c.at}))
	return c
}

func nodad(a netip.Addr) int {
	if a.Is6() {
		return unix.IFA_F_NODAD
	}
	return 0
}

// answers has the container send back every datagram to port 7.
func (c *container) answers() *container {
	c.t.Helper()
	for _, a := range c.at.Addrs {
		conn := c.socket(a, 7)
		go func() {
			b := make([]byte, 65536)
			for {
				n, from, err := conn.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				_, _ = conn.WriteToUDPAddrPort(b[:n], from)
			}
		}()
	}
	return c
}

func (c *container) socket(a netip.Addr, port uint16) (conn *net.UDPConn) {
	c.t.Helper()
	check(c.t, netns.Do(sandbox.Path(c.ns), func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
		return err
	}))
	c.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// reaches sends datagrams of a size, as IP counts it, that must not be cut into
// fragments, until one comes back.
func (c *container) reaches(to string, size int) error {
	dst := addr(to)
	i := slices.IndexFunc(c.at.Addrs, func(a netip.Addr) bool { return a.Is4() == dst.Is4() })
	conn, header := c.socket(c.at.Addrs[i], 0), 28
	raw, err := conn.SyscallConn()
	check(c.t, err)
	check(c.t, raw.Control(func(fd uintptr) {
		if dst.Is4() {
			err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
		} else {
			err = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_DONTFRAG, 1)
		}
	}))
	check(c.t, err)
	if dst.Is6() {
		header = 48
	}
	b := make([]byte, size-header)
	for range 20 {
		if _, err := conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(dst, 7)); err != nil {
			return err
		}
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, _, err = conn.ReadFromUDPAddrPort(b); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s does not answer %d bytes", to, size)
}

// engine makes bridges as Docker's does.
type engine struct {
	h     *netlink.Handle
	mu    sync.Mutex
	known map[string]fabric.Bridge
	made  int
	away  error
	// removing is called as a bridge is removed; may be nil.
	removing func()
}

func (e *engine) Bridges(_ context.Context, cluster string) (list []fabric.Bridge, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range e.known {
		if b.Cluster == cluster {
			list = append(list, b)
		}
	}
	return list, e.away
}

func (e *engine) CreateBridge(_ context.Context, b *fabric.Bridge) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.away != nil {
		return e.away
	}
	for _, k := range e.known {
		if k.Name == b.Name {
			return api.Errorf(api.CodeConflict, "network %q: there is one", b.Name)
		}
	}
	e.made++
	b.ID = fmt.Sprint("e", e.made)
	e.known[b.ID] = *b
	return e.add(b)
}

func (e *engine) add(b *fabric.Bridge) error {
	br := &netlink.Bridge{LinkAttrs: named(b.Interface)}
	if err := e.h.LinkAdd(br); err != nil {
		return err
	}
	for _, s := range b.Subnets {
		a := &netlink.Addr{IPNet: &net.IPNet{IP: s.Gateway.AsSlice(), Mask: net.CIDRMask(s.Prefix.Bits(), s.Gateway.BitLen())}, Flags: nodad(s.Gateway)}
		if err := e.h.AddrAdd(br, a); err != nil {
			return err
		}
	}
	return e.h.LinkSetUp(br)
}

func (e *engine) RemoveBridge(_ context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	b, ok := e.known[id]
	if !ok || e.away != nil {
		return e.away
	}
	if e.removing != nil {
		e.removing()
	}
	br, err := e.h.LinkByName(b.Interface)
	if err == nil {
		links, _ := e.h.LinkList()
		for _, l := range links {
			if l.Attrs().MasterIndex == br.Attrs().Index && l.Type() == "veth" {
				return api.Errorf(api.CodeConflict, "bridge %s has active endpoints", id)
			}
		}
		err = e.h.LinkDel(br)
	}
	delete(e.known, id)
	return err
}

// sniffer hears for which stations VXLAN packets come to a host.
type sniffer struct {
	mu   sync.Mutex
	seen map[mac]bool
}

// waits until a packet for the station has come; what came before it has been
// heard by then.
func (s *sniffer) waits(t *testing.T, hw mac) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		seen := s.seen[hw]
		s.mu.Unlock()
		if seen {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no packet for %s", net.HardwareAddr(hw[:]))
		}
	}
}

func (s *sniffer) hear(hw mac) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[hw] = true
}

func (s *sniffer) stations() []mac {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.seen))
}

func (h *host) sniff() *sniffer {
	h.t.Helper()
	var fd int
	check(h.t, netns.Do(sandbox.Path(h.ns), func() (err error) {
		const ip = 0x0008 // ETH_P_IP in the order of the network
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, ip)
		return err
	}))
	check(h.t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20_000}))
	s, stop, done := &sniffer{seen: map[mac]bool{}}, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			select {
			case <-stop:
				return
			default:
			}
			got, from, err := unix.Recvfrom(fd, b, 0)
			const inner = 20 + 8 + 8 // where the frame begins
			if err == nil && got > inner+6 && b[9] == unix.IPPROTO_UDP && b[22] == port>>8 && b[23] == port&0xff &&
				from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING {
				s.hear(mac(b[inner : inner+6]))
			}
		}
	}()
	h.t.Cleanup(func() {
		close(stop)
		<-done
		_ = unix.Close(fd)
	})
	return s
}

func (h *host) interfaces() (names []string) {
	links, err := h.h.LinkList()
	check(h.t, err)
	for _, l := range links {
		names = append(names, l.Attrs().Name)
	}
	slices.Sort(names)
	return names
}

func namespace(t *testing.T) *os.File {
	t.Helper()
	ns, err := sandbox.Namespace()
	check(t, err)
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

func named(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

func link(t *testing.T, h *netlink.Handle, name string) netlink.Link {
	t.Helper()
	l, err := h.LinkByName(name)
	check(t, err)
	return l
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
