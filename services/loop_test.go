package services

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// obey is the rest of the cluster, one node that does within 10 ms what its
// tasks are desired to do, and a second one for those that take over from others. It follows the feed, so a test with it shows that
// the loop misses no event that it should act on.
func (s *fakeStore) obey(ctx context.Context) {
	_, cursor := s.Follow()
	for {
		e, err := cursor.Next(ctx)
		if err != nil {
			return
		}
		for _, p := range e.Tasks {
			if p.After == nil || p.After.Status.State.Terminal() {
				continue
			}
			t := *p.After
			time.AfterFunc(10*time.Millisecond, func() { s.advance(&t) })
		}
	}
}

func (s *fakeStore) advance(t *api.Task) {
	to := min(t.Desired, api.TaskRunning)
	switch {
	case !t.Wanted():
		to = api.TaskShutdown
	case t.Status.State < api.TaskAssigned:
		node := api.NodeID("n1")
		if t.Replaces != "" {
			node = "n2"
		}
		s.put(state.Op{AssignTasks: []state.Assign{{Task: t.ID, Node: node}}})
		return
	}
	if t.Status.State < to {
		s.put(state.Op{ReportTasks: []state.Report{{Task: t.ID, Status: api.TaskStatus{State: to}}}})
	}
}

func TestRollingUpdateOfTwentyFourAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		n := &api.Node{ID: "n1", Status: api.NodeStatus{State: api.NodeReady}}
		n.Spec.Availability = swarm.NodeAvailabilityActive
		s.put(state.Op{PutNode: n})
		stop := start(t, s)
		ctx, cancel := context.WithCancel(context.Background())
		go s.obey(ctx)
		s.service("web", 20)
		time.Sleep(time.Second)
		next := *s.View().Service("web")
		next.Spec.TaskTemplate.ForceUpdate = 1
		next.Spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: 4, Monitor: time.Millisecond}
		s.put(state.Op{PutService: &next})
		began := time.Now()
		fewest := 20
		for s.View().Service("web").UpdateStatus == nil || s.View().Service("web").UpdateStatus.State != swarm.UpdateStateCompleted {
			time.Sleep(time.Millisecond)
			if time.Since(began) > time.Minute {
				t.Fatalf("it does not end: %+v", s.View().Service("web").UpdateStatus)
			}
			fewest = min(fewest, s.running("web"))
		}
		// Five rounds of stop (10 ms) and start (10 ms) and what we add.
		if took := time.Since(began); took > 200*time.Millisecond {
			t.Errorf("took %s", took)
		}
		if fewest < 16 {
			t.Errorf("only %d ran at one time", fewest)
		}
		for _, task := range s.live("web") {
			if task.SpecVersion != s.View().Service("web").SpecVersion {
				t.Errorf("task %s still runs the old spec", task.ID)
			}
		}
		cancel()
		_ = stop()
		time.Sleep(time.Second)
	})
}

func (s *fakeStore) running(id string) (n int) {
	for _, t := range s.live(id) {
		if t.Status.State == api.TaskRunning {
			n++
		}
	}
	return n
}

// TestNodeEventsWakeTheRightServices: a node that goes down or is drained
// moves its tasks, and one that only reports itself anew does not.
func TestNodeEventsWakeTheRightServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		n := &api.Node{ID: "n1", Status: api.NodeStatus{State: api.NodeReady}}
		s.put(state.Op{PutNode: n})
		stop := start(t, s)
		ctx, cancel := context.WithCancel(context.Background())
		go s.obey(ctx)
		s.service("web", 3)
		time.Sleep(time.Second)
		before := s.proposals()
		status := api.NodeStatus{State: api.NodeReady, Session: "new", SessionLost: true}
		s.put(state.Op{ObserveNode: &state.ObserveNode{ID: "n1", Status: &status}})
		time.Sleep(time.Second)
		if s.proposals() != before {
			t.Error("a lost session alone moved tasks")
		}
		cancel() // nobody places what comes now
		status.State = api.NodeDown
		s.put(state.Op{ObserveNode: &state.ObserveNode{ID: "n1", Status: &status}})
		time.Sleep(10 * time.Millisecond)
		waiting := 0
		for range s.View().WaitingTasks() {
			waiting++
		}
		if waiting != 3 || s.proposals() != before+1 {
			t.Errorf("%d tasks wait for a new node, by %d commands", waiting, s.proposals()-before)
		}
		_ = stop()
	})
}

// TestMovesGoOnByEvents: a drain, or a label that goes, moves all tasks of a
// node, each step at once, and what leaves its node does so only when its
// successor runs.
func TestMovesGoOnByEvents(t *testing.T) {
	for name, leave := range map[string]func(*api.Node){
		"drain":   func(n *api.Node) { n.Spec.Availability = swarm.NodeAvailabilityDrain },
		"label":   func(n *api.Node) { n.Spec.Labels = nil },
		"address": func(n *api.Node) { n.Status.Addr = "10.0.9.1" },
		"role":    func(n *api.Node) { n.ManagerAddr = "10.0.0.1:1" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeStore()
				for _, id := range []api.NodeID{"n1", "n2"} {
					n := &api.Node{ID: id, Status: api.NodeStatus{State: api.NodeReady, Addr: "10.0.0.1"}}
					n.Spec.Availability, n.Spec.Labels = swarm.NodeAvailabilityActive, map[string]string{"zone": "x"}
					s.put(state.Op{PutNode: n})
				}
				stop := start(t, s)
				ctx, cancel := context.WithCancel(context.Background())
				go s.obey(ctx)
				replicas := uint64(5)
				svc := &api.Service{ID: "web"}
				svc.Spec.Name = "web"
				svc.Spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &replicas}
				svc.Spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.labels.zone==x", "node.ip==10.0.0.0/24", "node.role==worker"}}
				s.put(state.Op{PutService: svc})
				time.Sleep(time.Second)
				n := *s.View().Node("n1")
				leave(&n)
				s.put(state.Op{PutNode: &n})
				for began := time.Now(); ; time.Sleep(time.Millisecond) {
					if s.running("web") < 5 {
						t.Fatal("a task stopped before its successor ran")
					}
					moved := 0
					for _, task := range s.live("web") {
						if task.NodeID == "n2" && task.Status.State == api.TaskRunning {
							moved++
						}
					}
					if moved == 5 {
						break
					}
					if time.Since(began) > 200*time.Millisecond {
						t.Fatalf("%d of 5 moved in %s", moved, time.Since(began))
					}
				}
				cancel()
				_ = stop()
				time.Sleep(time.Second)
			})
		})
	}
}

// TestJobGoesOnByEvents: what ends makes room for what follows, and a node that
// comes does its part of a global job.
func TestJobGoesOnByEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		node := func(id api.NodeID) {
			n := &api.Node{ID: id, Status: api.NodeStatus{State: api.NodeReady}}
			n.Spec.Availability = swarm.NodeAvailabilityActive
			s.put(state.Op{PutNode: n})
		}
		job := func(id string, mode swarm.ServiceMode) {
			svc := &api.Service{ID: api.ServiceID(id)}
			svc.Spec.Name, svc.Spec.Mode = id, mode
			s.put(state.Op{PutService: svc})
		}
		complete := func(id string) (n int) {
			time.Sleep(time.Second)
			for _, task := range s.live(id) {
				s.put(state.Op{ReportTasks: []state.Report{{Task: task.ID, Status: api.TaskStatus{State: api.TaskComplete}}}})
				n++
			}
			return n
		}
		node("n1")
		stop := start(t, s)
		two, five := uint64(2), uint64(5)
		job("sum", swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: &two, TotalCompletions: &five}})
		job("scan", swarm.ServiceMode{GlobalJob: &swarm.GlobalJob{}})
		for i, want := range []int{2, 2, 1, 0} {
			if n := complete("sum"); n != want {
				t.Errorf("round %d: %d tasks, want %d", i, n, want)
			}
		}
		if n := complete("scan"); n != 1 {
			t.Errorf("%d tasks on one node", n)
		}
		node("n2")
		if n := complete("scan"); n != 1 {
			t.Errorf("%d tasks for the node that came", n)
		}
		_ = stop()
	})
}
