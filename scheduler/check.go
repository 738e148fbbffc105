package scheduler

import "slices"

// recheck looks at the nodes that changed on behalf of the groups that were
// refused: those that have a chance now are planned again, the others are
// told if their reasons have changed.
func (p *planner) recheck() {
	if len(p.dirty) == 0 {
		return
	}
	for _, g := range inOrder(p.stages[blocked]) {
		p.recheckGroup(g)
	}
	for _, i := range p.dirty {
		p.slots[i].dirty, p.slots[i].renewed = false, false
	}
	p.dirty = p.dirty[:0]
}

func (p *planner) recheckGroup(g *group) {
	for _, e := range g.pinned {
		if i, ok := p.index[e.task.NodeID]; e.where == waits && ok && p.slots[i].dirty {
			p.setStage(g, ready)
			return
		}
	}
	if p.homeless(&g.needs) != g.homeless { // that is a word on every node
		p.setStage(g, ready)
		return
	}
	cl := p.class(&g.needs)
	if p.stirsSingles(cl, g) {
		p.setStage(g, ready)
		return
	}
	if len(g.queue) == 0 {
		return
	}
	news := false
	for len(g.refused) < len(p.slots) {
		g.refused = append(g.refused, absent)
		g.tally[absent]++
	}
	for _, i := range p.dirty {
		r := p.check(cl, g, i, g.service.counts[i])
		if r == fits {
			p.setStage(g, ready)
			return
		}
		news = news || r != g.refused[i] || p.slots[i].renewed
		g.tally[g.refused[i]]--
		g.tally[r]++
		g.refused[i] = r
	}
	if g.tally[ruleAddresses] > 0 {
		p.starve(g)
	}
	if news {
		p.refuseQueue(g)
	}
}

// stirsSingles reports whether the nodes that changed say anything else than
// before to the group's singles that wait.
func (p *planner) stirsSingles(cl *class, g *group) bool {
	if !slices.ContainsFunc(g.singles, func(e *entry) bool { return e.where == waits }) {
		return false
	}
	if len(g.needs.volumes) > 0 && g.changes != p.volumes.changes {
		return true
	}
	return slices.ContainsFunc(p.dirty, func(i int32) bool {
		if p.slots[i].renewed || int(i) >= len(g.singlesRefused) {
			return true
		}
		if g.singlesRefused[i] == ruleVolume {
			return false // whatever else changes there
		}
		r := p.check(cl, g, i, g.service.counts[i])
		return r == fits || r != g.singlesRefused[i]
	})
}

// check returns the first rule that refuses node i to the group, of whose
// service ofService tasks are there.
func (c *Cluster) check(cl *class, g *group, i, ofService int32) rule {
	if r := c.fixedRule(cl, &g.needs, i); r != fits {
		return r
	}
	return c.checkRoom(&g.needs, i, ofService)
}

// checkRoom is check for the rules that depend on what else is on the node.
func (c *Cluster) checkRoom(n *needs, i, ofService int32) rule {
	r := &c.rooms[i]
	if len(n.affinity) > 0 && c.unmet(n, i) != nil {
		return ruleAffinity
	}
	if n.all.cpu > 0 && n.all.cpu > r.cpuFree || n.all.memory > 0 && n.all.memory > r.memoryFree {
		return ruleResources
	}
	if len(n.all.generic) > 0 && !c.slots[i].hasGeneric(n.all.generic) {
		return ruleResources
	}
	for _, port := range n.ports {
		if c.slots[i].portTaken(port) {
			return rulePorts
		}
	}
	if n.maxReplicas > 0 && ofService >= n.maxReplicas {
		return ruleReplicas
	}
	if len(n.networks) > 0 && c.short(n, i) != nil {
		return ruleAddresses
	}
	return fits
}

func (s *slot) hasGeneric(want []amount) bool {
	for _, a := range want {
		if a.n > amountOf(s.genericAll, a.kind)-amountOf(s.genericTaken, a.kind) {
			return false
		}
	}
	return true
}
