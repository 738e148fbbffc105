package scheduler

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Decision is what a plan comes to.
type Decision struct {
	Assign []state.Assign
	// Refuse has the tasks that no node will take and that have not been told so yet.
	Refuse []Refusal
	// More says that the limit cut the plan short.
	More bool
}

// Plan decides for every task that waits in the state. now is what recent
// failures are measured by.
func Plan(v *state.View, now time.Time) Decision { return NewCluster(v).Plan(now, math.MaxInt) }

// Plan decides for the tasks that wait, as many as limit of them, and takes
// what it assigns as carried out until Withdraw or an event says otherwise.
// Tasks that were refused before are looked at again only if a node has
// changed or has room that it had not.
func (c *Cluster) Plan(now time.Time, limit int) Decision {
	return c.plan(planner{now: now, limit: limit})
}

func (c *Cluster) plan(p planner) Decision {
	p.Cluster = c
	p.usual = c.usualStrategy()
	p.feed()
	p.recheck()
	p.round()
	// Tasks that were placed may be what others asked to be with.
	for len(p.dirty) > 0 && !p.More {
		p.recheck()
		p.round()
		p.retract()
	}
	return p.Decision
}

// round looks once at every group that is ready.
func (p *planner) round() {
	groups := inOrder(p.stages[ready])
	p.groups = len(groups)
	for _, g := range groups {
		if p.limit <= 0 {
			p.More = true
			break
		}
		p.group(g)
	}
}

// retract takes back the refusals that a later round has overtaken.
func (p *planner) retract() {
	p.Refuse = slices.DeleteFunc(p.Refuse, func(r Refusal) bool {
		e := p.entries[r.Task.ID]
		return e.where != waits || e.told != strings.TrimSuffix(r.Err, seeExplain(r.Task))
	})
}

type planner struct {
	*Cluster
	Decision
	now   time.Time
	limit int
	// groups is how many groups this plan looks at; pools are what those with
	// equal fixed needs share.
	groups  int
	pools   map[poolKey]*ranking
	noPools bool // for tests
	// usual is the cluster's strategy, strategy that of the group at hand; move is
	// the task at hand where it takes over from another.
	usual, strategy strategy
	move            *move
	home            *home // where the task at hand may go for its volumes; nil: anywhere
}

// group plans what waits in one group.
func (p *planner) group(g *group) {
	p.setStage(g, idle)
	if p.hold(g) {
		return
	}
	cl := p.class(&g.needs)
	p.strategy = p.strategyOf(g)
	starved := p.groupPinned(cl, g)
	starved = p.groupSingles(cl, g) || starved
	if p.groupQueue(cl, g); g.waiting == 0 {
		return
	}
	g.since = g.oldest()
	if p.limit <= 0 {
		p.More = true
		p.setStage(g, ready)
		return
	}
	p.setStage(g, blocked)
	g.homeless = p.homeless(&g.needs)
	if starved || g.tally[ruleAddresses] > 0 {
		p.starve(g)
	}
}

// groupPinned places the tasks that have their node, or refuses them; starved
// says that some were for want of addresses.
func (p *planner) groupPinned(cl *class, g *group) (starved bool) {
	if len(g.pinned) == 0 {
		return false
	}
	g.pinned = tidy(g.pinned)
	for _, e := range g.pinned {
		if p.limit <= 0 {
			break
		}
		i, ok := p.index[e.task.NodeID]
		if !ok {
			p.refuse([]*entry{e}, noSuitableNode("its node "+string(e.task.NodeID)+" is not in the cluster"), 1)
			continue
		}
		p.lend(e.task)
		if r := p.check(cl, g, i, g.service.counts[i]); r != fits {
			p.settle(e.task)
			p.refuse([]*entry{e}, p.pinnedRefusal(g, i, r), 1)
			starved = starved || r == ruleAddresses
			continue
		}
		p.occupy(i, g, true)
		p.assign(g, e, i)
		p.spare(g, e.task, i)
	}
	if g.pinned != nil {
		g.pinned = tidy(g.pinned)
	}
	return starved
}

// groupQueue places the tasks that may go anywhere, and refuses the rest.
func (p *planner) groupQueue(cl *class, g *group) {
	if len(g.queue) == 0 || p.limit <= 0 {
		return
	}
	g.queue = tidy(g.queue)
	p.enter(g)
	queue := g.queue
	if p.usePool(g, len(queue)) {
		queue = p.placeFromPool(cl, g, queue)
	}
	if len(queue) > 0 && p.limit > 0 {
		queue = p.placeRanked(cl, g, queue)
	}
	p.exit(g)
	if g.queue = queue; len(queue) == 0 {
		g.queue = nil
	} else if p.limit > 0 {
		p.blockQueue(g)
	}
}

// enter notes how many tasks of the group's service are where, until exit.
func (p *planner) enter(g *group) {
	for i, n := range g.service.counts {
		p.count[i] = n
	}
}

func (p *planner) exit(g *group) {
	for i := range g.service.counts {
		p.count[i] = 0
	}
}

// placeRanked ranks all nodes for the group and places on the best until the
// tasks, the limit or the nodes run out. It returns the tasks that are left.
// With the last addresses of a network it matters where a task goes, and so it
// does for the first of those that ask to be together: then all nodes are looked
// at anew after each.
func (p *planner) placeRanked(cl *class, g *group, queue []*entry) []*entry {
	for len(queue) > 0 && p.limit > 0 {
		root := p.candidates(cl, g, min(len(queue), p.limit))
		first := p.homeless(&g.needs)
		for plenty := true; plenty && len(queue) > 0 && p.limit > 0; plenty = !first && p.plenty(&g.needs, 1) {
			if _, ok := root.best(); !ok {
				return queue
			}
			root.place(func(i int32) (uint64, bool) { return p.put(g, queue[0], i) })
			queue = queue[1:]
		}
	}
	return queue
}

// put places a task on node i and returns the node's new rank for the group,
// and whether another of its tasks fits there.
func (p *planner) put(g *group, e *entry, i int32) (rank uint64, again bool) {
	p.occupy(i, g, true)
	p.count[i]++
	p.assign(g, e, i)
	if r := p.checkRoom(&g.needs, i, p.count[i]); r != fits {
		p.verdicts[i] = r
		return 0, false
	}
	return p.rank(g, i), true
}

// rank is node i's rank for the group.
func (p *planner) rank(g *group, i int32) uint64 {
	penalty := g.penalty(i, p.now)
	if len(g.service.shy) > 0 && g.crowds(i) {
		penalty = min(15, penalty+1)
	}
	return p.rankOf(p.strategy, penalty, p.count[i], i)
}

// blockQueue keeps why each node refused the group, and tells those that wait.
func (p *planner) blockQueue(g *group) {
	g.refused = append(g.refused[:0], p.verdicts...)
	g.tally = tallyOf(g.refused)
	p.refuseQueue(g)
}

func (p *planner) refuseQueue(g *group) {
	p.refuse(g.queue, p.refusal(g, g.refused, &g.tally), len(p.slots)-g.tally[absent])
}

// candidates ranks the nodes that fit and notes the verdict on every node.
func (p *planner) candidates(cl *class, g *group, placements int) *branch {
	root := &branch{ranking: ranking{list: p.ranked[:0], slots: p.slots}}
	spread := g.needs.spread
	for i := range int32(len(p.slots)) {
		r := ruleVolume
		if p.slots[i].node == nil {
			r = absent
		} else if p.home.allows(i) {
			r = p.check(cl, g, i, p.count[i])
		}
		if r == fits && p.move != nil && !p.move.helps(i) {
			r = ruleBalance
		}
		if p.verdicts[i] = r; r != fits {
			continue
		}
		leaf := root
		if len(spread) > 0 {
			leaf = root.leaf(spread, p.slots[i].node)
		}
		leaf.ranking.list = append(leaf.ranking.list, candidate{p.rank(g, i), i})
	}
	p.ranked = root.ranking.list
	if len(spread) > 0 {
		for i, n := range g.service.counts {
			if node := p.slots[i].node; node != nil {
				root.enter(spread, node, n)
			}
		}
	}
	root.order(placements)
	return root
}

func (p *planner) assign(g *group, e *entry, i int32) {
	p.leave(e, i)
	p.launch(g, i, 1)
	p.mount(g, e.task, i)
	p.limit--
	p.noteTask(e.task)
	p.repledge()
	p.Assign = append(p.Assign, state.Assign{Task: e.task.ID, Node: p.slots[i].id, Generic: p.assignGeneric(i, g, e.task.ID)})
}

// refuse tells those of the entries that wait and have not been told this yet
// why so many nodes do not take them.
func (p *planner) refuse(entries []*entry, text string, nodes int) {
	for _, e := range entries {
		if e.where != waits || e.told == text {
			continue
		}
		e.told = text
		r := Refusal{Task: e.task, Err: text}
		if nodes > maxNamed {
			r.Err += seeExplain(e.task)
		}
		p.Refuse = append(p.Refuse, r)
	}
}
