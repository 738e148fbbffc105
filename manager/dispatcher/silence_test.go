package dispatcher

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// beatFor sends heartbeats for some time.
func (w *worker) beatFor(d time.Duration) {
	w.t.Helper()
	beatFor(d, w)
}

func beatFor(d time.Duration, workers ...*worker) {
	for range d / (500 * time.Millisecond) {
		for _, w := range workers {
			w.beat()
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func TestSilentNodeIsLostAndFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		w := newRig(t, s).open("n1")
		w.greeted()
		w.beatFor(time.Minute)
		if w.status().SessionLost {
			t.Fatal("lost while it spoke")
		}
		w.beat()
		time.Sleep(2400 * time.Millisecond)
		if w.status().SessionLost {
			t.Fatal("lost too early")
		}
		time.Sleep(400 * time.Millisecond) // a tick more
		if !w.status().SessionLost {
			t.Fatal("not lost in time")
		}
		// The leader may judge it down meanwhile; the first word brings it back.
		s.put(state.Op{ObserveNode: &state.ObserveNode{ID: "n1", Status: &api.NodeStatus{State: api.NodeDown, Session: w.status().Session, SessionManager: "m1", SessionLost: true}}})
		before := s.proposals()
		time.Sleep(time.Minute)
		if n := s.proposals() - before; n != 0 || w.status().State != api.NodeDown {
			t.Fatalf("%d proposals over a node that is silent: %+v", n, w.status())
		}
		w.beat()
		time.Sleep(300 * time.Millisecond)
		if st := w.status(); st.SessionLost || st.State != api.NodeReady || st.Addr != "10.0.0.9" {
			t.Errorf("not found again: %+v", st)
		}
	})
}

func TestBrokenStreamHasATimeoutToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		r := newRig(t, s)
		w := r.open("n1")
		w.greeted()
		w.cancel()
		time.Sleep(2 * time.Second)
		if w.status().SessionLost {
			t.Fatal("lost at once")
		}
		w = r.open("n1")
		w.greeted()
		w.beatFor(10 * time.Second)
		if w.status().SessionLost {
			t.Fatal("the end of the first stream hit the second")
		}
		w.cancel()
		time.Sleep(3 * time.Second)
		if !w.status().SessionLost {
			t.Fatal("never lost")
		}
		r.forgets("n1")
	})
}

func TestSessionThatLivesIsNotLeftLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		w := newRig(t, s).open("n1")
		w.greeted()
		status := w.status()
		status.State, status.SessionLost = api.NodeUnknown, true // from an older view
		s.put(state.Op{ObserveNode: &state.ObserveNode{ID: "n1", Status: &status}})
		w.beatFor(time.Second)
		if got := w.status(); got.SessionLost || got.State != api.NodeReady {
			t.Errorf("status %+v", got)
		}
		// The state alone is for others to judge.
		status.State = api.NodeDown
		s.put(state.Op{ObserveNode: &state.ObserveNode{ID: "n1", Status: &api.NodeStatus{State: api.NodeDown, Session: status.Session, SessionManager: "m1"}}})
		before := s.proposals()
		w.beatFor(3 * time.Second)
		if n := s.proposals() - before; n != 0 {
			t.Errorf("%d proposals against a judgement", n)
		}
	})
}

func TestLossIsWrittenOnceThereIsALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		w := newRig(t, s).open("n1")
		w.greeted()
		s.set(func() { s.hang = true })
		time.Sleep(20 * time.Second)
		s.set(func() { s.hang = false })
		time.Sleep(proposeTimeout + time.Second)
		if !w.status().SessionLost {
			t.Fatal("not written")
		}
		// A word while the next proposal hangs: what is written in the end is right.
		s.set(func() { s.hang = true })
		w.beatFor(3 * time.Second)
		s.set(func() { s.hang = false })
		w.beatFor(proposeTimeout + time.Second)
		if w.status().SessionLost {
			t.Error("still lost")
		}
	})
}

func TestGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		r := newRig(t, s)
		w := r.open("n1")
		w.greeted()
		w.send(&wire.FromNode{Message: &wire.FromNode_Goodbye{Goodbye: &wire.Goodbye{}}})
		time.Sleep(time.Second)
		if st := w.status(); st.State != api.NodeDisconnected || !st.SessionLost || st.Message == "" {
			t.Errorf("status %+v", st)
		}
		r.forgets("n1")
	})
}

// A daemon that was restarted answers for the sessions that it held.
func TestRestartedManagerLosesNodesThatDoNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1", "n2", "n3")
		for _, id := range []api.NodeID{"n1", "n2"} {
			s.put(state.Op{ObserveNode: &state.ObserveNode{ID: id, Status: &api.NodeStatus{State: api.NodeReady, Session: "old", SessionManager: "m1"}}})
		}
		s.put(state.Op{ObserveNode: &state.ObserveNode{ID: "n3", Status: &api.NodeStatus{State: api.NodeReady, Session: "old", SessionManager: "m2"}}})
		r := newRig(t, s)
		time.Sleep(time.Second)
		w := r.open("n1")
		w.greeted()
		w.beatFor(5 * time.Second)
		for id, lost := range map[api.NodeID]bool{"n1": false, "n2": true, "n3": false} {
			if got := s.View().Node(id).Status.SessionLost; got != lost {
				t.Errorf("%s: lost %v", id, got)
			}
		}
	})
}

// Silence is counted in ticks: a manager that was frozen for a minute gives
// its nodes the time to be heard.
func TestFrozenManagerLosesNobody(t *testing.T) {
	d, err := New(Config{NodeID: "m1", Store: newFakeStore("n1"), Peer: peerFromMetadata, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = d.Run(ctx)
	s := newSession("n1", api.NodeStatus{Session: "s"})
	d.sessions["n1"] = s
	s.heard.Store(true)
	d.listen() // hears it; then the process is frozen, and ticks once when it wakes
	if news := d.listen(); len(news) != 0 {
		t.Errorf("lost after one tick: %v", news)
	}
	for range ticksPerTimeout {
		s.heard.Store(false)
		d.listen()
	}
	if _, ok := s.observe(); !ok {
		t.Error("a node that stays silent is not lost")
	}
}
