package raftstore

import (
	"context"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
)

// The promise of DefaultTimers: the first write after the leader lost power,
// in the middle of writes, within two seconds. Each round the old leader comes
// back and catches up.
func TestFailoverWithDefaultTimersTakesLessThanTwoSeconds(t *testing.T) {
	c := &cluster{t: t, dir: t.TempDir(), timers: DefaultTimers(), nodes: map[api.NodeID]*node{}, cut: map[api.NodeID]bool{}}
	t.Cleanup(c.stopAll)
	for i, id := range []api.NodeID{"a", "b", "c"} {
		c.start(id, func(cfg *Config) { cfg.Bootstrap = i == 0 })
		if i > 0 {
			c.ok(c.leader().AddVoter(c.ctx(), id, c.nodes[id].addr))
		}
		c.leader()
	}
	for range 4 {
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
		took := time.Since(start)
		t.Logf("%v", took)
		if took > 2*time.Second {
			t.Errorf("%v", took)
		}
		cancel()
		c.pull(old.id, false)
		c.ok(old.WaitApplied(c.ctx(), c.leader(old.id).View().Index()))
	}
}
