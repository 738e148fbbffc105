// Package hostroutes says which addresses a host has a way to already, so that
// no network of the cluster is given them: traffic that belongs there would end
// in the overlay.
package hostroutes

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api/fabric"
)

// shortest is the shortest prefix that counts as a network in use. VPNs split
// the default route in two or four, and that is no claim to half of all addresses.
const shortest = 8

// tries is how often the routes are read again where they change meanwhile.
const tries = 3

// List returns the IPv4 prefixes that the host routes itself, in their order:
// without the default route, and without those of the cluster's networks.
func List() ([]netip.Prefix, error) {
	own, err := ownIndexes()
	if err != nil {
		return nil, err
	}
	var routes []netlink.Route
	for range tries {
		routes, err = netlink.RouteList(nil, netlink.FAMILY_V4)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("read the host's routes: %w", err)
	}
	routes = slices.DeleteFunc(routes, func(r netlink.Route) bool { return own[r.LinkIndex] })
	return prefixes(routes), nil
}

// ownIndexes are the indexes of the cluster's own bridges.
func ownIndexes() (map[int]bool, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("read the host's interfaces: %w", err)
	}
	own := map[int]bool{}
	for _, l := range links {
		own[l.Index] = strings.HasPrefix(l.Name, fabric.BridgePrefix)
	}
	return own, nil
}

func prefixes(routes []netlink.Route) []netip.Prefix {
	var list []netip.Prefix
	for _, r := range routes {
		if r.Dst == nil || r.Type != unix.RTN_UNICAST && r.Type != unix.RTN_UNSPEC {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP)
		bits, _ := r.Dst.Mask.Size()
		if ok && bits >= shortest && addr.Unmap().Is4() {
			list = append(list, netip.PrefixFrom(addr.Unmap(), bits).Masked())
		}
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}
