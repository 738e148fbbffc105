package raftstore

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/swarmctl/swarmctl/api"
)

// Member is one manager of the Raft group.
type Member struct {
	ID     api.NodeID
	Addr   string
	Voter  bool // false while it still catches up
	Leader bool
	// Reachable is known on the leader; elsewhere it is true of the leader and
	// of the node itself.
	Reachable bool
}

// Members returns the group as this node knows it, ordered by ID.
func (s *Store) Members() []Member {
	leader := s.Leader()
	var list []Member
	for _, srv := range s.servers() {
		m := Member{ID: api.NodeID(srv.ID), Addr: string(srv.Address), Voter: srv.Suffrage == raft.Voter}
		m.Leader = m.ID == leader.ID
		m.Reachable = m.Leader || s.reachable(m.ID)
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// servers is raft's latest configuration, which costs no trip to its loop.
func (s *Store) servers() []raft.Server { return s.raft.GetConfiguration().Configuration().Servers }

func (s *Store) reachable(id api.NodeID) bool {
	switch {
	case id == s.cfg.NodeID:
		return true
	case s.cfg.Reachable != nil:
		return s.cfg.Reachable(id)
	default:
		return s.trans.answers(raft.ServerID(id))
	}
}

// AddVoter makes the node at addr a full member, or changes the address of a
// member. Its Store must be running, opened without Bootstrap: the node first
// catches up without a vote, so that one that cannot be reached never counts
// towards the quorum; if ctx ends before that it is taken out again. Leader only.
func (s *Store) AddVoter(ctx context.Context, id api.NodeID, addr string) error {
	if !s.IsLeader() {
		return errNotUs
	}
	s.membership.Lock() // one change at a time, as raft itself has it
	defer s.membership.Unlock()
	srv := raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(addr)}
	old, member := s.server(srv.ID)
	switch {
	case member && old.Suffrage == raft.Voter && old.Address == srv.Address:
		return nil
	case member && old.Suffrage == raft.Voter:
		return s.change(ctx, s.raft.AddVoter(srv.ID, srv.Address, 0, s.patience(ctx)))
	}
	if err := s.change(ctx, s.raft.AddNonvoter(srv.ID, srv.Address, 0, s.patience(ctx))); err != nil {
		return err
	}
	if err := s.waitCaughtUp(ctx, srv); err != nil {
		s.takeBack(srv)
		return err
	}
	return s.change(ctx, s.raft.AddVoter(srv.ID, srv.Address, 0, s.patience(ctx)))
}

// takeBack removes a member that never became a voter.
func (s *Store) takeBack(srv raft.Server) {
	limit := s.cfg.Timers.RPC
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := s.change(ctx, s.raft.RemoveServer(srv.ID, 0, limit)); err != nil {
		s.log.Warn("a manager that could not be reached stays in the list, without a vote", "node", srv.ID, "addr", srv.Address, "error", err)
	}
}

// waitCaughtUp waits until a member has all that is in the log now.
func (s *Store) waitCaughtUp(ctx context.Context, srv raft.Server) error {
	var goal mark
	var entry raft.Log
	f := s.raft.Barrier(s.patience(ctx))
	if err := s.change(ctx, f); err != nil {
		return err
	}
	goal.index = f.(interface{ Index() uint64 }).Index()
	if err := s.logs.GetLog(goal.index, &entry); err != nil {
		return err
	}
	goal.term = entry.Term
	for {
		ok, err := s.caughtUp(srv, goal)
		if ok {
			return nil
		}
		select {
		case <-time.After(s.cfg.Timers.Contact / 40): // the peer has no way to call
		case <-ctx.Done():
			if err == nil {
				err = context.Cause(ctx)
			}
			return api.Errorf(api.CodeUnavailable, "manager %s at %s does not catch up: %v: check that the leader reaches this address (--advertise-addr, firewalls)", srv.ID, srv.Address, err)
		case <-s.closed:
			return errClosed
		}
		if !s.IsLeader() {
			return errNotUs
		}
	}
}

// Remove takes a member out of the group. It refuses, with code conflict, to
// remove the last one or one without which too few would be reachable. The
// leader cannot remove itself: it hands leadership over and returns an error of
// code not_leader, for the caller to ask the new one. Leader only.
func (s *Store) Remove(ctx context.Context, id api.NodeID) error {
	e, _ := s.reign.get()
	if e == nil {
		return errNotUs
	}
	s.membership.Lock()
	defer s.membership.Unlock()
	srv, ok := s.server(raft.ServerID(id))
	if !ok {
		return api.Errorf(api.CodeNotFound, "node %s is not a manager of this cluster", id)
	}
	if srv.Suffrage == raft.Voter {
		if err := s.canSpare(e, id); err != nil {
			return err
		}
	}
	if id == s.cfg.NodeID {
		if err := s.TransferLeadership(ctx, ""); err != nil {
			return err
		}
		return errNotUs
	}
	s.sayFarewell(ctx, srv)
	return s.change(ctx, s.raft.RemoveServer(srv.ID, 0, s.patience(ctx)))
}

// sayFarewell makes sure that a member which is there has seen all that is
// committed, the reason why it goes included: nobody tells it any more
// afterwards. One that does not answer goes without, or has seen it and gone
// already: it must not be waited for, nor asked for a new entry of the log, since
// of two managers the other one can commit nothing until it is out of the group.
func (s *Store) sayFarewell(ctx context.Context, srv raft.Server) {
	if !s.reachable(api.NodeID(srv.ID)) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timers.Contact)
	defer cancel()
	var last raft.Log
	err := s.logs.GetLog(s.raft.AppliedIndex(), &last)
	for ok := false; !ok && err == nil; {
		if ok, err = s.caughtUp(srv, mark{last.Index, last.Term}); ok || err != nil {
			break
		}
		select {
		case <-time.After(s.cfg.Timers.Contact / 40): // the peer has no way to call
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		s.log.Info("a manager leaves the group and was not heard to know why", "peer", srv.ID, "error", err)
	}
}

// canSpare refuses to remove a voter that the group needs; the words are
// Docker's. It asks the others now: what a leader remembers of them is nothing
// when it has just begun, and may be old.
func (s *Store) canSpare(e *epoch, id api.NodeID) error {
	left := 0
	var alive []raft.Server // beside this node
	for _, srv := range s.servers() {
		if srv.Suffrage != raft.Voter || srv.ID == raft.ServerID(id) {
			continue
		}
		left++
		if srv.ID != s.trans.self && (s.cfg.Reachable == nil || s.cfg.Reachable(api.NodeID(srv.ID))) {
			alive = append(alive, srv)
		}
	}
	if left == 0 {
		return api.Errorf(api.CodeConflict, "attempting to demote the last manager of the swarm: promote another node first")
	}
	self := 1
	if id == s.cfg.NodeID {
		self = 0
	}
	need := left/2 + 1
	said, err := s.poll(e, alive, need-self)
	if api.CodeOf(err) == api.CodeUnavailable {
		return api.Errorf(api.CodeConflict, "can't remove member from the raft: this would result in a loss of quorum: of the %d managers left %d would be reachable, and %d are needed: bring others back, or promote some, first", left, said+self, need)
	}
	return err
}

// TransferLeadership makes another member the leader: id, or one that answers
// where id is empty. It returns once this node no longer leads. Leader only.
//
// Errors: code unavailable where nobody can take over, or did not in time.
func (s *Store) TransferLeadership(ctx context.Context, id api.NodeID) error {
	srv, ok := s.server(raft.ServerID(id))
	switch {
	case id == "":
		if srv, ok = s.successor(); !ok {
			return api.Errorf(api.CodeUnavailable, "hand leadership over: no other manager answers: bring one back, or promote a node, first")
		}
	case !ok:
		return api.Errorf(api.CodeNotFound, "node %s is not a manager of this cluster", id)
	}
	return s.change(ctx, s.raft.LeadershipTransferToServer(srv.ID, srv.Address))
}

// successor is a member that answers. Raft itself would take the one that was
// most up to date when it was last heard, which may be dead: the transfer then
// comes to nothing, and a second one waits behind it without end
// (https://github.com/hashicorp/raft/issues/696).
func (s *Store) successor() (raft.Server, bool) {
	for _, srv := range s.servers() {
		if srv.Suffrage == raft.Voter && srv.ID != s.trans.self && s.trans.answers(srv.ID) {
			return srv, true
		}
	}
	return raft.Server{}, false
}

func (s *Store) server(id raft.ServerID) (raft.Server, bool) {
	list := s.servers()
	i := slices.IndexFunc(list, func(srv raft.Server) bool { return srv.ID == id })
	if i < 0 {
		return raft.Server{}, false
	}
	return list[i], true
}

// change waits for a change of the group.
func (s *Store) change(ctx context.Context, f raft.Future) error {
	err := s.await(ctx, f)
	switch {
	case err == nil:
		return nil
	case notLeading(err):
		return errNotUs
	case api.CodeOf(err) != api.CodeInternal:
		return err
	default:
		return api.Errorf(api.CodeUnavailable, "change the managers: %v", err)
	}
}

// patience is how long raft may take to look at a request.
func (s *Store) patience(ctx context.Context) time.Duration {
	if at, ok := ctx.Deadline(); ok {
		return max(time.Until(at), time.Millisecond)
	}
	return s.cfg.Timers.RPC
}
