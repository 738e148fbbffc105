package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/services/slot"
)

// engineGrace is for how long a container may take to stop where its spec does
// not say: the engine's default.
const engineGrace = 10 * time.Second

// stall is a new task that the update waits for.
type stall struct {
	task *api.Task
	// since is when the task before it in the slot had stopped, and grace for how
	// long that may still take: an update waits for it however long it is.
	since time.Time
	grace time.Duration
}

// expect notes the new task of a slot that is under way and does not run yet.
func (u *update) expect(sl slot.Slot, now []*api.Task) {
	if len(now) == 0 || slices.ContainsFunc(now, running) {
		return
	}
	s := stall{task: now[len(now)-1]}
	for _, t := range sl.Tasks {
		switch {
		case t.Wanted() || slot.Down(u.view, t):
		case !t.Status.State.Terminal():
			s.grace = max(s.grace, u.graceOf(t))
		case t.Status.State == api.TaskShutdown && u.seen.Tasks[t.ID].Ended.After(s.since):
			s.since = u.seen.Tasks[t.ID].Ended
		}
	}
	u.stalled = append(u.stalled, s)
}

// graceOf is for how long a task may take to stop.
func (u *update) graceOf(t *api.Task) time.Duration {
	own := u.view.SpecOf(t)
	if own == nil || own.Spec.TaskTemplate.ContainerSpec == nil || own.Spec.TaskTemplate.ContainerSpec.StopGracePeriod == nil {
		return engineGrace
	}
	return *own.Spec.TaskTemplate.ContainerSpec.StopGracePeriod
}

// due is until when a task is waited for; zero: for ever. What counts as
// progress is a new task that runs, in whatever slot, an old one of its own slot
// that has stopped, and that the service need not wait for another one any more.
func (u *update) due(s stall) time.Time {
	limit := setting.LifecycleOf(u.service.Spec.Labels).ProgressDeadline
	if limit == 0 || !moves(u.service) || u.waits != "" {
		return time.Time{}
	}
	from := u.last
	if s.since.After(from) {
		from = s.since
	}
	return from.Add(limit + s.grace)
}

// deadline is the earliest time at which a task has been waited for too long;
// zero, where none is waited for.
func (u *update) deadline() (first time.Time) {
	for _, s := range u.stalled {
		if at := u.due(s); !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// stuck returns a task that has been waited for too long; nil, if there is none.
func (u *update) stuck() *api.Task {
	for _, s := range u.stalled {
		if at := u.due(s); !at.IsZero() && !at.After(u.now) {
			return s.task
		}
	}
	return nil
}

// noProgress says what a task that is stuck waits for.
func (u *update) noProgress(t *api.Task) string {
	return fmt.Sprintf("no progress for %s: task %s.%s is %s: %s", setting.LifecycleOf(u.service.Spec.Labels).ProgressDeadline,
		u.service.Name(), api.Place(&u.service.Spec, t), t.Status.State, cmp.Or(t.Status.Err, t.Status.Message, "its node says no more"))
}
