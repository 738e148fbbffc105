package state

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// createNetwork adds a network whose subnets and identifiers its proposer has
// found free. Whether they still are is judged here, where all proposals pass
// one after the other.
func (x *tx) createNetwork(n *api.Network) error {
	v := x.view()
	if v.Network(n.ID) != nil {
		return api.Errorf(api.CodeConflict, "network %s exists", n.ID)
	}
	if v.NetworkByName(n.Spec.Name) != nil {
		return api.Errorf(api.CodeConflict, "network with name %s already exists", n.Spec.Name)
	}
	if have := v.Ingress(); n.Spec.Ingress && have != nil {
		return api.Errorf(api.CodeConflict, "ingress network (%s) is already present: remove it first to have another one", have.Spec.Name)
	}
	if err := checkSpace(v, n); err != nil {
		return err
	}
	next := *n
	next.Meta = x.meta(false, api.Meta{})
	x.put(tableNetworks, &next)
	x.put(tableSpaces, newSpace(&next))
	x.networks = append(x.networks, Pair[api.Network]{After: &next})
	if next.Spec.Ingress {
		x.equipAll()
	}
	return nil
}

// equipAll gives every node its address in a new ingress network, and what they
// lack to nodes and services from before the cluster handed anything out.
func (x *tx) equipAll() {
	for _, old := range slices.Collect(x.view().Nodes()) {
		next := *old
		x.equip(&next)
		x.storeNode(old, &next)
	}
	for _, old := range slices.Collect(x.view().Services()) {
		if len(old.Endpoint.VIPs)+len(old.Endpoint.Ports) > 0 {
			continue
		}
		next := *old
		if next.Endpoint, _ = x.endpoint(old, &next); len(next.Endpoint.VIPs)+len(next.Endpoint.Ports) > 0 {
			x.putServiceRow(old, &next)
		}
	}
}

// Ingress returns the network that published ports use, or nil.
func (v *View) Ingress() *api.Network {
	return first[api.Network](v, tableNetworks, byIngress, []byte{0})
}

func (x *tx) deleteNetwork(id api.NetworkID) error {
	old := x.view().Network(id)
	if old == nil {
		return api.Errorf(api.CodeNotFound, "network %s not found", id)
	}
	if err := x.view().checkUnused(old); err != nil {
		return err
	}
	x.clearNetwork(old)
	x.deleteRow(tableNetworks, old)
	x.networks = append(x.networks, Pair[api.Network]{Before: old})
	return nil
}

// checkUnused refuses the removal of a network that somebody uses. A service
// that is gone may still have tasks on their way to the end.
func (v *View) checkUnused(n *api.Network) error {
	services := v.NetworkUsers(n.ID)
	if n.Spec.Ingress && len(services) > 0 {
		return api.Errorf(api.CodeInvalid, "ingress network cannot be removed because service %s depends on it: it publishes a port on every node (--publish-rm, or mode=host)", few(services))
	}
	var tasks, containers []string
	for t := range v.NetworkTasks(n.ID) {
		if !v.OutOfReach(t) {
			tasks = append(tasks, v.TaskName(t))
		}
	}
	for c := range v.NetworkAttached(n.ID) {
		containers = append(containers, attachedName(c))
	}
	switch {
	case len(services) > 0 && len(containers) > 0:
		return api.Errorf(api.CodeInvalid, "network %s is in use by service %s and by container %s", n.Spec.Name, few(services), few(containers))
	case len(services) > 0:
		return api.Errorf(api.CodeInvalid, "network %s is in use by service %s", n.Spec.Name, few(services))
	case len(tasks) > 0:
		return api.Errorf(api.CodeInvalid, "network %s is in use by task %s", n.Spec.Name, few(tasks))
	case len(containers) > 0:
		return api.Errorf(api.CodeInvalid, "network %s is in use by container %s: disconnect or remove it first", n.Spec.Name, few(containers))
	}
	return nil
}

// OutOfReach reports whether a task is to end on a node that is down. Nobody can
// say when it has, so nothing waits for it: should the node come back, it hears of
// the network's end before it does anything for the task.
func (v *View) OutOfReach(t *api.Task) bool {
	n := v.Node(t.NodeID)
	return t.Desired > api.TaskRunning && n != nil && n.Status.State == api.NodeDown
}

// few names the first of a list, and how many more there are.
func few(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// clearNetwork takes back what is left in a network that nobody uses: the
// nodes' own addresses in the ingress network.
func (x *tx) clearNetwork(n *api.Network) {
	in := func(a api.Attachment) bool { return a.Network == n.ID }
	for _, l := range slices.Collect(x.view().leases(n.ID)) {
		if old := x.view().Node(l.node); old != nil {
			x.setGateways(old, slices.DeleteFunc(slices.Clone(old.Gateways), in))
		}
		x.deleteRow(tableLeases, l)
	}
	delete(x.spaces, n.ID)
	x.deleteRow(tableSpaces, &space{Network: n.ID})
}

// NetworkUsers are the names of the services on a network; of the ingress
// network, those that publish a port on every node.
func (v *View) NetworkUsers(id api.NetworkID) []string {
	on := func(n swarm.NetworkAttachmentConfig) bool { return n.Target == string(id) }
	n := v.Network(id)
	ingress := n != nil && n.Spec.Ingress
	return v.users(func(s *api.ServiceSpec) bool {
		return ingress && publishes(s) || slices.ContainsFunc(s.TaskTemplate.Networks, on) || slices.ContainsFunc(s.Networks, on) //nolint:staticcheck // Networks is deprecated and still sent
	})
}

// checkSpace refuses a network that would share addresses or an identifier
// with another one: for good where the user asked for them, and as outdated
// where the proposer chose, who may choose again then.
func checkSpace(v *View, n *api.Network) error {
	own, err := subnets(n)
	if err != nil {
		return err
	}
	for i, a := range own {
		if j := slices.IndexFunc(own[:i], a.Overlaps); j >= 0 {
			return api.Errorf(api.CodeInvalid, "network %s: its subnets %s and %s overlap", n.Spec.Name, own[j], a)
		}
	}
	for other := range v.Networks() {
		theirs, err := subnets(other)
		if err != nil {
			continue // none such gets in
		}
		for i, a := range own {
			if j := slices.IndexFunc(theirs, a.Overlaps); j >= 0 {
				return api.Errorf(refusal(askedSubnet(n, i)), "Pool overlaps with other one on this address space: subnet %s of network %s overlaps with %s of network %s",
					a, n.Spec.Name, theirs[j], other.Spec.Name)
			}
		}
		for _, id := range n.VXLAN {
			if slices.Contains(other.VXLAN, id) {
				return api.Errorf(refusal(askedVXLAN(n)), "network %s: VXLAN id %d is that of network %s", n.Spec.Name, id, other.Spec.Name)
			}
		}
	}
	return nil
}

// refusal is the engine's code for an address that is taken, or outdated.
func refusal(asked bool) api.Code {
	if asked {
		return api.CodeForbidden
	}
	return api.CodeOutdated
}

func askedSubnet(n *api.Network, i int) bool {
	o := n.Spec.IPAMOptions
	return o != nil && i < len(o.Configs) && o.Configs[i].Subnet != ""
}

func askedVXLAN(n *api.Network) bool {
	d := n.Spec.DriverConfiguration
	return d != nil && d.Options[api.OptionVXLAN] != ""
}

// subnets are the subnets that a network has.
func subnets(n *api.Network) ([]netip.Prefix, error) {
	list := make([]netip.Prefix, len(n.IPAM.Configs))
	for i, c := range n.IPAM.Configs {
		var err error
		if list[i], err = netip.ParsePrefix(c.Subnet); err != nil {
			return nil, api.Errorf(api.CodeInvalid, "network %s: %s", n.Spec.Name, err)
		}
	}
	return list, nil
}
