package state

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// Attached returns the attached container, or nil.
func (v *View) Attached(id string) *api.AttachedContainer {
	return first[api.AttachedContainer](v, tableAttached, byID, key(id))
}

// AttachedContainers yields all attached containers in the order of their IDs.
func (v *View) AttachedContainers() iter.Seq[*api.AttachedContainer] {
	return all[api.AttachedContainer](v, tableAttached, byID)
}

// NodeAttached yields the attached containers on a node.
func (v *View) NodeAttached(id api.NodeID) iter.Seq[*api.AttachedContainer] {
	return where[api.AttachedContainer](v, tableAttached, byNode, key(id))
}

// putAttached puts a container on networks, or on others than before. On an
// error nothing has happened: the command is given up.
func (x *tx) putAttached(c *api.AttachedContainer) error {
	old := x.view().Attached(c.ID)
	if err := x.checkVersion("attached container", c.ID, version(old, func(c *api.AttachedContainer) api.Meta { return c.Meta }), c.Meta); err != nil {
		return err
	}
	if err := x.view().checkAttached(c); err != nil {
		return err
	}
	var had []api.Attachment
	switch {
	case x.view().Node(c.NodeID) == nil:
		return api.Errorf(api.CodeNotFound, "node %s not found", c.NodeID)
	case old != nil && old.NodeID != c.NodeID:
		return api.Errorf(api.CodeInvalid, "container %s is on node %s and cannot be put on another one", attachedName(c), old.NodeID)
	case old != nil:
		had = old.Networks
	}
	next := *c
	next.Meta = x.meta(old != nil, c.Meta)
	if old != nil {
		next.Meta.CreatedAt = old.Meta.CreatedAt
	}
	var err error
	if next.Networks, err = x.attachContainer(had, &next); err != nil {
		return err
	}
	x.put(tableAttached, &next)
	x.attached = append(x.attached, Pair[api.AttachedContainer]{Before: old, After: &next})
	return nil
}

// checkAttached refuses a container that nodes could not be told of: they take
// no fabric with a name in it that is none, and what is gone of the fabric they
// are told by its ID alone. A container may have no name yet.
func (v *View) checkAttached(c *api.AttachedContainer) error {
	for _, name := range []string{c.ID, cmp.Or(c.Name, c.ID)} {
		if err := fabric.CheckName(name); err != nil {
			return api.Errorf(api.CodeInvalid, "container on node %s: %v: give it another one, or keep it out of the cluster's networks", c.NodeID, err)
		}
	}
	if v.Task(api.TaskID(c.ID)) != nil || v.Service(api.ServiceID(c.ID)) != nil || v.Node(api.NodeID(c.ID)) != nil || v.Network(api.NetworkID(c.ID)) != nil {
		return api.Errorf(api.CodeConflict, "container %s: that is the ID of something else in the cluster: give it another one", c.ID)
	}
	return nil
}

// attachContainer turns what a container had into what it asks for.
func (x *tx) attachContainer(had []api.Attachment, c *api.AttachedContainer) ([]api.Attachment, error) {
	h := holder{attached: c.ID, node: c.NodeID}
	list := make([]api.Attachment, 0, len(c.Networks))
	for _, asked := range c.Networks {
		if has(list, asked.Network) {
			return nil, api.Errorf(api.CodeInvalid, "container %s is put on network %s twice", attachedName(c), asked.Network)
		}
		at := slices.IndexFunc(had, func(a api.Attachment) bool { return a.Network == asked.Network })
		if at >= 0 && hasAll(had[at].Addrs, asked.Addrs) {
			list = append(list, had[at])
			continue
		}
		if at >= 0 {
			x.giveBack(had[at:at+1], h)
		}
		a, err := x.attachTo(asked, h)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	x.releaseOn(c.NodeID, slices.DeleteFunc(slices.Clone(had), func(a api.Attachment) bool { return has(list, a.Network) }), h)
	return list, nil
}

// hasAll reports whether what is asked for is there already, whatever there is besides.
func hasAll(had, asked []netip.Addr) bool {
	return !slices.ContainsFunc(asked, func(a netip.Addr) bool { return !slices.Contains(had, a) })
}

// attachTo puts a container on one network, with the addresses that it asks for.
func (x *tx) attachTo(asked api.Attachment, h holder) (api.Attachment, error) {
	n := x.view().Network(asked.Network)
	switch {
	case n == nil:
		return asked, api.Errorf(api.CodeNotFound, "network %s not found", asked.Network)
	case !n.Spec.Attachable:
		return asked, api.Errorf(api.CodeForbidden, "network %s not manually attachable: it was made without --attachable, so only services can use it", n.Spec.Name)
	}
	if _, ok := x.roomOn(h.node, []api.NetworkID{n.ID}); !ok {
		return asked, x.errFull(n)
	}
	// First what is asked for, so that the node's own address is another one.
	var taken []netip.Addr
	for _, a := range asked.Addrs {
		if err := x.takeAsked(n, a, h, taken); err != nil {
			return asked, err
		}
		taken = append(taken, a)
	}
	x.giveGateways(h.node, []api.NetworkID{n.ID})
	a := x.grant(n.ID, h, taken...)
	slices.SortFunc(a.Addrs, netip.Addr.Compare) // IPv4 first
	return a, nil
}

// takeAsked takes an address that a user wants, if it can be had.
func (x *tx) takeAsked(n *api.Network, a netip.Addr, h holder, beside []netip.Addr) error {
	s := x.space(n.ID)
	i := s.spanOf(a)
	switch {
	case i < 0 || !s.spans[i].has(a):
		return api.Errorf(api.CodeInvalid, "address %s is none that network %s hands out (%s): give another one, or none", a, n.Spec.Name, s)
	case slices.ContainsFunc(beside, func(b netip.Addr) bool { return a.Is4() == b.Is4() }):
		return api.Errorf(api.CodeInvalid, "addresses %s and %s in network %s: a container has one of a kind", beside[0], a, n.Spec.Name)
	}
	if l := x.view().lease(n.ID, a); l != nil {
		return api.Errorf(api.CodeForbidden, "Address already in use: %s in network %s is %s: give another one, or none", a, n.Spec.Name, x.view().holderText(l))
	}
	x.take(s, a, h)
	return nil
}

func (x *tx) deleteAttached(id string) error {
	old := x.view().Attached(id)
	if old == nil {
		return api.Errorf(api.CodeNotFound, "attached container %s not found", id)
	}
	x.removeAttached(old)
	return nil
}

func (x *tx) removeAttached(c *api.AttachedContainer) {
	x.releaseOn(c.NodeID, c.Networks, holder{attached: c.ID, node: c.NodeID})
	x.deleteRow(tableAttached, c)
	x.attached = append(x.attached, Pair[api.AttachedContainer]{Before: c})
}

// attachedName is what people know an attached container by.
func attachedName(c *api.AttachedContainer) string { return cmp.Or(c.Name, c.ID) }

// holderText says whose an address is.
func (v *View) holderText(l *lease) string {
	switch {
	case l.task != "":
		return "that of task " + v.TaskName(v.Task(l.task))
	case l.attached != "":
		return "that of container " + attachedName(v.Attached(l.attached))
	case l.service != "":
		return "the virtual address of service " + v.Service(l.service).Name()
	}
	return "that of node " + v.Node(l.node).Hostname()
}

// errFull refuses what would need an address in a network that has none.
func (x *tx) errFull(n *api.Network) error {
	return api.Errorf(api.CodeUnavailable, "no address is left in network %s: remove what does not need one, or use a network with a larger subnet", x.view().AddressSpace(n.ID))
}
