package jobs

import (
	"slices"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/global"
	"github.com/swarmctl/swarmctl/services/restart"
	"github.com/swarmctl/swarmctl/services/slot"
)

// Reconcile returns what brings a job, whose slots are given, closer to the end
// of its current iteration, and what ends the earlier ones.
func Reconcile(v *state.View, s *api.Service, slots []slot.Slot, seen slot.Seen, now time.Time) slot.Changes {
	j := &job{view: v, service: s, seen: seen, now: now, moves: slot.NewMoves(v, s, seen, now)}
	if s.Spec.Mode.GlobalJob != nil {
		j.everywhere(slots)
	} else {
		j.inNumber(slots)
	}
	return j.out
}

// job is one step in the making.
type job struct {
	view    *state.View
	service *api.Service
	seen    slot.Seen
	now     time.Time
	moves   *slot.Moves
	out     slot.Changes
}

// inNumber sees to the slots of a replicated job, the lowest first: then those
// that are begun have no gap, and fewer completions cost the least. While the job
// is stopped what is at work ends, and what is complete stays so.
func (j *job) inNumber(slots []slot.Slot) {
	atOnce, total := j.service.Completions()
	room, last := int(min(atOnce, 1<<31)), int(min(total, 1<<31))
	stopped := j.service.Stopped()
	if stopped {
		room = 0
	}
	known := make(map[int]slot.Slot, len(slots))
	for _, sl := range slots {
		known[sl.Number] = sl
		room -= j.busy(sl)
		j.retire(sl, sl.Number > last, func(t *api.Task) bool { return stopped || j.lost(t) })
	}
	for n := 1; n <= last && room > 0 && !j.out.Full(); n++ {
		sl, ok := known[n]
		if !ok {
			sl.Key = slot.Key{Number: n}
		}
		if j.follow(sl) {
			room--
		}
	}
}

// everywhere sees to the nodes of a global job. A node that comes later, or
// comes back, does its part then.
func (j *job) everywhere(slots []slot.Slot) {
	for sl, p := range global.Places(j.view, j.service, slots) {
		if j.out.Full() {
			return
		}
		j.retire(sl, false, func(*api.Task) bool { return p == global.Unwanted })
		if p == global.Wanted {
			j.follow(sl)
		}
	}
}

// busy counts the tasks of a slot that may be at work, whatever is wanted of
// them: one that stops has not stopped yet, and its successor waits. So what a
// job may have at work at once is never exceeded, and a task that is complete
// before its stop signal arrives is not done twice. A node that is down is
// waited for as long as the service says.
func (j *job) busy(sl slot.Slot) (n int) {
	for _, t := range sl.Tasks {
		if !t.Status.State.Terminal() && !(slot.Down(j.view, t) && j.lost(t)) {
			n++
		}
	}
	return n
}

// lost reports whether a task of a replicated job is to be done elsewhere. No
// successor runs beside it: its work would be done twice.
func (j *job) lost(t *api.Task) bool {
	leave, again := j.moves.Leaving(t)
	if leave.Why == "" && again.After(j.now) {
		j.out.WakeAt(again)
	}
	return leave.Why != ""
}

// retire ends what should not be there: all of a slot beyond the last, what
// earlier iterations have left, and in the current one tasks that are lost, or
// whose work another task of the slot has done.
func (j *job) retire(sl slot.Slot, beyond bool, lost func(*api.Task) bool) {
	outcome := Outcome(j.service, sl)
	done := outcome != nil && outcome.Status.State == api.TaskComplete
	for _, t := range sl.Tasks {
		switch ended := t.Status.State.Terminal(); {
		case j.out.Full():
			return
		case beyond, !ended && !j.current(t):
			j.out.Shut(t, api.TaskRemove)
		case ended && slot.EndedByItself(t) && !j.current(t), !ended && (done || lost(t)):
			j.out.Shut(t, api.TaskShutdown)
		}
	}
}

func (j *job) current(t *api.Task) bool { return t.JobIteration == j.service.JobIteration() }

// follow makes the task that comes next in a slot, if one does: not while
// something is at work there, and not after the slot is done or given up. It
// reports whether the slot needs a place among those at work.
func (j *job) follow(sl slot.Slot) bool {
	if j.busy(sl) > 0 {
		return false
	}
	next := sl.Task(j.service, j.service.SpecVersion, j.service.Goal())
	switch last := Outcome(j.service, sl); {
	case last == nil:
		j.out.Create = append(j.out.Create, next)
	case last.Status.State == api.TaskComplete:
		return false
	case last.Status.State == api.TaskFailed || last.Status.State == api.TaskRejected:
		restart.Successor(&j.out, j.service, last, j.seen, j.now)
		return restart.Decide(j.service, last, j.seen.Ran(last.ID, j.now)).Restart
	default:
		// It was stopped, or its node failed: no failure of the task.
		next.Restarts = last.Restarts
		j.out.Create = append(j.out.Create, next)
	}
	return true
}

// Outcome is the task of a slot that says how far it has come in the job's
// current iteration: the one that is complete, or else the latest. It is nil
// where there is none yet.
func Outcome(s *api.Service, sl slot.Slot) *api.Task {
	var latest *api.Task
	for _, t := range slices.Backward(sl.Tasks) {
		switch {
		case t.JobIteration != s.JobIteration() || t.Desired == api.TaskRemove:
		case t.Status.State == api.TaskComplete:
			return t
		case latest == nil:
			latest = t
		}
	}
	return latest
}
