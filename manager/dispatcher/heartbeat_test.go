package dispatcher

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// want has the cluster ask for a heartbeat period.
func (s *fakeStore) want(period time.Duration) {
	c := *s.View().Cluster()
	c.Spec.Dispatcher.HeartbeatPeriod = period
	s.put(state.Op{PutCluster: &c})
}

func TestTheClustersHeartbeatPeriodReachesSessionsThatAreOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		w := newRig(t, s).open("n1")
		if welcome, _ := w.greeted(); welcome.GetHeartbeat().AsDuration() != defaultHeartbeat {
			t.Errorf("a cluster that asks for nothing has heartbeats every %v", welcome.GetHeartbeat().AsDuration())
		}
		s.want(4 * usualPeriod)
		if told := w.next().GetCluster().GetHeartbeat().AsDuration(); told != 4*defaultHeartbeat {
			t.Errorf("told of heartbeats every %v", told)
		}
		w.beat()
		time.Sleep(4*defaultSessionTimeout - 500*time.Millisecond)
		if w.status().SessionLost {
			t.Error("lost before four times the usual timeout")
		}
		time.Sleep(2 * time.Second) // ticks are longer too
		if !w.status().SessionLost {
			t.Error("not lost after four times the usual timeout")
		}
		s.want(usualPeriod / 5)
		w.next()
		w.beat()
		time.Sleep(4 * defaultSessionTimeout / ticksPerTimeout) // the tick that was begun
		if w.status().SessionLost {
			t.Error("not found again")
		}
		time.Sleep(defaultSessionTimeout/5 + 100*time.Millisecond)
		if !w.status().SessionLost {
			t.Error("not lost after a fifth of the usual timeout")
		}
	})
}

func TestNodesAreToldOfTheRoots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		w := newRig(t, s).open("n1")
		w.greeted()
		c := *s.View().Cluster()
		c.RootCert, c.NextRoot = []byte("old "), &api.NextRoot{Cert: []byte("new")}
		s.put(state.Op{PutCluster: &c})
		if got := string(w.next().GetCluster().GetRootsPem()); got != "old new" {
			t.Errorf("told of the roots %q", got)
		}
	})
}

// A node counts from when it sent what was answered.
func TestAnswersCarryTheStampOfTheLatestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newRig(t, newFakeStore("n1")).open("n1")
		w.greeted()
		for stamp := uint64(1); stamp <= 50; stamp++ {
			w.send(&wire.FromNode{Message: &wire.FromNode_Heartbeat{Heartbeat: &wire.Heartbeat{Stamp: stamp}}})
		}
		for last := uint64(0); last < 50; {
			select {
			case m := <-w.queue:
				if h := m.GetHeartbeat(); h != nil && h.GetStamp() <= last {
					t.Fatalf("answer %d after %d", h.GetStamp(), last)
				} else if h != nil {
					last = h.GetStamp()
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%d heartbeats answered of 50", last)
			}
		}
	})
}
