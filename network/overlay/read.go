package overlay

import (
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// read takes what the kernel has for what was set. Everything that it does not
// tell of is set again.
func (o *Overlay) read() error {
	links, err := o.links()
	if err != nil {
		return err
	}
	found, byIndex := map[string]*installed{}, map[int]*installed{}
	for _, link := range links {
		if at := link.Attrs(); isVXLAN(at.Name) {
			i := newInstalled()
			i.vxlan = at.Index
			found[at.Name], byIndex[at.Index] = i, i
		}
	}
	if len(found) > 0 {
		if err := errors.Join(o.readStations(byIndex), o.readNeighbours(byIndex)); err != nil {
			return err
		}
	}
	o.segments, o.known = found, true
	return nil
}

// links are all interfaces of the host. While others come and go the list may
// be told to be incomplete; it is as good as the next one would be.
func (o *Overlay) links() ([]netlink.Link, error) {
	list, err := o.host.LinkList()
	return list, complete(err)
}

func complete(err error) error {
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil
	}
	return err
}

// readStations finds out which stations the devices and their bridges know.
func (o *Overlay) readStations(devices map[int]*installed) error {
	list, err := o.host.NeighList(0, unix.AF_BRIDGE)
	if complete(err) != nil {
		return err
	}
	for _, n := range list {
		if len(n.HardwareAddr) != len(mac{}) || devices[n.LinkIndex] == nil {
			continue
		}
		stations, hw := devices[n.LinkIndex].stations, mac(n.HardwareAddr)
		p := stations[hw]
		switch {
		case n.Flags&netlink.NTF_SELF != 0:
			at, _ := netip.AddrFromSlice(n.IP)
			p.host = at.Unmap()
		case n.State&netlink.NUD_PERMANENT == 0:
			p.bridged = true
		default:
			continue // the device's own hardware address
		}
		stations[hw] = p
	}
	return nil
}

func (o *Overlay) readNeighbours(devices map[int]*installed) error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := o.host.NeighList(0, family)
		if complete(err) != nil {
			return err
		}
		for _, n := range list {
			a, ok := netip.AddrFromSlice(n.IP)
			i := devices[n.LinkIndex]
			if !ok || i == nil || n.State&netlink.NUD_PERMANENT == 0 || len(n.HardwareAddr) != len(mac{}) {
				continue
			}
			i.neighbours[a.Unmap()] = mac(n.HardwareAddr)
		}
	}
	return nil
}
