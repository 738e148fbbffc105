package scheduler

import (
	"math"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// strategy is setting.Strategy as a number, which is quicker to compare.
type strategy uint8

const (
	spread strategy = iota
	binpack
	capacity
	usual // the cluster's
)

func numberOf(s setting.Strategy) strategy {
	switch s {
	case setting.StrategyBinpack:
		return binpack
	case setting.StrategyCapacity:
		return capacity
	}
	return spread
}

// usualStrategy is that of services which do not say.
func (c *Cluster) usualStrategy() strategy {
	if cluster := c.view.Cluster(); cluster != nil {
		return numberOf(setting.StrategyOf(cluster.Spec.Labels))
	}
	return spread
}

// strategyOf is the group's: its service's, whatever version the group is of.
func (p *planner) strategyOf(g *group) strategy {
	if g.service.strategy == usual {
		return p.usual
	}
	return g.service.strategy
}

// ownStrategy is what a service says; usual where it says nothing that is known.
func ownStrategy(s *api.Service) strategy {
	if s != nil {
		if name, ok := s.Spec.Labels[setting.LabelStrategy]; ok {
			if named, err := setting.ParseStrategy(name); err == nil {
				return numberOf(named)
			}
		}
	}
	return usual
}

// idleWeight is the weight of a node that does nothing, and the unit of weights.
const idleWeight = 16

// maxBusy bounds the weight: a node that measures more is as good as full.
const maxBusy = 95

// weightOf is how much heavier tasks, and what they reserve, weigh on a node
// that is busy than on one that is idle: 2 at half of its CPU or memory in use,
// 20 from 95 % on.
//
// Measured load so multiplies what the planner counts, and does not rank by
// itself: a measurement is old by a minute, and whatever comes until the next
// would all go to the node that was idlest in the last.
func weightOf(l *api.NodeLoad) uint16 {
	if l == nil {
		return idleWeight
	}
	return uint16(idleWeight * 100 / (100 - min(maxBusy, int(max(l.CPU, l.Memory)))))
}

// rankOf packs the order of preference into one number: recent failures of the
// service there on top, at the bottom a hash of the node's ID, which is as good
// as chance and yet the same every time. Between the two, by strategy:
//
//	spread    tasks of the service there, the reserved share of the node, all tasks there
//	binpack   a node that is not busy, the most reserved, the most tasks
//	capacity  tasks there, those of the service sixteenfold, by what the node has free
//
// Reserved share and tasks weigh as weightOf says.
func (c *Cluster) rankOf(s strategy, penalty uint64, ofService, i int32) uint64 {
	r := &c.rooms[i]
	if s == spread {
		return spreadRank(penalty, ofService, r)
	}
	return c.slots[i].rank(s, penalty, ofService, r.tasks)
}

func spreadRank(penalty uint64, ofService int32, r *room) uint64 {
	return penalty<<60 | uint64(min(ofService, 1<<16-1))<<44 | r.spread
}

// rerank keeps what spreadRank reads for every node.
func (c *Cluster) rerank(i int32) {
	s, r := &c.slots[i], &c.rooms[i]
	load, tasks := uint64(s.load)*uint64(s.weight)/idleWeight, uint64(r.tasks+1)*uint64(s.weight)/idleWeight
	r.spread = min(load, 1<<12-1)<<32 | min(tasks, 1<<16-1)<<16 | uint64(s.hash)
}

// rank is rankOf for the strategies that are asked for more rarely.
func (s *slot) rank(of strategy, penalty uint64, ofService, tasks int32) uint64 {
	rank := penalty<<60 | uint64(s.hash)
	if of == capacity {
		all := uint64(15*ofService + tasks + 1)
		return rank | min(all*s.cost(), 1<<36-1)<<24 | uint64(min(tasks, 1<<8-1))<<16
	}
	return rank | uint64(boolToInt(s.weight >= busyWeight))<<59 | uint64(math.MaxUint8-s.load)<<32 | uint64(1<<16-1-min(tasks, 1<<16-1))<<16
}

// busyWeight is from where on nothing is packed onto a node while others have
// room: 90 % of its CPU or memory in use.
const busyWeight = 10 * idleWeight

// cost is what one more task costs on the node: less where more is free, of
// cores and memory, neither reserved nor in use. Twice as much of both is half
// the cost; their geometric mean needs no rate of exchange between the two.
func (s *slot) cost() uint64 {
	if s.node == nil {
		return math.MaxUint32
	}
	all, l := &s.node.Description.Resources, s.node.Load
	if l == nil {
		l = &api.NodeLoad{}
	}
	size := math.Sqrt(unused(all.NanoCPUs, s.cpuTaken, l.CPU) * unused(all.MemoryBytes, s.memoryTaken, l.Memory))
	return uint64(min(1e15/max(size, 1), math.MaxUint32))
}

// size is the geometric mean of a node's cores and memory.
func (s *slot) size() float64 {
	all := &s.node.Description.Resources
	return math.Sqrt(float64(all.NanoCPUs) * float64(all.MemoryBytes))
}

// unused is what is neither reserved nor, by so many percent, in use.
func unused(all, reserved int64, busy uint8) float64 {
	return max(0, min(float64(all-reserved), float64(all)*float64(100-min(100, busy))/100))
}
