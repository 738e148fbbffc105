package services

import (
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/global"
	"github.com/swarmctl/swarmctl/services/history"
	"github.com/swarmctl/swarmctl/services/jobs"
	"github.com/swarmctl/swarmctl/services/pods"
	"github.com/swarmctl/swarmctl/services/rebalance"
	"github.com/swarmctl/swarmctl/services/replicated"
	"github.com/swarmctl/swarmctl/services/restart"
	"github.com/swarmctl/swarmctl/services/rollout"
	"github.com/swarmctl/swarmctl/services/slot"
)

// decide returns what a service needs next, in the order of urgency: the end of
// an update that has failed; the right number of tasks; those that were made to wait and may run; the update; an even
// spread; the past. Each step starts from what the one before it has brought about, so one
// that asks for changes is the last of its round.
func decide(v *state.View, id api.ServiceID, seen slot.Seen, now time.Time) slot.Changes {
	s, slots := v.Service(id), slot.Group(v, id)
	if s == nil {
		return history.Reap(v, id, slots)
	}
	beside := setting.PodOf(s.Spec.Labels) != ""
	open := slots // those that the service may do something in
	if beside {
		open = pods.Open(v, slots)
	}
	if !s.IsJob() { // a job begins anew instead of being updated
		if c := rollout.Fails(v, s, open, seen, now); !c.Empty() {
			return c
		}
	}
	var c slot.Changes
	switch {
	case beside:
		c = pods.Reconcile(v, s, slots, seen, now)
	case s.Spec.Mode.Replicated != nil:
		c = replicated.Reconcile(v, s, slots, seen, now)
	case s.Spec.Mode.Global != nil:
		c = global.Reconcile(v, s, slots, seen, now)
	case s.IsJob():
		c = jobs.Reconcile(v, s, slots, seen, now)
	default:
		return history.Reap(v, id, slots) // a mode of a newer program
	}
	if !c.Empty() {
		return c
	}
	// These touch different tasks: a task at desired state Ready is raised, a
	// slot of an earlier spec is replaced, an ended task deleted.
	// Of the step before, the time at which it wants to look again remains.
	join(&c, restart.Due(v, s, open, seen, now))
	if !s.IsJob() {
		join(&c, rollout.Step(v, s, open, seen, now))
	}
	if c.Empty() {
		join(&c, rebalance.Step(v, s, slots, seen, now))
	}
	join(&c, history.Reap(v, id, slots))
	return c
}

func join(c *slot.Changes, more slot.Changes) {
	c.Create = append(c.Create, more.Create...)
	c.Desire = append(c.Desire, more.Desire...)
	c.Delete = append(c.Delete, more.Delete...)
	if more.Update != nil {
		c.Update = more.Update
	}
	if more.Put != nil {
		c.Put = more.Put
	}
	if !more.Wake.IsZero() {
		c.WakeAt(more.Wake)
	}
}
