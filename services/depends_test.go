package services

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/slot"
)

// TestDependsLaws drives a service that waits for a database and for a job, all
// three of them updated, through failures of tasks, nodes and leaders, and holds:
// no slot that serves is taken away while the service waits, and when the
// failures stop everything runs.
func TestDependsLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		nodes := []string{"a", "b", "c"}
		for _, n := range nodes {
			w.addNode(n)
		}
		order := rapid.SampledFrom([]string{"stop-first", "start-first"}).Draw(t, "order")
		canary := rapid.SampledFrom([]string{"", "label.swarmctl.canary=1", "label.swarmctl.canary=100%"}).Draw(t, "canary")
		w.putService("db", []string{"replicas=1", "health-check=true"})
		w.putService("migrate", []string{"completions=1", "at-once=1"})
		web := []string{"replicas=2", "monitor=1s", "order=" + order, "label.swarmctl.depends-on=db:healthy,migrate:completed"}
		if canary != "" {
			web = append(web, canary)
		}
		w.putService("web", web)
		version := 0
		t.Repeat(map[string]func(*rapid.T){
			"step": func(t *rapid.T) {
				waits := state.Unmet(w.View(), w.View().Service("web"))
				before := serving(w)
				w.step()
				if after := serving(w); waits != "" && !subset(before, after) {
					t.Fatalf("slots %v served, now %v do, though it %s:\n%v", before, after, waits, w.ps("web"))
				}
			},
			"place": func(*rapid.T) { w.place() },
			"work":  func(*rapid.T) { w.work() },
			"wait":  func(t *rapid.T) { w.now = w.now.Add(time.Duration(rapid.IntRange(1, 700).Draw(t, "s")) * time.Second) },
			"end": func(t *rapid.T) {
				if task, ok := drawRunning(t, w); ok {
					w.report(task.ID, rapid.SampledFrom([]api.TaskState{api.TaskComplete, api.TaskFailed}).Draw(t, "state"))
				}
			},
			"node": func(t *rapid.T) {
				w.editNode(rapid.SampledFrom(nodes).Draw(t, "node"), rapid.SampledFrom([]string{"down", "ready", "unknown"}).Draw(t, "what"))
			},
			"scale db": func(t *rapid.T) {
				w.putService("db", []string{"replicas=" + rapid.SampledFrom([]string{"0", "1", "3"}).Draw(t, "replicas")})
			},
			"update": func(t *rapid.T) {
				version++
				w.putService(rapid.SampledFrom([]string{"db", "migrate", "web"}).Draw(t, "service"), []string{"version=" + string(rune('0'+version%10))})
			},
			"leader": func(*rapid.T) { w.do([]string{"leader", "-24h"}) },
		})
		w.putService("db", []string{"replicas=1"})
		for range 3 {
			calmDown(w, nodes)
			for task := range w.View().ServiceTasks("migrate") {
				if task.Status.State == api.TaskRunning {
					w.report(task.ID, api.TaskComplete)
				}
			}
		}
		calmDown(w, nodes)
		s := w.View().Service("web")
		if got := serving(w); len(got) != 2 || state.Unmet(w.View(), s) != "" {
			t.Fatalf("slots %v serve in the end: %s:\n%v", got, state.Unmet(w.View(), s), w.ps("web"))
		}
		if u := s.UpdateStatus; u != nil && (u.State == swarm.UpdateStateUpdating && s.Canary == nil || strings.Contains(u.Message, "waits for service")) {
			t.Fatalf("the update does not end: %+v", u)
		}
	})
}

// serving are the slots of web with a task that runs and is to.
func serving(w *world) (numbers []int) {
	for _, sl := range slot.Group(w.View(), "web") {
		if slices.ContainsFunc(sl.Live(), func(t *api.Task) bool { return t.Status.State == api.TaskRunning && !slot.Down(w.View(), t) }) {
			numbers = append(numbers, sl.Number)
		}
	}
	return numbers
}

func subset(part, all []int) bool {
	return !slices.ContainsFunc(part, func(n int) bool { return !slices.Contains(all, n) })
}

// An update that waits for another service goes on with whatever makes it need
// not: nobody looks at it meanwhile.
func TestHeldUpdateIsWokenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		stop := start(t, s)
		s.node("a", false)
		s.service("db", 1)
		web := &api.Service{ID: "web"}
		replicas := uint64(1)
		web.Spec.Name, web.Spec.Mode.Replicated = "web", &swarm.ReplicatedService{Replicas: &replicas}
		web.Spec.Labels = map[string]string{setting.LabelDependsOn: "db:healthy"}
		s.put(state.Op{PutService: web})
		time.Sleep(time.Second)
		s.placeAndRun("web")
		update := func(n uint64) {
			next := s.View().Service("web").Spec
			next.TaskTemplate.ForceUpdate = n
			s.put(state.Op{PutService: state.Updated(s.View(), s.View().Service("web"), next, nil)})
			time.Sleep(time.Minute)
			if u := s.View().Service("web").UpdateStatus; u == nil || !strings.Contains(u.Message, "waits for service db to be healthy: 0 of 1 running") {
				t.Fatalf("update %d: %+v", n, u)
			}
		}
		goesOn := func(n uint64) {
			t.Helper()
			time.Sleep(time.Millisecond * 10)
			for _, task := range s.live("web") {
				if task.SpecVersion == s.View().Service("web").SpecVersion {
					s.end("web")
					s.placeAndRun("web")
					time.Sleep(time.Minute)
					return
				}
			}
			t.Fatalf("update %d stands still: %+v", n, s.View().Service("web").UpdateStatus)
		}
		update(1)
		s.placeAndRun("db")
		goesOn(1)

		s.node("a", true) // it has a new session
		update(2)
		s.node("a", false)
		goesOn(2)

		s.fail(s.live("db")[0].ID)
		update(3)
		s.put(state.Op{DeleteService: &state.DeleteService{ID: "db"}})
		time.Sleep(time.Millisecond * 10)
		if u := s.View().Service("web").UpdateStatus; !strings.HasSuffix(u.Message, "there is no service db") {
			t.Errorf("db is removed: %+v", u)
		}
		next := *s.View().Service("web")
		next.Spec.Labels = nil
		s.put(state.Op{PutService: &next})
		goesOn(3)
		stop()
	})
}

func (s *fakeStore) node(id api.NodeID, unsettled bool) {
	n := &api.Node{ID: id}
	if old := s.View().Node(id); old != nil {
		n.Meta = old.Meta
	}
	n.Spec.Availability = swarm.NodeAvailabilityActive
	n.Status = api.NodeStatus{State: api.NodeReady, Unsettled: unsettled}
	s.put(state.Op{PutNode: n})
}

// placeAndRun places what waits of a service on node a, and has what is to run do so.
func (s *fakeStore) placeAndRun(id string) {
	for _, t := range s.live(id) {
		if t.NodeID == "" {
			s.put(state.Op{AssignTasks: []state.Assign{{Task: t.ID, Node: "a"}}})
		}
		if s.View().Task(t.ID).Desired == api.TaskRunning {
			s.put(state.Op{ReportTasks: []state.Report{{Task: t.ID, Status: api.TaskStatus{State: api.TaskRunning}}}})
		}
	}
}

// end stops what is to stop of a service, and waits for what follows.
func (s *fakeStore) end(id string) {
	for t := range s.View().ServiceTasks(api.ServiceID(id)) {
		if !t.Wanted() && !t.Status.State.Terminal() {
			s.put(state.Op{ReportTasks: []state.Report{{Task: t.ID, Status: api.TaskStatus{State: api.TaskShutdown}}}})
		}
	}
	time.Sleep(time.Second)
}
