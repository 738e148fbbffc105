package dispatcher

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// node is the other end of an assignment stream. It forgets a spec with the
// last of its tasks, as a node may.
type node struct {
	tasks map[string]*wire.Task
	specs map[string]bool
}

func (n *node) take(t *rapid.T, list []*wire.Assignments) {
	for _, a := range list {
		for _, s := range a.Specs {
			n.specs[fmt.Sprint(s.ServiceId, s.Version)] = true
		}
		for _, id := range a.Removed {
			if n.tasks[id] == nil {
				t.Fatalf("told to remove %s, which it never had", id)
			}
			delete(n.tasks, id)
		}
		for _, task := range a.Tasks {
			if !n.specs[fmt.Sprint(task.ServiceId, task.SpecVersion)] {
				t.Fatalf("task %s comes without its spec", task.Id)
			}
			n.tasks[task.Id] = task
		}
	}
	needed := map[string]bool{}
	for _, task := range n.tasks {
		needed[fmt.Sprint(task.ServiceId, task.SpecVersion)] = true
	}
	n.specs = needed
}

// TestNodeKnowsWhatTheStoreHolds: whatever happens between two messages, a
// node that has taken all of them has exactly its tasks, as they are desired.
func TestNodeKnowsWhatTheStoreHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newFakeStore("n1", "n2")
		s.service("a", "n1", "a1", "a2")
		s.service("b", "n1", "b1")
		k, n := newTold("n1"), &node{tasks: map[string]*wire.Task{}, specs: map[string]bool{}}
		list, err := k.full(s.View())
		if err != nil {
			t.Fatal(err)
		}
		n.take(t, list)
		dirty, created := map[api.TaskID]struct{}{}, 0
		deliver := func() {
			list, err := k.changes(s.View(), dirty)
			if err != nil {
				t.Fatal(err)
			}
			n.take(t, list)
			clear(dirty)
		}
		anyTask := func() api.TaskID {
			var ids []api.TaskID
			for task := range s.View().Tasks() {
				ids = append(ids, task.ID)
			}
			if len(ids) == 0 {
				return "none"
			}
			return rapid.SampledFrom(ids).Draw(t, "task")
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				created++
				id := api.TaskID(fmt.Sprint("t", created))
				s.tasks(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "service"), rapid.SampledFrom([]api.NodeID{"n1", "n2"}).Draw(t, "node"), id)
				dirty[id] = struct{}{}
			},
			"update": func(t *rapid.T) {
				next := *s.View().Service("a")
				next.Spec.TaskTemplate.ForceUpdate++
				s.put(state.Op{PutService: &next})
			},
			"desire": func(t *rapid.T) {
				id := anyTask()
				s.put(state.Op{DesireTasks: []state.Desire{{Task: id, State: api.TaskShutdown}}})
				dirty[id] = struct{}{}
			},
			"delete": func(t *rapid.T) {
				id := anyTask()
				s.put(state.Op{DeleteTasks: []api.TaskID{id}})
				dirty[id] = struct{}{}
			},
			"deliver": func(*rapid.T) { deliver() },
			"resync":  func(*rapid.T) { dirty = k.everything(s.View()) },
		})
		deliver()
		want := 0
		for task := range s.View().NodeTasks("n1") {
			want++
			if got := n.tasks[string(task.ID)]; got == nil || api.TaskState(got.Desired) != task.Desired {
				t.Fatalf("task %s is %v at the node, desired %s", task.ID, got, task.Desired)
			}
		}
		if want != len(n.tasks) {
			t.Fatalf("the node has %d tasks, the store %d", len(n.tasks), want)
		}
	})
}
