package worker

import (
	"context"
	"fmt"
	"time"
)

// enqueue has a task wait for a slot. What is nearest to running goes first:
// started containers are worth more than created ones, and both more than
// tidiness.
func (r *runner) enqueue(t *task, a action) {
	rank := map[action]int{start: 0, create: 1, remove: 2}[a]
	t.queued = true
	r.queues[rank] = append(r.queues[rank], t)
}

// pump fills the free slots. What a task waits for may not be what it needs
// any more, so it is decided again.
func (r *runner) pump() {
	for rank := 0; rank < len(r.queues) && r.free > 0; {
		if len(r.queues[rank]) == 0 {
			rank++
			continue
		}
		t := r.queues[rank][0]
		r.queues[rank] = r.queues[rank][1:]
		t.queued = false
		if r.serve(t) {
			rank = 0
		}
	}
}

func (r *runner) serve(t *task) bool {
	if !r.up || t.busy {
		return false
	}
	d := r.decide(t)
	r.report(t, d.status)
	switch d.act {
	case create:
		r.create(t)
	case start:
		r.start(t)
	case remove:
		r.remove(t)
	default:
		r.look(t)
		return false
	}
	r.free--
	return true
}

const (
	// slotPatience is how long a call may hold its slot. One that takes longer
	// waits for something else than the cores: a driver of volumes, or a server
	// of files, that does not answer. Shorter starts more at once on a machine
	// that is merely slow.
	slotPatience = 10 * time.Second
	// maxLent is how many calls may go on without a slot: where all of an engine
	// hangs, no more are sent after them.
	maxLent = 32
)

// call runs f beside the runner, and then done on it. slot says that it holds
// one, though not for ever: one bad volume must not keep all other tasks waiting.
func (r *runner) call(t *task, slot bool, f func(context.Context) error, done func(error)) {
	t.busy = true
	ctx, giveBack := r.ctx, func() {}
	if slot {
		giveBack = r.holdSlot(t)
	}
	r.calls.Go(func() {
		err := f(ctx)
		r.post(func() {
			t.busy = false
			giveBack()
			done(err)
		})
	})
}

// holdSlot returns what gives the slot back, unless that was done for patience's end.
func (r *runner) holdSlot(t *task) (giveBack func()) {
	lent, over := false, false
	timer := time.AfterFunc(slotPatience, func() {
		r.post(func() {
			if over || r.lent >= maxLent {
				return
			}
			lent = true
			r.lent++
			r.free++
			r.log.Warn("a call to the container engine takes long; others do not wait for it", "task", t.id, "after", slotPatience)
		})
	})
	return func() {
		timer.Stop()
		if over = true; lent {
			r.lent--
		} else {
			r.free++
		}
	}
}

// theEngine and theNetwork are who may let a call wait.
const (
	theEngine  = "the container engine"
	theNetwork = "this node's part of the networks"
)

// timely gives a call to the engine its deadline.
func (r *runner) timely(f func(context.Context) error) func(context.Context) error {
	return r.within(theEngine, f)
}

// within gives a call its deadline, and names who has let it pass.
func (r *runner) within(who string, f func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		limited, cancel := context.WithTimeout(ctx, r.cfg.CallTimeout)
		defer cancel()
		err := f(limited)
		if err != nil && ctx.Err() == nil && limited.Err() != nil {
			return fmt.Errorf("%s did not answer within %s", who, r.cfg.CallTimeout)
		}
		return err
	}
}
