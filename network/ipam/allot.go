package ipam

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// The identifiers of VXLAN have 24 bits. Docker Swarm counts from 4097 on and
// has its ingress network under 4096.
const (
	ingressVXLAN = 4096
	firstVXLAN   = 4097
	lastVXLAN    = 1<<24 - 1
)

// Taken is what networks have already, and where a network must not be besides:
// the subnets that hosts use themselves.
type Taken struct {
	Subnets []netip.Prefix
	VXLAN   []uint32
}

// TakenBy collects what networks have.
func TakenBy(networks iter.Seq[*api.Network]) Taken {
	var t Taken
	for n := range networks {
		for _, c := range n.IPAM.Configs {
			if s, err := netip.ParsePrefix(c.Subnet); err == nil {
				t.Subnets = append(t.Subnets, s)
			}
		}
		t.VXLAN = append(t.VXLAN, n.VXLAN...)
	}
	return t
}

// Allot gives a network its subnets, gateways and identifiers: those that its
// spec asks for, and free ones for the rest. What is asked for is checked for
// sense, not for being free: that is the state's to judge.
func (p Pool) Allot(n *api.Network, taken Taken) error {
	var asked []swarm.IPAMConfig
	if n.Spec.IPAMOptions != nil {
		asked = n.Spec.IPAMOptions.Configs
		n.IPAM.Driver = n.Spec.IPAMOptions.Driver
	}
	n.IPAM.Configs = nil
	for _, c := range asked {
		config, err := complete(c)
		if err != nil {
			return err
		}
		n.IPAM.Configs = append(n.IPAM.Configs, config)
	}
	if err := p.fill(n, taken.Subnets); err != nil {
		return err
	}
	var err error
	n.VXLAN, err = identifiers(n, taken.VXLAN)
	return err
}

// fill gives a network a subnet of each family that it is to have and that
// nobody gave it. They come after those that were asked for.
func (p Pool) fill(n *api.Network, taken []netip.Prefix) error {
	has4, has6 := families(n)
	if has6 && !n.Spec.IPv6Enabled {
		return api.Errorf(api.CodeInvalid, "network %s has an IPv6 subnet, and IPv6 is not enabled: give --ipv6 too", n.Spec.Name)
	}
	add := func(subnet netip.Prefix) error {
		config, err := complete(swarm.IPAMConfig{Subnet: subnet.String()})
		n.IPAM.Configs = append(n.IPAM.Configs, config)
		return err
	}
	if !has4 {
		subnet, err := p.next(n.Spec.Ingress, taken)
		if err != nil {
			return err
		}
		if err := add(subnet); err != nil {
			return err
		}
	}
	if !n.Spec.IPv6Enabled || has6 {
		return nil
	}
	subnet, ok := unique(n.ID, taken)
	if !ok {
		return api.Errorf(api.CodeUnavailable, "no IPv6 address space is left for network %s: what is taken covers nearly all of fd00::/8: give a subnet with --subnet", n.Spec.Name)
	}
	return add(subnet)
}

func families(n *api.Network) (has4, has6 bool) {
	for _, c := range n.IPAM.Configs {
		if s, err := netip.ParsePrefix(c.Subnet); err == nil {
			has4, has6 = has4 || s.Addr().Is4(), has6 || s.Addr().Is6()
		}
	}
	return has4, has6
}

// uniqueTries is how many subnets unique looks at: the second is as good as
// never needed, unless somebody has taken a great part of all.
const uniqueTries = 64

// unique is an IPv6 subnet that nobody else in the world is likely to have: a
// unique local one (RFC 4193) whose global and subnet IDs come from the
// network's, which is random.
func unique(id api.NetworkID, taken []netip.Prefix) (subnet netip.Prefix, ok bool) {
	const local, bits = 0xfd, 64
	for again := range byte(uniqueTries) {
		digest := sha256.Sum256(append([]byte(id), again))
		a := [16]byte{local}
		copy(a[1:bits/8], digest[:])
		subnet = netip.PrefixFrom(netip.AddrFrom16(a), bits)
		if !slices.ContainsFunc(taken, subnet.Overlaps) {
			return subnet, true
		}
	}
	return subnet, false
}

// nobodys are the ranges whose addresses no host can have.
var nobodys = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("::/127"), netip.MustParsePrefix("ff00::/8"),
}

// checkHosts refuses ranges that reach into those that are no host's.
func checkHosts(p netip.Prefix) error {
	i := slices.IndexFunc(nobodys, p.Overlaps)
	if i < 0 {
		return nil
	}
	private := "10.0.0.0/8"
	if p.Addr().Is6() {
		private = "fd00::/8"
	}
	return api.Errorf(api.CodeInvalid, "no host can have the addresses %s of %s: use a private range, as in %s", nobodys[i], p, private)
}

// complete checks one subnet and gives it a gateway where it has none.
func complete(c swarm.IPAMConfig) (swarm.IPAMConfig, error) {
	subnet, err := netip.ParsePrefix(c.Subnet)
	switch {
	case c.Subnet == "":
		return c, api.Errorf(api.CodeInvalid, "ipam configuration: a range or a gateway is of no use without the subnet that it is in")
	case err != nil:
		return c, api.Errorf(api.CodeInvalid, "Invalid subnet %[1]s : invalid CIDR address: %[1]s", c.Subnet)
	case subnet.Addr().Is4In6():
		return c, api.Errorf(api.CodeInvalid, "ipam configuration: subnet %s is IPv4 in the clothes of IPv6: give it as IPv4", c.Subnet)
	case subnet.Bits() > subnet.Addr().BitLen()-2:
		return c, api.Errorf(api.CodeInvalid, "ipam configuration: subnet %s has no room for a gateway and a container: use /%d or larger", c.Subnet, subnet.Addr().BitLen()-2)
	}
	if err := checkHosts(subnet); err != nil {
		return c, fmt.Errorf("ipam configuration: %w", err)
	}
	subnet = subnet.Masked()
	c.Subnet = subnet.String()
	from := subnet
	if c.Range != "" {
		if from, err = netip.ParsePrefix(c.Range); err != nil || from.Bits() < subnet.Bits() || !subnet.Contains(from.Addr()) {
			return c, api.Errorf(api.CodeInvalid, "ipam configuration: invalid range %s: it is no part of subnet %s", c.Range, subnet)
		}
		c.Range = from.Masked().String()
	}
	if c.Gateway == "" {
		c.Gateway = firstHost(subnet, from).String()
		return c, nil
	}
	gateway, err := netip.ParseAddr(c.Gateway)
	if err != nil || !usable(subnet, gateway) {
		return c, api.Errorf(api.CodeInvalid, "ipam configuration: invalid gateway %s: it is no address of a host in subnet %s", c.Gateway, subnet)
	}
	return c, nil
}

// firstHost is the first address of a part of a subnet that a host may have.
func firstHost(subnet, part netip.Prefix) netip.Addr {
	a := part.Masked().Addr()
	if !usable(subnet, a) {
		return a.Next()
	}
	return a
}

// usable reports whether a host may have an address: neither the subnet's own
// nor, in IPv4, the one for all of its hosts.
func usable(subnet netip.Prefix, a netip.Addr) bool {
	return subnet.Contains(a) && a != subnet.Addr() && (a.Is6() || a != addr(last(subnet)))
}

// identifiers are the VXLAN identifiers of a network, one a subnet: those that
// its driver's options ask for, or the lowest that are free.
func identifiers(n *api.Network, taken []uint32) ([]uint32, error) {
	if d := n.Spec.DriverConfiguration; d != nil && d.Options[api.OptionVXLAN] != "" {
		return parseIdentifiers(d.Options[api.OptionVXLAN], len(n.IPAM.Configs))
	}
	taken = slices.Sorted(slices.Values(taken))
	ids, next := make([]uint32, 0, len(n.IPAM.Configs)), uint32(firstVXLAN)
	if n.Spec.Ingress {
		next = ingressVXLAN
	}
	for range n.IPAM.Configs {
		for _, t := range taken {
			if t == next {
				next++
			}
		}
		if next > lastVXLAN {
			return nil, api.Errorf(api.CodeUnavailable, "no VXLAN id is left for a network: remove networks that nobody uses")
		}
		ids = append(ids, next)
		next++
	}
	return ids, nil
}

func parseIdentifiers(list string, subnets int) ([]uint32, error) {
	var ids []uint32
	for text := range strings.SplitSeq(list, ",") {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil || id == 0 || id > lastVXLAN {
			return nil, api.Errorf(api.CodeInvalid, "invalid vxlan id value %q passed: give a number from 1 to %d", text, lastVXLAN)
		}
		if slices.Contains(ids, uint32(id)) {
			return nil, api.Errorf(api.CodeInvalid, "VXLAN id %d is given twice: every subnet needs its own", id)
		}
		ids = append(ids, uint32(id))
	}
	if len(ids) != subnets {
		return nil, api.Errorf(api.CodeInvalid, "%d VXLAN ids are given for %d subnets: give one each", len(ids), subnets)
	}
	return ids, nil
}
