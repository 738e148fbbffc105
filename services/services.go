package services

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/slot"
)

// Store is the replicated state.
type Store interface {
	Follow() (*state.View, *state.Cursor)
	Propose(ctx context.Context, cmd state.Command) (state.Result, error)
}

// Config is what a Loop needs.
type Config struct {
	Store Store
	Log   *slog.Logger
	// NewID makes the IDs of tasks; nil is api.NewID.
	NewID func() string
	// Now is the leader's clock; nil is time.Now.
	Now func() time.Time
}

const (
	// inFlight is how many services may have a proposal under way at once; one
	// service has one at most, so that no decision is taken twice.
	inFlight = 32
	// retryPause is the pause after a proposal that failed.
	retryPause = time.Second
)

// Loop keeps the tasks of every service as they should be.
type Loop struct {
	cfg  Config
	view *state.View
	seen slot.Seen

	dirty map[api.ServiceID]struct{}
	// beside are the services that others name in their constraints or as their pods, depends
	// those that they wait for.
	beside, depends relation
	// sidecars are, by the task that they live with, the services of sidecars.
	sidecars map[api.TaskID]map[api.ServiceID]struct{}
	// held are the services with a proposal under way, or whose last one this
	// manager's own state has not reached yet: the index it must reach.
	held    map[api.ServiceID]uint64
	flying  int
	wake    map[api.ServiceID]time.Time
	results chan outcome
}

type outcome struct {
	service api.ServiceID
	index   uint64
	err     error
}

// New returns a loop; it does nothing before Run.
func New(cfg Config) (*Loop, error) {
	if cfg.Store == nil || cfg.Log == nil {
		return nil, errors.New("services: Store and Log must be set")
	}
	if cfg.NewID == nil {
		cfg.NewID = api.NewID
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Loop{
		cfg: cfg, seen: slot.NewSeen(),
		dirty: map[api.ServiceID]struct{}{}, beside: newRelation(), depends: newRelation(),
		sidecars: map[api.TaskID]map[api.ServiceID]struct{}{}, held: map[api.ServiceID]uint64{}, wake: map[api.ServiceID]time.Time{},
		results: make(chan outcome, inFlight),
	}, nil
}

// Run works until ctx ends, that is, for as long as this manager leads. It
// returns ctx's error, or not_leader where the store says so first. It runs once.
func (l *Loop) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel() // the proposals under way end with it
		for ; l.flying > 0; l.flying-- {
			<-l.results
		}
	}()
	view, cursor := l.cfg.Store.Follow()
	l.reset(view)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		l.reconcile(ctx)
		l.setTimer(timer)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-cursor.Ready():
			for e, ok := cursor.TryNext(); ok; e, ok = cursor.TryNext() {
				l.take(e)
			}
		case o := <-l.results:
			if err := l.settle(o); err != nil {
				return err
			}
		case <-timer.C:
		}
	}
}

// setTimer sets the timer to the earliest time at which a service wants to be
// looked at again; none, while there is none.
func (l *Loop) setTimer(timer *time.Timer) {
	var next time.Time
	for _, at := range l.wake {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if next.IsZero() {
		timer.Stop()
		return
	}
	timer.Reset(max(0, next.Sub(l.cfg.Now())))
}

// reconcile looks at every service that has changed or is due, as far as
// there is room for proposals. What finds no room stays dirty.
func (l *Loop) reconcile(ctx context.Context) {
	now := l.cfg.Now()
	for id, at := range l.wake {
		if !at.After(now) {
			delete(l.wake, id)
			l.dirty[id] = struct{}{}
		}
	}
	for id := range l.dirty {
		if l.flying >= inFlight {
			return
		}
		if _, ok := l.held[id]; ok {
			continue
		}
		delete(l.dirty, id)
		noteHeld(l.view, id, l.seen, now)
		changes := decide(l.view, id, l.seen, now)
		if changes.Wake.IsZero() {
			delete(l.wake, id)
		} else {
			l.wake[id] = changes.Wake
		}
		if !changes.Empty() {
			l.propose(ctx, id, changes)
		}
	}
}

func (l *Loop) propose(ctx context.Context, id api.ServiceID, changes slot.Changes) {
	l.log(id, &changes)
	cmd := state.Command{At: l.cfg.Now(), Ops: changes.Ops(l.cfg.NewID)}
	l.flying++
	l.held[id] = 0
	go func() {
		result, err := l.cfg.Store.Propose(ctx, cmd)
		if err == nil {
			err = result.Err()
		}
		l.results <- outcome{service: id, index: result.Index, err: err}
	}()
}

// settle takes the outcome of a proposal. There may be more to do than one
// command holds, so the service is looked at again.
func (l *Loop) settle(o outcome) error {
	l.flying--
	switch {
	case errors.Is(o.err, api.ErrNotLeader), errors.Is(o.err, context.Canceled):
		return o.err
	case o.err != nil:
		l.cfg.Log.Warn("change of a service not written; trying again", "service", o.service, "error", o.err)
		delete(l.held, o.service)
		l.wake[o.service] = l.cfg.Now().Add(retryPause)
	default:
		l.dirty[o.service] = struct{}{}
		l.held[o.service] = o.index
		l.release()
	}
	return nil
}

// release lets go of the services whose last proposal is part of the view.
func (l *Loop) release() {
	for id, index := range l.held {
		if index > 0 && l.view.Index() >= index {
			delete(l.held, id)
		}
	}
}

func (l *Loop) log(id api.ServiceID, c *slot.Changes) {
	attrs := []any{"service", id, "create", len(c.Create), "change", len(c.Desire), "delete", len(c.Delete)}
	if c.Update != nil {
		attrs = append(attrs, "update", c.Update.Status.Message)
	}
	if c.Put != nil && c.Put.Rebalance != nil {
		attrs = append(attrs, "rebalance", cmp.Or(c.Put.Rebalance.Outcome, "begins"))
	}
	l.cfg.Log.Debug("service reconciled", attrs...)
}
