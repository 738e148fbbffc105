package balance

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/network/netns"
	"github.com/swarmctl/swarmctl/network/nft"
)

// Marks of connections and numbers of routing tables in containers that
// publish ports: the upper half is the same for all, the lower one is the number of
// the host by which a connection came. The last table is for what is sent from
// the ingress address without a mark.
const (
	markBase  = 0x5357_0000 // "SW"
	markMask  = 0xffff_0000
	maxNumber = 0xfffe
	fromTable = markBase | 0xffff
)

// Priorities of our rules for routing. What bears no mark of ours passes the
// many rules for hosts at once.
const (
	priorityPass = 0x5356 + iota
	priorityHost
	priorityFrom
)

// uplink is the interface of the ingress network in a container.
type uplink struct {
	index int
	name  string
}

// router sets rules and routes in a container's namespace.
type router struct {
	h     *netlink.Handle
	addrs []netip.Addr // of the container in the ingress network
	link  uplink
}

// openRouter looks up the interface that has the addresses.
func openRouter(path string, addrs []netip.Addr) (*router, error) {
	h, err := netns.Handle(path)
	if err != nil {
		return nil, err
	}
	r := &router{h: h, addrs: addrs}
	if r.link, err = r.find(); err != nil {
		h.Close()
		return nil, err
	}
	return r, nil
}

func (r *router) find() (uplink, error) {
	list, err := r.h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return uplink{}, fmt.Errorf("addresses: %w", err)
	}
	for _, a := range list {
		ip, _ := netip.AddrFromSlice(a.IP)
		for _, own := range r.addrs {
			if ip.Unmap() != own {
				continue
			}
			link, err := r.h.LinkByIndex(a.LinkIndex)
			if err != nil {
				return uplink{}, fmt.Errorf("interface of %s: %w", own, err)
			}
			return uplink{a.LinkIndex, link.Attrs().Name}, nil
		}
	}
	return uplink{}, fmt.Errorf("none of its interfaces has its ingress address %v: the engine has not connected it to the ingress network", r.addrs)
}

// primary is the address that a server answers datagrams from, see there.
func (r *router) primary(w *ways, v6 bool) (primary, error) {
	p := primary{ingress: w.prefix(v6)}
	if !p.ingress.IsValid() {
		return p, nil // the ingress network has no addresses of the family: nothing is sent on
	}
	routes, err := r.h.RouteListFiltered(family(v6), &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return p, fmt.Errorf("routes: %w", err)
	}
	for _, route := range routes {
		if !isDefault(route.Dst) || route.LinkIndex == 0 || route.LinkIndex == r.link.index {
			continue
		}
		p.addr, err = r.first(route.LinkIndex, v6)
		return p, err
	}
	return p, nil
}

func isDefault(dst *net.IPNet) bool {
	if dst == nil {
		return true
	}
	ones, _ := dst.Mask.Size()
	return ones == 0
}

// first is the first address of an interface that is good outside of it.
func (r *router) first(index int, v6 bool) (netip.Addr, error) {
	link, err := r.h.LinkByIndex(index)
	if err != nil {
		return netip.Addr{}, err
	}
	list, err := r.h.AddrList(link, family(v6))
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && a.Scope == unix.RT_SCOPE_UNIVERSE {
			return ip.Unmap(), err
		}
	}
	return netip.Addr{}, err
}

func family(v6 bool) int {
	if v6 {
		return netlink.FAMILY_V6
	}
	return netlink.FAMILY_V4
}

// agree brings rules and routes from old ways to those of now.
func (r *router) agree(old, now *ways) error {
	var errs []error
	for _, own := range r.addrs {
		errs = append(errs, r.base(own, now))
	}
	known := map[host]bool{}
	if old != nil {
		for _, h := range old.hosts {
			known[h] = true
		}
	}
	for _, h := range now.hosts {
		if !known[h] {
			errs = append(errs, r.add(h))
		}
		delete(known, h)
	}
	for h := range known {
		if !stays(now, h) {
			errs = append(errs, r.remove(h))
		}
	}
	return errors.Join(errs...)
}

// stays: another host has its number now.
func stays(w *ways, h host) bool {
	for _, o := range w.hosts {
		if o.number == h.number {
			return true
		}
	}
	return false
}

// base is what does not depend on the hosts: what is sent from the ingress
// address leaves by the ingress network.
func (r *router) base(own netip.Addr, w *ways) error {
	pass := rule(own.Is6(), priorityPass)
	pass.Mark, pass.Mask, pass.Invert, pass.Goto = markBase, bits(markMask), true, priorityFrom
	from := rule(own.Is6(), priorityFrom)
	from.Src, from.Table = single(own), fromTable
	if err := r.rules(pass, from); err != nil {
		return err
	}
	if p := w.prefix(own.Is6()); p.IsValid() {
		link := &netlink.Route{LinkIndex: r.link.index, Dst: ipNet(p.Masked()), Scope: netlink.SCOPE_LINK, Table: fromTable}
		if err := r.h.RouteReplace(link); err != nil {
			return fmt.Errorf("route to %s: %w", p, err)
		}
	}
	return r.route(nft.Of(w.self, own.Is6()), fromTable)
}

func (r *router) add(h host) error {
	for _, own := range r.addrs {
		to := rule(own.Is6(), priorityHost)
		to.Mark, to.Mask, to.Table = h.mark(), bits(0xffffffff), int(h.mark())
		if err := r.rules(to); err != nil {
			return err
		}
		if err := r.route(h.gateway(own.Is6()), int(h.mark())); err != nil {
			return err
		}
	}
	return nil
}

func (h host) gateway(v6 bool) netip.Addr {
	if v6 {
		return h.gateways[1]
	}
	return h.gateways[0]
}

func (r *router) remove(h host) error {
	for _, own := range r.addrs {
		to := rule(own.Is6(), priorityHost)
		to.Mark, to.Mask, to.Table = h.mark(), bits(0xffffffff), int(h.mark())
		if err := r.h.RuleDel(to); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("rule of host %d: %w", h.number, err)
		}
		gone := &netlink.Route{Table: int(h.mark()), LinkIndex: r.link.index, Gw: h.gateway(own.Is6()).AsSlice()}
		if err := r.h.RouteDel(gone); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("route of host %d: %w", h.number, err)
		}
	}
	return nil
}

func (r *router) rules(list ...*netlink.Rule) error {
	for _, one := range list {
		if err := r.h.RuleAdd(one); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("%s: %w", one, err)
		}
	}
	return nil
}

// route makes the gateway the way out in a table.
func (r *router) route(gateway netip.Addr, table int) error {
	if !gateway.IsValid() {
		return nil
	}
	out := &netlink.Route{LinkIndex: r.link.index, Gw: gateway.AsSlice(), Table: table, Flags: int(netlink.FLAG_ONLINK)}
	if err := r.h.RouteReplace(out); err != nil {
		return fmt.Errorf("route by %s: %w", gateway, err)
	}
	return nil
}

// clear takes away all of our rules; the routes have nobody then who asks for them.
func (r *router) clear() error {
	var errs []error
	for _, v6 := range []bool{false, true} {
		list, err := r.h.RuleList(family(v6))
		errs = append(errs, err)
		for _, one := range list {
			if one.Priority >= priorityPass && one.Priority <= priorityFrom {
				one.Family = family(v6)
				errs = append(errs, r.h.RuleDel(&one))
			}
		}
	}
	return errors.Join(errs...)
}

func rule(v6 bool, priority int) *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Priority = family(v6), priority
	return r
}

func bits(m uint32) *uint32 { return &m }

func single(a netip.Addr) *net.IPNet { return ipNet(netip.PrefixFrom(a, a.BitLen())) }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// settings let replies leave by another interface than the one that the main
// table has for the client. They are those of the container's namespace.
func settings(path string, link uplink) error {
	return netns.Do(path, func() error {
		for name, value := range map[string]string{
			"ipv4/conf/" + link.name + "/rp_filter": "2", // clients are reached by another interface than they come by
			"ipv4/conf/all/accept_redirects":        "0", // a host that sends a connection back here would offer a short cut past itself
			"ipv4/tcp_fwmark_accept":                "1", // replies need not be routed again one by one
			"ipv4/fwmark_reflect":                   "1", // nor do refusals get lost
		} {
			if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
}
