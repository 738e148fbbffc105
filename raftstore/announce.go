package raftstore

import (
	"sync"

	"github.com/hashicorp/raft"
)

// mark is a committed entry of a term in which this node led.
type mark struct{ index, term uint64 }

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

func (s *Store) tell(srv raft.Server, m mark) {
	a := &s.announcer
	for {
		_, _ = s.caughtUp(srv, m) // best effort: raft tells again after CommitTimeout
		a.mu.Lock()
		next := a.peers[srv.ID].next
		if next == nil {
			delete(a.peers, srv.ID)
			a.mu.Unlock()
			return
		}
		a.peers[srv.ID].next = nil
		m = *next
		a.mu.Unlock()
	}
}

// caughtUp tells a follower of a mark and reports whether it has all up to it.
func (s *Store) caughtUp(srv raft.Server, m mark) (bool, error) {
	req := s.trans.request(m.term)
	req.PrevLogEntry, req.PrevLogTerm, req.LeaderCommitIndex = m.index, m.term, m.index
	var resp raft.AppendEntriesResponse
	err := s.trans.AppendEntries(srv.ID, srv.Address, req, &resp)
	return resp.Success, err
}
