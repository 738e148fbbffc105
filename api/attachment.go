package api

import (
	"net/netip"

	"github.com/docker/docker/api/types/swarm"
)

// IngressNetwork is the name of the network over which published ports reach
// tasks on other nodes. It is made at init.
const IngressNetwork = "ingress"

// Attachment is what a task, a node or a service has in one network: at most
// one IPv4 and one IPv6 address. The state machine hands addresses out and
// takes them back; nobody else does.
type Attachment struct {
	Network NetworkID
	Addrs   []netip.Addr `cbor:",omitempty"`
}

// Endpoint is how a service is reached.
type Endpoint struct {
	// VIPs are its virtual addresses, one attachment for each of its networks in
	// endpoint mode vip, that of the ingress network included where it publishes.
	VIPs []Attachment `cbor:",omitempty"`
	// Ports are those of its spec, with the ports that the cluster chose.
	Ports []swarm.PortConfig `cbor:",omitempty"`
}

// AttachedContainer is a container that a user started on a node, beside all
// services, and put on attachable networks of the cluster.
type AttachedContainer struct {
	// ID is the cluster's for it: the container may not exist yet.
	ID     string
	NodeID NodeID
	// Name is the container's; Aliases are further names of it, by network.
	Name     string
	Aliases  map[NetworkID][]string `cbor:",omitempty"`
	Networks []Attachment
	Meta     Meta
}
