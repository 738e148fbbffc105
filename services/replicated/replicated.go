package replicated

import (
	"cmp"
	"slices"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/restart"
	"github.com/swarmctl/swarmctl/services/slot"
)

// Reconcile returns what brings a replicated service, whose slots are given,
// closer to its replicas.
func Reconcile(v *state.View, s *api.Service, slots []slot.Slot, seen slot.Seen, now time.Time) slot.Changes {
	want, ok := s.Replicas()
	if !ok {
		return slot.Changes{}
	}
	var held, gone []slot.Slot
	for _, sl := range slots {
		if holds(v, sl) {
			held = append(held, sl)
		} else {
			gone = append(gone, sl)
		}
	}
	var c slot.Changes
	if surplus := len(held) - int(min(want, 1<<31)); surplus > 0 {
		held = scaleDown(&c, v, held, surplus)
	}
	for _, sl := range held {
		if c.Full() {
			return c
		}
		repair(&c, v, s, sl, seen, now)
	}
	scaleUp(&c, v, s, held, gone, want)
	return c
}

// holds reports whether the slot counts as a replica: something runs in it, is
// to run, has just ended, or has ended and wants no successor.
func holds(v *state.View, sl slot.Slot) bool {
	for _, t := range sl.Tasks {
		if t.Desired <= api.TaskRunning {
			return true
		}
	}
	return restart.Finished(v, sl) != nil
}

// repair sees to it that a slot has one task that can run.
func repair(c *slot.Changes, v *state.View, s *api.Service, sl slot.Slot, seen slot.Seen, now time.Time) {
	var good, lost, ended []*api.Task
	for _, t := range sl.Tasks {
		switch {
		case slot.EndedByItself(t):
			ended = append(ended, t)
		case !t.Live():
		case slot.Down(v, t) || slot.Drained(v, t):
			lost = append(lost, t)
		default:
			good = append(good, t)
		}
	}
	for _, t := range lost {
		c.Shut(t, api.TaskShutdown)
	}
	switch {
	case len(good) > 0:
		dropTwins(c, good)
		for _, t := range ended {
			if slices.ContainsFunc(good, func(g *api.Task) bool { return g.SpecVersion == t.SpecVersion || !slot.Keeps(s, t.SpecVersion) }) {
				c.Shut(t, api.TaskShutdown)
				continue
			}
			// The new task of an update that starts it beside the old one, or
			// either of one that keeps both.
			restart.Successor(c, s, t, seen, now)
		}
	case len(lost) > 0:
		// The node failed, not the task: at once, wherever there is room.
		last := lost[len(lost)-1]
		next := sl.Task(s, slot.Version(s, last.SpecVersion), api.TaskRunning)
		next.Restarts = last.Restarts
		c.Create = append(c.Create, next)
		for _, t := range ended {
			c.Shut(t, api.TaskShutdown)
		}
	case len(ended) > 0:
		last := len(ended) - 1
		for _, t := range ended[:last] {
			c.Shut(t, api.TaskShutdown)
		}
		restart.Successor(c, s, ended[last], seen, now)
	}
}

// dropTwins leaves one live task of each spec in a slot, the one that has come
// furthest. Two of different specs are an update that starts the new one first.
func dropTwins(c *slot.Changes, live []*api.Task) {
	best := map[uint64]*api.Task{}
	for _, t := range live {
		if b := best[t.SpecVersion]; b == nil || t.Status.State > b.Status.State {
			best[t.SpecVersion] = t
		}
	}
	for _, t := range live {
		if best[t.SpecVersion] != t {
			c.Shut(t, api.TaskShutdown)
		}
	}
}

// scaleUp fills the lowest free slots. Where an earlier task of the slot is
// still stopping, the new one gets ready and waits: two containers of one slot
// would share its volumes.
func scaleUp(c *slot.Changes, v *state.View, s *api.Service, held, gone []slot.Slot, want uint64) {
	taken, stopping := map[int]bool{}, map[int]bool{}
	for _, sl := range held {
		taken[sl.Number] = true
	}
	for _, sl := range gone {
		stopping[sl.Number] = sl.Stopping(v)
	}
	missing := int64(min(want, 1<<31)) - int64(len(held))
	for n := 1; missing > 0 && !c.Full(); n++ {
		if taken[n] {
			continue
		}
		desired := api.TaskRunning
		if stopping[n] {
			desired = api.TaskReady
		}
		c.Create = append(c.Create, slot.Key{Number: n}.Task(s, slot.Version(s, 0), desired))
		missing--
	}
}

// scaleDown removes slots, first those that serve nobody yet, then those on
// the nodes that have most of this service. It returns the others.
func scaleDown(c *slot.Changes, v *state.View, held []slot.Slot, surplus int) []slot.Slot {
	ranked := rank(v, held)
	keep := make([]slot.Slot, 0, len(held)-surplus)
	for i, r := range ranked {
		if i >= surplus {
			keep = append(keep, r.Slot)
			continue
		}
		if c.Full() {
			continue
		}
		for _, t := range r.Tasks {
			c.Shut(t, api.TaskRemove)
		}
	}
	slices.SortFunc(keep, func(a, b slot.Slot) int { return a.Compare(b.Key) })
	return keep
}

type ranked struct {
	slot.Slot
	serving int // 0: has no node; 1: does not run, or is on a lost node; 2: runs
	nth     int // the how-many-th running slot of its node
}

// rank orders slots by how little would be missed without them. Counting the
// slots of each node and taking the highest counts first evens out the nodes.
func rank(v *state.View, held []slot.Slot) []ranked {
	list := make([]ranked, len(held))
	onNode := map[api.NodeID]int{}
	for i, sl := range held {
		r := ranked{Slot: sl}
		for _, t := range sl.Live() {
			switch {
			case t.NodeID == "":
			case t.Status.State < api.TaskRunning || slot.Down(v, t) || slot.Drained(v, t):
				r.serving = max(r.serving, 1)
			case r.serving < 2:
				onNode[t.NodeID]++
				r.serving, r.nth = 2, onNode[t.NodeID]
			}
		}
		list[i] = r
	}
	slices.SortFunc(list, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.serving, b.serving), cmp.Compare(b.nth, a.nth), cmp.Compare(b.Number, a.Number))
	})
	return list
}
