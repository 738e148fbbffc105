package fabric

import (
	"net/netip"
	"slices"

	"github.com/swarmctl/swarmctl/api"
)

// Update is the whole fabric, or a change of it. What it holds is shared and
// never changes.
type Update struct {
	// Index is that of the store; a node that has applied the update says so.
	Index uint64
	// Full: what is not in it is gone.
	Full      bool
	Networks  []*Network
	Hosts     []*Host
	Services  []*Service
	Endpoints []*Endpoint
	// Removed are the IDs of what is gone, whatever it was.
	Removed []string
}

// Network is one network of the cluster.
type Network struct {
	ID         api.NetworkID
	Name       string
	Subnets    []Subnet
	Internal   bool // no way out of it
	Attachable bool
	Ingress    bool // the one that published ports use
	// MTU is that of its interfaces; 0 is what the underlay leaves room for.
	MTU int
}

// Subnet is one range of addresses, with its identifier on the wire.
type Subnet struct {
	Prefix netip.Prefix
	VXLAN  uint32
}

// Host is a node. Its address is on the network that the hosts share, the
// underlay; its gateways are its own addresses in the overlay networks.
type Host struct {
	ID       api.NodeID
	Number   uint32
	Hostname string
	Addr     netip.Addr
	Gateways []api.Attachment
	Down     bool
}

// Service is what callers reach by name, by virtual address or by port.
type Service struct {
	ID   api.ServiceID
	Name string
	// DNSRR: it has no virtual addresses, its name stands for its tasks.
	DNSRR    bool
	Networks []api.NetworkID
	VIPs     []api.Attachment
	// Aliases are further names of it, by network.
	Aliases map[api.NetworkID][]string
	// Ports are those published on every node.
	Ports []Port
}

// Port is a port that every node publishes for a service.
type Port struct {
	Protocol  string // tcp, udp or sctp
	Target    uint16 // of the container
	Published uint16
	// HostIP, where valid, is the only address of a host that is published on.
	HostIP netip.Addr
}

// EndpointState says who may use an endpoint.
type EndpointState uint8

// The states of an endpoint.
const (
	// Silent endpoints have addresses and nothing else: the container is not
	// there yet, or it is being stopped. They are reached, and in no balancer
	// and under no name.
	Silent EndpointState = iota
	// Starting endpoints have their own names and are in tasks.NAME: they are not
	// healthy yet, or of a version that is to get no connections.
	Starting
	// Serving endpoints are healthy: they are in the balancers too.
	Serving
)

// Endpoint is what has addresses: a task of a service, or a container that a
// user has attached, whose Service is empty.
type Endpoint struct {
	ID       string // of the task, or of the attached container
	Service  api.ServiceID
	Node     api.NodeID
	Name     string // web.1.<id>, or the container's; empty where it has none yet
	Slot     int
	Hostname string // the container's own, where it is known
	Networks []api.Attachment
	State    EndpointState
	Aliases  map[api.NetworkID][]string // of an attached container
}

// In is the attachment to a network, or nil.
func In(list []api.Attachment, id api.NetworkID) *api.Attachment {
	if i := slices.IndexFunc(list, func(a api.Attachment) bool { return a.Network == id }); i >= 0 {
		return &list[i]
	}
	return nil
}

// Contains reports whether the address is one of the network's.
func (n *Network) Contains(a netip.Addr) bool {
	return slices.ContainsFunc(n.Subnets, func(s Subnet) bool { return s.Prefix.Contains(a) })
}

// MAC is the hardware address that belongs to an IPv4 address of a network,
// for containers and bridges alike: it is the same wherever it is derived, so
// nobody has to be told or to ask.
func MAC(a netip.Addr) [6]byte {
	b := a.As4()
	return [6]byte{0x02, 0x42, b[0], b[1], b[2], b[3]}
}

// Names of a network's interfaces begin with these; as much of its ID follows as they
// have room for.
const (
	BridgePrefix = "sw-"
	VXLANPrefix  = "swx-"
	ShortID      = 10
)

// BridgeName is the interface of a network's bridge on every host.
func BridgeName(id api.NetworkID) string { return BridgePrefix + short(id) }

// VXLANName is the interface that connects the bridge with the other hosts.
func VXLANName(id api.NetworkID) string { return VXLANPrefix + short(id) }

func short(id api.NetworkID) string { return string(id[:min(ShortID, len(id))]) }
