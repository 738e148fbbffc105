package state

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// A sidecar comes into being only beside a task that is there, on its node, and is
// to run: whoever asked for it may not have seen yet what became of that.
func TestASidecarNeedsAPod(t *testing.T) {
	s := New()
	index := uint64(0)
	apply := func(ops ...Op) Result {
		t.Helper()
		index++
		r := s.Apply(index, []Command{{At: time.Unix(0, 0), Ops: ops}})[0]
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, name := range []string{"app", "log"} {
		svc := &api.Service{ID: api.ServiceID(name)}
		svc.Spec.Name, svc.Spec.Mode.Replicated = name, &swarm.ReplicatedService{}
		apply(Op{PutService: svc})
	}
	apply(Op{PutNode: &api.Node{ID: "n1"}})
	sidecar := func(id, with api.TaskID, node api.NodeID) Result {
		t.Helper()
		return apply(Op{CreateTasks: []*api.Task{{ID: id, ServiceID: "log", NodeID: node, PodOf: with, SpecVersion: s.View().Service("log").SpecVersion, Desired: api.TaskRunning, Status: api.TaskStatus{State: api.TaskPending}}}})
	}
	expect := func(when string, r Result, stale bool) {
		t.Helper()
		if len(r.Stale) > 0 != stale {
			t.Errorf("%s: stale are %v", when, r.Stale)
		}
	}
	expect("no such task", sidecar("1", "a", "n1"), true)
	apply(Op{CreateTasks: []*api.Task{{ID: "a", ServiceID: "app", Slot: 1, SpecVersion: s.View().Service("app").SpecVersion, Desired: api.TaskRunning, Status: api.TaskStatus{State: api.TaskPending}}}})
	expect("not placed", sidecar("2", "a", ""), true)
	apply(Op{AssignTasks: []Assign{{Task: "a", Node: "n1"}}})
	expect("on another node", sidecar("3", "a", "n2"), true)
	expect("on its node", sidecar("4", "a", "n1"), false)
	apply(Op{DesireTasks: []Desire{{Task: "a", State: api.TaskShutdown}}})
	expect("it is to stop", sidecar("5", "a", "n1"), true)
	if got := restoredCopy(t, s).View().Task("4"); got == nil || got.PodOf != "a" {
		t.Errorf("after a restart it is %+v", got)
	}
}

// A sidecar that its service waits for would wait for that itself.
func TestAServiceCannotWaitForItsSidecar(t *testing.T) {
	s := New()
	put := func(index uint64, name, label, value string) error {
		svc := &api.Service{ID: api.ServiceID(name)}
		svc.Spec.Name, svc.Spec.Labels = name, map[string]string{label: value}
		svc.Spec.Mode.Replicated = &swarm.ReplicatedService{}
		return s.Apply(index, []Command{{At: time.Unix(0, 0), Ops: []Op{{PutService: svc}}}})[0].Err()
	}
	if err := put(1, "app", setting.LabelDependsOn, "log"); err != nil {
		t.Fatal(err)
	}
	const want = "label swarmctl.depends-on: log -> app -> log: they would wait for each other for ever: leave one of these dependencies out"
	if err := put(2, "log", setting.LabelPod, "app"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
