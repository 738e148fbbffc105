package services

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// TestSidecarsFollowByEvents: whatever happens to a task is done to its sidecars
// as soon as it has happened, and nothing else wakes them.
func TestSidecarsFollowByEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, idle, stop := twoNodes(t)
		defer stop()
		expect := func(when string, want int) {
			t.Helper()
			time.Sleep(time.Second)
			if apps, logs := s.running("app"), s.running("log"); apps != want || logs != want {
				t.Fatalf("%s: %d tasks of app run, and %d sidecars, want %d of both", when, apps, logs, want)
			}
			for _, l := range s.live("log") {
				if with := s.View().Task(l.PodOf); l.PodOf != "" && (with == nil || !with.Live() || with.NodeID != l.NodeID) {
					t.Fatalf("%s: sidecar %s is beside %v", when, l.ID, with)
				}
			}
		}
		log := &api.Service{ID: "log"}
		log.Spec.Name, log.Spec.Mode.Replicated = "log", &swarm.ReplicatedService{}
		log.Spec.Labels = map[string]string{setting.LabelPod: "app"}
		s.put(state.Op{PutService: log})
		time.Sleep(time.Second)
		if l := s.live("log"); len(l) != 1 || l[0].Status.State != api.TaskNew {
			t.Fatalf("without a service there are %v", l)
		}
		s.service("app", 3)
		expect("the service comes", 3)
		s.fail(s.live("app")[0].ID)
		expect("a task crashes", 3)
		s.fail(s.live("log")[0].ID)
		expect("a sidecar crashes", 3)
		s.editNode("n1", func(n *api.Node) { n.Status.State = api.NodeDown })
		time.Sleep(time.Second)
		s.editNode("n1", func(n *api.Node) { n.Status.State = api.NodeReady })
		expect("a node was down", 3)
		s.scale("app", 1)
		expect("fewer are wanted", 1)
		next := *s.View().Service("log")
		next.Spec.TaskTemplate.ForceUpdate = 1
		s.put(state.Op{PutService: &next})
		time.Sleep(10 * time.Second)
		expect("the sidecars are updated", 1)
		if u := s.View().Service("log").UpdateStatus; u == nil || u.State != swarm.UpdateStateCompleted {
			t.Fatalf("the update of the sidecars: %+v", u)
		}
		s.put(state.Op{DeleteService: &state.DeleteService{ID: "app"}})
		expect("the service goes", 0)
		if l := s.live("log"); len(l) != 1 || l[0].PodOf != "" {
			t.Fatalf("after the service has gone there are %v", l)
		}
		for range s.View().ServiceTasks("app") {
			t.Fatal("a task of the service that was removed is left")
		}
		app := &api.Service{ID: "app2"}
		app.Spec.Name, app.Spec.Mode.Global = "app", &swarm.GlobalService{}
		s.put(state.Op{PutService: app})
		time.Sleep(time.Second)
		if a, l := s.running("app2"), s.running("log"); a != 2 || l != 2 {
			t.Fatalf("%d tasks of a global service run, and %d sidecars, want 2 of both", a, l)
		}
		idle()
	})
}

func (s *fakeStore) scale(id api.ServiceID, replicas uint64) {
	next := *s.View().Service(id)
	next.Spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &replicas}
	s.put(state.Op{PutService: &next})
}
