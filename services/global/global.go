package global

import (
	"iter"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/constraint"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/restart"
	"github.com/swarmctl/swarmctl/services/slot"
)

// Place says what a node is for a global service, or a global job.
type Place int

// What a node may be.
const (
	Wanted    Place = iota // should have a task
	Tolerated              // keeps the one it has, gets no new one
	Unwanted               // should have none
)

// Reconcile returns what brings a global service, whose slots are given, closer
// to a task a node.
// Constraints that do not parse leave everything as it is: the API refuses
// them, so they come from a newer program.
func Reconcile(v *state.View, s *api.Service, slots []slot.Slot, seen slot.Seen, now time.Time) slot.Changes {
	var c slot.Changes
	for sl, p := range Places(v, s, slots) {
		if c.Full() {
			break
		}
		Fill(&c, v, s, sl, p, seen, now)
	}
	return c
}

// Places yields every node as a slot of the service, with what it is for it,
// and what the service has left of nodes that were removed: nothing where the
// constraints do not parse. Where they name other services the nodes are those
// that have tasks of these, or have none, and follow them; a job finishes what it
// has begun. A service that is stopped wants none of them.
func Places(v *state.View, s *api.Service, slots []slot.Slot) iter.Seq2[slot.Slot, Place] {
	return func(yield func(slot.Slot, Place) bool) {
		rules, err := slot.RulesOf(&s.Spec)
		if err != nil {
			return
		}
		beside := slot.NewBeside(v, s, rules)
		byNode := make(map[api.NodeID]slot.Slot, len(slots))
		for _, sl := range slots {
			byNode[sl.Node] = sl
		}
		for n := range v.Nodes() {
			sl, ok := byNode[n.ID]
			if !ok {
				sl.Key = slot.Key{Node: n.ID}
			}
			delete(byNode, n.ID)
			place := Unwanted
			if !s.Stopped() {
				met, settled := beside.At(n.ID)
				place = placeOf(n, rules, met, settled && !s.IsJob())
			}
			if !yield(sl, place) {
				return
			}
		}
		for _, sl := range slots {
			if _, gone := byNode[sl.Node]; gone && !yield(sl, Unwanted) {
				return
			}
		}
	}
}

// placeOf judges a node. met says that it satisfies the constraints on other
// services, settled that it will not in a moment.
func placeOf(n *api.Node, rules constraint.List, met, settled bool) Place {
	switch {
	case n.Spec.Availability == swarm.NodeAvailabilityDrain || !rules.Match(n) || !met && settled:
		return Unwanted
	case !met:
		// A task of the other service that is restarted, or moves, must not stop
		// what stands beside it each time.
		return Tolerated
	case n.Spec.Availability == swarm.NodeAvailabilityPause || n.Status.State != api.NodeReady:
		// A node that is down keeps its task: nobody else could run it, and the
		// node takes it up again when it returns.
		return Tolerated
	}
	return Wanted
}

// Fill sees to one slot that is bound to a node: that it has one task, where it is
// wanted, that what ended is followed as its policy says, and that it has none
// where it is not.
func Fill(c *slot.Changes, v *state.View, s *api.Service, sl slot.Slot, p Place, seen slot.Seen, now time.Time) {
	live := sl.Live()
	if p == Unwanted {
		for _, t := range sl.Tasks {
			if t.Desired <= api.TaskRunning {
				c.Shut(t, api.TaskShutdown)
			}
		}
		return
	}
	var ended []*api.Task
	for _, t := range sl.Tasks {
		if slot.EndedByItself(t) {
			ended = append(ended, t)
		}
	}
	switch {
	case p == Tolerated: // what ended there is looked at when the node is back
	case len(live) > 0:
		for _, t := range ended {
			if slot.Keeps(s, t.SpecVersion) && !slices.ContainsFunc(live, func(l *api.Task) bool { return l.SpecVersion == t.SpecVersion }) {
				restart.Successor(c, s, t, seen, now) // the new task beside the old one, or either of a blue-green update
				continue
			}
			c.Shut(t, api.TaskShutdown)
		}
	case len(ended) > 0:
		last := len(ended) - 1
		for _, t := range ended[:last] {
			c.Shut(t, api.TaskShutdown)
		}
		restart.Successor(c, s, ended[last], seen, now)
	case restart.Finished(v, sl) == nil:
		desired := api.TaskRunning
		if stopping, _ := sl.Stopping(v, seen, now); stopping {
			desired = api.TaskReady
		}
		c.Create = append(c.Create, sl.Task(s, slot.Version(s, 0), desired))
	}
}
