package raftstore

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// mark is a committed entry of a term in which this node led.
type mark struct{ index, term uint64 }

// retell is after how long a follower is told again, at first; twice as long
// each time, up to Timers.Idle.
const retell = time.Millisecond

// announcer tells followers at once how far the log is committed. Raft tells
// them with the next entry, or after CommitTimeout at random once or twice over:
// so long a follower's workers would wait for their tasks, and a forwarded
// write for its own echo.
//
// An announcement is an AppendEntries request without entries that this node,
// as the leader of the mark's term, could have sent: the mark is in the log of
// that leader, and committed. However late it arrives it is no worse than any
// delayed message of raft's.
type announcer struct {
	mu    sync.Mutex
	peers map[raft.ServerID]*announcement
}

// announcement is what one follower is being told, and is to be told next.
type announcement struct{ next *mark }

// announce tells all followers that are there. It does not wait.
func (s *Store) announce(m mark) {
	if s.raft.LastIndex() > m.index {
		return // the entry after it tells
	}
	a := &s.announcer
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, srv := range s.servers() {
		if srv.ID == s.trans.self || !s.trans.answers(srv.ID) {
			continue
		}
		if busy := a.peers[srv.ID]; busy != nil {
			busy.next = &m
			continue
		}
		a.peers[srv.ID] = &announcement{}
		go s.tell(srv, m) // ends when there is nothing new to tell
	}
}

// tell tells one follower of a mark, and then of the newest that has come
// meanwhile. A follower may hear of a commit before it has the entry: of three
// managers the third is not waited for. It says no then, and is told again in
// a moment. To tell it when raft has its yes would be sooner by that moment, and
// would need to listen to everything raft sends.
func (s *Store) tell(srv raft.Server, m mark) {
	for wait := retell; ; wait *= 2 {
		took, err := s.caughtUp(srv, m)
		again := !took && err == nil && wait <= s.cfg.Timers.Idle && s.trans.pause(wait)
		next, over := s.announcer.after(srv.ID, !again)
		if over {
			return // what was lost raft tells again after CommitTimeout
		}
		if next != nil {
			m, wait = *next, retell
		}
	}
}

// after is what a follower is to be told next, or nil for the same again; over
// says that it needs telling no more.
func (a *announcer) after(id raft.ServerID, done bool) (next *mark, over bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	next, a.peers[id].next = a.peers[id].next, nil
	if over = next == nil && done; over {
		delete(a.peers, id)
	}
	return next, over
}

// caughtUp tells a follower of a mark and reports whether it has all up to it.
func (s *Store) caughtUp(srv raft.Server, m mark) (bool, error) {
	req := s.trans.request(m.term)
	req.PrevLogEntry, req.PrevLogTerm, req.LeaderCommitIndex = m.index, m.term, m.index
	var resp raft.AppendEntriesResponse
	err := s.trans.AppendEntries(srv.ID, srv.Address, req, &resp)
	return resp.Success, err
}
