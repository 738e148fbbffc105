package state

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func mustApply(t *testing.T, s *State, index uint64, ops ...Op) Result {
	t.Helper()
	r := s.Apply(index, []Command{{At: t0, Ops: ops}})[0]
	if err := r.Err(); err != nil {
		t.Fatalf("index %d: %v", index, err)
	}
	return r
}

func webService() *api.Service {
	s := &api.Service{ID: "svc"}
	s.Spec.Name = "web"
	s.Spec.TaskTemplate.ContainerSpec = nil
	return s
}

func populated(t *testing.T) *State {
	s := New()
	mustApply(t, s, 1, Op{PutCluster: &api.Cluster{ID: "c"}})
	mustApply(t, s, 2, Op{PutNode: &api.Node{ID: "n1"}})
	mustApply(t, s, 3, Op{PutService: webService()})
	task := &api.Task{ID: "t1", ServiceID: "svc", Slot: 1, SpecVersion: 3, Desired: api.TaskRunning, Status: api.TaskStatus{State: api.TaskPending}}
	mustApply(t, s, 4, Op{CreateTasks: []*api.Task{task}})
	return s
}

func TestTaskGoesFromWaitingToNode(t *testing.T) {
	s := populated(t)
	_, cursor := s.Follow()
	mustApply(t, s, 5, Op{AssignTasks: []Assign{{Task: "t1", Node: "n1"}}})
	for range s.View().WaitingTasks() {
		t.Error("an assigned task still waits")
	}
	e, err := cursor.Next(context.Background())
	if err != nil || len(e.Tasks) != 1 || e.Tasks[0].Before.NodeID != "" || e.Tasks[0].After.NodeID != "n1" {
		t.Fatalf("event %+v, %v", e, err)
	}
	if r := mustApply(t, s, 6, Op{AssignTasks: []Assign{{Task: "t1", Node: "n1"}}}); len(r.Stale) != 1 {
		t.Errorf("assigning twice: stale %v", r.Stale)
	}
}

func TestRefusedCommandChangesNothing(t *testing.T) {
	s := populated(t)
	twin := webService()
	twin.ID = "other"
	r := s.Apply(9, []Command{{Ops: []Op{{PutNode: &api.Node{ID: "n2"}}, {PutService: twin}}}})[0]
	if !errors.Is(r.Err(), api.ErrConflict) {
		t.Fatalf("got %v", r.Err())
	}
	if s.View().Node("n2") != nil {
		t.Error("half of a refused command was done")
	}
}

func TestSpecGoesWithItsLastTask(t *testing.T) {
	s := populated(t)
	mustApply(t, s, 5, Op{AssignTasks: []Assign{{Task: "t1", Node: "n1"}}})
	mustApply(t, s, 6, Op{DeleteService: &DeleteService{ID: "svc"}})
	v := s.View()
	if task := v.Task("t1"); task.Desired != api.TaskRemove || v.SpecOf(task) == nil {
		t.Fatalf("task %+v", task)
	}
	mustApply(t, s, 7, Op{DeleteTasks: []api.TaskID{"t1"}})
	if s.View().SpecVersion("svc", 3) != nil {
		t.Error("spec outlives its last task")
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	s := populated(t)
	var a, b bytes.Buffer
	if _, err := s.View().WriteTo(&a); err != nil {
		t.Fatal(err)
	}
	r := New()
	if err := r.Restore(bytes.NewReader(a.Bytes())); err != nil {
		t.Fatal(err)
	}
	if _, err := r.View().WriteTo(&b); err != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Fatalf("restored state differs (%v)", err)
	}
	if err := r.Restore(bytes.NewReader(a.Bytes()[:a.Len()-2])); err == nil {
		t.Error("a truncated snapshot was restored")
	}
}

func TestRollbackTakesUpTheOldVersion(t *testing.T) {
	s := populated(t)
	next := *s.View().Service("svc")
	next.Spec.TaskTemplate.ForceUpdate = 1
	mustApply(t, s, 5, Op{PutService: &next})
	if v := s.View().Service("svc"); v.SpecVersion != 5 || v.PreviousSpecVersion != 3 {
		t.Fatalf("versions %d, %d", v.SpecVersion, v.PreviousSpecVersion)
	}
	back := *s.View().Service("svc")
	back.Spec.TaskTemplate.ForceUpdate = 0
	mustApply(t, s, 6, Op{PutService: &back})
	if v := s.View().Service("svc"); v.SpecVersion != 3 {
		t.Errorf("version %d after going back, want 3", v.SpecVersion)
	}
	if n := len(s.View().SpecOf(s.View().Task("t1")).Spec.Name); n == 0 {
		t.Error("the task lost its spec")
	}
}
