package overlay

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/netns"
)

// frame is what a network's containers on this host must agree with.
type frame struct {
	bridge int // index of the interface
	mtu    int
	// hairpin: what comes out of a container may go back in. A task that calls a
	// published port may be sent on to itself, and an engine that shows
	// bridged packets to iptables has the bridge carry the reply then.
	hairpin bool
}

// joined is a container that runs on this host.
type joined struct {
	ns       *os.File
	networks []api.Attachment
}

// Attach takes charge of a container that runs: pid is a process in it. The
// engine has given it interfaces as they were when the bridge was made; they are
// kept as the network is. It may be called again for the same one.
func (o *Overlay) Attach(id string, pid int, networks []api.Attachment) error {
	ns, err := os.Open(netns.Path(pid))
	if err != nil {
		return fmt.Errorf("container %s: %w", id, err)
	}
	o.Detach(id)
	c := joined{ns, networks}
	o.mu.Lock()
	o.containers[id] = c
	frames, known := maps.Clone(o.frames), maps.Clone(o.engine.known)
	o.mu.Unlock()
	for _, at := range networks {
		if err := o.receive(c, at, known[at.Network], frames[at.Network]); err != nil {
			return fmt.Errorf("container %s: %w", id, err)
		}
		o.lead(id, c, at.Network)
	}
	return nil
}

// receive does for a container in a network what its engine has not done.
func (o *Overlay) receive(c joined, at api.Attachment, b fabric.Bridge, f frame) error {
	if b.Internal {
		if err := c.shutIn(b); err != nil {
			return fmt.Errorf("network %q: leave no way out: %w", b.Name, err)
		}
	}
	if f == (frame{}) || b.MTU == f.mtu && !f.hairpin { // the engine has made it as it should be
		return nil
	}
	return o.fit(c, at, f)
}

// shutIn takes away the routes that lead out of an internal network. Some
// engines give containers one to the bridge, where only what is forwarded is
// stopped: the host itself could be reached.
func (c joined) shutIn(b fabric.Bridge) error {
	inside, err := c.enter()
	if err != nil {
		return err
	}
	defer inside.Close()
	routes, err := inside.RouteList(nil, netlink.FAMILY_ALL)
	if complete(err) != nil {
		return err
	}
	for _, r := range routes {
		gw, ok := netip.AddrFromSlice(r.Gw)
		if !ok || !slices.ContainsFunc(b.Subnets, func(s fabric.BridgeSubnet) bool { return s.Gateway == gw.Unmap() }) {
			continue
		}
		if err := inside.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

func (c joined) enter() (*netlink.Handle, error) {
	return netns.Handle(fmt.Sprintf("/proc/self/fd/%d", c.ns.Fd()))
}

// Detach lets go of a container that has ended.
func (o *Overlay) Detach(id string) {
	o.mu.Lock()
	c, ok := o.containers[id]
	delete(o.containers, id)
	o.mu.Unlock()
	if ok {
		o.strand(c)
		_ = c.ns.Close()
	}
}

// reframe has the containers of a network agree with a frame that is another
// than before. One that cannot be reached is about to end.
func (o *Overlay) reframe(id api.NetworkID, f frame) {
	o.mu.Lock()
	old, had := o.frames[id]
	o.frames[id] = f
	list := maps.Clone(o.containers)
	o.mu.Unlock()
	if !had || old == f {
		return
	}
	for name, c := range list {
		at := fabric.In(c.networks, id)
		if at == nil {
			continue
		}
		if err := o.fit(c, *at, f); err != nil {
			o.cfg.Log.Warn("a container is not as its network has become", "container", name, "network", id, "err", err)
		}
	}
}

// fit puts a container's cable into the bridge as the frame has it.
func (o *Overlay) fit(c joined, at api.Attachment, f frame) error {
	inside, err := c.enter()
	if err != nil {
		return err
	}
	defer inside.Close()
	end, err := interfaceWith(inside, at.Addrs)
	if end == nil || err != nil {
		return err
	}
	outside, err := o.host.LinkByIndex(end.Attrs().ParentIndex)
	if err != nil {
		return fmt.Errorf("the host's end of %s: %w", end.Attrs().Name, err)
	}
	if outside.Attrs().MasterIndex != f.bridge {
		err = o.host.LinkSetMasterByIndex(outside, f.bridge)
	}
	if f.hairpin {
		err = errors.Join(err, o.host.LinkSetHairpin(outside, true))
	}
	return errors.Join(err, o.host.LinkSetMTU(outside, f.mtu), inside.LinkSetMTU(end, f.mtu))
}

// interfaceWith finds the interface that has one of the addresses.
func interfaceWith(h *netlink.Handle, addrs []netip.Addr) (netlink.Link, error) {
	list, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if complete(err) != nil {
		return nil, err
	}
	for _, has := range list {
		if a, ok := netip.AddrFromSlice(has.IP); ok && slices.Contains(addrs, a.Unmap()) {
			return h.LinkByIndex(has.LinkIndex)
		}
	}
	return nil, nil
}
