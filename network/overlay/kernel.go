package overlay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// port is that of VXLAN, as IANA has it.
const port = 4789

// installed is what the kernel has for one network.
type installed struct {
	bridge     int      // index of the interface, 0: not looked for
	vxlan      int      // 0: there is none
	checked    *segment // the one that the interfaces agree with
	stations   map[mac]place
	neighbours map[netip.Addr]mac
}

// place is where frames for a station are sent, and whether the bridge knows
// that it is behind the device.
type place struct {
	host    netip.Addr
	bridged bool
}

func newInstalled() *installed {
	return &installed{stations: map[mac]place{}, neighbours: map[netip.Addr]mac{}}
}

// connect makes the kernel agree with one segment.
func (o *Overlay) connect(s *segment) error {
	i := o.segments[fabric.VXLANName(s.id)]
	if i == nil {
		i = newInstalled()
		o.segments[fabric.VXLANName(s.id)] = i
	}
	if err := o.interfaces(i, s); err != nil {
		if known, asked := o.has(s.id); asked && !known {
			return errNoBridge // the engine has removed it meanwhile
		}
		return err
	}
	err := o.entries(i, s)
	o.shorten(i, s)
	return err
}

// interfaces makes the bridge and the VXLAN device what they should be.
func (o *Overlay) interfaces(i *installed, s *segment) error {
	if i.checked != nil && i.checked.sameInterfaces(s) {
		return nil
	}
	bridge, err := o.bridge(s)
	if err != nil {
		return err
	}
	i.bridge = bridge.Attrs().Index
	if err := o.settleBridge(bridge, s); err != nil {
		return fmt.Errorf("bridge %s: %w", fabric.BridgeName(s.id), err)
	}
	vxlan, err := o.vxlan(i, s)
	if err != nil {
		return fmt.Errorf("VXLAN device %s: %w", fabric.VXLANName(s.id), err)
	}
	i.vxlan, i.checked = vxlan, s
	o.reframe(s.id, frame{i.bridge, s.mtu, s.ingress})
	return nil
}

// sameInterfaces reports whether two segments have the same interfaces,
// whatever else is known in them.
func (s *segment) sameInterfaces(t *segment) bool {
	return s.id == t.id && s.vni == t.vni && s.local == t.local && s.mtu == t.mtu && slices.Equal(s.gateways, t.gateways)
}

// bridge finds the interface of a network's bridge. One that the engine has and
// somebody has deleted is made again: the engine would not notice.
func (o *Overlay) bridge(s *segment) (netlink.Link, error) {
	name := fabric.BridgeName(s.id)
	known, asked := o.has(s.id)
	if asked && !known {
		return nil, errNoBridge // the interface may be there, and the engine not done with it
	}
	link, err := o.host.LinkByName(name)
	switch {
	case err == nil:
		return link, nil
	case !notFound(err):
		return nil, fmt.Errorf("bridge %s: %w", name, err)
	case !known:
		return nil, errNoBridge
	}
	return o.remake(s, name)
}

// remake makes a bridge again, unless it was the engine that has removed it
// since it was last seen. Two bridges with the network's addresses would be
// left otherwise once the network, or another with its subnet, is back.
func (o *Overlay) remake(s *segment, name string) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, s.mtu
	err := o.host.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	if errors.Is(err, unix.EEXIST) {
		return o.host.LinkByName(name)
	}
	if err != nil {
		return nil, fmt.Errorf("make bridge %s, which somebody has deleted, again: %w", name, err)
	}
	link, err := o.host.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("bridge %s, just made again: %w", name, err)
	}
	// Whoever has the engine remove it looks for what is left after saying so.
	if known, _ := o.has(s.id); !known {
		return nil, errors.Join(errNoBridge, o.delete(name, link.Attrs().Index))
	}
	o.cfg.Log.Warn("a bridge that somebody has deleted is made again", "network", s.name, "interface", name)
	return link, nil
}

// deleteBridge deletes the bridge of that name, if there is one.
func (o *Overlay) deleteBridge(name string) error {
	link, err := o.host.LinkByName(name)
	if notFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("bridge %s: %w", name, err)
	}
	return o.delete(name, link.Attrs().Index)
}

// settleBridge gives the bridge the hardware address that all other hosts
// have in their tables, and what else somebody may have changed.
func (o *Overlay) settleBridge(link netlink.Link, s *segment) error {
	at := link.Attrs()
	if s.hardware != (mac{}) && !slices.Equal(at.HardwareAddr, s.hardware[:]) {
		if err := o.host.LinkSetHardwareAddr(link, s.hardware[:]); err != nil {
			return fmt.Errorf("set its hardware address: %w", err)
		}
	}
	if err := o.settle(link, s.mtu); err != nil {
		return err
	}
	if err := o.addresses(link, s); err != nil {
		return err
	}
	o.expect(at.Name, expectation{hardware: s.hardware, mtu: s.mtu})
	return nil
}

// settle sets an interface's MTU, and sets it up.
func (o *Overlay) settle(link netlink.Link, mtu int) error {
	if at := link.Attrs(); at.MTU != mtu {
		if err := o.host.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("set MTU %d: %w", mtu, err)
		}
	}
	if !isUp(link) {
		if err := o.host.LinkSetUp(link); err != nil {
			return fmt.Errorf("set it up: %w", err)
		}
	}
	return nil
}

func isUp(link netlink.Link) bool { return link.Attrs().Flags&net.FlagUp != 0 }

// addresses gives the bridge those of this host that it lacks.
func (o *Overlay) addresses(link netlink.Link, s *segment) error {
	list, err := o.host.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("read its addresses: %w", err)
	}
	for _, g := range s.gateways {
		a := g.Addr()
		if slices.ContainsFunc(list, func(has netlink.Addr) bool { return has.IP.Equal(a.AsSlice()) }) {
			continue
		}
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(g.Bits(), a.BitLen())}}
		if a.Is6() {
			addr.Flags = unix.IFA_F_NODAD // nobody else can have it
		}
		if err := o.host.AddrReplace(link, addr); err != nil {
			return fmt.Errorf("give it address %s: %w", g, err)
		}
	}
	return nil
}

// vxlan finds or makes the VXLAN device in the bridge and returns its index.
func (o *Overlay) vxlan(i *installed, s *segment) (int, error) {
	if !s.local.IsValid() {
		return 0, errors.New("no manager has said yet at which address the other hosts reach this one")
	}
	name := fabric.VXLANName(s.id)
	link, err := o.host.LinkByName(name)
	if err == nil && !isOurs(link, s) {
		err = o.host.LinkDel(link)
		link = nil
	}
	if err != nil && !notFound(err) {
		return 0, err
	}
	if link == nil {
		clear(i.stations)
		clear(i.neighbours)
		if link, err = o.addVXLAN(name, s); err != nil {
			return 0, err
		}
	}
	return link.Attrs().Index, o.settleVXLAN(link, i, s)
}

// isOurs reports whether a device is the one that the segment wants.
func isOurs(link netlink.Link, s *segment) bool {
	v, ok := link.(*netlink.Vxlan)
	return ok && v.VxlanId == int(s.vni) && v.Port == port && v.SrcAddr.Equal(s.local.AsSlice()) &&
		!v.Learning && v.Proxy && v.VtepDevIndex == 0
}

// addVXLAN makes the device. It is bound to no interface of the host: the
// kernel would delete it together with that, and the route may change.
func (o *Overlay) addVXLAN(name string, s *segment) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, s.mtu
	err := o.host.LinkAdd(&netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: int(s.vni), Port: port, SrcAddr: s.local.AsSlice(), Learning: false, Proxy: true,
	})
	if errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("another device of this host has VXLAN identifier %d at port %d: see `ip -d link show type vxlan`: %w", s.vni, port, err)
	}
	if err != nil {
		return nil, fmt.Errorf("add it: %w", err)
	}
	return o.host.LinkByName(name)
}

// settleVXLAN puts the device into the bridge, which sends it only what is for
// stations that it has been told of, and broadcasts, which the device answers.
func (o *Overlay) settleVXLAN(link netlink.Link, i *installed, s *segment) error {
	if link.Attrs().MasterIndex != i.bridge {
		for hw, at := range i.stations { // the device has them still
			i.stations[hw] = place{at.host, false}
		}
		if err := o.host.LinkSetMasterByIndex(link, i.bridge); err != nil {
			return fmt.Errorf("put it into the bridge: %w", err)
		}
	}
	if err := errors.Join(o.host.LinkSetLearning(link, false), o.host.LinkSetFlood(link, false)); err != nil {
		return fmt.Errorf("let the bridge learn nothing from it: %w", err)
	}
	if !isUp(link) {
		clear(i.neighbours) // the kernel forgets those of an interface that is down
	}
	if err := o.settle(link, s.mtu); err != nil {
		return err
	}
	o.expect(link.Attrs().Name, expectation{mtu: s.mtu, master: i.bridge})
	return nil
}

// drop deletes the VXLAN devices of networks that are not here any more.
func (o *Overlay) drop(wanted map[api.NetworkID]*segment) error {
	keep := map[string]bool{}
	for id := range wanted {
		keep[fabric.VXLANName(id)] = true
	}
	var errs []error
	for name, i := range o.segments {
		if keep[name] {
			continue
		}
		o.unexpect(name)
		o.unexpect(fabric.BridgePrefix + strings.TrimPrefix(name, fabric.VXLANPrefix))
		if err := o.delete(name, i.vxlan); err != nil {
			errs = append(errs, err)
			continue
		}
		delete(o.segments, name)
	}
	return errors.Join(errs...)
}

func (o *Overlay) delete(name string, index int) error {
	if index == 0 {
		return nil
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Index = name, index
	if err := o.host.LinkDel(&netlink.GenericLink{LinkAttrs: attrs}); err != nil && !notFound(err) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete interface %s: %w", name, err)
	}
	return nil
}

func notFound(err error) bool {
	var none netlink.LinkNotFoundError
	return errors.As(err, &none)
}

// isVXLAN and isBridge tell our interfaces by their names.
func isVXLAN(name string) bool  { return isNamed(name, fabric.VXLANPrefix) }
func isBridge(name string) bool { return isNamed(name, fabric.BridgePrefix) }

// isNamed asks for the beginning of an ID behind the prefix: what is not ours
// is deleted by nobody here, and an operator may well call a bridge sw-lan.
func isNamed(name, prefix string) bool {
	id, ok := strings.CutPrefix(name, prefix)
	return ok && len(id) == fabric.ShortID && !strings.ContainsFunc(id, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'z') })
}
