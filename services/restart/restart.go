package restart

import (
	"fmt"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/slot"
)

const (
	// firstDelay is the delay after the second failure in a row where the user
	// asked for none; it doubles with every further one, up to maxDelay. The
	// first failure is made good at once: most failures are single ones.
	firstDelay = 5 * time.Second
	maxDelay   = 5 * time.Minute
	// wellAfter is how long a task must have run for its end to count as a
	// first failure. NB: shorter than a minute would allow a task that always
	// runs just as long more than 10 restarts in 10 minutes.
	wellAfter = time.Minute
)

// Decision says what follows a task that has ended.
type Decision struct {
	// Restart is false where the policy wants no successor.
	Restart bool
	// Delay is how long the successor waits before it runs.
	Delay time.Duration
	// Restarts is how many tasks failed in a row, this one included.
	Restarts int
}

// Decide says what follows t, which has ended by itself after it ran for some
// time. A task of a spec that nothing follows in does not count against the one
// that does.
func Decide(s *api.Service, t *api.Task, ran time.Duration) Decision {
	if !slot.Current(s, t) {
		return Decision{Restart: true}
	}
	p := slot.SpecOf(s, t).TaskTemplate.RestartPolicy
	if p == nil {
		p = &swarm.RestartPolicy{}
	}
	done := t.Status.State == api.TaskComplete
	switch {
	case p.Condition == swarm.RestartPolicyConditionNone:
		return Decision{}
	case done && (s.IsJob() || p.Condition == swarm.RestartPolicyConditionOnFailure):
		return Decision{} // of a job, "any" means any failure
	}
	before := t.Restarts
	if forgets(p, ran) {
		before = 0
	}
	if p.MaxAttempts != nil && *p.MaxAttempts > 0 && uint64(before) >= *p.MaxAttempts {
		return Decision{}
	}
	return Decision{Restart: true, Delay: delay(p, before), Restarts: before + 1}
}

// forgets reports whether a task ran for so long that the failures before it
// no longer count: for the policy's window, where there is one; never, where
// attempts are limited without a window, which is Docker's reading.
func forgets(p *swarm.RestartPolicy, ran time.Duration) bool {
	if p.Window != nil && *p.Window > 0 {
		return ran >= *p.Window
	}
	if p.MaxAttempts != nil && *p.MaxAttempts > 0 {
		return false
	}
	return ran >= wellAfter
}

func delay(p *swarm.RestartPolicy, before int) time.Duration {
	if p.Delay != nil {
		return *p.Delay
	}
	if before == 0 {
		return 0
	}
	return min(firstDelay<<min(before-1, 10), maxDelay)
}

// Successor adds to c what follows t in its slot, if anything. t itself is
// raised to Shutdown: that it ended is settled. A task that failed while it was
// only being prepared (no node has the image) keeps its slot until its own
// delay is over, or the slot would go through all its delays in a second.
func Successor(c *slot.Changes, s *api.Service, t *api.Task, seen slot.Seen, now time.Time) {
	if t.Desired == api.TaskReady && slot.Current(s, t) {
		if at := seen.Due(t, now); at.After(now) {
			c.WakeAt(at)
			return
		}
	}
	c.Shut(t, api.TaskShutdown)
	d := Decide(s, t, seen.Ran(t.ID, now))
	if !d.Restart {
		return
	}
	next := slot.KeyOf(t).Task(s, slot.Version(s, t.SpecVersion), s.Goal())
	next.Restarts, next.RestartDelay = d.Restarts, d.Delay
	if d.Delay > 0 {
		next.Desired = api.TaskReady
		next.Status.Message = next.RestartNote()
	}
	c.Create = append(c.Create, next)
}

// Due raises the tasks to the service's goal that have been kept ready and may
// run now: their delay is over, and the task before them in the slot has ended.
// A node that is down is not waited for.
func Due(v *state.View, s *api.Service, slots []slot.Slot, seen slot.Seen, now time.Time) slot.Changes {
	var c slot.Changes
	for _, sl := range slots {
		for _, t := range sl.Tasks {
			if t.Desired != api.TaskReady || !t.Live() || sl.Stopping(v) {
				continue
			}
			if at := seen.Due(t, now); at.After(now) {
				c.WakeAt(at)
				continue
			}
			c.Shut(t, s.Goal())
		}
	}
	return c
}

// Finished returns the task that ended by itself and holds its slot all the
// same, because its policy wants no successor; nil if there is none.
func Finished(v *state.View, sl slot.Slot) *api.Task {
	if len(sl.Live()) > 0 {
		return nil
	}
	for _, t := range slices.Backward(sl.Tasks) {
		switch t.Status.State {
		case api.TaskComplete, api.TaskFailed, api.TaskRejected:
			if t.Desired == api.TaskShutdown && wantsNoSuccessor(v, t) {
				return t
			}
			return nil
		case api.TaskOrphaned:
			return nil
		}
	}
	return nil
}

// wantsNoSuccessor asks the policy that the task was started with: a newer one
// is the business of the rollout.
func wantsNoSuccessor(v *state.View, t *api.Task) bool {
	own := v.SpecOf(t)
	if own == nil {
		return false
	}
	return !Decide(&api.Service{Spec: own.Spec, SpecVersion: t.SpecVersion}, t, 0).Restart
}

// String is the decision for scenarios and logs.
func (d Decision) String() string {
	if !d.Restart {
		return "no restart"
	}
	return fmt.Sprintf("restart in %s, restarts %d", d.Delay, d.Restarts)
}
