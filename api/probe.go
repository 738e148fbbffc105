package api

import (
	"net/netip"
	"time"
)

// ProbeRequest asks a node to send packets of the full size to other nodes,
// through a network.
type ProbeRequest struct {
	Network NetworkID
	To      []ProbeTarget
}

// ProbeTarget is another node, by its address in the network.
type ProbeTarget struct {
	Node string // its hostname
	Addr netip.Addr
}

// Probe is how the packets of one node to another fared.
type Probe struct {
	From string // hostnames
	To   string
	Size int `json:",omitempty"` // of the packet, its headers included, that no one may cut
	Took time.Duration
	Err  string `json:",omitempty"` // why it did not arrive; empty where it did
}

// TraceStep is one step of the way to a service, and whether it is as it
// should be.
type TraceStep struct {
	Node string `json:",omitempty"` // whose step it is; empty for the cluster's
	What string // name, port, backend, network, bridge, ...
	OK   bool
	Text string
}

// TraceRequest asks a node about its own steps on the way to a service.
type TraceRequest struct {
	Network NetworkID
	Service ServiceID
	// Gateways are the addresses of the nodes whose tasks serve.
	Gateways []ProbeTarget
	// Published are the ports that the node should answer at, as in 8080/tcp.
	Published []string `json:",omitempty"`
}
