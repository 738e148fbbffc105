package overlay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

func TestContainersOnAllHostsReachEachOther(t *testing.T) {
	l := newLab(t, 1500)
	a, b := l.run(l.hosts[0], "10.1.0.1", "fd00:1::1").answers(), l.run(l.hosts[1], "10.1.0.2", "fd00:1::2").answers()
	c := l.run(l.hosts[1], "10.1.0.3", "fd00:1::3").answers()
	for _, to := range []string{"10.1.0.2", "fd00:1::2", "10.1.0.3", "fd00:1::3"} {
		check(t, a.reaches(to, 100))
		check(t, a.reaches(to, 1450)) // as large as it may be, and in one piece
	}
	check(t, b.reaches("10.1.0.1", 1450))
	check(t, b.reaches("10.1.0.3", 1450))
	check(t, c.reaches("fd00:1::1", 1450))
	if err := a.reaches("10.1.0.2", 1451); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("a packet that is too large: %v", err)
	}
}

func TestTheRoomIsThatOfTheHostsOwnNetwork(t *testing.T) {
	l := newLab(t, 1400)
	a := l.run(l.hosts[0], "10.1.0.1")
	l.run(l.hosts[1], "10.1.0.2").answers()
	check(t, a.reaches("10.1.0.2", 1350))
	if err := a.reaches("10.1.0.2", 1351); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("a packet that is too large: %v", err)
	}
}

func TestNothingIsFlooded(t *testing.T) {
	l := newLab(t, 1500)
	a := l.run(l.hosts[0], "10.1.0.1", "fd00:1::1")
	l.run(l.hosts[1], "10.1.0.2", "fd00:1::2").answers()
	two, three := l.hosts[1].sniff(), l.hosts[2].sniff()
	for range 5 {
		conn := a.socket(addr("10.1.0.1"), 0)
		raw, err := conn.SyscallConn()
		check(t, err)
		check(t, raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1) }))
		check(t, err)
		for _, to := range []string{"10.1.0.255", "10.1.0.77"} { // everybody, and nobody
			_, _ = conn.WriteToUDPAddrPort([]byte("?"), netip.AddrPortFrom(addr(to), 7))
		}
	}
	_ = a.reaches("fd00:1::77", 100)
	l.run(l.hosts[2], "10.1.0.3").answers()
	for to, s := range map[string]*sniffer{"10.1.0.2": two, "10.1.0.3": three} {
		check(t, a.reaches(to, 100))
		hw := fabric.MAC(addr(to))
		s.waits(t, hw)
		if got := s.stations(); !slices.Equal(got, []mac{hw}) {
			t.Errorf("the host of %s got packets for %x", to, got)
		}
	}
}

func TestAnAddressThatMovesIsFoundAtItsNewHost(t *testing.T) {
	l := newLab(t, 1500)
	a := l.run(l.hosts[0], "10.1.0.1")
	l.run(l.hosts[1], "10.1.0.2").answers()
	check(t, a.reaches("10.1.0.2", 100))
	for _, h := range []*host{l.hosts[2], l.hosts[0]} { // to a third host, and to the caller's own
		for _, old := range l.hosts[1:] {
			for _, name := range old.interfaces() {
				if name[0] == 'v' {
					check(t, old.h.LinkDel(link(t, old.h, name)))
				}
			}
		}
		l.set = l.set.Clone()
		for id, e := range l.set.Endpoints {
			if e.Networks[0].Addrs[0] == addr("10.1.0.2") {
				delete(l.set.Endpoints, id)
			}
		}
		l.run(h, "10.1.0.2").answers()
		began := time.Now()
		check(t, a.reaches("10.1.0.2", 100))
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("on %s it was found after %v", h.id, took)
		}
	}
}

// tables are what the kernel of a host has for the network.
func (h *host) tables() (stations map[mac]place, neighbours map[netip.Addr]mac) {
	h.t.Helper()
	o := &Overlay{host: h.h}
	check(h.t, o.read())
	i := o.segments[fabric.VXLANName(nid)]
	if i == nil {
		h.t.Fatalf("%s has no VXLAN device", h.id)
	}
	return i.stations, i.neighbours
}

// inOrder reports a host whose kernel is not as planned.
func (h *host) inOrder(set *fabric.Set) {
	h.t.Helper()
	want := plan(set, all, h.id, 1500)[nid]
	stations, neighbours := h.tables()
	places := map[mac]place{}
	for hw, at := range want.stations {
		places[hw] = place{at, true}
	}
	if !maps.Equal(stations, places) || !maps.Equal(neighbours, want.neighbours) {
		h.t.Errorf("%s has %v and %v, want %v and %v", h.id, stations, neighbours, places, want.neighbours)
	}
	bridge, vxlan := link(h.t, h.h, fabric.BridgeName(nid)), link(h.t, h.h, fabric.VXLANName(nid))
	if got := bridge.Attrs(); !slices.Equal(got.HardwareAddr, want.hardware[:]) || got.MTU != 1450 {
		h.t.Errorf("bridge of %s: %+v", h.id, got)
	}
	if got := vxlan.Attrs(); got.MasterIndex != bridge.Attrs().Index || got.MTU != 1450 || got.Flags&net.FlagUp == 0 || !isOurs(vxlan, want) {
		h.t.Errorf("VXLAN device of %s: %+v", h.id, got)
	}
	list, err := h.h.AddrList(bridge, netlink.FAMILY_ALL)
	check(h.t, err)
	for _, g := range want.gateways {
		if !slices.ContainsFunc(list, func(a netlink.Addr) bool { return a.IP.Equal(g.Addr().AsSlice()) }) {
			h.t.Errorf("bridge of %s lacks %s", h.id, g)
		}
	}
}

func TestOnlyWhatDiffersIsChanged(t *testing.T) {
	l := newLab(t, 1500)
	l.run(l.hosts[1], "10.1.0.2", "fd00:1::2")
	l.apply()
	h := l.hosts[0]
	h.inOrder(l.set)
	// What is not to be touched is taken away behind its back, and stays away.
	i := h.segments[fabric.VXLANName(nid)]
	check(t, h.host.NeighDel(neighbour(i, addr("10.1.0.2"), i.neighbours[addr("10.1.0.2")])))
	l.run(l.hosts[1], "10.1.0.3")
	_, neighbours := h.tables()
	if _, ok := neighbours[addr("10.1.0.3")]; !ok {
		t.Error("the new endpoint is not known")
	}
	if _, ok := neighbours[addr("10.1.0.2")]; ok {
		t.Error("an endpoint that is as it was was set again")
	}
	check(t, h.Restore())
	h.inOrder(l.set)
}

func TestWhatOthersHaveChangedIsPutBackAndHeardOf(t *testing.T) {
	l := newLab(t, 1500)
	l.run(l.hosts[1], "10.1.0.2", "fd00:1::2")
	l.apply()
	h := l.hosts[0]
	ctx, cancel := context.WithCancel(t.Context())
	heard, done := make(chan struct{}, 1), make(chan error)
	go func() {
		done <- h.Watch(ctx, func() {
			select {
			case heard <- struct{}{}:
			default:
			}
		})
	}()
	defer func() {
		cancel()
		check(t, <-done)
	}()
	bridge := func() netlink.Link { return link(t, h.h, fabric.BridgeName(nid)) }
	vxlan := func() netlink.Link { return link(t, h.h, fabric.VXLANName(nid)) }
	for listens, tries := false, 0; !listens; tries++ { // it says nothing of when it begins
		check(t, h.h.LinkSetMTU(vxlan(), 1200+tries%2))
		select {
		case <-heard:
			listens = true
		case err := <-done:
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
			if tries > 250 {
				t.Fatal("nothing is heard")
			}
		}
	}
	check(t, h.Restore())
	for _, c := range []struct {
		story  string
		meddle func() error
		silent bool // the kernel tells nobody, or too much
	}{
		{"the device is deleted", func() error { return h.h.LinkDel(vxlan()) }, false},
		{"the device is taken out of the bridge", func() error { return h.h.LinkSetNoMaster(vxlan()) }, false},
		{"the device is set down", func() error { return h.h.LinkSetDown(vxlan()) }, false},
		{"the bridge is deleted", func() error { return h.h.LinkDel(bridge()) }, false},
		{"the bridge has another hardware address", func() error { return h.h.LinkSetHardwareAddr(bridge(), net.HardwareAddr{2, 1, 1, 1, 1, 1}) }, false},
		{"the device has another MTU", func() error { return h.h.LinkSetMTU(vxlan(), 1200) }, false},
		{"the engine has made the bridge anew", func() error {
			check(t, h.h.LinkDel(bridge()))
			for _, b := range h.engine.known {
				check(t, h.engine.add(&b))
			}
			return nil
		}, false},
		{"entries are deleted, and strange ones added", func() error {
			i := h.segments[fabric.VXLANName(nid)]
			strange := mac{2, 9, 9, 9, 9, 9}
			return errors.Join(
				h.setStation(i, strange, addr("192.0.2.3")),
				h.host.NeighAppend(station(i, mac{}, addr("192.0.2.3"), netlink.NTF_SELF)), // floods
				h.host.NeighSet(neighbour(i, addr("10.1.0.99"), strange)),
				h.removeStation(i, fabric.MAC(addr("10.1.0.2")), addr("192.0.2.2")),
				h.host.NeighDel(neighbour(i, addr("fd00:1::2"), fabric.MAC(addr("10.1.0.2")))),
			)
		}, true},
		{"another device has the name", func() error {
			check(t, h.h.LinkDel(vxlan()))
			return h.h.LinkAdd(&netlink.Vxlan{LinkAttrs: named(fabric.VXLANName(nid)), VxlanId: 7, Port: 4790})
		}, false},
	} {
		for len(heard) > 0 {
			<-heard
		}
		if err := c.meddle(); err != nil {
			t.Fatalf("%s: %v", c.story, err)
		}
		if !c.silent {
			select {
			case <-heard:
			case <-time.After(5 * time.Second):
				t.Errorf("%s: not heard", c.story)
			}
		}
		if err := h.Restore(); err != nil {
			t.Fatalf("%s: %v", c.story, err)
		}
		h.inOrder(l.set)
		if err := h.Ready(nid); err != nil {
			t.Errorf("%s: %v", c.story, err)
		}
	}
}

func TestAStationThatGoesWhileTheBridgeIsMadeAnewIsForgotten(t *testing.T) {
	l := newLab(t, 1500)
	l.run(l.hosts[1], "10.1.0.2")
	l.apply()
	h := l.hosts[0]
	check(t, h.h.LinkSetNoMaster(link(t, h.h, fabric.VXLANName(nid)))) // as when the engine removes the bridge
	h.replaced[nid] = true
	l.set = l.set.Clone()
	clear(l.set.Endpoints)
	check(t, h.Apply(l.set, all))
	h.inOrder(l.set)
}

func TestANewDaemonTakesOverWhatThereIs(t *testing.T) {
	l := newLab(t, 1500)
	a := l.run(l.hosts[0], "10.1.0.1")
	l.run(l.hosts[1], "10.1.0.2").answers()
	h := l.hosts[0]
	device := link(t, h.h, fabric.VXLANName(nid)).Attrs().Index
	for _, left := range []string{"swx-0123456789", "sw-0123456789", "swx-lan", "sw-lan"} {
		check(t, h.h.LinkAdd(&netlink.Bridge{LinkAttrs: named(left)}))
	}
	h.restart()
	l.run(l.hosts[2], "10.1.0.3").answers()
	if now := link(t, h.h, fabric.VXLANName(nid)).Attrs().Index; now != device || h.engine.made != 1 {
		t.Errorf("the device is %d, was %d; the engine has made %d bridges", now, device, h.engine.made)
	}
	h.inOrder(l.set)
	check(t, a.reaches("10.1.0.2", 1450))
	check(t, a.reaches("10.1.0.3", 1450))
	for _, name := range h.interfaces() {
		if name == "swx-0123456789" || name == "sw-0123456789" {
			t.Errorf("%s of a previous life is still there", name)
		}
	}
	for _, name := range []string{"swx-lan", "sw-lan"} {
		link(t, h.h, name) // the operator's own
	}
}

func TestANetworkGoesOnceNoContainerIsOnIt(t *testing.T) {
	l := newLab(t, 1500)
	a := l.run(l.hosts[0], "10.1.0.1")
	l.run(l.hosts[1], "10.1.0.2").answers()
	h, none := l.hosts[0], map[api.NetworkID]bool{}
	_, err := h.Build(t.Context(), l.set, none, false)
	if !errors.Is(err, api.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	check(t, h.Apply(l.set, none))
	check(t, a.reaches("10.1.0.2", 100)) // it is cut off by nobody
	check(t, h.h.LinkDel(link(t, h.h, "vh1-1")))
	h.agree(l.set, none)
	if got := h.interfaces(); !slices.Equal(got, []string{"eth0", "lo"}) {
		t.Errorf("left: %v", got)
	}
	if err := h.Ready(nid); !errors.Is(err, errNoBridge) {
		t.Errorf("ready: %v", err)
	}
}

func TestABridgeThatIsMadeAnewIsNotReadyBeforeItIsConnected(t *testing.T) {
	l := newLab(t, 1500)
	l.apply()
	h := l.hosts[0]
	check(t, h.Ready(nid))
	h.engine.removing = func() {
		if err := h.Ready(nid); !errors.Is(err, errNoBridge) {
			t.Errorf("while it is removed: %v", err)
		}
	}
	for _, need := range []map[api.NetworkID]bool{{}, all} {
		_, err := h.Build(t.Context(), l.set, need, false)
		check(t, err)
		if err := h.Ready(nid); !errors.Is(err, errNoBridge) {
			t.Errorf("needed are %v: %v", need, err)
		}
	}
	check(t, h.Apply(l.set, all))
	check(t, h.Ready(nid))
}

// The engine removes a bridge between one look and the next of who connects it.
func TestABridgeThatTheEngineRemovesIsNotMadeAgain(t *testing.T) {
	l := newLab(t, 1500)
	h := l.hosts[0]
	for round := range 100 {
		h.agree(l.set, all)
		connected := make(chan error)
		go func() {
			var errs []error
			for range 5 {
				errs = append(errs, h.Restore())
			}
			connected <- errors.Join(errs...)
		}()
		_, err := h.Build(t.Context(), l.set, nil, false)
		check(t, err)
		_ = <-connected // that the bridge goes under its hands is reported
		check(t, h.Apply(l.set, nil))
		if got := h.interfaces(); !slices.Equal(got, []string{"eth0", "lo"}) {
			t.Fatalf("round %d: left: %v; it said\n%s", round, got, h.log)
		}
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	l := newLab(t, 1500)
	l.run(l.hosts[1], "10.1.0.2")
	l.apply()
	h := l.hosts[0]
	check(t, h.h.LinkAdd(&netlink.Bridge{LinkAttrs: named("sw-0123456789")}))
	h.engine.away = errors.New("away")
	if err := h.Close(t.Context()); !errors.Is(err, h.engine.away) {
		t.Errorf("%v", err)
	}
	h.engine.away = nil
	check(t, h.Close(t.Context()))
	if got := h.interfaces(); !slices.Equal(got, []string{"eth0", "lo"}) || len(h.engine.known) != 0 {
		t.Errorf("left: %v, and of the engine's %v", got, h.engine.known)
	}
}

func TestWhatTheEngineRefusesIsSaidToWhoWaits(t *testing.T) {
	l := newLab(t, 1500)
	h := l.hosts[0]
	h.engine.known["mine"] = fabric.Bridge{ID: "mine", Name: "web"}
	if _, err := h.Build(t.Context(), l.set, all, false); !errors.Is(err, api.ErrConflict) {
		t.Errorf("%v", err)
	}
	check(t, h.Apply(l.set, all))
	if err := h.Ready(nid); !errors.Is(err, api.ErrConflict) {
		t.Errorf("ready: %v", err)
	}
	h.engine.away = errors.New("the engine is away")
	h.restart()
	_, err := h.Build(t.Context(), l.set, all, false)
	check(t, h.Apply(l.set, all))
	if !errors.Is(err, h.engine.away) {
		t.Errorf("%v", err)
	}
	_, _ = h.Build(t.Context(), l.set, all, false)
	if err := h.Ready(nid); !errors.Is(err, h.engine.away) {
		t.Errorf("ready: %v", err)
	}
	h.engine.away = nil
	delete(h.engine.known, "mine")
	h.agree(l.set, all)
	check(t, h.Ready(nid))
}

func TestContainersFollowWhenTheirNetworkChanges(t *testing.T) {
	l := newLab(t, 1500)
	h := l.hosts[0]
	a := l.run(h, "10.1.0.1").attach(h)
	l.run(l.hosts[1], "10.1.0.2").answers()
	check(t, a.reaches("10.1.0.2", 1450))

	eth := link(t, h.h, "eth0")
	check(t, h.h.LinkSetMTU(eth, 1400)) // the way to the others has become narrower
	check(t, h.Restore())
	check(t, a.reaches("10.1.0.2", 1350))
	if err := a.reaches("10.1.0.2", 1351); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("a packet that is too large: %v", err)
	}
	b := l.run(h, "10.1.0.3") // the engine gives it what its bridge was made with
	b.setMTU(1450)
	b.attach(h)
	check(t, b.reaches("10.1.0.2", 1350))
	if err := b.reaches("10.1.0.2", 1351); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("a packet that is too large: %v", err)
	}

	check(t, h.h.LinkDel(link(t, h.h, fabric.BridgeName(nid))))
	check(t, h.Restore())
	check(t, b.reaches("10.1.0.2", 1350))
}

// A task that calls its own published port may be sent on to itself.
func TestOnTheIngressNetworkFramesMayComeBack(t *testing.T) {
	for _, ingress := range []bool{false, true} {
		l := newLab(t, 1500)
		n := *l.set.Networks[nid]
		n.Ingress = ingress
		l.set.Networks[nid] = &n
		h := l.hosts[0]
		l.run(h, "10.1.0.1").attach(h)
		port, err := h.h.LinkGetProtinfo(link(t, h.h, "vh1-1"))
		check(t, err)
		if port.Hairpin != ingress {
			t.Errorf("ingress %v: a container's port in the bridge has %s", ingress, port.String())
		}
	}
}

func TestABridgeIsNotReadyBeforeItsEngineIsDoneWithIt(t *testing.T) {
	l := newLab(t, 1500)
	h := l.hosts[0]
	h.agree(l.set, nil)
	b := fabric.Bridge{Interface: fabric.BridgeName(nid)} // the interface comes first, and the engine's network after it
	check(t, h.engine.add(&b))
	check(t, h.Apply(l.set, all))
	if err := h.Ready(nid); !errors.Is(err, errNoBridge) {
		t.Errorf("ready: %v", err)
	}
	if got := h.interfaces(); slices.Contains(got, fabric.VXLANName(nid)) {
		t.Errorf("connected: %v", got)
	}
}

func TestAnInternalNetworkHasNoWayOutNotEvenToItsHost(t *testing.T) {
	l := newLab(t, 1500)
	h := l.hosts[0]
	for _, internal := range []bool{false, true} {
		n := *l.set.Networks[nid]
		n.Internal = internal
		l.set.Networks[nid] = &n
		h.agree(l.set, nil)
		c := l.run(h, "10.1.0.1", "fd00:1::1")
		before := c.routesOut("10.1.0.251") + c.routesOut("fd00:1::251")
		c.attach(h)
		left := c.routesOut("")
		if before != 3 || internal != (left == 0) {
			t.Errorf("internal %v: %d routes, %d left", internal, before, left)
		}
		check(t, h.h.LinkDel(link(t, h.h, fmt.Sprint("vh1-", h.made))))
	}
}
