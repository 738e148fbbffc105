package raftstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

const (
	maxCommand   = 4 << 20   // bytes of one command: see tooLarge
	maxBatch     = 256 << 10 // bytes after which no further command joins an entry
	maxBatchSize = 512       // commands in one entry
	inFlight     = 64        // entries that raft works on at once
	enqueueLimit = 5 * time.Second
	retryPause   = 20 * time.Millisecond
	replyGrace   = 300 * time.Millisecond // for a deposed leader's last replies
)

// tooLarge refuses a command. The largest are whole stacks: an update of two
// hundred services has a quarter of a megabyte, each with its spec and the one
// before; the rest is for what their secrets and configs hold. More would keep the log's
// other entries waiting, and 128 of them are kept in memory.
func tooLarge(size int) error {
	return api.Errorf(api.CodeInvalid, "a change of %d bytes is too large: at most %d fit in one: divide it, or put large configs into an image or a volume", size, maxCommand)
}

// proposal is one encoded batch of commands on its way into the log.
type proposal struct {
	data  []byte
	taken atomic.Int32 // who got it first: the batcher, or the caller that gave up
	epoch *epoch       // where set, it is only for this reign
	done  chan struct{}

	results []state.Result
	err     error
}

const (
	takenByBatcher = 1
	takenBack      = 2
)

func (p *proposal) take(by int32) bool { return p.taken.CompareAndSwap(0, by) }

func (p *proposal) finish(results []state.Result, err error) {
	p.results, p.err = results, err
	close(p.done)
}

// Propose carries out a command on the cluster, through the leader wherever it
// is, and waits until this node has applied it: a View taken afterwards shows it.
// While there is no leader it waits for one. Any number of proposals may be in
// flight; those that are ready at once share a log entry.
//
// The error is Result.Err() where the state refused the command. An error for
// which IsUnknown is true (its code is unavailable) means that the command may
// have been, or may still be, carried out; any other error means that it was not.
//
// Under the context of LeadTerms a command is only ever carried out by this
// node as the leader of that term, and never forwarded; else the error has code
// not_leader.
func (s *Store) Propose(ctx context.Context, cmd state.Command) (state.Result, error) {
	data, err := encoded(cmd)
	if err != nil {
		return state.Result{}, err
	}
	var results []state.Result
	if e := epochOf(ctx); e != nil {
		results, err = s.submit(ctx, data, e)
	} else {
		results, err = s.proposeAnywhere(ctx, data)
	}
	var certain notApplied
	if errors.As(err, &certain) {
		err = certain.error
	}
	if err != nil {
		return state.Result{}, err
	}
	if len(results) != 1 {
		return state.Result{}, unknownf("the leader answered one command with %d results", len(results))
	}
	return results[0], results[0].Err()
}

// Rehearse says what would become of a command if it were proposed now: nil, or
// the error of Propose. Nothing is carried out.
func (s *Store) Rehearse(ctx context.Context, cmd state.Command) error {
	if _, err := encoded(cmd); err != nil {
		return err
	}
	view, err := s.ReadView(ctx)
	if err != nil {
		return err
	}
	return view.Rehearse(cmd)
}

func encoded(cmd state.Command) ([]byte, error) {
	data, err := state.EncodeBatch([]state.Command{cmd})
	if err == nil && len(data) > maxCommand {
		err = tooLarge(len(data))
	}
	return data, err
}

// proposeAnywhere hands the command to whoever leads, again and again as long
// as it is certain that it was not carried out.
func (s *Store) proposeAnywhere(ctx context.Context, data []byte) ([]state.Result, error) {
	patience := time.Now().Add(2 * s.cfg.Timers.Contact)
	for {
		leader, changed := s.leader.get()
		var results []state.Result
		var err error
		var again <-chan time.Time
		switch leader.ID {
		case "":
			err = notApplied{errNoLeader}
			if full := s.Health(); full != nil { // deaf until there is space
				err = notApplied{api.Errorf(api.CodeUnavailable, "%v", full)}
				if time.Now().After(patience) {
					return nil, err
				}
				again = time.After(retryPause)
			}
		case s.cfg.NodeID:
			results, err = s.submit(ctx, data, nil)
			again = time.After(retryPause)
		default:
			results, err = s.forward(ctx, leader, changed, data)
			again = time.After(retryPause)
		}
		if err == nil || !errors.As(err, new(notApplied)) {
			return results, err
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return nil, withCause(err, ctx)
		case <-s.closed:
			return nil, errClosed
		}
	}
}

// forward has the leader carry out the command, and waits until this node has
// applied it too.
func (s *Store) forward(ctx context.Context, leader Leader, changed <-chan struct{}, data []byte) ([]state.Result, error) {
	call, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the call
		select {
		case <-changed:
			// It leads no more: it may have lost power, and then never answers.
			select {
			case <-time.After(replyGrace):
			case <-call.Done():
			}
			cancel()
		case <-call.Done():
		}
	}()
	reply, err := s.cfg.Forward(call, leader.ID, leader.Addr, data)
	switch {
	case errors.Is(err, ErrNotSent), errors.Is(err, api.ErrNotLeader):
		return nil, notApplied{fmt.Errorf("leader %s: %w", leader.ID, err)}
	case errors.Is(err, api.ErrInvalid):
		return nil, err
	case err != nil:
		return nil, unknownf("leader %s: %v", leader.ID, err)
	}
	results, err := state.DecodeResults(reply)
	if err != nil {
		return nil, unknownf("leader %s: %v", leader.ID, err)
	}
	for _, r := range results {
		if r.Code != "" {
			continue // refused: nothing to see
		}
		if err := s.WaitApplied(ctx, r.Index); err != nil {
			return nil, unknownf("the leader carried the change out, and this manager has not caught up: %v", err)
		}
	}
	return results, nil
}

// ApplyForwarded is the leader's side of Config.Forward. An error of code
// not_leader, or invalid, says that the command was not carried out here.
func (s *Store) ApplyForwarded(ctx context.Context, command []byte) ([]byte, error) {
	if len(command) > maxCommand {
		return nil, tooLarge(len(command))
	}
	// An entry that cannot be decoded would stop every manager.
	if commands, err := state.DecodeBatch(command); err != nil || len(commands) == 0 {
		return nil, api.Errorf(api.CodeInvalid, "forwarded change: %d commands, %v", len(commands), err)
	}
	results, err := s.submit(ctx, command, nil)
	if errors.As(err, new(notApplied)) {
		return nil, api.Errorf(api.CodeNotLeader, "%v", err)
	}
	if err != nil {
		return nil, err
	}
	return state.EncodeResults(results)
}

// submit puts encoded commands into the log of this node, the leader.
func (s *Store) submit(ctx context.Context, data []byte, e *epoch) ([]state.Result, error) {
	p := &proposal{data: data, epoch: e, done: make(chan struct{})}
	select {
	case s.queue <- p:
	case <-ctx.Done():
		return nil, notApplied{withCause(errNotUs, ctx)}
	case <-s.closed:
		return nil, notApplied{errClosed}
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		if p.take(takenBack) {
			return nil, notApplied{withCause(errNotUs, ctx)}
		}
		return nil, unknownf("%v", context.Cause(ctx))
	case <-s.closed:
		if p.take(takenBack) {
			return nil, notApplied{errClosed}
		}
		return nil, unknownf("this manager is shutting down")
	}
	return p.results, p.err
}

// flight is a log entry that raft works on.
type flight struct {
	future raft.ApplyFuture
	batch  []*proposal
}

// writeBatches makes log entries of the queue. It adds no delay: an entry takes
// what is ready, and while raft writes one, the next one fills up.
func (s *Store) writeBatches() {
	defer close(s.flights)
	for {
		select {
		case p := <-s.queue:
			if batch := s.gather(p); len(batch) > 0 {
				s.write(batch)
			}
		case <-s.closed:
			return
		}
	}
}

// gather takes what is ready, up to the limits of an entry.
func (s *Store) gather(p *proposal) []*proposal {
	var batch []*proposal
	size := 0
	for {
		switch {
		case !p.take(takenByBatcher):
		case p.epoch != nil && p.epoch.ctx.Err() != nil:
			p.finish(nil, notApplied{errTermOver})
		default:
			batch = append(batch, p)
			size += len(p.data)
		}
		if size >= maxBatch || len(batch) >= maxBatchSize {
			return batch
		}
		select {
		case p = <-s.queue:
		default:
			return batch
		}
	}
}

func (s *Store) write(batch []*proposal) {
	parts := make([][]byte, len(batch))
	for i, p := range batch {
		parts[i] = p.data
	}
	data, err := state.JoinBatches(parts)
	if err != nil {
		for _, p := range batch {
			p.finish(nil, err)
		}
		return
	}
	fl := flight{s.raft.Apply(data, enqueueLimit), batch}
	select {
	case s.flights <- fl:
	case <-s.closed: // the proposers have left
	}
}

// land hands the outcomes of entries to those who proposed them.
func (s *Store) land() {
	for fl := range s.flights {
		if err := fl.future.Error(); err != nil {
			err = s.outcome(err)
			for _, p := range fl.batch {
				p.finish(nil, err)
			}
			continue
		}
		done := fl.future.Response().(applied)
		s.announce(mark{fl.future.Index(), done.term})
		results := done.results
		for _, p := range fl.batch {
			n := state.BatchLen(p.data)
			p.finish(results[:n:n], nil)
			results = results[n:]
		}
	}
}

// outcome says what an error of raft means for the command.
func (s *Store) outcome(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return notApplied{errNotUs}
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return notApplied{api.Errorf(api.CodeUnavailable, "this manager is too busy to write, or waits for its disk")}
	case errors.Is(err, raft.ErrLeadershipLost):
		return unknownf("this manager lost its leadership during the write")
	case errors.Is(err, raft.ErrRaftShutdown):
		return unknownf("this manager is shutting down")
	}
	if full := s.guard.health(); full != nil {
		// Neither written here nor sent to anyone: raft sends what it has stored.
		return notApplied{api.Errorf(api.CodeUnavailable, "%v", full)}
	}
	return unknownf("%v", err)
}
