package worker

import (
	"fmt"
	"time"
)

// leaseBeats is how many heartbeats in a row may go without an answer however
// short a container's own time is: where they are rare, one that is lost must
// not stop it. Whoever waits for containers that stop themselves counts with it
// (services/slot.Stopped).
const leaseBeats = 4

// lease is a node's proof that it is not cut off from the managers.
type lease struct {
	// answered is when that was sent which a manager has answered last, by this
	// node's clock. When it was answered says nothing: the answer may have been
	// long on its way, and so may whatever else a manager says; where the way to
	// it is cut, and not the way from it, it goes on saying it.
	answered time.Time
	period   time.Duration // of heartbeats; 0: no manager has said
}

// end is when a container is to stop itself that may be without the managers
// for some time.
func (l *lease) end(selfStop time.Duration) time.Time {
	return l.answered.Add(max(selfStop, leaseBeats*l.period))
}

// over reports whether that time has come; it never does for a container that
// has none.
func (l *lease) over(selfStop time.Duration, now time.Time) bool {
	return selfStop > 0 && !now.Before(l.end(selfStop))
}

// stoppedItself is the reason that users read.
func stoppedItself(selfStop time.Duration) string {
	return fmt.Sprintf("stopped: cut off from the managers for %v", selfStop)
}

// renew takes a manager's answer to what was sent at a time.
func (r *runner) renew(sent time.Time, period time.Duration) {
	r.lease.period = period
	if sent.After(r.lease.answered) {
		r.lease.answered = sent
	}
	if r.lapsed { // what was not started may be now
		r.guard()
	}
}

// guard looks at the tasks that stop themselves, and again when the time of the
// next one is over. While a manager answers that is once in such a time, and
// never where there are no such tasks.
func (r *runner) guard() {
	now, next := time.Now(), time.Time{}
	r.lapsed = false
	for _, t := range r.tasks {
		d := t.selfStop()
		if d == 0 {
			continue
		}
		if end := r.lease.end(d); !end.After(now) {
			r.lapsed = true
		} else if next.IsZero() || end.Before(next) {
			next = end
		}
		r.look(t)
	}
	if !next.IsZero() {
		r.guarding.Reset(next.Sub(now))
	}
}
