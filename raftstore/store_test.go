package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

func TestOneManagerLeadsAtOnceAndKeepsItsStateOverARestart(t *testing.T) {
	c := newCluster(t, "a")
	n := c.leader()
	r, err := n.Propose(c.ctx(), createService("s1", "web"))
	c.ok(err)
	if v := n.View(); v.Index() < r.Index || v.ServiceByName("web") == nil {
		t.Fatal("the write does not show in a view taken after it")
	}
	c.ok(n.stop())
	c.start("a")
	if c.leader().View().ServiceByName("web") == nil {
		t.Fatal("the write is lost")
	}
}

func TestARefusedCommandIsAnErrorWithItsCode(t *testing.T) {
	c := newCluster(t, "a", "b")
	for _, n := range []*node{c.leader(), c.follower()} {
		id := "s-" + string(n.id)
		_, err := n.Propose(c.ctx(), createService(id, id))
		c.ok(err)
		r, err := n.Propose(c.ctx(), createService(id, id))
		if !errors.Is(err, api.ErrConflict) || r.Code != api.CodeConflict || IsUnknown(err) {
			t.Errorf("on %s: result %+v, error %v", n.id, r, err)
		}
	}
}

func TestAFollowerForwardsAndReadsItsOwnWrite(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	n := c.follower()
	for i := range 20 {
		name := fmt.Sprint("web", i)
		start := time.Now()
		_, err := n.Propose(c.ctx(), createService(name, name))
		c.ok(err)
		if n.View().ServiceByName(name) == nil {
			t.Fatal("the follower does not show its own write")
		}
		t.Log(time.Since(start))
	}
	if _, err := n.ReadView(c.ctx()); !errors.Is(err, api.ErrNotLeader) {
		t.Errorf("ReadView on a follower: %v", err)
	}
}

func TestReadyCommandsShareAnEntry(t *testing.T) {
	c := newCluster(t, "a")
	n := c.leader()
	before := n.raft.LastIndex()
	var wg sync.WaitGroup
	const writers = 200
	for i := range writers {
		wg.Go(func() {
			name := fmt.Sprint("s", i)
			if _, err := n.Propose(c.ctx(), createService(name, name)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if used := n.raft.LastIndex() - before; used > writers/2 {
		t.Errorf("%d commands took %d entries", writers, used)
	}
}

func TestTheLeaderLosesPower(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	old := c.leader()
	_, err := old.Propose(c.ctx(), createService("s1", "before"))
	c.ok(err)
	n := c.follower()
	start := time.Now()
	c.pull(old.id, true)
	_, err = c.leader(old.id).Propose(c.ctx(), createService("s2", "after"))
	c.ok(err)
	took := time.Since(start)
	t.Logf("first write after %v", took)
	if limit := c.timers.Contact + 2*time.Second; took > limit {
		t.Errorf("the first write took %v, more than %v", took, limit)
	}
	c.ok(n.WaitApplied(c.ctx(), n.View().Index()))
	if n.View().ServiceByName("before") == nil {
		t.Error("an acknowledged write is lost")
	}
	// The old leader learns that it is none, and does not confirm reads.
	if _, err := old.ReadView(c.ctx()); err == nil {
		t.Error("a leader that is cut off confirms a read")
	}
}

func TestAWriteIntoAnIsolatedLeaderIsUnknown(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	old := c.leader()
	c.pull(old.id, true)
	_, err := old.Propose(c.ctx(), createService("s1", "lost"))
	if !IsUnknown(err) || api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("got %v", err)
	}
}

func TestTermsNeverOverlapAndEndWithTheLeadership(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	var mu sync.Mutex
	running := map[api.NodeID]int{}
	terms := make(chan api.NodeID, 10)
	ended := make(chan api.NodeID, 10)
	ctx, cancel := context.WithCancel(c.ctx())
	var wg sync.WaitGroup
	for _, n := range c.nodes {
		wg.Go(func() {
			err := n.LeadTerms(ctx, func(ctx context.Context) error {
				mu.Lock()
				running[n.id]++
				if running[n.id] > 1 {
					t.Errorf("two terms of %s at once", n.id)
				}
				mu.Unlock()
				_, err := n.Propose(ctx, createService("t-"+api.NewID(), api.NewID()))
				if err != nil && ctx.Err() == nil {
					t.Errorf("a write of the leader: %v", err)
				}
				terms <- n.id
				<-ctx.Done()
				if _, err := n.Propose(ctx, createService("late", "late")); !errors.Is(err, api.ErrNotLeader) {
					t.Errorf("a write after the term: %v", err)
				}
				mu.Lock()
				running[n.id]--
				mu.Unlock()
				ended <- n.id
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	first := <-terms
	c.ok(c.nodes[first].TransferLeadership(c.ctx(), ""))
	if got := <-ended; got != first {
		t.Errorf("the term of %s ended, not of %s", got, first)
	}
	if second := <-terms; second == first {
		t.Errorf("%s leads again at once", second)
	}
	cancel()
	wg.Wait()
}

func TestALeaderWhosePartFailsGivesUp(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	bad := c.leader()
	ctx, cancel := context.WithCancel(c.ctx())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- bad.LeadTerms(ctx, func(context.Context) error { return errTest }) }()
	c.leader(bad.id)
	cancel()
	c.ok(<-done)
}

func TestALoneLeaderWhosePartFailsTriesAgain(t *testing.T) {
	c := newCluster(t, "a")
	ctx, cancel := context.WithCancel(c.ctx())
	runs := 0
	c.ok(c.leader().LeadTerms(ctx, func(context.Context) error {
		if runs++; runs == 2 {
			cancel()
		}
		return errTest
	}))
	if runs != 2 {
		t.Errorf("ran %d times", runs)
	}
}

func TestManagersComeAndGo(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	leader := c.leader()
	if got := len(leader.Members()); got != 3 {
		t.Fatalf("%d members", got)
	}
	c.ok(leader.AddVoter(c.ctx(), "b", c.nodes["b"].addr)) // again: nothing happens
	if err := leader.Remove(c.ctx(), "nobody"); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("remove nobody: %v", err)
	}
	if err := c.nodes["b"].Remove(c.ctx(), "a"); leader.id != "b" && !errors.Is(err, api.ErrNotLeader) {
		t.Errorf("remove on a follower: %v", err)
	}
	// The leader leaves: another one is asked.
	if err := leader.Remove(c.ctx(), leader.id); !errors.Is(err, api.ErrNotLeader) {
		t.Fatalf("the leader removes itself: %v", err)
	}
	next := c.leader(leader.id)
	c.ok(next.Remove(c.ctx(), leader.id))
	c.ok(leader.stop())
	// Of two, with one cut off, none can go.
	last := next.Members()
	if len(last) != 2 {
		t.Fatalf("members %+v", last)
	}
	_, err := next.Propose(c.ctx(), createService("s", "still-works"))
	c.ok(err)
	other := last[0].ID
	if other == next.id {
		other = last[1].ID
	}
	c.ok(next.Remove(c.ctx(), other))
	if err := next.Remove(c.ctx(), next.id); !errors.Is(err, api.ErrConflict) {
		t.Errorf("remove the last one: %v", err)
	}
}

func TestRemovingAManagerThatTheQuorumNeedsIsRefused(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	leader := c.leader()
	var dead, alive api.NodeID
	for _, m := range leader.Members() {
		if m.ID != leader.id {
			dead, alive = alive, m.ID
		}
	}
	leader.cfg.Reachable = func(id api.NodeID) bool { return id != dead }
	if err := leader.Remove(c.ctx(), alive); !errors.Is(err, api.ErrConflict) {
		t.Errorf("got %v", err)
	}
	c.ok(leader.Remove(c.ctx(), dead))
}

func TestAManagerThatCannotBeReachedDoesNotJoin(t *testing.T) {
	c := newCluster(t, "a")
	n := c.leader()
	ctx, cancel := context.WithTimeout(c.ctx(), 300*time.Millisecond)
	defer cancel()
	err := n.AddVoter(ctx, "ghost", "127.0.0.1:1")
	if !errors.Is(err, api.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if got := len(n.Members()); got != 1 {
		t.Errorf("%d members", got)
	}
	_, err = n.Propose(c.ctx(), createService("s", "works"))
	c.ok(err)
}

func TestANewClusterOutOfWhatOneManagerHas(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	_, err := c.leader().Propose(c.ctx(), createService("s1", "web"))
	c.ok(err)
	n := c.follower()
	c.ok(n.WaitApplied(c.ctx(), c.leader().View().Index()))
	c.stopAll()
	c.mu.Lock()
	c.nodes = map[api.NodeID]*node{n.id: n}
	c.mu.Unlock()
	c.start(n.id, func(cfg *Config) { cfg.ForceNewCluster = true })
	l := c.leader()
	if l.View().ServiceByName("web") == nil || len(l.Members()) != 1 {
		t.Fatalf("members %v", l.Members())
	}
	_, err = l.Propose(c.ctx(), createService("s2", "more"))
	c.ok(err)
	c.start("d")
	c.ok(l.AddVoter(c.ctx(), "d", c.nodes["d"].addr))
}

func TestANewManagerCatchesUpFromASnapshot(t *testing.T) {
	c := newCluster(t, "a")
	n := c.leader()
	for i := range 50 {
		name := fmt.Sprint("web", i)
		_, err := n.Propose(c.ctx(), createService(name, name))
		c.ok(err)
	}
	large := &api.Config{ID: "c", Spec: api.ConfigSpec{Data: bytes.Repeat([]byte("x"), 1000<<10)}} // one entry of a megabyte
	_, err := n.Propose(c.ctx(), state.Command{Ops: []state.Op{{PutConfig: large}, {CreateNetwork: &api.Network{ID: "n"}}}})
	c.ok(err)
	rc := n.raft.ReloadableConfig()
	rc.TrailingLogs = 1
	c.ok(n.raft.ReloadConfig(rc))
	c.ok(n.raft.Snapshot().Error())
	b := c.start("b")
	c.ok(n.AddVoter(c.ctx(), "b", b.addr))
	if b.View().ServiceByName("web49") == nil {
		t.Error("the snapshot did not arrive")
	}
	// And a restart of both takes the state from the snapshots.
	c.stopAll()
	c.start("a")
	c.start("b")
	v := c.leader().View()
	if v.ServiceByName("web0") == nil || v.Network("n") == nil || !bytes.Equal(v.Config("c").Spec.Data, large.Spec.Data) {
		t.Error("the snapshot was not restored")
	}
}

func TestTheFeedTellsAFollowerOfEveryWrite(t *testing.T) {
	c := newCluster(t, "a", "b")
	n := c.follower()
	_, cursor := n.Follow()
	_, err := c.leader().Propose(c.ctx(), createService("s1", "web"))
	c.ok(err)
	e, err := cursor.Next(c.ctx())
	c.ok(err)
	if len(e.Services) != 1 || e.View.ServiceByName("web") == nil {
		t.Errorf("event %+v", e)
	}
}
