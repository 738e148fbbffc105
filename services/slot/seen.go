package slot

import (
	"time"

	"github.com/swarmctl/swarmctl/api"
)

// Seen is what the leader has seen of tasks, by its own clock: the times in
// the store come from other machines, whose clocks may be off by a day. It dies
// with the term; the next leader starts counting when it takes over.
type Seen map[api.TaskID]Times

// Times are when a task was first seen at all, running, and ended. Zero: not yet.
type Times struct{ First, Running, Ended time.Time }

// Note records a task as it is now.
func (s Seen) Note(t *api.Task, now time.Time) {
	at := s[t.ID]
	first := func(p *time.Time) {
		if p.IsZero() {
			*p = now
		}
	}
	first(&at.First)
	if t.Status.State == api.TaskRunning {
		first(&at.Running)
	}
	if t.Status.State.Terminal() {
		first(&at.Ended)
	}
	s[t.ID] = at
}

// Ran is for how long a task has been seen running; 0 if it never was.
func (s Seen) Ran(id api.TaskID, now time.Time) time.Duration {
	at := s[id]
	switch {
	case at.Running.IsZero():
		return 0
	case at.Ended.IsZero():
		return now.Sub(at.Running)
	}
	return at.Ended.Sub(at.Running)
}

// Due is when a task has waited for its restart delay: counted from its
// creation or from when it was first seen, whichever comes first.
func (s Seen) Due(t *api.Task, now time.Time) time.Time {
	from := t.Meta.CreatedAt
	if at, ok := s[t.ID]; ok && (from.IsZero() || at.First.Before(from)) {
		from = at.First
	}
	if from.IsZero() {
		from = now
	}
	return from.Add(t.RestartDelay)
}
