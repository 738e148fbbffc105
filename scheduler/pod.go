package scheduler

import (
	"slices"
	"strings"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// A task is placed only where its sidecars fit as well, which are made when it has
// its node: so what they reserve is pledged to them from the moment that it is
// placed. A pledge is given back for a sidecar that takes its room itself, and made
// again when that has ended: another one follows.

// sidecar is a service whose tasks live with those of another one.
type sidecar struct {
	id    api.ServiceID
	needs needs
}

// pledge is what is set aside on node i for the sidecars that a task lacks.
type pledge struct {
	i           int32
	cpu, memory int64
	generic     []amount
}

func (p *pledge) empty() bool { return p.cpu == 0 && p.memory == 0 && len(p.generic) == 0 }

func (p *pledge) add(n *needs) {
	p.cpu, p.memory = p.cpu+n.cpu, p.memory+n.memory
	for _, a := range n.generic {
		p.generic = add(p.generic, a.kind, a.n)
	}
}

func (p *pledge) equal(o *pledge) bool {
	return p.i == o.i && p.cpu == o.cpu && p.memory == o.memory && slices.Equal(p.generic, o.generic)
}

// putSidecars takes in the change of a service that is one of sidecars.
func (c *Cluster) putSidecars(p state.Pair[api.Service]) {
	var of string
	if p.Before != nil {
		of = setting.PodOf(p.Before.Spec.Labels)
		c.dropSidecar(of, p.Before.ID)
	}
	if p.After != nil {
		of = setting.PodOf(p.After.Spec.Labels)
		c.addSidecar(of, p.After)
	}
	if of == "" {
		return
	}
	s := c.view.ServiceByName(of)
	if s == nil {
		return
	}
	for _, g := range c.groups {
		if g.key.service == s.ID {
			c.accompany(g)
			if g.stage == blocked {
				c.setStage(g, ready)
			}
		}
	}
	for t := range c.view.ServiceTasks(s.ID) {
		c.pods[t.ID] = struct{}{}
	}
}

func (c *Cluster) addSidecar(of string, s *api.Service) {
	if of == "" {
		return
	}
	list := append(slices.Clone(c.sidecars[of]), sidecar{s.ID, needsOf(&s.Spec)})
	slices.SortFunc(list, func(a, b sidecar) int { return strings.Compare(string(a.id), string(b.id)) })
	c.sidecars[of] = list
}

func (c *Cluster) dropSidecar(of string, id api.ServiceID) {
	list := slices.DeleteFunc(slices.Clone(c.sidecars[of]), func(s sidecar) bool { return s.id == id })
	if c.sidecars[of] = list; len(list) == 0 {
		delete(c.sidecars, of)
	}
}

// sidecarsOf are the services of sidecars that the tasks of a service have.
func (c *Cluster) sidecarsOf(id api.ServiceID) []sidecar {
	if len(c.sidecars) == 0 {
		return nil
	}
	s := c.view.Service(id)
	if s == nil {
		return nil
	}
	return c.sidecars[s.Name()]
}

// accompany has a group ask for what its tasks and their sidecars need together.
func (c *Cluster) accompany(g *group) {
	n := &g.needs
	n.all, n.fixed.beside = pledge{}, nil
	n.all.add(n)
	for _, s := range c.sidecarsOf(g.key.service) {
		n.all.add(&s.needs)
		n.fixed.beside = append(n.fixed.beside, s.needs.fixed)
	}
	n.fixedKey = n.fixed.key()
}

// noteTask notes whose pledge the change of a task may change.
func (c *Cluster) noteTask(t *api.Task) {
	switch {
	case len(c.sidecars) == 0 && len(c.pledges) == 0:
	case t.PodOf != "":
		c.pods[t.PodOf] = struct{}{}
	default:
		c.pods[t.ID] = struct{}{}
	}
}

// repledge puts the pledges right of which something has changed.
func (c *Cluster) repledge() {
	for id := range c.pods {
		c.pledge(id)
	}
	clear(c.pods)
}

// pledge puts the pledge of one task right.
func (c *Cluster) pledge(id api.TaskID) {
	had := c.pledges[id]
	if c.setPledge(id, c.pledgeOf(id, "")) && had != nil {
		c.touch(had.i)
	}
}

// lend gives back what is pledged to a sidecar, until the next pledge for its pod:
// it is to be looked at whether it fits.
func (c *Cluster) lend(t *api.Task) {
	if t.PodOf != "" {
		c.setPledge(t.PodOf, c.pledgeOf(t.PodOf, t.ServiceID))
	}
}

// settle ends a lending. It is no news for anybody: what was lent was looked at.
func (c *Cluster) settle(t *api.Task) {
	if t.PodOf != "" {
		c.setPledge(t.PodOf, c.pledgeOf(t.PodOf, ""))
	}
}

// spare ends a lending to a task that was placed on node i. One of a version that is
// not in force any more may take less than was pledged: the rest is free.
func (c *Cluster) spare(g *group, t *api.Task, i int32) {
	if s := c.view.Service(t.ServiceID); t.PodOf != "" && (s == nil || s.SpecVersion != g.key.version) {
		c.touch(i)
	}
}

// pledgeOf is what should be pledged to a task's sidecars, those of one service not
// counted.
func (c *Cluster) pledgeOf(id api.TaskID, but api.ServiceID) (p pledge) {
	t := c.view.Task(id)
	if t == nil || !isActive(t) {
		return p
	}
	switch e := c.entries[id]; {
	case e != nil && e.where >= 0:
		p.i = e.where
	case e == nil && occupies(t):
		p.i = c.slotOf(t.NodeID)
	default:
		return p
	}
	for _, s := range c.sidecarsOf(t.ServiceID) {
		if s.id != but && !c.accompanied(t, s.id) {
			p.add(&s.needs)
		}
	}
	return p
}

// accompanied reports whether a task has a sidecar of a service that takes its own room.
func (c *Cluster) accompanied(t *api.Task, by api.ServiceID) bool {
	near := c.view.SlotTasks(by, t.Slot)
	if t.Slot == 0 { // that is all of a global service
		near = c.view.NodeTasks(t.NodeID)
	}
	for s := range near {
		if s.PodOf == t.ID && s.ServiceID == by && c.placed(s) {
			return true
		}
	}
	return false
}

// setPledge reports whether the pledge was another one. Pledges are occupants: the
// slot that they are in is kept.
func (c *Cluster) setPledge(id api.TaskID, next pledge) (changed bool) {
	had := c.pledges[id]
	if had == nil && next.empty() || had != nil && had.equal(&next) {
		return false
	}
	if delete(c.pledges, id); !next.empty() {
		c.slots[next.i].occupants++
		c.reserve(next.i, &next, 1)
		c.rerank(next.i)
		c.pledges[id] = &next
	}
	if had != nil {
		c.slots[had.i].occupants--
		c.reserve(had.i, had, -1)
		c.rerank(had.i)
		c.freeSlot(had.i)
	}
	return true
}

// unaccompany takes a task's sidecars, and the pledge for them, off its node: it is
// to be looked at what it and they would find there.
func (c *Cluster) unaccompany(t *api.Task) {
	c.setPledge(t.ID, pledge{})
	for _, s := range c.sidecarsOf(t.ServiceID) {
		for beside := range c.view.SlotTasks(s.id, t.Slot) {
			if beside.PodOf == t.ID && occupies(beside) {
				c.vacate(c.slotOf(beside.NodeID), c.groupOf(c.view, beside), beside.ID, isActive(beside))
			}
		}
	}
}
