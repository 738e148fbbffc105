package services

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// obey is the rest of the cluster, one node that does within 10 ms what its
// tasks are desired to do, and a second one for those that take over from others,
// or find the first one drained. It follows the feed, so a test with it shows that
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
		if n := s.View().Node(node); t.Replaces != "" || n.Spec.Availability == swarm.NodeAvailabilityDrain {
			node = "n2"
		}
		if t.NodeID != "" {
			node = t.NodeID
		}
		s.put(state.Op{AssignTasks: []state.Assign{{Task: t.ID, Node: node}}})
		return
	}
	if t.Status.State < to {
		s.put(state.Op{ReportTasks: []state.Report{{Task: t.ID, Status: api.TaskStatus{State: to}}}})
	}
}

// TestRollingUpdateOfTwentyFourAtATime: five rounds of stop (10 ms) and start
// (10 ms) and what we add, and the trial of the version, once.
func TestRollingUpdateOfTwentyFourAtATime(t *testing.T) {
	for monitor, limit := range map[time.Duration]time.Duration{
		time.Millisecond: 200 * time.Millisecond,
		3 * time.Second:  200*time.Millisecond + time.Second,
	} {
		t.Run(monitor.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { rollTwenty(t, monitor, limit) })
		})
	}
}

func rollTwenty(t *testing.T, monitor, limit time.Duration) {
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
	next.Spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: 4, Monitor: monitor}
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
	if took := time.Since(began) - monitor; took > limit {
		t.Errorf("took %s and the monitor's time", took)
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

// twoNodes is a cluster of two nodes that obeys until the test ends the part
// that obeys, with the loop that decides.
func twoNodes(t *testing.T) (s *fakeStore, idle func(), stop func()) {
	s = newFakeStore()
	for _, id := range []api.NodeID{"n1", "n2"} {
		n := &api.Node{ID: id, Status: api.NodeStatus{State: api.NodeReady}}
		n.Spec.Availability = swarm.NodeAvailabilityActive
		s.put(state.Op{PutNode: n})
	}
	end := start(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	go s.obey(ctx)
	return s, cancel, func() {
		cancel()
		_ = end()
		time.Sleep(time.Second) // what obeys has timers
	}
}

func (s *fakeStore) labelled(id string, replicas uint64, labels map[string]string) {
	svc := &api.Service{ID: api.ServiceID(id)}
	svc.Spec.Name, svc.Spec.Labels = id, labels
	svc.Spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &replicas}
	s.put(state.Op{PutService: svc})
}

func (s *fakeStore) editNode(id api.NodeID, change func(*api.Node)) {
	n := *s.View().Node(id)
	change(&n)
	s.put(state.Op{PutNode: &n})
}

func (s *fakeStore) on(node api.NodeID) (n int) {
	for t := range s.View().NodeTasks(node) {
		if t.Live() && t.Status.State == api.TaskRunning {
			n++
		}
	}
	return n
}

// TestADrainOfSingletonsGoesOnByEvents: a task that must not run twice leaves
// when the one before it runs again, and not at the drain's deadline.
func TestADrainOfSingletonsGoesOnByEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, stop := twoNodes(t)
		s.labelled("one", 3, map[string]string{setting.LabelSelfStop: "10s"})
		time.Sleep(time.Second)
		s.editNode("n1", func(n *api.Node) { n.Spec.Availability = swarm.NodeAvailabilityDrain })
		time.Sleep(time.Second)
		if n := s.on("n2"); n != 3 {
			t.Errorf("%d of 3 have moved", n)
		}
		stop()
	})
}

// TestAnUpdateThatPausesFinishesWhatItBegan: the new task of a slot comes to run
// after another one has failed, and takes over.
func TestAnUpdateThatPausesFinishesWhatItBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, idle, stop := twoNodes(t)
		s.service("web", 2)
		time.Sleep(time.Second)
		idle()
		next := *s.View().Service("web")
		next.Spec.TaskTemplate.ForceUpdate = 1
		next.Spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: 2, Order: swarm.UpdateOrderStartFirst}
		s.put(state.Op{PutService: &next})
		time.Sleep(time.Second)
		var fresh []*api.Task
		for _, task := range s.live("web") {
			if task.SpecVersion == s.View().Service("web").SpecVersion {
				fresh = append(fresh, task)
			}
		}
		if len(fresh) != 2 {
			t.Fatalf("%d new tasks", len(fresh))
		}
		s.run(fresh[0].ID)
		s.fail(fresh[0].ID)
		time.Sleep(time.Second)
		if got := s.View().Service("web").UpdateStatus.State; got != swarm.UpdateStatePaused {
			t.Fatalf("the update is %s", got)
		}
		s.run(fresh[1].ID)
		time.Sleep(2 * time.Second)
		for task := range s.View().ServiceTasks("web") {
			if old := task.SpecVersion != fresh[1].SpecVersion; old && task.Slot == fresh[1].Slot && task.Live() {
				t.Errorf("%s runs on beside the task that takes its place", task.ID)
			}
		}
		stop()
	})
}

// run brings a task to run on the second node.
func (s *fakeStore) run(id api.TaskID) {
	s.put(state.Op{AssignTasks: []state.Assign{{Task: id, Node: "n2"}}})
	s.put(state.Op{ReportTasks: []state.Report{{Task: id, Status: api.TaskStatus{State: api.TaskRunning}}}})
}

// TestARebalanceBeginsByItself: what counts is where the tasks have come to run,
// and that the other node can be reached when the time has come, or later.
func TestARebalanceBeginsByItself(t *testing.T) {
	for name, lost := range map[string]bool{"": false, "while a session is lost": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _, stop := twoNodes(t)
				s.labelled("web", 4, map[string]string{setting.LabelRebalance: "1m"})
				time.Sleep(50 * time.Second)
				if lost {
					session := func(lost bool) { s.put(state.Op{ObserveNode: &state.ObserveNode{ID: "n2", SessionLost: &lost}}) }
					session(true)
					time.Sleep(20 * time.Second)
					session(false)
				}
				time.Sleep(time.Minute)
				if n := s.on("n2"); n != 2 {
					t.Errorf("%d of 4 tasks on the second node", n)
				}
				stop()
			})
		})
	}
}

// TestATaskThatIsPlacedTooLateMovesOn: a node dies, or is drained, while the
// scheduler's decision to place a task there is under way.
func TestATaskThatIsPlacedTooLateMovesOn(t *testing.T) {
	for name, change := range map[string]func(*api.Node){
		"down":    func(n *api.Node) { n.Status.State = api.NodeDown },
		"drained": func(n *api.Node) { n.Spec.Availability = swarm.NodeAvailabilityDrain },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, idle, stop := twoNodes(t)
				idle()
				s.service("web", 1)
				time.Sleep(time.Second)
				task := s.live("web")[0]
				s.editNode("n2", change)
				s.put(state.Op{AssignTasks: []state.Assign{{Task: task.ID, Node: "n2"}}})
				time.Sleep(time.Second)
				if now := s.live("web"); len(now) != 1 || now[0].ID == task.ID {
					t.Errorf("it stays on a node that is %s", name)
				}
				stop()
			})
		})
	}
}

// TestAnEntryThatChangesNothingHoldsNobodyUp: what was decided is out of date
// when it is written, and the service is looked at again.
func TestAnEntryThatChangesNothingHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		s.service("web", 2)
		stop := start(t, &overtaken{fakeStore: s})
		time.Sleep(time.Second)
		if n := len(s.live("web")); n != 3 {
			t.Errorf("%d live tasks of 3", n)
		}
		_ = stop()
	})
}

// overtaken is a store in which the service is removed, and made anew with three
// replicas, before the first proposal arrives.
type overtaken struct {
	*fakeStore
	once sync.Once
}

func (o *overtaken) Propose(ctx context.Context, cmd state.Command) (state.Result, error) {
	o.once.Do(func() {
		o.put(state.Op{DeleteService: &state.DeleteService{ID: "web"}})
		o.service("web", 3)
	})
	return o.fakeStore.Propose(ctx, cmd)
}

// TestGlobalServicesFollowByEvents: what a constraint on another service asks
// for is done as soon as a task of that one is placed, has ended, or waits for
// a node that there is not.
func TestGlobalServicesFollowByEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		for _, id := range []api.NodeID{"n1", "n2"} {
			n := &api.Node{ID: id, Status: api.NodeStatus{State: api.NodeReady}}
			n.Spec.Availability = swarm.NodeAvailabilityActive
			s.put(state.Op{PutNode: n})
		}
		stop := start(t, s)
		for name, rule := range map[string]string{"agent": "service.name==db", "away": "service.name!=db"} {
			svc := &api.Service{ID: api.ServiceID(name)}
			svc.Spec.Name = name
			svc.Spec.Mode.Global = &swarm.GlobalService{}
			svc.Spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{rule}}
			s.put(state.Op{PutService: svc})
		}
		expect := func(when string, agent, away int) {
			t.Helper()
			time.Sleep(10 * time.Millisecond) // a proposal takes one
			if a, b := len(s.live("agent")), len(s.live("away")); a != agent || b != away {
				t.Fatalf("%s: %d tasks of agent and %d of away, want %d and %d", when, a, b, agent, away)
			}
		}
		expect("without db", 0, 2)
		s.service("db", 1)
		expect("db waits", 0, 2)
		db := s.live("db")[0].ID
		s.put(state.Op{AssignTasks: []state.Assign{{Task: db, Node: "n1"}}})
		expect("db is placed", 1, 1)
		s.put(state.Op{DesireTasks: []state.Desire{{Task: db, State: api.TaskShutdown}}})
		next := s.next("db", db)
		expect("db is followed", 1, 1)
		s.put(state.Op{ReportTasks: []state.Report{{Task: next, Status: api.TaskStatus{State: api.TaskPending, Err: "no suitable node"}}}})
		expect("db is refused and has not ended", 1, 1)
		s.put(state.Op{ReportTasks: []state.Report{{Task: db, Status: api.TaskStatus{State: api.TaskShutdown}}}})
		expect("db has ended", 0, 2)
		s.put(state.Op{AssignTasks: []state.Assign{{Task: next, Node: "n2"}}})
		expect("db is elsewhere", 1, 1)
		s.put(state.Op{DeleteService: &state.DeleteService{ID: "db"}})
		expect("db is removed", 0, 2)
		_ = stop()
	})
}

// next waits for the live task of a service that is not the one given.
func (s *fakeStore) next(id string, not api.TaskID) api.TaskID {
	for {
		time.Sleep(time.Millisecond)
		for _, t := range s.live(id) {
			if t.ID != not {
				return t.ID
			}
		}
	}
}
