package balance

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/swarmctl/swarmctl/network/netns"
)

// A program's first lines may be faster than the balancer. What they call at a
// virtual address waits for a hardware address that nobody has, and neither the
// kernel's record of the connection nor TCP, which does not repeat what has not
// left yet, would notice rules that come meanwhile.

// fresh are the virtual addresses that no rule was about so far. What the
// container has called there has gone nowhere, and the kernel would keep it so:
// only the first packet of a connection is asked where to.
func (c *container) fresh(now []*network) map[netip.Addr]bool {
	addrs := map[netip.Addr]bool{}
	for i, n := range now {
		var old *network
		if i < len(c.seen) {
			old = c.seen[i]
		}
		if n == old {
			continue
		}
		for _, v6 := range []bool{false, true} {
			for key := range n.of(v6) {
				if a, ok := netip.AddrFromSlice([]byte(key)); ok && old.of(v6)[key] == nil {
					addrs[a] = true
				}
			}
		}
	}
	return addrs
}

// takeUp has the kernel look again at what was called at these addresses: it
// forgets the connections and lets go of the packets that wait.
func (c *container) takeUp(fresh map[netip.Addr]bool) error {
	if len(fresh) == 0 {
		return nil
	}
	return errors.Join(c.space.ForgetUnsent(fresh, c.has6()), c.letGo(fresh))
}

// nobody is a hardware address that no interface has.
var nobody = net.HardwareAddr{0x02, 0, 0, 0, 0, 0}

// letGo sends the packets that wait for the hardware address of a virtual
// address to nobody. Told that there is none, the callers would give up.
func (c *container) letGo(fresh map[netip.Addr]bool) error {
	h, err := netns.Handle(c.space.Path())
	if err != nil {
		return err
	}
	defer h.Close()
	list, err := h.NeighList(0, 0)
	if err != nil {
		return fmt.Errorf("neighbours in container %s: %w", c.id, err)
	}
	var errs []error
	for _, n := range list {
		if a, ok := netip.AddrFromSlice(n.IP); ok && n.State == netlink.NUD_INCOMPLETE && fresh[a.Unmap()] {
			n.State, n.HardwareAddr = netlink.NUD_STALE, nobody
			errs = append(errs, h.NeighSet(&n))
		}
	}
	return errors.Join(errs...)
}
