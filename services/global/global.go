package global

import (
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/constraint"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/restart"
	"github.com/swarmctl/swarmctl/services/slot"
)

// place says what a node is for a global service.
type place int

const (
	wanted    place = iota // should have a task
	tolerated              // keeps the one it has, gets no new one
	unwanted               // should have none
)

// Reconcile returns what brings a global service, whose slots are given, closer
// to a task a node.
// Constraints that do not parse leave everything as it is: the API refuses
// them, so they come from a newer program.
func Reconcile(v *state.View, s *api.Service, slots []slot.Slot, seen slot.Seen, now time.Time) slot.Changes {
	var c slot.Changes
	if s.Spec.Mode.Global == nil {
		return c
	}
	var rules constraint.List
	if p := s.Spec.TaskTemplate.Placement; p != nil {
		var err error
		if rules, err = constraint.Parse(p.Constraints); err != nil {
			return c
		}
	}
	byNode := make(map[api.NodeID]slot.Slot, len(slots))
	for _, sl := range slots {
		byNode[sl.Node] = sl
	}
	for n := range v.Nodes() {
		if c.Full() {
			break
		}
		sl, ok := byNode[n.ID]
		if !ok {
			sl.Key = slot.Key{Node: n.ID}
		}
		reconcileNode(&c, v, s, sl, placeOf(n, rules), seen, now)
	}
	return c
}

func placeOf(n *api.Node, rules constraint.List) place {
	switch {
	case n.Spec.Availability == swarm.NodeAvailabilityDrain || !rules.Match(n):
		return unwanted
	case n.Spec.Availability == swarm.NodeAvailabilityPause || n.Status.State != api.NodeReady:
		// A node that is down keeps its task: nobody else could run it, and the
		// node takes it up again when it returns.
		return tolerated
	}
	return wanted
}

func reconcileNode(c *slot.Changes, v *state.View, s *api.Service, sl slot.Slot, p place, seen slot.Seen, now time.Time) {
	live := sl.Live()
	if p == unwanted {
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
	case p == tolerated: // what ended there is looked at when the node is back
	case len(live) > 0:
		for _, t := range ended {
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
		if sl.Stopping(v) {
			desired = api.TaskReady
		}
		c.Create = append(c.Create, sl.Task(s, desired))
	}
}
