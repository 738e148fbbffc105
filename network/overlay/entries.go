package overlay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// static is the state of an entry that does not age and that is not this
// host's own. The VXLAN device looks at the first flag, the bridge at the second.
const static = netlink.NUD_REACHABLE | netlink.NUD_NOARP

// entries makes the tables of the device and of the bridge those of the
// segment. What is new comes first, so that an address that moves from one
// host to another is never without one.
func (o *Overlay) entries(i *installed, s *segment) error {
	var errs []error
	for hw, at := range s.stations {
		if i.stations[hw] == (place{at, true}) {
			continue
		}
		if err := o.setStation(i, hw, at); err != nil {
			errs = append(errs, fmt.Errorf("send frames for %s to %s: %w", net.HardwareAddr(hw[:]), at, err))
			continue
		}
		i.stations[hw] = place{at, true}
	}
	for a, hw := range s.neighbours {
		if i.neighbours[a] == hw {
			continue
		}
		if err := o.host.NeighSet(neighbour(i, a, hw)); err != nil {
			errs = append(errs, fmt.Errorf("answer for address %s: %w", a, err))
			continue
		}
		i.neighbours[a] = hw
	}
	return errors.Join(append(errs, o.removeEntries(i, s)...)...)
}

// removeEntries takes away those of stations that are gone, or that are on
// this host now.
func (o *Overlay) removeEntries(i *installed, s *segment) (errs []error) {
	for a, hw := range i.neighbours {
		if _, ok := s.neighbours[a]; ok {
			continue
		}
		if err := o.host.NeighDel(neighbour(i, a, hw)); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("answer no more for address %s: %w", a, err))
			continue
		}
		delete(i.neighbours, a)
	}
	for hw, at := range i.stations {
		if _, ok := s.stations[hw]; ok {
			continue
		}
		if err := o.removeStation(i, hw, at.host); err != nil {
			errs = append(errs, fmt.Errorf("forget station %s: %w", net.HardwareAddr(hw[:]), err))
			continue
		}
		delete(i.stations, hw)
	}
	return errs
}

// setStation tells the device which host has a station, and the bridge that
// it is behind the device. The bridge must not learn that by itself: it would
// send frames there for minutes after the address has moved to this host.
func (o *Overlay) setStation(i *installed, hw mac, at netip.Addr) error {
	return o.host.NeighSet(station(i, hw, at, netlink.NTF_SELF|netlink.NTF_MASTER))
}

// removeStation takes both entries away. The bridge has none any more where
// the station has been heard from on this host, or where it is gone itself.
func (o *Overlay) removeStation(i *installed, hw mac, at netip.Addr) error {
	for _, flag := range []int{netlink.NTF_MASTER, netlink.NTF_SELF} {
		if flag == netlink.NTF_SELF && !at.IsValid() {
			continue // the bridge alone had it
		}
		err := o.host.NeighDel(station(i, hw, at, flag))
		if flag == netlink.NTF_MASTER && errors.Is(err, unix.EOPNOTSUPP) {
			continue // the device is in no bridge
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

func station(i *installed, hw mac, at netip.Addr, flags int) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: i.vxlan, Family: unix.AF_BRIDGE, State: static, Flags: flags, IP: at.AsSlice(), HardwareAddr: hw[:],
	}
}

func neighbour(i *installed, a netip.Addr, hw mac) *netlink.Neigh {
	family := netlink.FAMILY_V4
	if a.Is6() {
		family = netlink.FAMILY_V6
	}
	return &netlink.Neigh{
		LinkIndex: i.vxlan, Family: family, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: hw[:],
	}
}
