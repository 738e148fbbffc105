package state

import (
	"errors"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// movers is a state in which volume v of a runs a task, and what may be done to it.
type movers struct {
	t     *testing.T
	s     *State
	index uint64
}

func newMovers(t *testing.T) *movers {
	m := &movers{t: t, s: New()}
	m.do(Op{PutNode: &api.Node{ID: "a"}}, Op{PutNode: &api.Node{ID: "b"}})
	svc := webService()
	svc.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: "{{.Service.Name}}-data", Target: "/d"}}}
	m.do(Op{PutService: svc})
	m.task("t1")
	m.do(Op{AssignTasks: []Assign{{Task: "t1", Node: "a"}}})
	m.tell("a", "1", "web-data")
	return m
}

func (m *movers) do(ops ...Op) Result {
	m.t.Helper()
	m.index++
	return mustApply(m.t, m.s, m.index, ops...)
}

func (m *movers) refused(words string, op Op) {
	m.t.Helper()
	m.index++
	if err := m.s.Apply(m.index, []Command{{Ops: []Op{op}}})[0].Err(); !errors.Is(err, api.ErrConflict) || !strings.Contains(err.Error(), words) {
		m.t.Errorf("got %v, want a conflict with %q", err, words)
	}
}

func (m *movers) task(id api.TaskID) {
	m.t.Helper()
	m.do(Op{CreateTasks: []*api.Task{{ID: id, ServiceID: "svc", Slot: 1, SpecVersion: m.s.View().Service("svc").SpecVersion, Desired: api.TaskRunning, Status: api.TaskStatus{State: api.TaskPending}}}})
}

func (m *movers) tell(node api.NodeID, created string, names ...string) {
	m.t.Helper()
	list := []api.Volume{}
	for _, name := range names {
		list = append(list, api.Volume{Name: name, Driver: "local", CreatedAt: created})
	}
	m.do(Op{ObserveNode: &ObserveNode{ID: node, Volumes: &list}})
}

// is compares how both copies stand, in the state and in its snapshot.
func (m *movers) is(want string) {
	m.t.Helper()
	for what, v := range map[string]*View{"state": m.s.View(), "snapshot": restoredCopy(m.t, m.s).View()} {
		got := ""
		for _, id := range []api.NodeID{"a", "b"} {
			got += string(id) + ":"
			if n := v.Node(id); n != nil {
				for _, c := range n.Volumes {
					switch mv := c.Move; {
					case mv.UnderWay():
						got += " moves"
					case mv != nil && mv.Left:
						got += " left"
					case mv != nil:
						got += " failed (" + mv.Err + ")"
					default:
						got += " has it"
					}
					if c.GivenUp {
						got += ", starts nobody"
					}
				}
			}
			got += "; "
		}
		if got != want {
			m.t.Errorf("%s:\n got %s\nwant %s", what, got, want)
		}
	}
}

var (
	beginIt = Op{BeginMove: &BeginMove{ID: "m", Name: "web-data", From: "a", To: "b"}}
	endIt   = Op{EndMove: &EndMove{ID: "m", Name: "web-data", From: "a", To: "b"}}
	failIt  = Op{EndMove: &EndMove{ID: "m", Name: "web-data", From: "a", To: "b", Err: "broken"}}
)

func TestAMoveStopsTasksAndLetsNoneStart(t *testing.T) {
	m := newMovers(t)
	m.do(beginIt)
	m.is("a: moves; b: moves; ")
	if d := m.s.View().Task("t1").Desired; d != api.TaskShutdown {
		t.Errorf("the task is to be %v", d)
	}
	m.task("t2")
	for _, node := range []api.NodeID{"a", "b"} {
		if r := m.do(Op{AssignTasks: []Assign{{Task: "t2", Node: node}}}); len(r.Stale) != 1 {
			t.Errorf("the task was placed on %s in the middle of the move", node)
		}
	}
	m.refused("is being moved already", beginIt)
	m.tell("a", "2", "web-data") // engines take the time of the last write for that of the creation
	m.tell("b", "3", "web-data")
	m.is("a: moves; b: moves; ")
	m.tell("b", "4", "web-data")
	m.do(endIt)
	m.is("a: left, starts nobody; b: has it; ")
	m.refused("has ended", endIt)
	m.refused("has ended", failIt)
	m.tell("a", "5", "web-data")
	m.is("a: left, starts nobody; b: has it; ")
	if r := m.do(Op{AssignTasks: []Assign{{Task: "t2", Node: "b"}}}); len(r.Stale) != 0 {
		t.Error("the task was not placed where the volume is")
	}
	m.tell("a", "6")
	m.is("a:; b: has it; ")
}

func TestAMoveThatFailsLeavesTheVolumeWhereItWas(t *testing.T) {
	m := newMovers(t)
	m.do(beginIt)
	m.tell("b", "1") // a word from before it was made
	m.is("a: moves; b: moves; ")
	m.do(failIt)
	m.is("a: failed (broken); b: left, starts nobody; ")
	m.refused("has ended", endIt)
	m.tell("b", "1", "web-data")
	m.is("a: failed (broken); b: left, starts nobody; ")
	m.refused("has a volume", beginIt)
	m.tell("b", "1")
	m.is("a: failed (broken); b:; ")
	m.do(beginIt)
	m.is("a: moves; b: moves; ")
}

func TestAMoveEndsWhenACopyOrANodeIsGone(t *testing.T) {
	for name, c := range map[string]struct {
		gone func(m *movers)
		end  Op
		want string // where empty, the end is refused
	}{
		"old node, failure": {func(m *movers) { m.do(Op{DeleteNode: &DeleteNode{ID: "a"}}) }, failIt, "a:; b: left, starts nobody; "},
		"old node, success": {func(m *movers) { m.do(Op{DeleteNode: &DeleteNode{ID: "a"}}) }, endIt, ""},
		"new node, failure": {func(m *movers) { m.do(Op{DeleteNode: &DeleteNode{ID: "b"}}) }, failIt, "a: failed (broken); b:; "},
		"new node, success": {func(m *movers) { m.do(Op{DeleteNode: &DeleteNode{ID: "b"}}) }, endIt, ""},
		"new copy, success": {func(m *movers) { m.tell("b", "1", "web-data"); m.tell("b", "1") }, endIt, ""},
		"old copy, failure": {func(m *movers) { m.tell("a", "1") }, failIt, "a:; b: left, starts nobody; "},
		"half is given up":  {func(m *movers) { m.do(failIt, Op{ForgetVolume: &ForgetVolume{Node: "b", Name: "web-data"}}) }, failIt, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMovers(t)
			m.do(beginIt)
			c.gone(m)
			if c.want == "" {
				m.refused("web-data", c.end)
				return
			}
			m.do(c.end)
			m.is(c.want)
		})
	}
}

func TestWhatCannotBeMovedIsRefused(t *testing.T) {
	m := newMovers(t)
	m.refused("one node of the cluster to another", Op{BeginMove: &BeginMove{ID: "m", Name: "web-data", From: "a", To: "a"}})
	m.refused("one node of the cluster to another", Op{BeginMove: &BeginMove{ID: "m", Name: "web-data", From: "a", To: "gone"}})
	m.refused("node a has no volume other", Op{BeginMove: &BeginMove{ID: "m", Name: "other", From: "a", To: "b"}})
	m.task("t2")
	m.do(Op{AssignTasks: []Assign{{Task: "t2", Node: "b"}}}) // it will make one, and nobody has told of it
	m.refused("node b has a volume web-data already", beginIt)
	m.do(Op{ForgetVolume: &ForgetVolume{Node: "a", Name: "web-data", GiveUp: true}})
	m.refused("was given up", beginIt)
	m.is("a: has it, starts nobody; b:; ")
}
