package state

import (
	"iter"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// attach gives a task its addresses on a node, and the node its own in the
// task's networks. All or nothing: false where one of them has no room.
func (x *tx) attach(t *api.Task, node api.NodeID) ([]api.Attachment, bool) {
	spec := x.view().SpecOf(t)
	if spec == nil {
		return nil, true
	}
	networks := x.view().TaskNetworks(&spec.Spec)
	if len(networks) == 0 {
		return nil, true
	}
	if _, ok := x.roomOn(node, networks); !ok {
		return nil, false
	}
	return x.grantOn(node, networks, holder{task: t.ID, node: node}), true
}

// roomOn looks whether each of the networks has an address for something on the
// node, and one for the node where it has none yet. It returns the first that
// has not.
func (x *tx) roomOn(node api.NodeID, networks []api.NetworkID) (full api.NetworkID, ok bool) {
	n := x.view().Node(node)
	for _, id := range networks {
		need := 1
		if !has(n.Gateways, id) {
			need = 2
		}
		if x.space(id).room() < need {
			return id, false
		}
	}
	return "", true
}

// grantOn gives something on a node an address in each network, and the node a
// gateway where it needs one.
func (x *tx) grantOn(node api.NodeID, networks []api.NetworkID, h holder) []api.Attachment {
	x.giveGateways(node, networks)
	list := make([]api.Attachment, len(networks))
	for i, id := range networks {
		list[i] = x.grant(id, h)
	}
	return list
}

// releaseTask takes a task's addresses back, and its node's where no other
// needs them.
func (x *tx) releaseTask(t *api.Task) {
	x.releaseOn(t.NodeID, t.Networks, holder{task: t.ID, node: t.NodeID})
}

func (x *tx) releaseOn(node api.NodeID, list []api.Attachment, h holder) {
	if len(list) == 0 {
		return
	}
	x.giveBack(list, h)
	x.dropGateways(node, list)
}

// TaskNetworks are the networks of the cluster that the tasks of a spec are on,
// each once; the ingress network last, where they publish a port on every node.
// Networks of one host (host, none, bridge) are not among them.
func (v *View) TaskNetworks(spec *api.ServiceSpec) []api.NetworkID {
	var list []api.NetworkID
	for _, of := range [][]swarm.NetworkAttachmentConfig{spec.TaskTemplate.Networks, spec.Networks} { //nolint:staticcheck // Networks is deprecated and still sent
		for _, n := range of {
			if id := api.NetworkID(n.Target); !slices.Contains(list, id) && v.Network(id) != nil {
				list = append(list, id)
			}
		}
	}
	if !publishes(spec) {
		return list
	}
	if n := v.Ingress(); n != nil {
		list = append(slices.DeleteFunc(list, func(id api.NetworkID) bool { return id == n.ID }), n.ID)
	}
	return list
}

// publishes reports whether a service publishes a port on every node.
func publishes(spec *api.ServiceSpec) bool {
	return spec.EndpointSpec != nil && slices.ContainsFunc(spec.EndpointSpec.Ports, isIngress)
}

func isIngress(p swarm.PortConfig) bool { return p.PublishMode == swarm.PortConfigPublishModeIngress }

// NetworkTasks yields the tasks that have addresses in a network.
func (v *View) NetworkTasks(id api.NetworkID) iter.Seq[*api.Task] {
	return holders(v, id, func(l *lease) (*api.Task, []api.Attachment) {
		if l.task == "" {
			return nil, nil
		}
		t := v.Task(l.task)
		return t, t.Networks
	})
}

// NetworkAttached yields the attached containers that have addresses in a network.
func (v *View) NetworkAttached(id api.NetworkID) iter.Seq[*api.AttachedContainer] {
	return holders(v, id, func(l *lease) (*api.AttachedContainer, []api.Attachment) {
		if l.attached == "" {
			return nil, nil
		}
		c := v.Attached(l.attached)
		return c, c.Networks
	})
}

// holders yields who has the leases of a network; who has two of them, of two
// families, once.
func holders[T any](v *View, id api.NetworkID, of func(*lease) (*T, []api.Attachment)) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for l := range v.leases(id) {
			obj, list := of(l)
			if obj == nil {
				continue
			}
			at := slices.IndexFunc(list, func(a api.Attachment) bool { return a.Network == id })
			if list[at].Addrs[0] == l.addr && !yield(obj) {
				return
			}
		}
	}
}
