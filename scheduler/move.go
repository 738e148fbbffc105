package scheduler

import (
	"strings"

	"github.com/swarmctl/swarmctl/api"
)

// A move is a task that takes over from another, which runs on until then.
// Where that one must leave its node (it is drained, or a constraint is not met
// any more), any other will do. Else the move is for balance's sake, and only
// a node will do that is better by it: moves come to an end.
type move struct {
	planner *planner
	group   *group
	from    int32 // the node that is left; -1: it has been left already
	free    bool  // it must be left
	// counts are the tasks of the service on a node, and branches those at a place
	// in the tree of its preferences, each without those that others take over from.
	counts   map[int32]int32
	branches map[string]int32
}

// groupSingles places the tasks of the group that are placed each for itself, or
// refuses them; starved says that some were for want of addresses.
func (p *planner) groupSingles(cl *class, g *group) (starved bool) {
	if len(g.singles) == 0 {
		return false
	}
	g.singles = tidy(g.singles)
	for _, e := range g.singles {
		if p.limit <= 0 {
			break
		}
		p.enter(g)
		if e.task.Replaces != "" {
			p.move = p.moveOf(g, e.task)
		}
		p.home = p.homeOf(g, e.task)
		left := p.placeRanked(cl, g, []*entry{e})
		p.exit(g)
		g.home, g.changes = p.home, p.volumes.changes
		p.move, p.home = nil, nil
		if len(left) > 0 {
			t := tallyOf(p.verdicts)
			g.singlesRefused = append(g.singlesRefused[:0], p.verdicts...)
			p.refuse(left, p.refusal(g, p.verdicts, &t), len(p.slots)-t[absent])
			starved = starved || t[ruleAddresses] > 0
		}
	}
	if g.singles != nil {
		g.singles = tidy(g.singles)
	}
	return starved
}

func (p *planner) moveOf(g *group, t *api.Task) *move {
	m := &move{planner: p, group: g, from: -1, free: true}
	old := p.view.Task(t.Replaces)
	if old == nil || !occupies(old) || !isActive(old) {
		return m
	}
	m.from = p.slotOf(old.NodeID)
	if m.free = !p.keeps(g, m.from); !m.free {
		m.take()
	}
	return m
}

// keeps reports whether a task of the group that runs on node i may stay there,
// whatever else there is.
func (c *Cluster) keeps(g *group, i int32) bool {
	if g.needs.fixed.check(c.slots[i].node) != fits {
		return false
	}
	for k := range g.needs.affinity {
		a := &g.needs.affinity[k]
		if a.own && (!a.Not || a.with.counts[i] <= 1) {
			continue // with itself it is always together, and alone
		}
		if a.on(i) == a.Not {
			return false
		}
	}
	return true
}

// take counts the tasks of the service.
func (m *move) take() {
	p := m.planner
	m.counts, m.branches = map[int32]int32{}, map[string]int32{}
	for i, n := range m.group.service.counts {
		m.counts[i] = n
	}
	for t := range p.view.ServiceTasks(m.group.key.service) {
		if t.Replaces == "" || !isActive(t) || !p.placed(t) {
			continue
		}
		if old := p.view.Task(t.Replaces); occupies(old) && isActive(old) {
			m.counts[p.slotOf(old.NodeID)]--
		}
	}
	for i, n := range m.counts {
		for _, place := range m.places(i) {
			m.branches[place] += n
		}
	}
}

// placed reports whether a task has its node, be it only planned.
func (c *Cluster) placed(t *api.Task) bool {
	e := c.entries[t.ID]
	return occupies(t) || e != nil && e.where >= 0
}

// places are where node i is in the tree of the service's preferences, from the top.
func (m *move) places(i int32) []string {
	n := m.planner.slots[i].node
	if n == nil {
		return nil
	}
	list := make([]string, len(m.group.needs.spread))
	path := ""
	for k, p := range m.group.needs.spread {
		path += strings.ReplaceAll(p.value(n), "\x00", "") + "\x00"
		list[k] = path
	}
	return list
}

// helps reports whether the move may go to node i: the node or, where the
// service spreads over labels, the first branch of the two that differs, must
// have fewer of its tasks afterwards than the other had before.
func (m *move) helps(i int32) bool {
	switch {
	case i == m.from:
		return false
	case m.free:
		return true
	case m.planner.strategy == binpack:
		return false
	}
	from, to := m.places(m.from), m.places(i)
	for k := range from {
		if from[k] != to[k] {
			return m.branches[to[k]]+1 < m.branches[from[k]]
		}
	}
	if m.planner.strategy == capacity {
		slots := m.planner.slots
		return float64(m.counts[i]+1)*slots[m.from].size() < float64(m.counts[m.from])*slots[i].size()
	}
	return m.counts[i]+1 < m.counts[m.from]
}

// explain says why a move that helps nothing is not made.
func (m *move) explain(i int32) string {
	switch {
	case i == m.from:
		return "is the node that the task is to leave"
	case m.planner.strategy == binpack:
		return "is not better: the service's strategy is binpack"
	}
	return "is no less loaded than the node that the task is to leave"
}
