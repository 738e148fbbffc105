package raftstore

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/swarmctl/swarmctl/api"
)

// A leader loses power in the middle of writes; each round the old one comes
// back and catches up. An election that comes to nothing costs a second or two,
// so there must be next to none: how long a failover takes is the bench's business.
func TestFailoverTakesOneElection(t *testing.T) {
	c := &cluster{t: t, dir: t.TempDir(), timers: DefaultTimers(), nodes: map[api.NodeID]*node{}, cut: map[api.NodeID]bool{}}
	t.Cleanup(c.stopAll)
	for i, id := range []api.NodeID{"a", "b", "c"} {
		c.start(id, func(cfg *Config) { cfg.Bootstrap = i == 0 })
		if i > 0 {
			c.ok(c.leader().AddVoter(c.ctx(), id, c.nodes[id].addr))
		}
		c.leader()
	}
	const rounds = 4
	first := c.leader().term()
	for range rounds {
		old := c.leader()
		writing, cancel := context.WithCancel(c.ctx())
		go func() { // entries that some follower may have and another not
			for writing.Err() == nil {
				id := api.NewID()
				_, _ = old.Propose(writing, createService(id, id))
			}
		}()
		start := time.Now()
		c.pull(old.id, true)
		id := api.NewID()
		_, err := c.leader(old.id).Propose(c.ctx(), createService(id, id))
		c.ok(err)
		t.Logf("first write after %v", time.Since(start))
		cancel()
		c.pull(old.id, false)
		c.ok(old.WaitApplied(c.ctx(), c.leader(old.id).View().Index()))
	}
	// One more for a machine so starved that two candidates met.
	if terms := c.leader().term() - first; terms > rounds+1 {
		t.Errorf("%d failovers took %d elections", rounds, terms)
	}
}

// A leader that goes hands over to one that is there, whoever is not.
func TestHandOverPastADeadMember(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	for range 3 {
		old, dead := c.leader(), c.follower()
		c.pull(dead.id, true)
		for ctx := c.ctx(); ctx.Err() == nil && old.trans.answers(raft.ServerID(dead.id)); {
			time.Sleep(old.cfg.Timers.Contact / 10)
		}
		c.ok(old.TransferLeadership(c.ctx(), ""))
		if next := c.leader(old.id); next.id == dead.id {
			t.Errorf("%s leads without a cable", dead.id)
		}
		c.pull(dead.id, false)
		c.ok(dead.WaitApplied(c.ctx(), c.leader().View().Index()))
	}
}

func (n *node) term() uint64 {
	if e, _ := n.reign.get(); e != nil {
		return e.number
	}
	return 0
}
