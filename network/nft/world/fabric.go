package world

import (
	"net/netip"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// At is an attachment to a network.
func At(network string, addrs ...string) api.Attachment {
	a := api.Attachment{Network: api.NetworkID(network)}
	for _, s := range addrs {
		a.Addrs = append(a.Addrs, netip.MustParseAddr(s))
	}
	return a
}

// Net is a network with some subnets; its name is its ID.
func Net(id string, subnets ...string) *fabric.Network {
	n := &fabric.Network{ID: api.NetworkID(id), Name: id}
	for _, s := range subnets {
		n.Subnets = append(n.Subnets, fabric.Subnet{Prefix: netip.MustParsePrefix(s)})
	}
	return n
}

// Ingress is the network of published ports.
func Ingress(id string, subnets ...string) *fabric.Network {
	n := Net(id, subnets...)
	n.Ingress = true
	return n
}

// Task is an endpoint of a service, or of none.
func Task(id, service, node string, state fabric.EndpointState, at ...api.Attachment) *fabric.Endpoint {
	return &fabric.Endpoint{ID: id, Service: api.ServiceID(service), Node: api.NodeID(node), State: state, Networks: at}
}

// Set is a whole fabric.
func Set(u fabric.Update) *fabric.Set {
	s := fabric.NewSet()
	u.Full = true
	s.Apply(&u)
	return s
}
