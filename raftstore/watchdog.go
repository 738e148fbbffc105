package raftstore

import (
	"time"

	"github.com/hashicorp/raft"
)

// heartbeatTimeout is raft's own timeout, a tenth to a fifth of which passes
// between heartbeats: the longer, the less a manager costs when nothing
// happens. As followers are woken by watch, it need not be Timers.Contact.
func heartbeatTimeout(contact time.Duration) time.Duration { return contact * 8 / 5 }

// watch makes a follower want an election exactly when the leader has been
// silent for Timers.Contact. Raft's own timer has the right to be up to three
// times as late: it sleeps for one to two timeouts at random, looks, and if
// contact is too recent sleeps again. The dice are there to avoid split votes;
// here turn does that, and transport.letRivalGoFirst where turns are not kept.
func (s *Store) watch() {
	contact := s.cfg.Timers.Contact
	started := time.Now()
	for {
		wait := contact
		if s.raft.State() == raft.Follower && s.votes() {
			wait = contact + s.turn() - time.Since(latest(started, s.raft.LastContact()))
			if s.alone() {
				wait = 0 // nobody to hear from
			}
		}
		s.setTimeout(heartbeatTimeout(contact))
		if wait <= 0 {
			// Raft looks at once when its timeout becomes shorter.
			s.setTimeout(contact)
			wait = contact / 4
		}
		select {
		case <-time.After(wait + time.Millisecond):
		case <-s.closed:
			return
		}
	}
}

// turn is how much later than Timers.Contact this follower wants an election:
// all hear the leader's last word at the same moment, and two that ask for
// votes within a network's delay of each other split them.
func (s *Store) turn() time.Duration {
	leader, ahead := s.Leader().ID, 0
	for _, srv := range s.servers() {
		if srv.Suffrage == raft.Voter && srv.ID < s.trans.self && srv.ID != raft.ServerID(leader) {
			ahead++
		}
	}
	return time.Duration(ahead) * goFirst / 2
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// alone reports whether this node is the only voter.
func (s *Store) alone() bool {
	peers, voters := s.otherVoters()
	return voters == 1 && len(peers) == 0
}

// votes reports whether this node has a vote.
func (s *Store) votes() bool {
	self, ok := s.server(s.trans.self)
	return ok && self.Suffrage == raft.Voter
}

func (s *Store) setTimeout(d time.Duration) {
	c := s.raft.ReloadableConfig()
	if c.HeartbeatTimeout == d {
		return
	}
	c.HeartbeatTimeout = d
	if err := s.raft.ReloadConfig(c); err != nil {
		s.log.Error("change raft's timeout", "to", d, "error", err) // both values were valid at the start
	}
}
