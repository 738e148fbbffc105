package scheduler

import (
	"cmp"
	"slices"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// hold keeps the tasks of a group waiting where their service waits for another
// one, or one of its volumes is being moved, and tells them. No node is looked at: there may be room for them, and the
// service that they wait for must have it first.
func (p *planner) hold(g *group) bool {
	s := p.view.Service(g.key.service)
	if s == nil {
		return false
	}
	why := cmp.Or(p.moving(&g.needs), state.Unmet(p.view, s))
	if why == "" {
		return false
	}
	for _, queue := range []*[]*entry{&g.pinned, &g.singles, &g.queue} {
		*queue = tidy(*queue)
		p.refuse(*queue, why, 0)
	}
	g.since = g.oldest()
	p.setStage(g, held)
	return true
}

// unhold has the groups looked at again that wait for a service of which
// something has changed that they may go by, or for their own.
func (c *Cluster) unhold(e *state.Event) {
	if len(c.stages[held]) == 0 {
		return
	}
	changed := stirred(e)
	if len(changed) == 0 {
		return
	}
	for _, g := range inOrder(c.stages[held]) {
		if c.heldBy(g, changed) {
			c.setStage(g, ready)
		}
	}
}

// heldBy reports whether one of the services that have changed is the group's own
// or one that it waits for.
func (c *Cluster) heldBy(g *group, changed map[string]bool) bool {
	s := c.view.Service(g.key.service)
	if s == nil || changed[s.Name()] {
		return true
	}
	return slices.ContainsFunc(setting.DependenciesOf(s.Spec.Labels), func(d setting.Dependency) bool { return changed[d.Service] })
}

// stirred are the names of the services of which an event changes something that
// others may wait for.
func stirred(e *state.Event) map[string]bool {
	names := map[string]bool{}
	add := func(t *api.Task) {
		if s := e.View.Service(t.ServiceID); s != nil {
			names[s.Name()] = true
		}
	}
	for _, p := range e.Services {
		if p.Before != nil {
			names[p.Before.Name()] = true
		}
		if p.After != nil {
			names[p.After.Name()] = true
		}
	}
	for _, p := range e.Tasks {
		switch {
		case p.After == nil:
			add(p.Before)
		case p.Before == nil || p.Before.Status.State != p.After.Status.State || p.Before.Desired != p.After.Desired:
			add(p.After)
		}
	}
	for _, p := range e.Nodes {
		if p.After == nil || p.Before != nil && p.Before.Status.State == p.After.Status.State && p.Before.Status.Unsettled == p.After.Status.Unsettled {
			continue // the tasks of a node that is removed change with it
		}
		for t := range e.View.NodeTasks(p.After.ID) {
			add(t)
		}
	}
	return names
}
