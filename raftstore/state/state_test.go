package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

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

// Every spec version that comes into force is a new iteration of a job, that
// of a rollback too. Nothing else is, and no client has a say in it.
func TestIterationsOfAJob(t *testing.T) {
	s := New()
	put := func(index uint64, at time.Time, change func(*api.Service)) *api.Service {
		t.Helper()
		job := &api.Service{ID: "j"}
		if now := s.View().Service("j"); now != nil {
			copied := *now
			job = &copied
		}
		change(job)
		if err := s.Apply(index, []Command{{At: at, Ops: []Op{{PutService: job}}}})[0].Err(); err != nil {
			t.Fatal(err)
		}
		return s.View().Service("j")
	}
	t1, t2 := t0.Add(time.Minute), t0.Add(-time.Hour) // another leader's clock
	for i, c := range []struct {
		at        time.Time
		change    func(*api.Service)
		iteration uint64
		ran       time.Time
	}{
		{t0, func(j *api.Service) {
			j.Spec.Name, j.Spec.Mode.ReplicatedJob = "sum", &swarm.ReplicatedJob{}
			j.JobStatus = &swarm.JobStatus{JobIteration: swarm.Version{Index: 7}}
		}, 0, t0},
		{t1, func(j *api.Service) { j.Spec.Labels = map[string]string{"a": "b"} }, 0, t0},
		{t1, func(j *api.Service) {
			n := uint64(9)
			j.Spec.Mode.ReplicatedJob = &swarm.ReplicatedJob{TotalCompletions: &n}
		}, 0, t0},
		{t1, func(j *api.Service) { j.Spec.TaskTemplate.ForceUpdate++ }, 1, t1},
		{t1, func(j *api.Service) { j.JobStatus = nil }, 1, t1},
		{t2, func(j *api.Service) { j.Spec.TaskTemplate.ForceUpdate = 0 }, 2, t2},
	} {
		before := s.View().Service("j")
		j := put(uint64(i+1), c.at, c.change)
		if j.JobIteration() != c.iteration || !j.JobStatus.LastExecution.Equal(c.ran) {
			t.Errorf("step %d: %+v, want iteration %d at %s", i, j.JobStatus, c.iteration, c.ran)
		}
		if before != nil && before.JobIteration() != j.JobIteration() && before.JobStatus == j.JobStatus {
			t.Errorf("step %d changes what an earlier view shares", i)
		}
	}
	web := webService()
	web.JobStatus = &swarm.JobStatus{}
	mustApply(t, s, 9, Op{PutService: web})
	if s.View().Service("svc").JobStatus != nil {
		t.Error("a service that is no job has the status of one")
	}
}

// A copy that was given up stays so for as long as the node has a volume of the name,
// whatever is written into it, and through a snapshot.
func TestAGivenUpVolumeStaysGivenUp(t *testing.T) {
	s := New()
	index := uint64(0)
	do := func(op Op) {
		t.Helper()
		index++
		if err := s.Apply(index, []Command{{At: t0, Ops: []Op{op}}})[0].Err(); err != nil {
			t.Fatal(err)
		}
	}
	say := func(created string, names ...string) {
		t.Helper()
		list := []api.Volume{}
		for _, name := range names {
			list = append(list, api.Volume{Name: name, Driver: "local", CreatedAt: created})
		}
		do(Op{ObserveNode: &ObserveNode{ID: "n", Volumes: &list}})
	}
	has := func(want string) {
		t.Helper()
		for what, v := range map[string]*View{"state": s.View(), "snapshot": restoredCopy(t, s).View()} {
			got := ""
			for _, v := range v.Node("n").Volumes {
				got += fmt.Sprintf("%s %v, ", v.Name, v.GivenUp)
			}
			if got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
	}
	do(Op{PutNode: &api.Node{ID: "n"}})
	version := s.View().Node("n").Meta.Version
	say("1", "b", "a")
	has("a false, b false, ")
	if s.View().Node("n").Meta.Version != version {
		t.Error("what a node has made a new version of it")
	}
	do(Op{ForgetVolume: &ForgetVolume{Node: "n", Name: "a", GiveUp: true}})
	do(Op{ForgetVolume: &ForgetVolume{Node: "n", Name: "not-told-of", GiveUp: true}})
	has("a true, b false, not-told-of true, ")
	say("1", "a", "not-told-of")
	has("a true, not-told-of true, ")
	say("2", "a", "not-told-of")
	has("a true, not-told-of true, ")
	say("2", "not-told-of")
	say("3", "a", "not-told-of")
	has("a false, not-told-of true, ")
	do(Op{ForgetVolume: &ForgetVolume{Node: "n", Name: "a"}})
	has("not-told-of true, ")
	if got := s.Apply(99, []Command{{Ops: []Op{{ForgetVolume: &ForgetVolume{Node: "gone", Name: "a"}}}}})[0].Err(); !errors.Is(got, api.ErrNotFound) {
		t.Errorf("got %v", got)
	}
}
