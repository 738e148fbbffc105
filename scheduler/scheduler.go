package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Store is what the scheduler follows and changes: the replicated state, on its leader.
type Store interface {
	// Follow returns the state and a cursor that yields every later change.
	Follow() (*state.View, *state.Cursor)
	// Propose returns once the command is carried out, or an error when it
	// cannot be known to be.
	Propose(context.Context, state.Command) (state.Result, error)
}

// Config is what a Scheduler works with. All fields are required.
type Config struct {
	Store Store
	Log   *slog.Logger
}

// Scheduler places waiting tasks for as long as it runs.
type Scheduler struct {
	store Store
	log   *slog.Logger

	cluster  *Cluster
	cursor   *state.Cursor
	outcomes chan outcome
	inFlight int // assignments that are proposed and not answered
	proposed sync.WaitGroup

	// After a proposal failed, retry fires when the next may be made.
	retry *time.Timer
	pause time.Duration
}

const (
	// batchSize is how many tasks go into one command. Large enough that the
	// cost of a command vanishes, small enough that the first nodes start
	// their tasks while the last are still being planned.
	batchSize = 256
	// maxInFlight bounds how far planning runs ahead of what is committed,
	// and with it how stale a plan can be.
	maxInFlight = 16 * batchSize
	// The pause after a proposal that failed, doubled from first to last.
	firstPause, lastPause = 50 * time.Millisecond, 2 * time.Second
)

// outcome is the answer to one proposal, of assignments or of refusals.
type outcome struct {
	assigned []state.Assign
	told     []state.Report
	result   state.Result
	err      error
}

// New returns a scheduler that does nothing until Run.
func New(cfg Config) (*Scheduler, error) {
	switch {
	case cfg.Store == nil:
		return nil, errors.New("scheduler: Config.Store is missing")
	case cfg.Log == nil:
		return nil, errors.New("scheduler: Config.Log is missing")
	}
	return &Scheduler{store: cfg.Store, log: cfg.Log}, nil
}

// Run places tasks until ctx is done, whose error it then returns, or until
// the store says that this manager does not lead (api.ErrNotLeader). It
// returns after every proposal it made has been answered. NB: one Run at a time.
func (s *Scheduler) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.proposed.Wait()
	defer cancel()
	s.outcomes, s.inFlight = make(chan outcome), 0
	s.retry, s.pause = nil, 0
	view, cursor := s.store.Follow()
	s.cluster, s.cursor = NewCluster(view), cursor
	for {
		s.plan(ctx)
		if err := s.wait(ctx); err != nil {
			return err
		}
		s.drain()
	}
}

// wait returns when there is news: an event (which stays with the cursor), an
// outcome, the end of a pause.
func (s *Scheduler) wait(ctx context.Context) error {
	var retry <-chan time.Time
	if s.retry != nil {
		retry = s.retry.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.cursor.Ready():
	case o := <-s.outcomes:
		return s.settle(o)
	case <-retry:
		s.retry = nil
	}
	return nil
}

// drain takes in all events that are there, so that one plan serves them all.
func (s *Scheduler) drain() {
	now := time.Now()
	for {
		e, ok := s.cursor.TryNext()
		if !ok {
			return
		}
		s.cluster.Apply(e, now)
	}
}

// plan plans what can be decided and proposes it, without waiting for the commit.
func (s *Scheduler) plan(ctx context.Context) {
	limit := maxInFlight - s.inFlight
	if s.retry != nil || limit <= 0 || !s.cluster.Pending() {
		return
	}
	now := time.Now()
	d := s.cluster.Plan(now, limit)
	if len(d.Assign)+len(d.Refuse) == 0 {
		return
	}
	s.log.Debug("planned", "assigned", len(d.Assign), "refused", len(d.Refuse), "waiting", s.cluster.Waiting(), "took", time.Since(now))
	for batch := range chunks(d.Assign) {
		s.inFlight += len(batch)
		s.propose(ctx, now, state.Op{AssignTasks: batch})
	}
	for batch := range chunks(reports(d.Refuse, now)) {
		s.propose(ctx, now, state.Op{ReportTasks: batch})
	}
}

// chunks cuts a list into batches.
func chunks[T any](list []T) func(yield func([]T) bool) {
	return func(yield func([]T) bool) {
		for len(list) > 0 {
			n := min(batchSize, len(list))
			if !yield(list[:n:n]) {
				return
			}
			list = list[n:]
		}
	}
}

func reports(refusals []Refusal, now time.Time) []state.Report {
	list := make([]state.Report, len(refusals))
	for i, r := range refusals {
		list[i] = state.Report{Task: r.Task.ID, Status: api.TaskStatus{
			State: api.TaskPending, At: now, Message: "pending task scheduling", Err: r.Err,
		}}
	}
	return list
}

// propose sends one batch on its way. It ends when the store has answered and
// the loop has heard it, or with ctx.
func (s *Scheduler) propose(ctx context.Context, now time.Time, op state.Op) {
	s.proposed.Go(func() {
		result, err := s.store.Propose(ctx, state.Command{At: now, Ops: []state.Op{op}})
		if err == nil {
			err = result.Err()
		}
		select {
		case s.outcomes <- outcome{op.AssignTasks, op.ReportTasks, result, err}:
		case <-ctx.Done():
		}
	})
}

// settle takes in the answer to a proposal. What was not carried out waits
// again; what cannot be known to be is treated likewise, since assigning a
// task twice does nothing the second time.
func (s *Scheduler) settle(o outcome) error {
	s.inFlight -= len(o.assigned)
	if o.err == nil {
		s.pause = 0
		for _, id := range o.result.Stale {
			if o.assigned != nil {
				s.cluster.Withdraw(api.TaskID(id))
			}
		}
		return nil
	}
	if errors.Is(o.err, api.ErrNotLeader) {
		return fmt.Errorf("schedule tasks: %w", o.err)
	}
	for _, a := range o.assigned {
		s.cluster.Withdraw(a.Task)
	}
	for _, r := range o.told {
		s.cluster.Untell(r.Task)
	}
	if s.retry == nil { // else it is one more batch of the same trouble
		s.pause = min(lastPause, max(firstPause, 2*s.pause))
		s.retry = time.NewTimer(s.pause)
		s.log.Warn("proposal failed, tasks are planned again", "assigned", len(o.assigned), "told", len(o.told), "pause", s.pause, "error", o.err)
	}
	return nil
}
