package slot_test

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/slot"
)

// A container that stops itself is waited for: its time, its grace period, and
// 5 s for what nobody can see.
func TestATaskOnANodeThatIsDownIsLostOnceItHasStoppedItself(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const never = -1
	for name, tt := range map[string]struct {
		selfStop string
		grace    time.Duration // 0: Docker's
		period   time.Duration // of heartbeats, in the cluster's spec
		node     api.NodeStatus
		removed  bool
		want     time.Duration // after which it is lost
	}{
		"not a singleton":               {node: api.NodeStatus{State: api.NodeDown}, want: 0},
		"singleton, node ready":         {selfStop: "10s", node: api.NodeStatus{State: api.NodeReady}, want: never},
		"singleton, node unknown":       {selfStop: "10s", node: api.NodeStatus{State: api.NodeUnknown}, want: never},
		"singleton":                     {selfStop: "10s", node: api.NodeStatus{State: api.NodeDown}, want: 25 * time.Second},
		"singleton, node left":          {selfStop: "10s", node: api.NodeStatus{State: api.NodeDisconnected}, want: 25 * time.Second},
		"singleton with a grace of 1 s": {selfStop: "10s", grace: time.Second, node: api.NodeStatus{State: api.NodeDown}, want: 16 * time.Second},
		"singleton with a grace of 5 m": {selfStop: "5s", grace: 5 * time.Minute, node: api.NodeStatus{State: api.NodeDown}, want: 5*time.Minute + 10*time.Second},
		// 20 s are four times the usual period: a beat in 3.2 s, of which four may be missed.
		"heartbeats are rare":             {selfStop: "5s", period: 20 * time.Second, node: api.NodeStatus{State: api.NodeDown}, want: 27800 * time.Millisecond},
		"heartbeats are frequent":         {selfStop: "5s", period: time.Second, node: api.NodeStatus{State: api.NodeDown}, want: 20 * time.Second},
		"its daemon is gone":              {selfStop: "10s", node: api.NodeStatus{State: api.NodeDown, DaemonGone: true}, want: never},
		"not a singleton, daemon is gone": {node: api.NodeStatus{State: api.NodeDown, DaemonGone: true}, want: 0},
		"node removed":                    {selfStop: "10s", node: api.NodeStatus{State: api.NodeDown, DaemonGone: true}, removed: true, want: 0},
		"a label that a newer one reads":  {selfStop: "after lunch", node: api.NodeStatus{State: api.NodeDown}, want: 0},
		// Whoever wrote it had a clock that was a day behind.
		"written long ago": {selfStop: "10s", node: api.NodeStatus{State: api.NodeDown, Since: began.Add(-24 * time.Hour)}, want: 25 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			v, task := oneTask(t, tt.selfStop, tt.grace, tt.period)
			n := &api.Node{ID: "n", Status: tt.node}
			seen := slot.NewSeen()
			if !tt.removed {
				seen.NoteNode(n, began)
				v = with(t, v, state.Op{PutNode: n})
			}
			lost := func(after time.Duration) bool {
				lost, at := slot.Lost(v.View(), task, seen, began.Add(after))
				if tt.want == never && !at.IsZero() || tt.want > 0 && !at.Equal(began.Add(tt.want)) {
					t.Errorf("asked after %s: lost at %s, want %s", after, at.Sub(began), tt.want)
				}
				return lost
			}
			if tt.want == never {
				if lost(time.Hour) {
					t.Error("lost")
				}
				return
			}
			if tt.want > 0 && lost(tt.want-time.Millisecond) {
				t.Error("lost too early")
			}
			if !lost(tt.want) {
				t.Error("not lost in time")
			}
		})
	}
}

// The next leader has not seen when it began, and trusts no other's clock.
func TestTheWaitForASelfStopBeginsAnewWithEveryLeaderAndEveryDeath(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	v, task := oneTask(t, "10s", 0, 0)
	n := &api.Node{ID: "n", Status: api.NodeStatus{State: api.NodeDown, Since: now.Add(-time.Hour)}}
	v = with(t, v, state.Op{PutNode: n})
	if lost, at := slot.Lost(v.View(), task, slot.NewSeen(), now); lost || at != now.Add(25*time.Second) {
		t.Errorf("a leader that has seen nothing: lost %v, at %s", lost, at)
	}
	seen := slot.NewSeen()
	up := *n
	up.Status.State = api.NodeReady
	seen.NoteNode(n, now)
	seen.NoteNode(&up, now.Add(20*time.Second))
	seen.NoteNode(n, now.Add(21*time.Second))
	if lost, at := slot.Lost(v.View(), task, seen, now.Add(30*time.Second)); lost || at != now.Add(46*time.Second) {
		t.Errorf("down again: lost %v, at %s after the first death", lost, at.Sub(now))
	}
}

// oneTask is a state with a task that runs on node n, which it does not know yet.
func oneTask(t *testing.T, selfStop string, grace, period time.Duration) (*state.State, *api.Task) {
	t.Helper()
	c := &api.Cluster{ID: "c"}
	c.Spec.Dispatcher.HeartbeatPeriod = period
	s := &api.Service{ID: "s"}
	s.Spec.Name, s.Spec.Mode.Replicated = "s", &swarm.ReplicatedService{}
	s.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{}
	if grace > 0 {
		s.Spec.TaskTemplate.ContainerSpec.StopGracePeriod = &grace
	}
	if selfStop != "" {
		s.Spec.Labels = map[string]string{setting.LabelSelfStop: selfStop}
	}
	st := with(t, state.New(), state.Op{PutCluster: c}, state.Op{PutService: s})
	task := slot.Key{Number: 1}.Task(s, st.View().Service("s").SpecVersion, api.TaskRunning)
	task.ID, task.NodeID, task.Status.State = "t", "n", api.TaskRunning
	return st, task
}

func with(t *testing.T, st *state.State, ops ...state.Op) *state.State {
	t.Helper()
	if err := st.Apply(st.View().Index()+1, []state.Command{{Ops: ops}})[0].Err(); err != nil {
		t.Fatal(err)
	}
	return st
}
