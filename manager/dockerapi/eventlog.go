package dockerapi

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/docker/docker/api/types/events"

	"github.com/swarmctl/swarmctl/raftstore/state"
)

// keepEvents is how many events of each type are remembered, as many as
// Docker remembers of all. By type, so that the many of tasks do not push out
// the few of services.
const keepEvents = 256

// eventLog remembers the last events of the cluster, for listeners that ask
// for what has been.
type eventLog struct {
	mu     sync.Mutex
	types  map[events.Type][]events.Message // the oldest first
	index  uint64                           // of the last event of the state that is in it
	passed chan struct{}                    // closed and replaced whenever index moves
}

func newEventLog() *eventLog {
	return &eventLog{types: map[events.Type][]events.Message{}, passed: make(chan struct{})}
}

// RememberEvents follows the state for as long as this node is a manager, and
// keeps the latest events for those who ask for them later.
func (a *API) RememberEvents(ctx context.Context) error {
	view, cursor := a.cfg.Store.Follow()
	if cursor == nil {
		return context.Cause(ctx)
	}
	a.log.reset(view.Index())
	for {
		e, err := cursor.Next(ctx)
		if err != nil {
			return err
		}
		a.log.add(e, a.cfg.Now())
	}
}

func (l *eventLog) reset(index uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.types)
	l.moveTo(index)
}

func (l *eventLog) moveTo(index uint64) {
	l.index = index
	close(l.passed)
	l.passed = make(chan struct{})
}

func (l *eventLog) add(e *state.Event, now time.Time) {
	few := *e
	few.Tasks = e.Tasks[max(0, len(e.Tasks)-keepEvents):] // what would be forgotten at once is not even told
	told := messagesOf(&few, now)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range told {
		kept := append(l.types[m.Type], m)
		if len(kept) >= 2*keepEvents { // seldom, so that few are moved
			kept = slices.Clone(kept[len(kept)-keepEvents:])
		}
		l.types[m.Type] = kept
	}
	l.moveTo(e.Index)
}

// upTo returns the events of the span that the state had at an index, in the
// order of their times. It waits until they are all in the log.
func (l *eventLog) upTo(ctx context.Context, index uint64, in span) []events.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.index < index {
		passed := l.passed
		l.mu.Unlock()
		select {
		case <-passed:
			l.mu.Lock()
		case <-ctx.Done():
			l.mu.Lock()
			return nil
		}
	}
	var out []events.Message
	for _, kept := range l.types {
		for _, m := range kept[max(0, len(kept)-keepEvents):] {
			if in.has(m.TimeNano) {
				out = append(out, m)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b events.Message) int { return cmp.Compare(a.TimeNano, b.TimeNano) })
	return out
}
