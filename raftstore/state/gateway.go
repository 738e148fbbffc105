package state

import (
	"slices"

	"github.com/swarmctl/swarmctl/api"
)

// equip gives a node what each has for as long as it is one: its number, the
// smallest that is free, and its address in the ingress network. Where that
// network is full the node does without until it is written the next time.
func (x *tx) equip(n *api.Node) {
	if n.Number == 0 {
		n.Number = x.freeNumber()
	}
	ingress := x.view().Ingress()
	if ingress == nil || has(n.Gateways, ingress.ID) || x.space(ingress.ID).room() == 0 {
		return
	}
	n.Gateways = append(slices.Clip(n.Gateways), x.grant(ingress.ID, holder{node: n.ID}))
}

// freeNumber is the smallest number, from 1, that no node has.
func (x *tx) freeNumber() uint32 {
	number := uint32(1)
	for n := range all[api.Node](x.view(), tableNodes, byNumber) {
		if n.Number != number {
			break
		}
		number++
	}
	return number
}

// giveGateways gives a node its own address in those of the networks in which
// it has none. NB: that does not move the node's version: a user who changes
// the node meanwhile must not be told that somebody else has.
func (x *tx) giveGateways(id api.NodeID, networks []api.NetworkID) {
	old := x.view().Node(id)
	gateways := slices.Clip(old.Gateways)
	for _, network := range networks {
		if !has(gateways, network) {
			gateways = append(gateways, x.grant(network, holder{node: id}))
		}
	}
	x.setGateways(old, gateways)
}

// dropGateways takes a node's addresses back in those of the networks in which
// nothing of it runs any more. The one in the ingress network it keeps.
func (x *tx) dropGateways(id api.NodeID, networks []api.Attachment) {
	v := x.view()
	old := v.Node(id)
	if old == nil {
		return
	}
	ingress := v.Ingress()
	var dropped []api.Attachment
	for _, g := range old.Gateways {
		unused := has(networks, g.Network) && first[lease](v, tableLeases, byPlace, placeKey(id, g.Network)) == nil
		if unused && (ingress == nil || g.Network != ingress.ID) {
			dropped = append(dropped, g)
		}
	}
	x.giveBack(dropped, holder{node: id})
	x.setGateways(old, slices.DeleteFunc(slices.Clone(old.Gateways), func(g api.Attachment) bool { return has(dropped, g.Network) }))
}

// setGateways stores a node with other gateways, where they are others.
func (x *tx) setGateways(old *api.Node, gateways []api.Attachment) {
	if len(gateways) == len(old.Gateways) {
		return
	}
	next := *old
	next.Gateways = gateways
	x.storeNode(old, &next)
}
