package liveness

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/network/gossip"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// A moment of a story: what is known after some time, and what changes by it.
// Nodes m1 and m2 are managers, w1 is a worker whose session m2 holds.
type moment struct {
	after  time.Duration // since the moment before; stepped through in Ticks unless starved
	starve bool
	heard  string // of gossip: "m1 alive, w1 dead", "w1 dead refuses" where its host answers; absent: as before
	lost   string // nodes whose session has ended; "-": none
	leader bool   // a new one, that has judged nobody yet
	want   string
}

func TestStories(t *testing.T) {
	const all = "m1 alive, m2 alive, w1 alive"
	stories := map[string][]moment{
		"a worker loses power: gossip, then its session": {
			{heard: all},
			{after: 3 * time.Second, heard: "m1 alive, m2 alive, w1 dead"},
			{after: 200 * time.Millisecond, lost: "w1", want: "w1 down"},
			{after: time.Minute},
			{heard: all}, // gossip alone does not bring it back
			{lost: "-", want: "w1 ready"},
		},
		"a worker loses power: its session, then gossip": {
			{heard: all},
			{after: 2 * time.Second, lost: "w1", heard: "m1 alive, m2 alive, w1 suspect"},
			{after: time.Second, heard: "m1 alive, m2 alive, w1 dead", want: "w1 down"},
		},
		"a worker and the manager that held its session lose power together": {
			{heard: all},
			{after: 3 * time.Second, heard: "m1 alive, m2 alive, w1 dead"},
			{after: 100 * time.Millisecond, heard: "m1 alive, m2 dead, w1 dead", want: "m2 down, w1 down"},
		},
		"a worker outlives the manager that held its session": {
			{heard: all},
			{after: 3 * time.Second, heard: "m1 alive, m2 dead, w1 alive", want: "m2 down"},
			{after: 9 * time.Second},
			{after: 2 * time.Second, want: "w1 unknown"},
		},
		"a daemon is killed and started again": {
			{heard: all},
			{after: 200 * time.Millisecond, lost: "w1", heard: "m1 alive, m2 alive, w1 suspect refuses"},
			{after: 2500 * time.Millisecond, heard: "m1 alive, m2 alive, w1 dead refuses", want: "w1 unknown gone"},
			{after: 50 * time.Second},
			{heard: all, want: "w1 unknown"}, // for another reason
			{after: time.Second, lost: "-", want: "w1 ready"},
		},
		"a daemon is gone for good": {
			{lost: "w1", heard: "m1 alive, m2 alive, w1 dead refuses", want: "w1 unknown gone"},
			{after: 59 * time.Second},
			{after: time.Second, want: "w1 down gone"},
			{after: time.Hour},
			{heard: all},
			{lost: "-", want: "w1 ready"},
		},
		"a host loses power while its daemon is gone": {
			{lost: "w1", heard: "m1 alive, m2 alive, w1 dead refuses", want: "w1 unknown gone"},
			{after: 10 * time.Second, heard: "m1 alive, m2 alive, w1 dead", want: "w1 down gone"}, // or its cable
			{after: 10 * time.Second, heard: "m1 alive, m2 alive, w1 dead refuses"},               // it boots
			{after: 10 * time.Second, heard: all},
			{lost: "-", want: "w1 ready"},
		},
		"the daemon of the manager that held a worker's session is gone": {
			{heard: all},
			{after: 3 * time.Second, heard: "m1 alive, m2 dead refuses, w1 alive", want: "m2 unknown gone"},
			{after: 11 * time.Second, want: "w1 unknown"}, // it found no other manager
			{after: 50 * time.Second, want: "m2 down gone"},
		},
		"a worker loses power, and the daemon that held its session is gone": {
			{heard: all},
			{after: 3 * time.Second, heard: "m1 alive, m2 dead refuses, w1 dead", want: "w1 down, m2 unknown gone"},
		},
		"a daemon hangs: its host accepts connections": {
			{lost: "w1", heard: "m1 alive, m2 alive, w1 dead listens", want: "w1 down gone"},
			{after: time.Minute, heard: all, lost: "-", want: "w1 ready"},
		},
		"a daemon that was gone is back before its cable is pulled": {
			{lost: "w1", heard: "m1 alive, m2 alive, w1 dead refuses", want: "w1 unknown gone"},
			{after: 10 * time.Second, heard: all, want: "w1 unknown"},
			{after: 10 * time.Second, heard: "m1 alive, m2 alive, w1 dead", want: "w1 down"},
		},
		"the host of a node that is down answers without its daemon": {
			{lost: "w1", heard: "m1 alive, m2 alive, w1 dead", want: "w1 down"},
			{after: time.Minute, heard: "m1 alive, m2 alive, w1 dead refuses", want: "w1 down gone"},
			{after: time.Minute, heard: "m1 alive, m2 alive, w1 dead"},
			{heard: all}, // the daemon may still be without a way to the managers
			{lost: "-", want: "w1 ready"},
		},
		"the leader changes while a manager and its worker are down": {
			{heard: "m1 alive, m2 dead, w1 dead", want: "m2 down, w1 down"},
			{after: time.Second, leader: true, heard: "m1 alive, m2 suspect, w1 suspect"},
			{after: time.Second, heard: "m1 alive, m2 dead, w1 dead"},
			{after: time.Second, leader: true, heard: "m1 alive"},
			{after: time.Minute},
			{heard: all, want: "m2 ready, w1 ready"}, // their sessions have outlived it
		},
		"the leader changes while a node's daemon is gone": {
			{lost: "w1", heard: "m1 alive, m2 alive, w1 dead refuses", want: "w1 unknown gone"},
			{after: time.Second, leader: true, heard: "m1 alive, m2 alive", want: "w1 unknown gone"}, // for another reason
			{after: 20 * time.Second, want: "w1 down gone"},
			{after: time.Second, leader: true, heard: "m1 alive, m2 alive, w1 dead unasked"},
			{after: time.Minute},
		},
		"the leader learns of a death that it has not suspected": {
			{lost: "w1", heard: "m1 alive, m2 alive, w1 dead unasked"},
			{after: 300 * time.Millisecond, heard: "m1 alive, m2 alive, w1 dead refuses", want: "w1 unknown gone"},
		},
		"the leader learns of a death and its question stays open": {
			{lost: "w1", heard: "m1 alive, m2 alive, w1 dead unasked"},
			{after: AskGrace, want: "w1 down"},
		},
		"gossip is blocked by a firewall": {
			{heard: "m1 alive, m2 alive, w1 dead"},
			{after: time.Hour},
		},
		"a cable is out for two seconds": {
			{heard: all},
			{after: 2 * time.Second, lost: "w1", heard: "m1 alive, m2 alive, w1 suspect"},
			{after: 500 * time.Millisecond, heard: all},
			{after: time.Second, lost: "-"},
		},
		"a node leaves": {
			{heard: all},
			{heard: "m1 alive, m2 alive, w1 left", want: "w1 down"},
		},
		"nobody has heard of a worker since the leader changed": {
			{heard: "m1 alive, m2 alive", lost: "w1", want: "w1 unknown"},
			{after: 14 * time.Second},
			{after: 2 * time.Second, want: "w1 down"},
		},
		"the leader was starved: what it missed gets its time again": {
			{heard: all},
			{after: 4 * time.Second, starve: true, heard: "m1 alive, m2 alive, w1 dead", lost: "w1"},
			{after: 3 * time.Second},
			{after: time.Second + Tick, want: "w1 down"},
		},
		"the leader was starved: the waiting packets are read": {
			{heard: all},
			{after: 4 * time.Second, starve: true, heard: "m1 alive, m2 dead, w1 dead", lost: "w1"},
			{after: time.Second, heard: all, lost: "-"},
			{after: time.Minute},
		},
	}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) { tell(t, story) })
	}
}

func tell(t *testing.T, story []moment) {
	nodes := threeNodes()
	var members []gossip.Member
	var judge Judge
	now := time.Unix(1e9, 0)
	for i, m := range story {
		var got []string
		step := func() {
			for _, c := range judge.Step(now, nodes, members) {
				if c.State != api.NodeReady && c.Message == "" {
					t.Errorf("moment %d: %s %s without a reason", i, c.NodeID, c.State)
				}
				for _, n := range nodes {
					if n.ID == c.NodeID {
						n.Status.State, n.Status.Message, n.Status.DaemonGone = c.State, c.Message, c.DaemonGone
					}
				}
				change := fmt.Sprintf("%s %s", c.NodeID, c.State)
				if c.DaemonGone {
					change += " gone"
				}
				got = append(got, change)
			}
		}
		for left := m.after; left > 0; left -= Tick {
			if m.starve {
				now = now.Add(left)
				break
			}
			now = now.Add(min(left, Tick))
			step()
		}
		if m.leader {
			judge = Judge{}
		}
		if m.heard != "" {
			members = since(now, members, parse(m.heard))
		}
		for _, n := range nodes {
			if m.lost != "" {
				n.Status.SessionLost = strings.Contains(m.lost, string(n.ID))
			}
		}
		step()
		if g := strings.Join(got, ", "); g != m.want {
			t.Fatalf("moment %d: %q, want %q", i, g, m.want)
		}
	}
}

func threeNodes() (list []*api.Node) {
	for _, id := range []api.NodeID{"m1", "m2", "w1"} {
		n := &api.Node{ID: id, Status: api.NodeStatus{State: api.NodeReady, Session: "s-" + string(id), SessionManager: id}}
		if id == "w1" {
			n.Status.SessionManager = "m2"
		} else {
			n.ManagerAddr = string(id) + ":2377"
		}
		list = append(list, n)
	}
	return list
}

func parse(heard string) (list []gossip.Member) {
	states := map[string]gossip.State{"alive": gossip.Alive, "suspect": gossip.Suspect, "dead": gossip.Dead, "left": gossip.Left}
	says := map[string]gossip.Host{"unasked": gossip.HostUnasked, "refuses": gossip.HostRefuses, "listens": gossip.HostListens}
	for _, s := range strings.Split(heard, ", ") {
		f := strings.Fields(s)
		m := gossip.Member{NodeID: api.NodeID(f[0]), State: states[f[1]]}
		if m.State == gossip.Dead {
			m.Host = gossip.HostSilent
		}
		if len(f) > 2 {
			m.Host = says[f[2]]
		}
		list = append(list, m)
	}
	return list
}

// since notes when the states began.
func since(now time.Time, before, after []gossip.Member) []gossip.Member {
	for i := range after {
		m := &after[i]
		m.Since = now
		for _, b := range before {
			if b.NodeID == m.NodeID && b.State == m.State {
				m.Since = b.Since
			}
		}
	}
	return after
}

// fake is a store without Raft and a gossip without a network.
type fake struct {
	mu      sync.Mutex
	state   *state.State
	index   uint64
	members []gossip.Member
	changed chan struct{}
}

func (f *fake) Follow() (*state.View, *state.Cursor) { return f.state.Follow() }

func (f *fake) Propose(_ context.Context, cmd state.Command) (state.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index++
	return f.state.Apply(f.index, []state.Command{cmd})[0], nil
}

func (f *fake) Members() []gossip.Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.members
}

func (f *fake) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fake) hear(heard string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members = parse(heard)
	close(f.changed)
	f.changed = make(chan struct{})
}

func TestLoopWritesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{state: state.New(), changed: make(chan struct{}), members: parse("m1 alive, m2 alive, w1 alive")}
		ctx, cancel := context.WithCancel(t.Context())
		for _, n := range threeNodes() {
			_, _ = f.Propose(ctx, state.Command{Ops: []state.Op{{PutNode: n}}})
		}
		l, err := New(Config{Store: f, Gossip: f, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		w1 := func() *api.Node { synctest.Wait(); return f.state.View().Node("w1") }

		time.Sleep(time.Minute)
		f.hear("m1 alive, m2 alive, w1 dead")
		if n := w1(); n.Status.State != api.NodeReady {
			t.Fatalf("down by one signal alone: %+v", n.Status)
		}
		lost := w1().Status
		lost.SessionLost = true
		_, _ = f.Propose(ctx, state.Command{Ops: []state.Op{{ObserveNode: &state.ObserveNode{ID: "w1", Status: &lost}}}})
		if n := w1(); n.Status.State != api.NodeDown || !n.Status.SessionLost || n.Status.Session != "s-w1" {
			t.Fatalf("not down by both signals: %+v", n.Status)
		}
		back := api.NodeStatus{State: api.NodeDown, Session: "s2", SessionManager: "m1"}
		_, _ = f.Propose(ctx, state.Command{Ops: []state.Op{{ObserveNode: &state.ObserveNode{ID: "w1", Status: &back}}}})
		if n := w1(); n.Status.State != api.NodeReady || n.Status.Session != "s2" {
			t.Fatalf("not ready with a session: %+v", n.Status)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}
