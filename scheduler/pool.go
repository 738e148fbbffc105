package scheduler

// A pool is a ranking of all nodes that meet certain fixed needs by what is
// free on them, shared by all groups of one plan that have these needs. Many
// small services then cost what they place and not a look at every node each.
//
// While a plan runs nodes only fill up, and the fuller a node the worse, so a rank in the pool is never better
// than the node's true one was when it was written: it is enough to correct
// the one on top until that is true.

type poolKey struct {
	class    *class
	strategy strategy
}

// usePool reports whether the pool is the cheaper way to place the tasks: not
// for a group that is alone, that asks for a good part of the nodes anyway, or
// that has tasks on many of them, nor where addresses may run out or other
// services matter, nor where fuller is better.
func (p *planner) usePool(g *group, tasks int) bool {
	few := len(p.slots) / 8
	return p.groups > 1 && !p.noPools && p.strategy != binpack && tasks <= few && len(g.service.counts) <= few && len(g.failures) <= few &&
		len(g.needs.spread) == 0 && len(g.needs.affinity) == 0 && len(g.service.shy) == 0 && p.plenty(&g.needs, tasks)
}

func (p *planner) pool(cl *class, n *needs) *ranking {
	key := poolKey{cl, p.strategy}
	if pool := p.pools[key]; pool != nil {
		return pool
	}
	pool := &ranking{slots: p.slots}
	for i := range int32(len(p.slots)) {
		if p.fixedRule(cl, n, i) == fits {
			pool.list = append(pool.list, candidate{p.rankOf(p.strategy, 0, 0, i), i})
		}
	}
	pool.order(len(pool.list))
	if p.pools == nil {
		p.pools = map[poolKey]*ranking{}
	}
	p.pools[key] = pool
	return pool
}

// placeFromPool places on the nodes that placeRanked would choose. It returns
// the tasks that are left: when no node fits, or when so many do not that
// looking at all of them is cheaper.
func (p *planner) placeFromPool(cl *class, g *group, queue []*entry) []*entry {
	d := draw{planner: p, group: g, pool: p.pool(cl, &g.needs), budget: 64 + 4*len(queue)}
	d.own = ranking{list: p.ranked[:0], slots: p.slots}
	d.enterOwn(cl)
	for len(queue) > 0 && p.limit > 0 {
		i, ok := d.next()
		if !ok {
			break
		}
		e := queue[0]
		queue = queue[1:]
		if rank, again := p.put(g, e, i); again {
			d.own.push(candidate{rank, i})
		}
	}
	for _, i := range d.aside {
		d.pool.push(candidate{p.rankOf(p.strategy, 0, 0, i), i})
	}
	p.ranked = d.own.list
	return queue
}

// draw is one group's use of a pool.
type draw struct {
	*planner
	group *group
	pool  *ranking
	// own ranks the nodes on which the service has tasks or failed: their
	// rank for it is another than in the pool.
	own ranking
	// aside are the nodes taken from the pool, to be put back.
	aside  []int32
	budget int // how many may be taken in vain
}

func (d *draw) enterOwn(cl *class) {
	enter := func(i int32) {
		if d.check(cl, d.group, i, d.count[i]) == fits {
			d.own.list = append(d.own.list, candidate{d.rank(d.group, i), i})
		}
	}
	for i := range d.group.service.counts {
		enter(i)
	}
	for i := range d.group.failures {
		if d.count[i] == 0 {
			enter(i)
		}
	}
	d.own.order(len(d.own.list))
}

// next takes the best node out of the pool or of the group's own.
func (d *draw) next() (node int32, ok bool) {
	for len(d.pool.list) > 0 && d.budget > 0 {
		top := d.top()
		if d.usable(top.node) {
			if len(d.own.list) > 0 && d.pool.less(d.own.list[0], top) {
				break
			}
			d.takeAside()
			return top.node, true
		}
		d.takeAside()
		d.budget--
	}
	if d.budget == 0 || len(d.own.list) == 0 {
		return 0, false
	}
	best := d.own.list[0].node
	d.own.drop()
	return best, true
}

// top is the best of the pool, once its rank is true.
func (d *draw) top() candidate {
	for {
		top := &d.pool.list[0]
		rank := d.rankOf(d.strategy, 0, 0, top.node)
		if rank == top.rank {
			return *top
		}
		top.rank = rank
		d.pool.down(0)
	}
}

// usable reports whether a node of the pool fits and is not among the group's own.
func (d *draw) usable(i int32) bool {
	if d.count[i] > 0 || d.group.failures != nil && d.group.failures[i] != nil {
		return false
	}
	return d.checkRoom(&d.group.needs, i, 0) == fits
}

func (d *draw) takeAside() {
	d.aside = append(d.aside, d.pool.list[0].node)
	d.pool.drop()
}
