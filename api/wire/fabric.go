package wire

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

const (
	// fabricSize is how many bytes of the fabric travel in one message: small
	// enough that what waits behind it, a heartbeat, is not late.
	fabricSize = 1 << 20
	// fieldCost bounds what a field costs beside its bytes.
	fieldCost = 8
	// maxVXLAN is the greatest identifier that a VXLAN header has room for.
	maxVXLAN = 1<<24 - 1
)

// EncodeFabric makes the messages for an update, each of about 1 MiB at most:
// all but the last say that there is more.
func EncodeFabric(u *fabric.Update) []*Fabric {
	p := packer{list: []*Fabric{{Index: u.Index, Full: u.Full}}}
	pack(&p, u.Networks, encodeNetwork, func(f *Fabric, m *FabricNetwork) { f.Networks = append(f.Networks, m) })
	pack(&p, u.Hosts, encodeHost, func(f *Fabric, m *FabricHost) { f.Hosts = append(f.Hosts, m) })
	pack(&p, u.Services, encodeService, func(f *Fabric, m *FabricService) { f.Services = append(f.Services, m) })
	pack(&p, u.Endpoints, encodeEndpoint, func(f *Fabric, m *FabricEndpoint) { f.Endpoints = append(f.Endpoints, m) })
	for _, id := range u.Removed {
		f := p.room(len(id))
		f.Removed = append(f.Removed, id)
	}
	return p.list
}

// packer fills messages one after the other.
type packer struct {
	list []*Fabric
	size int // of the last one
}

// pack encodes objects and puts each into a message that has room for it.
func pack[T any, M proto.Message](p *packer, list []*T, encode func(*T) M, put func(*Fabric, M)) {
	for _, v := range list {
		m := encode(v)
		put(p.room(proto.Size(m)), m)
	}
}

// room is a message that has room for an object of that size.
func (p *packer) room(size int) *Fabric {
	size += fieldCost
	last := p.list[len(p.list)-1]
	if p.size > 0 && p.size+size > fabricSize {
		last.More = true
		last = &Fabric{Index: last.Index, Full: last.Full}
		p.list, p.size = append(p.list, last), 0
	}
	p.size += size
	return last
}

func encodeNetwork(n *fabric.Network) *FabricNetwork {
	m := &FabricNetwork{
		Id: string(n.ID), Name: n.Name, Internal: n.Internal, Attachable: n.Attachable, Ingress: n.Ingress, Mtu: uint32(n.MTU), //nolint:gosec // the MTU of an interface
	}
	for _, s := range n.Subnets {
		m.Subnets = append(m.Subnets, &FabricSubnet{Prefix: s.Prefix.String(), Vxlan: s.VXLAN})
	}
	return m
}

func encodeHost(h *fabric.Host) *FabricHost {
	return &FabricHost{
		Id: string(h.ID), Number: h.Number, Hostname: h.Hostname, Addr: encodeAddr(h.Addr), Gateways: encodeAttachments(h.Gateways), Down: h.Down,
	}
}

func encodeService(s *fabric.Service) *FabricService {
	m := &FabricService{Id: string(s.ID), Name: s.Name, Dnsrr: s.DNSRR, Vips: encodeAttachments(s.VIPs), Aliases: encodeAliases(s.Aliases)}
	for _, id := range s.Networks {
		m.Networks = append(m.Networks, string(id))
	}
	for _, p := range s.Ports {
		m.Ports = append(m.Ports, &FabricPort{Protocol: p.Protocol, Target: uint32(p.Target), Published: uint32(p.Published), HostIp: encodeAddr(p.HostIP)})
	}
	return m
}

func encodeEndpoint(e *fabric.Endpoint) *FabricEndpoint {
	return &FabricEndpoint{
		Id: e.ID, Service: string(e.Service), Node: string(e.Node), Name: e.Name, Slot: int64(e.Slot), Hostname: e.Hostname,
		Networks: encodeAttachments(e.Networks), State: uint32(e.State), Aliases: encodeAliases(e.Aliases),
	}
}

func encodeAttachments(list []api.Attachment) []*FabricAttachment {
	var out []*FabricAttachment
	for _, a := range list {
		m := &FabricAttachment{Network: string(a.Network)}
		for _, addr := range a.Addrs {
			m.Addrs = append(m.Addrs, encodeAddr(addr))
		}
		out = append(out, m)
	}
	return out
}

// encodeAddr is empty for no address.
func encodeAddr(a netip.Addr) []byte { return a.Unmap().AsSlice() }

// encodeAliases is in the order of the networks' IDs, so that the same is
// always encoded the same.
func encodeAliases(m map[api.NetworkID][]string) []*FabricAliases {
	var out []*FabricAliases
	for _, id := range slices.Sorted(maps.Keys(m)) {
		out = append(out, &FabricAliases{Network: string(id), Names: m[id]})
	}
	return out
}

// DecodeFabric is the inverse of EncodeFabric: it takes all messages of one
// update. An update is decoded as a whole or not at all, for a node that knows
// half of it would cut connections.
func DecodeFabric(parts []*Fabric) (*fabric.Update, error) {
	if len(parts) == 0 {
		return nil, api.Errorf(api.CodeInvalid, "fabric: an update of no messages")
	}
	u := &fabric.Update{Index: parts[0].GetIndex(), Full: parts[0].GetFull()}
	for i, m := range parts {
		if m.GetIndex() != u.Index || m.GetFull() != u.Full || m.GetMore() != (i < len(parts)-1) {
			return nil, api.Errorf(api.CodeInvalid, "fabric %d: message %d of %d belongs to another update: that of index %d", u.Index, i+1, len(parts), m.GetIndex())
		}
		if err := decodePart(u, m); err != nil {
			return nil, fmt.Errorf("fabric %d: %w", u.Index, err)
		}
	}
	return u, nil
}

func decodePart(u *fabric.Update, m *Fabric) error {
	for _, id := range m.GetRemoved() {
		if id == "" {
			return api.Errorf(api.CodeInvalid, "something without an ID is removed")
		}
		u.Removed = append(u.Removed, id)
	}
	return cmp.Or(
		decodeAll(m.GetNetworks(), &u.Networks, decodeNetwork), decodeAll(m.GetHosts(), &u.Hosts, decodeHost),
		decodeAll(m.GetServices(), &u.Services, decodeService), decodeAll(m.GetEndpoints(), &u.Endpoints, decodeEndpoint),
	)
}

func decodeAll[M, T any](from []M, to *[]*T, decode func(M) (*T, error)) error {
	for _, m := range from {
		v, err := decode(m)
		if err != nil {
			return err
		}
		*to = append(*to, v)
	}
	return nil
}

func decodeNetwork(m *FabricNetwork) (*fabric.Network, error) {
	n := &fabric.Network{
		ID: api.NetworkID(m.GetId()), Name: m.GetName(), Internal: m.GetInternal(), Attachable: m.GetAttachable(), Ingress: m.GetIngress(), MTU: int(m.GetMtu()),
	}
	err := checkNamed(m.GetId(), m.GetName())
	if m.GetMtu() > math.MaxUint16 {
		err = cmp.Or(err, api.Errorf(api.CodeInvalid, "MTU %d: an interface has %d at most", m.GetMtu(), math.MaxUint16))
	}
	for _, s := range m.GetSubnets() {
		prefix, perr := netip.ParsePrefix(s.GetPrefix())
		switch {
		case perr != nil || prefix != prefix.Masked():
			err = cmp.Or(err, api.Errorf(api.CodeInvalid, "subnet %q: not a range of addresses", s.GetPrefix()))
		case s.GetVxlan() > maxVXLAN:
			err = cmp.Or(err, api.Errorf(api.CodeInvalid, "subnet %s: VXLAN identifier %d: the greatest is %d", prefix, s.GetVxlan(), maxVXLAN))
		}
		n.Subnets = append(n.Subnets, fabric.Subnet{Prefix: prefix, VXLAN: s.GetVxlan()})
	}
	return n, within("network", m.GetId(), err)
}

func decodeHost(m *FabricHost) (*fabric.Host, error) {
	err := checkNamed(m.GetId(), m.GetId()) // its hostname is its own affair, and for people alone
	addr, aerr := decodeAddr(m.GetAddr())
	gateways, gerr := decodeAttachments(m.GetGateways())
	h := &fabric.Host{ID: api.NodeID(m.GetId()), Number: m.GetNumber(), Hostname: m.GetHostname(), Addr: addr, Gateways: gateways, Down: m.GetDown()}
	return h, within("node", m.GetId(), cmp.Or(err, aerr, gerr))
}

func decodeService(m *FabricService) (*fabric.Service, error) {
	err := checkNamed(m.GetId(), m.GetName())
	vips, verr := decodeAttachments(m.GetVips())
	aliases, aerr := decodeAliases(m.GetAliases())
	err = cmp.Or(err, verr, aerr)
	s := &fabric.Service{ID: api.ServiceID(m.GetId()), Name: m.GetName(), DNSRR: m.GetDnsrr(), VIPs: vips, Aliases: aliases}
	for _, id := range m.GetNetworks() {
		if id == "" {
			err = cmp.Or(err, errNoNetwork)
		}
		s.Networks = append(s.Networks, api.NetworkID(id))
	}
	for _, p := range m.GetPorts() {
		port, perr := decodePort(p)
		err = cmp.Or(err, perr)
		s.Ports = append(s.Ports, port)
	}
	return s, within("service", m.GetId(), err)
}

func decodePort(m *FabricPort) (p fabric.Port, err error) {
	switch m.GetProtocol() {
	case "tcp", "udp", "sctp":
	default:
		return p, api.Errorf(api.CodeInvalid, "port %d has protocol %q: none of tcp, udp and sctp", m.GetPublished(), m.GetProtocol())
	}
	for _, n := range []uint32{m.GetTarget(), m.GetPublished()} {
		if n == 0 || n > math.MaxUint16 {
			return p, api.Errorf(api.CodeInvalid, "port %d: ports are from 1 to %d", n, math.MaxUint16)
		}
	}
	p = fabric.Port{Protocol: m.GetProtocol(), Target: uint16(m.GetTarget()), Published: uint16(m.GetPublished())} //nolint:gosec // checked above
	if len(m.GetHostIp()) > 0 {
		p.HostIP, err = decodeAddr(m.GetHostIp())
	}
	return p, err
}

func decodeEndpoint(m *FabricEndpoint) (*fabric.Endpoint, error) {
	// A container may not have its name yet: the engine names those that the user does not.
	err := checkNamed(m.GetId(), cmp.Or(m.GetName(), m.GetId()))
	networks, nerr := decodeAttachments(m.GetNetworks())
	aliases, aerr := decodeAliases(m.GetAliases())
	err = cmp.Or(err, nerr, aerr)
	switch {
	case m.GetNode() == "":
		err = cmp.Or(err, api.Errorf(api.CodeInvalid, "it is on no node"))
	case m.GetState() > uint32(fabric.Serving):
		err = cmp.Or(err, api.Errorf(api.CodeInvalid, "state %d is unknown: upgrade this node", m.GetState()))
	}
	e := &fabric.Endpoint{
		ID: m.GetId(), Service: api.ServiceID(m.GetService()), Node: api.NodeID(m.GetNode()), Name: m.GetName(), Slot: int(m.GetSlot()),
		Hostname: m.GetHostname(), Networks: networks, State: fabric.EndpointState(m.GetState()), Aliases: aliases, //nolint:gosec // checked above
	}
	return e, within("endpoint", m.GetId(), err)
}

var errNoNetwork = api.Errorf(api.CodeInvalid, "it is on a network without an ID")

func decodeAttachments(list []*FabricAttachment) ([]api.Attachment, error) {
	var out []api.Attachment
	for _, m := range list {
		a := api.Attachment{Network: api.NetworkID(m.GetNetwork())}
		if a.Network == "" {
			return nil, errNoNetwork
		}
		for _, data := range m.GetAddrs() {
			addr, err := decodeAddr(data)
			if err == nil && slices.ContainsFunc(a.Addrs, func(o netip.Addr) bool { return o.Is4() == addr.Is4() }) {
				err = api.Errorf(api.CodeInvalid, "address %s is the second of its family", addr)
			}
			if err != nil {
				return nil, within("network", m.GetNetwork(), err)
			}
			a.Addrs = append(a.Addrs, addr)
		}
		out = append(out, a)
	}
	return out, nil
}

func decodeAddr(data []byte) (netip.Addr, error) {
	addr, ok := netip.AddrFromSlice(data)
	if !ok || addr.Is4In6() || addr.IsUnspecified() || addr.IsMulticast() {
		return addr, api.Errorf(api.CodeInvalid, "address %x: not the address of a host", data)
	}
	return addr, nil
}

func decodeAliases(list []*FabricAliases) (map[api.NetworkID][]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make(map[api.NetworkID][]string, len(list))
	for _, m := range list {
		id := api.NetworkID(m.GetNetwork())
		if id == "" {
			return nil, errNoNetwork
		}
		for _, name := range m.GetNames() {
			if err := fabric.CheckName(name); err != nil {
				return nil, within("alias on network", m.GetNetwork(), err)
			}
		}
		out[id] = append(out[id], m.GetNames()...)
	}
	return out, nil
}

// within says what an error is about.
func within(kind, id string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %q: %w", kind, id, err)
}

func checkNamed(id, name string) error {
	if id == "" {
		return api.Errorf(api.CodeInvalid, "it has no ID")
	}
	return fabric.CheckName(name)
}
