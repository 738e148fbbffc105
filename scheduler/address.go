package scheduler

import (
	"slices"

	"github.com/swarmctl/swarmctl/api"
)

// supply is the addresses that a network has left, as the planner counts them:
// what the state has free, less what tasks in flight will take. A task takes
// one; the first on a node takes two, since one is the node's own.
type supply struct {
	network api.NetworkID
	groups  int // that are on the network
	// free and lacking are as of the event whose number this is.
	as      int
	free    int           // according to the state
	flight  map[int32]int // tasks in flight, by node
	tasks   int           // all of them
	lacking int           // nodes of them that need an address of their own first
}

// supplyOf returns the supply of a network, for one more group.
func (c *Cluster) supplyOf(id api.NetworkID) *supply {
	s := c.supplies[id]
	if s == nil {
		s = &supply{network: id, flight: map[int32]int{}, as: c.events - 1}
		c.supplies[id] = s
	}
	s.groups++
	return s
}

// connect says which networks a group is on, spec being its own.
func (c *Cluster) connect(g *group, spec *api.ServiceSpec) {
	g.needs.networks = nil
	if spec == nil {
		return
	}
	for _, id := range c.view.TaskNetworks(spec) {
		g.needs.networks = append(g.needs.networks, c.supplyOf(id))
	}
}

func (c *Cluster) disconnect(g *group) {
	for _, s := range g.needs.networks {
		if s.groups--; s.groups == 0 {
			delete(c.supplies, s.network)
		}
	}
}

// reconnect follows networks that come or go under groups that are on them.
func (c *Cluster) reconnect() {
	var flying []*entry
	for _, e := range c.entries {
		if e.where >= 0 {
			flying = append(flying, e)
			c.launch(e.group, e.where, -1)
		}
	}
	for _, g := range c.groups {
		c.disconnect(g)
		if spec := c.view.SpecVersion(g.key.service, g.key.version); spec != nil {
			c.connect(g, &spec.Spec)
		} else {
			c.connect(g, nil)
		}
		if g.stage == blocked {
			c.setStage(g, ready)
		}
	}
	for _, e := range flying {
		c.launch(e.group, e.where, 1)
	}
}

// left is how many addresses may still be planned with.
func (c *Cluster) left(s *supply) int {
	if s.as != c.events {
		s.as, s.free, s.lacking = c.events, c.view.FreeAddrs(s.network), 0
		for i := range s.flight {
			s.lacking += boolToInt(!c.hasGateway(s, i))
		}
	}
	return s.free - s.tasks - s.lacking
}

// hasGateway reports whether node i has an address of its own in the network.
func (c *Cluster) hasGateway(s *supply, i int32) bool {
	n := c.slots[i].node
	return n != nil && slices.ContainsFunc(n.Gateways, func(a api.Attachment) bool { return a.Network == s.network })
}

// gainsGateway reports whether node i, which had these addresses of its own, has one
// that was not reckoned with: what a task in flight brings to its node counts as there
// from the moment that the task is placed.
func (c *Cluster) gainsGateway(i int32, had []api.Attachment) bool {
	return slices.ContainsFunc(c.slots[i].node.Gateways, func(a api.Attachment) bool {
		s := c.supplies[a.Network]
		return s != nil && s.flight[i] == 0 && !slices.ContainsFunc(had, func(b api.Attachment) bool { return b.Network == a.Network })
	})
}

// launch counts a task of the group that is in flight to node i, or no longer is.
func (c *Cluster) launch(g *group, i int32, n int) {
	for _, s := range g.needs.networks {
		_ = c.left(s) // what is counted below must be of now
		before := s.flight[i]
		s.tasks += n
		if s.flight[i] = before + n; before+n == 0 {
			delete(s.flight, i)
		}
		if (before == 0 || before+n == 0) && !c.hasGateway(s, i) {
			s.lacking += n
		}
	}
}

// short is the first network that has too few addresses left for a task on node i.
func (c *Cluster) short(n *needs, i int32) *supply {
	for _, s := range n.networks {
		left := c.left(s)
		if left >= 2 || left == 1 && (s.flight[i] > 0 || c.hasGateway(s, i)) {
			continue
		}
		return s
	}
	return nil
}

// plenty reports whether so many tasks find their addresses wherever they go.
func (c *Cluster) plenty(n *needs, tasks int) bool {
	return !slices.ContainsFunc(n.networks, func(s *supply) bool { return c.left(s) < 2*tasks })
}

// starve keeps what is left for a group that is blocked for want of addresses.
func (c *Cluster) starve(g *group) {
	g.left = g.left[:0]
	for _, s := range g.needs.networks {
		g.left = append(g.left, c.left(s))
	}
	c.starved[g] = struct{}{}
}

// fed reports whether a starved group has gained something since: an address
// in one of its networks, and at least one in all. A node that gains one of its
// own is looked at again for itself.
func (c *Cluster) fed(g *group) bool {
	all, gained := true, false
	for k, s := range g.needs.networks {
		left := c.left(s)
		all, gained = all && left > 0, gained || left > g.left[k]
		g.left[k] = min(g.left[k], left)
	}
	return all && gained
}

// feed plans starved groups again that have gained something.
func (c *Cluster) feed() {
	for g := range c.starved {
		if c.fed(g) {
			c.setStage(g, ready)
		}
	}
}

// scarcity says that a network has too few addresses left.
func (c *Cluster) scarcity(s *supply) string {
	if c.left(s) > 0 {
		return "one address is left in network " + c.view.AddressSpace(s.network) + ", and the first task on a node takes two"
	}
	return "no address is left in network " + c.view.AddressSpace(s.network)
}

// noAddress is scarcity for the network that a group wants most.
func (c *Cluster) noAddress(g *group) string {
	scarce := slices.MinFunc(g.needs.networks, func(a, b *supply) int { return min(c.left(a), 2) - min(c.left(b), 2) })
	return c.scarcity(scarce)
}

// returnAddresses counts as free what a task of the group has.
func (c *Cluster) returnAddresses(g *group, t *api.Task) {
	for _, s := range g.needs.networks {
		if slices.ContainsFunc(t.Networks, func(a api.Attachment) bool { return a.Network == s.network }) {
			s.free = c.left(s) + 1
		}
	}
}
