package setting

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// LabelHostIP is the label of a service that binds its published ports to one
// address of the nodes: ADDR for all of them, or PORT[/PROTOCOL]=ADDR for one,
// several with commas.
const LabelHostIP = Prefix + "host-ip"

// HostPort is a published port. The zero HostPort stands for all of a service.
type HostPort struct {
	Published uint32
	Protocol  swarm.PortConfigProtocol
}

// String is the port as the label has it.
func (p HostPort) String() string { return fmt.Sprintf("%d/%s", p.Published, p.Protocol) }

// HostIPs are the addresses that published ports are bound to.
type HostIPs map[HostPort]netip.Addr

// HostIPsOf reads the label. It is nil where there is none, or one that does
// not parse: no spec with such a label is stored.
func HostIPsOf(labels map[string]string) HostIPs {
	text, ok := labels[LabelHostIP]
	if !ok {
		return nil
	}
	ips, err := ParseHostIPs(text)
	if err != nil {
		return nil
	}
	return ips
}

// Of is the only address of a node on which a port is to be found; the zero
// Addr stands for all that the node has.
func (h HostIPs) Of(p swarm.PortConfig) netip.Addr {
	if a, ok := h[HostPort{p.PublishedPort, p.Protocol}]; ok {
		return a
	}
	return h[HostPort{}]
}

// Ports are those that have an address, sorted.
func (h HostIPs) Ports() []HostPort {
	return slices.SortedFunc(maps.Keys(h), func(a, b HostPort) int {
		return cmp.Or(cmp.Compare(a.Published, b.Published), cmp.Compare(a.Protocol, b.Protocol))
	})
}

// String is the label's value.
func (h HostIPs) String() string {
	var out []string
	for _, p := range h.Ports() {
		if p == (HostPort{}) {
			out = append(out, h[p].String())
			continue
		}
		out = append(out, p.String()+"="+h[p].String())
	}
	return strings.Join(out, ",")
}

// ParseHostIPs reads the label's value.
func ParseHostIPs(list string) (HostIPs, error) {
	out := HostIPs{}
	for text := range strings.SplitSeq(list, ",") {
		p, a, err := parseHostIP(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		if _, twice := out[p]; twice {
			return nil, api.Errorf(api.CodeInvalid, "%q: that port is given twice: it can be bound to one address only", text)
		}
		out[p] = a
	}
	return out, nil
}

func parseHostIP(text string) (p HostPort, a netip.Addr, err error) {
	port, addr, one := strings.Cut(text, "=")
	if !one {
		port, addr = "", text
	}
	if one {
		if p, err = parseHostPort(port); err != nil {
			return p, a, err
		}
	}
	a, err = ParseHostIP(addr)
	return p, a, err
}

func parseHostPort(text string) (p HostPort, err error) {
	number, protocol, given := strings.Cut(text, "/")
	if !given {
		protocol = string(swarm.PortConfigProtocolTCP)
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 {
		return p, api.Errorf(api.CodeInvalid, "port %q: give a published port from 1 to 65535, as in 8080/tcp=127.0.0.1", text)
	}
	p = HostPort{uint32(n), swarm.PortConfigProtocol(protocol)}
	switch p.Protocol {
	case swarm.PortConfigProtocolTCP, swarm.PortConfigProtocolUDP, swarm.PortConfigProtocolSCTP:
		return p, nil
	}
	return p, api.Errorf(api.CodeInvalid, "port %q: invalid protocol %q: use tcp, udp or sctp", text, protocol)
}

// ParseHostIP reads one address that a port can be bound to.
func ParseHostIP(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	a = a.Unmap()
	switch {
	case err != nil || a.Zone() != "":
		return netip.Addr{}, api.Errorf(api.CodeInvalid, "%q is no IP address: give one that the nodes have, as in 127.0.0.1", text)
	case a.IsUnspecified() || a.IsMulticast():
		return netip.Addr{}, api.Errorf(api.CodeInvalid, "%s is not the address of a node: leave it out to publish on all of them", text)
	}
	return a, nil
}
