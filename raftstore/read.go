package raftstore

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// View returns this node's state as it is now, without waiting for anything.
func (s *Store) View() *state.View { return s.fsm.state.View() }

// Follow returns this node's state and a cursor over every later change.
func (s *Store) Follow() (*state.View, *state.Cursor) { return s.fsm.state.Follow() }

// ReadView returns a view that holds every write acknowledged, anywhere, before
// the call: a linearizable read, at the price of one round trip to a majority,
// shared by concurrent readers. Elsewhere than on the leader the error has code
// not_leader; it has code unavailable where no majority confirms the leader.
//
// Why it holds: a write is acknowledged after its leader's state shows it. So
// what earlier leaders acknowledged was committed before this reign began, and
// is applied here since; what this leader acknowledged is applied here; and the
// majority says, after the call, that there is no later leader.
func (s *Store) ReadView(ctx context.Context) (*state.View, error) {
	e, _ := s.reign.get()
	if e == nil {
		return nil, errNotUs
	}
	if err := s.confirms.wait(ctx, s.closed, func() error { return s.confirm(e) }); err != nil {
		return nil, err
	}
	// Had the reign ended and another begun before the majority answered, s.reign
	// would have changed first: see followReign.
	if now, _ := s.reign.get(); now != e {
		return nil, errNotUs
	}
	return s.View(), nil
}

// confirm asks a majority whether e still reigns. raft's own VerifyLeader is
// not enough: it takes the answer to an earlier heartbeat for one to its
// question, so that a leader that was paused believes what it finds in its
// sockets. These requests are sent after the question.
func (s *Store) confirm(e *epoch) error {
	peers, voters := s.otherVoters()
	_, err := s.poll(e, peers, voters/2) // and this node
	return err
}

// poll asks peers for their word that e reigns, until need of them gave it. The
// error has code unavailable, beside the number that did, where fewer answer
// within two contacts, and code not_leader where the reign ended meanwhile.
func (s *Store) poll(e *epoch, peers []raft.Server, need int) (said int, err error) {
	votes := make(chan bool, len(peers))
	for _, p := range peers {
		go func() { votes <- s.trans.ask(p, e.number) }() // ends with the RPC, which has a timeout
	}
	limit := time.After(2 * s.cfg.Timers.Contact)
	for asked := len(peers); said < need; {
		if asked == 0 {
			return said, api.Errorf(api.CodeUnavailable, "no majority of the managers confirms that this one is the leader: make sure more than half of the managers are online")
		}
		select {
		case yes := <-votes:
			asked--
			if yes {
				said++
			}
		case <-limit:
			asked = 0
		case <-e.ctx.Done():
			return said, errNotUs
		}
	}
	return said, nil
}

// otherVoters returns the voters beside this node, and the number of all.
func (s *Store) otherVoters() (peers []raft.Server, voters int) {
	for _, srv := range s.servers() {
		if srv.Suffrage != raft.Voter {
			continue
		}
		voters++
		if srv.ID != s.trans.self {
			peers = append(peers, srv)
		}
	}
	return peers, voters
}
