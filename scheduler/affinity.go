package scheduler

import (
	"fmt"
	"maps"
	"slices"

	"github.com/swarmctl/swarmctl/api/constraint"
)

// affinity is a constraint of a group on what else a node runs. Tasks that are
// meant to run there count, from the moment that they are placed.
type affinity struct {
	constraint.Service
	with *service // nil: there is no service of that name
	own  bool     // it is the group's own service
}

// relate finds the services that a group's constraints name.
func (c *Cluster) relate(g *group) {
	named := g.needs.fixed.constraints.Services()
	if len(named) == 0 {
		return
	}
	c.related[g] = struct{}{}
	g.needs.affinity = make([]affinity, len(named))
	for k, s := range named {
		a := &g.needs.affinity[k]
		a.Service = s
		if found := c.view.ServiceByName(s.Name); found != nil {
			a.with = c.service(found.ID)
			a.own = a.with == g.service
			a.keep(g, 1)
		}
	}
}

// unrelate lets the services go.
func (c *Cluster) unrelate(g *group) {
	delete(c.related, g)
	for k := range g.needs.affinity {
		if a := &g.needs.affinity[k]; a.with != nil {
			a.keep(g, -1)
			c.forget(a.with)
		}
	}
}

// keep counts the constraint, which is the group's, in the service that it names.
func (a *affinity) keep(g *group, n int) {
	s := a.with
	s.named += n
	if !a.Not || a.own {
		return
	}
	if s.shy == nil {
		s.shy = map[*service]int{}
	}
	if s.shy[g.service] += n; s.shy[g.service] == 0 {
		delete(s.shy, g.service)
	}
}

// rerelate follows services that come or go under groups that name them.
func (c *Cluster) rerelate() {
	for _, g := range slices.Collect(maps.Keys(c.related)) { // which changes under it
		c.unrelate(g)
		c.relate(g)
		if g.stage == blocked {
			c.setStage(g, ready)
		}
	}
}

// unmet is the first constraint on a service that node i does not satisfy, or nil.
func (c *Cluster) unmet(n *needs, i int32) *affinity {
	for k := range n.affinity {
		if a := &n.affinity[k]; c.refuses(n, a, i) {
			return a
		}
	}
	return nil
}

// refuses reports whether node i does not satisfy the constraint. Where a
// service asks to be with itself, its first task may go anywhere.
func (c *Cluster) refuses(n *needs, a *affinity, i int32) bool {
	return a.on(i) == a.Not && (a.Not || !a.own || !c.homeless(n))
}

// on reports whether node i runs the service.
func (a *affinity) on(i int32) bool { return a.with != nil && a.with.counts[i] > 0 }

// homeless reports whether the needs are those of a service that asks to be
// with itself, and is on no node that would take more of it: a node that is
// drained, say, all its tasks must leave, and the first of them chooses where to.
func (c *Cluster) homeless(n *needs) bool {
	for k := range n.affinity {
		if a := &n.affinity[k]; a.own && !a.Not {
			for i := range a.with.counts {
				if n.fixed.check(c.slots[i].node) == fits {
					return false
				}
			}
			return true
		}
	}
	return false
}

// crowds reports whether node i runs a service that asks not to be where the
// group's is. What runs stays, so it would have to bear it: another node is better.
func (g *group) crowds(i int32) bool {
	for s := range g.service.shy {
		if s.counts[i] > 0 {
			return true
		}
	}
	return false
}

// missing is the first service that the group wants to be with and that is none.
func (n *needs) missing() *affinity {
	for k := range n.affinity {
		if a := &n.affinity[k]; a.with == nil && !a.Not {
			return a
		}
	}
	return nil
}

// countAffinity says that n nodes do not satisfy the constraints on services. It
// names all of them: which is not satisfied may differ from node to node.
func (n *needs) countAffinity(nodes int) string {
	what := "constraint "
	if len(n.affinity) > 1 {
		what = "constraints "
	}
	return fmt.Sprintf("%s not satisfied on %s", what+joined(n.affinity, func(a affinity) string { return a.String() }, " and "), plural(nodes, "node"))
}

// explain says what is wrong with a node that does not satisfy the constraint.
func (a *affinity) explain() string {
	switch {
	case a.Not:
		return fmt.Sprintf("constraint %s: it runs a task of service %s", a.Service, a.Name)
	case a.with == nil:
		return fmt.Sprintf("constraint %s: %s", a.Service, a.remedy())
	}
	return fmt.Sprintf("constraint %s: it runs no task of service %s", a.Service, a.Name)
}

// remedy is what to do about a service that is none.
func (a *affinity) remedy() string {
	return fmt.Sprintf("there is no service %s: create it, or leave the constraint out", a.Name)
}
