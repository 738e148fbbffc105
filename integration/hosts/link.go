package hosts

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// handleAt opens a netlink socket in the network namespace of a process.
func handleAt(pid int) (*netlink.Handle, error) {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	return netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
}

func addBridge(lan *netlink.Handle, cidrs ...string) (netlink.Link, error) {
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "lan"}}
	if err := lan.LinkAdd(br); err != nil {
		return nil, fmt.Errorf("add bridge: %w", err)
	}
	return br, addressUp(lan, br, cidrs...)
}

// plugIn lays a cable from the switch to the network namespace of process pid
// and gives the host's end its address and a default route to the switch. A
// host keeps its hardware address over a power cycle, as real ones do.
func (h *Host) plugIn(pid int) error {
	veth := netlink.NewVeth(netlink.NewLinkAttrs())
	veth.Name = h.cable()
	veth.MasterIndex = h.rack.bridge.Attrs().Index
	veth.PeerName = "eth0"
	veth.PeerNamespace = netlink.NsPid(pid)
	veth.PeerHardwareAddr = append(net.HardwareAddr{2, 0}, net.ParseIP(h.Addr).To4()...)
	if err := h.rack.lan.LinkAdd(veth); err != nil {
		return fmt.Errorf("lay cable: %w", err)
	}
	if err := h.rack.lan.LinkSetUp(veth); err != nil {
		return err
	}
	inside, err := handleAt(pid)
	if err != nil {
		return err
	}
	defer inside.Close()
	for name, cidrs := range map[string][]string{"lo": nil, "eth0": {h.Addr + "/24", h.Addr6 + "/64"}} {
		link, err := inside.LinkByName(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := addressUp(inside, link, cidrs...); err != nil {
			return err
		}
	}
	return inside.RouteAdd(&netlink.Route{Gw: net.ParseIP(h.rack.addr(theSwitch))})
}

// Cut pulls the host's network cable: both ends lose carrier.
func (h *Host) Cut() error { return h.setCable(h.rack.lan.LinkSetDown) }

// Heal plugs the cable back in.
func (h *Host) Heal() error { return h.setCable(h.rack.lan.LinkSetUp) }

func (h *Host) setCable(set func(netlink.Link) error) error {
	link, err := h.rack.lan.LinkByName(h.cable())
	if err == nil {
		err = set(link)
	}
	if err != nil {
		return fmt.Errorf("cable of %s: %w", h.Name, err)
	}
	return nil
}

func (h *Host) cable() string { return "to-" + h.Name }

// addressUp gives a link addresses and turns it on. There is nobody else to
// have them, so an IPv6 address need not ask around first.
func addressUp(at *netlink.Handle, link netlink.Link, cidrs ...string) error {
	for _, cidr := range cidrs {
		addr, err := netlink.ParseAddr(cidr)
		if err != nil {
			return err
		}
		if addr.IP.To4() == nil {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := at.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("address %s: %w", cidr, err)
		}
	}
	return at.LinkSetUp(link)
}
