package raftstore

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"github.com/swarmctl/swarmctl/api"
)

// Leader is who leads, as far as this node knows; its ID is empty where no one does.
type Leader struct {
	ID   api.NodeID
	Addr string // host:port of its cluster port
}

// Leader returns who leads now.
func (s *Store) Leader() Leader {
	l, _ := s.leader.get()
	return l
}

// WatchLeader returns who leads now and a channel that is closed at the next change.
func (s *Store) WatchLeader() (Leader, <-chan struct{}) { return s.leader.get() }

// IsLeader reports whether this node leads and its term has begun: all that
// earlier leaders committed is applied here.
func (s *Store) IsLeader() bool {
	e, _ := s.reign.get()
	return e != nil
}

// observeRaft is raft's observer. Raft calls it synchronously, in its own
// goroutines, so it does little, and nothing is dropped as through a channel.
func (s *Store) observeRaft(o *raft.Observation) bool {
	switch data := o.Data.(type) {
	case raft.LeaderObservation:
		s.noteLeader()
	case raft.RequestPreVoteRequest:
		s.trans.observe(data)
	}
	return false // nothing reads the observer's channel
}

func (s *Store) noteLeader() {
	s.leader.update(func() Leader {
		addr, id := s.raft.LeaderWithID()
		return Leader{ID: api.NodeID(id), Addr: string(addr)}
	})
}

// epoch is one reign of this node: from winning an election to losing it.
type epoch struct {
	ctx    context.Context
	end    context.CancelCauseFunc
	number uint64 // raft's term; set before anyone gets the epoch from s.reign
}

// followReign turns raft's word on who leads into epochs. Raft waits for this
// goroutine at both ends of a reign (Config.NotifyCh has no buffer), so that
// s.reign is nil before another reign can begin: ReadView counts on that.
func (s *Store) followReign(ctx context.Context) {
	var current *epoch
	for {
		select {
		case leads := <-s.notify:
			if current != nil {
				current.end(errTermOver) // first: begin looks at it
				s.reign.update(func() *epoch { return nil })
				s.log.Info("no longer the leader of the managers", "term", current.number)
				current = nil
			}
			if leads {
				current = &epoch{}
				current.ctx, current.end = context.WithCancelCause(ctx)
				go s.begin(current)
			}
		case <-s.closed:
			if current != nil {
				current.end(errClosed)
			}
			s.reign.update(func() *epoch { return nil })
			return
		}
	}
}

// begin waits until all that earlier leaders committed is applied here, and
// then lets the epoch be seen. It ends with the epoch at the latest.
func (s *Store) begin(e *epoch) {
	for e.ctx.Err() == nil {
		f := s.raft.Barrier(s.cfg.Timers.RPC)
		err := s.await(e.ctx, f)
		if err == nil {
			var entry raft.Log
			if err = s.logs.GetLog(f.(interface{ Index() uint64 }).Index(), &entry); err == nil {
				e.number = entry.Term
				break
			}
		}
		// Lost already, or about to hand over and perhaps not doing so.
		s.log.Debug("begin a term as the leader", "error", err)
		select {
		case <-time.After(s.cfg.Timers.Contact / 10):
		case <-e.ctx.Done():
		}
	}
	s.reign.update(func() *epoch {
		if e.ctx.Err() != nil {
			return s.reign.value
		}
		s.log.Info("leader of the managers", "term", e.number)
		return e
	})
}

type epochKey struct{}

func epochOf(ctx context.Context) *epoch {
	e, _ := ctx.Value(epochKey{}).(*epoch)
	return e
}

// LeadTerms calls lead once for each term in which this node leads, as soon as
// all that earlier leaders committed is applied here, until ctx ends. The
// context that lead gets ends with the term. Runs never overlap: LeadTerms
// waits for lead to return. If lead returns an error while the term lasts, the
// node gives up leadership; where there is nobody to take over, lead is called
// again after a pause. If lead returns nil, it is not called again in that term.
func (s *Store) LeadTerms(ctx context.Context, lead func(context.Context) error) error {
	pause := s.cfg.Timers.Contact
	for {
		e, changed := s.reign.get()
		if e == nil {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return nil
			case <-s.closed:
				return nil
			}
		}
		err := s.leadOnce(ctx, e, lead)
		if ctx.Err() != nil {
			return nil
		}
		over := e.ctx.Done()
		if err == nil || e.ctx.Err() != nil {
			pause = s.cfg.Timers.Contact
			select {
			case <-over:
			case <-ctx.Done():
				return nil
			}
			s.waitReignAfter(ctx, e)
			continue
		}
		s.log.Error("what only the leader does has failed, handing leadership over", "term", e.number, "error", err)
		if err := s.TransferLeadership(ctx, ""); err != nil {
			s.log.Warn("nobody takes leadership over, trying again", "after", pause, "error", err)
		}
		select {
		case <-over:
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
			pause = min(2*pause, 30*time.Second)
		}
	}
}

// waitReignAfter waits until e is no longer the reign: its end was told to
// those under its context a moment before.
func (s *Store) waitReignAfter(ctx context.Context, e *epoch) {
	for {
		now, changed := s.reign.get()
		if now != e {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Store) leadOnce(ctx context.Context, e *epoch, lead func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, epochKey{}, e))
	defer cancel(nil)
	stop := context.AfterFunc(e.ctx, func() { cancel(context.Cause(e.ctx)) })
	defer stop()
	if e.ctx.Err() != nil {
		return nil
	}
	return lead(ctx)
}

// await waits for one of raft's futures. Raft leaves some unanswered when it
// shuts down; then a goroutine is left behind, in a program that ends.
func (s *Store) await(ctx context.Context, f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.closed:
		return errClosed
	}
}

// notLeading reports whether one of raft's errors says that it does not lead.
func notLeading(err error) bool {
	return errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) || errors.Is(err, raft.ErrLeadershipTransferInProgress)
}
