package dockerapi

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/docker/docker/api/types/events"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// keepEvents is how many events of each type are remembered, as many as
// Docker remembers of all. By type, so that the many of tasks do not push out
// the few of services.
const keepEvents = 256

// eventLog remembers the last events of the cluster, for listeners that ask
// for what has been. Those of tasks, of which there may be ten thousand a
// second, are put into words only for who asks: by then a service's name may
// have gone with it.
type eventLog struct {
	mu     sync.Mutex
	types  map[events.Type][]pastEvent // the oldest first
	tasks  []pastTask                  // likewise
	index  uint64                      // of the last event of the state that is in it
	passed chan struct{}               // closed and replaced whenever index moves
}

type pastEvent struct {
	index uint64
	events.Message
}

type pastTask struct {
	index uint64
	state.Pair[api.Task]
	at time.Time
}

func newEventLog() *eventLog {
	return &eventLog{types: map[events.Type][]pastEvent{}, passed: make(chan struct{})}
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
	l.tasks = nil
	l.moveTo(index)
}

func (l *eventLog) moveTo(index uint64) {
	l.index = index
	close(l.passed)
	l.passed = make(chan struct{})
}

func (l *eventLog) add(e *state.Event, now time.Time) {
	others := *e
	others.Tasks = nil
	told := messagesOf(&others, now)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range told {
		l.types[m.Type] = keep(l.types[m.Type], pastEvent{e.Index, m})
	}
	for _, p := range e.Tasks[max(0, len(e.Tasks)-keepEvents):] {
		if isTaskEvent(p) {
			l.tasks = keep(l.tasks, pastTask{e.Index, p, now})
		}
	}
	l.moveTo(e.Index)
}

// keep appends, and drops the oldest now and then, so that few are moved.
func keep[T any](list []T, v T) []T {
	if list = append(list, v); len(list) >= 2*keepEvents {
		list = slices.Clone(last(list))
	}
	return list
}

func last[T any](list []T) []T { return list[max(0, len(list)-keepEvents):] }

// upTo returns the events of the span that have led to a state, and none that
// came after. It waits until they are all in the log.
func (l *eventLog) upTo(ctx context.Context, view *state.View, in span) (out []events.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.index < view.Index() {
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
	for _, kept := range l.types {
		for _, e := range last(kept) {
			if e.index <= view.Index() {
				out = append(out, e.Message)
			}
		}
	}
	for _, t := range last(l.tasks) {
		if t.index <= view.Index() {
			out = append(out, taskMessage(view, t.Pair, t.at))
		}
	}
	return slices.DeleteFunc(out, func(m events.Message) bool { return !in.has(m.TimeNano) })
}
