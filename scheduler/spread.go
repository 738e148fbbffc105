package scheduler

import "github.com/swarmctl/swarmctl/api"

// branch is a part of the cluster that a service spreads over: at each level
// the nodes that share a label's value, at the lowest a ranking of nodes. A
// service without preferences has one branch.
type branch struct {
	tasks    int32 // of the service, on all nodes of the branch
	children []*branch
	byValue  map[string]*branch
	ranking  ranking
}

// value is the label's value on a node. Nodes without the label are a branch
// of their own.
func (p preference) value(n *api.Node) string {
	if p.engine {
		return n.Description.Engine.Labels[p.label]
	}
	return n.Spec.Labels[p.label]
}

// leaf is the lowest branch that a node belongs to, made where it is missing.
func (b *branch) leaf(spread []preference, n *api.Node) *branch {
	for _, p := range spread {
		value := p.value(n)
		child := b.byValue[value]
		if child == nil {
			if b.byValue == nil {
				b.byValue = map[string]*branch{}
			}
			child = &branch{ranking: ranking{slots: b.ranking.slots}}
			b.byValue[value] = child
			b.children = append(b.children, child)
		}
		b = child
	}
	return b
}

// enter counts tasks that are on a node already, all the way down.
func (b *branch) enter(spread []preference, n *api.Node, tasks int32) {
	b.tasks += tasks
	for _, p := range spread {
		if b = b.byValue[p.value(n)]; b == nil {
			return
		}
		b.tasks += tasks
	}
}

func (b *branch) order(placements int) {
	b.ranking.order(placements)
	for _, child := range b.children {
		child.order(placements)
	}
}

// best is the candidate to place on next; ok is false when there is none.
func (b *branch) best() (candidate, bool) {
	if child := b.next(); child != nil {
		return child.best()
	}
	if len(b.ranking.list) == 0 {
		return candidate{}, false
	}
	return b.ranking.list[0], true
}

// next is the branch below with the fewest tasks of those that have
// candidates; among equals the one with the best of them.
func (b *branch) next() *branch {
	var found *branch
	var top candidate
	for _, child := range b.children {
		if found != nil && child.tasks > found.tasks {
			continue
		}
		c, ok := child.best()
		if !ok {
			continue
		}
		if found == nil || child.tasks < found.tasks || b.ranking.less(c, top) {
			found, top = child, c
		}
	}
	return found
}

// place calls take for the best node, which returns the node's new rank and
// whether it fits again.
func (b *branch) place(take func(node int32) (rank uint64, again bool)) {
	b.tasks++
	if child := b.next(); child != nil {
		child.place(take)
		return
	}
	rank, again := take(b.ranking.list[0].node)
	if !again {
		b.ranking.drop()
		return
	}
	b.ranking.list[0].rank = rank
	b.ranking.down(0)
}
