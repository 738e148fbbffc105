package services

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/services/slot"
)

// TestLaws drives a replicated service through random failures of tasks and
// nodes, scalings, updates and changes of leader, and holds the laws: no slot
// has two live tasks of one spec, nor two at all outside a start-first update,
// but one that takes over from another; never more slots live than replicas
// asked for; and when the failures stop, every replica runs, at the newest spec
// unless the update was paused.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		nodes := []string{"a", "b", "c", "d"}
		for _, n := range nodes {
			w.addNode(n)
		}
		startFirst := rapid.Bool().Draw(t, "start-first")
		order := "stop-first"
		if startFirst {
			order = "start-first"
		}
		want, version := 3, 0
		w.putService("web", []string{"replicas=3", "order=" + order, "monitor=1s"})
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) { holdLaws(t, w, startFirst) },
			"step": func(t *rapid.T) {
				before := w.View().Service("web").UpdateStatus
				w.step()
				if w.View().Service("web").UpdateStatus != before {
					w.step() // that an update has failed is a step of its own, before any other
				}
				if n := liveSlots(w); n > want {
					t.Fatalf("%d slots live, %d wanted:\n%v", n, want, w.ps("web"))
				}
			},
			"place": func(*rapid.T) { w.place() },
			"work":  func(*rapid.T) { w.work() },
			"wait":  func(t *rapid.T) { w.now = w.now.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "s")) * time.Second) },
			"end": func(t *rapid.T) {
				if task, ok := drawRunning(t, w); ok {
					w.report(task.ID, rapid.SampledFrom([]api.TaskState{api.TaskComplete, api.TaskFailed, api.TaskRejected}).Draw(t, "state"))
				}
			},
			"node": func(t *rapid.T) {
				w.editNode(rapid.SampledFrom(nodes).Draw(t, "node"), rapid.SampledFrom([]string{"down", "ready", "unknown", "drain", "pause", "active"}).Draw(t, "what"))
			},
			"scale": func(t *rapid.T) {
				want = rapid.IntRange(0, 6).Draw(t, "replicas")
				w.putService("web", []string{fmt.Sprintf("replicas=%d", want)})
			},
			"update": func(*rapid.T) {
				version++
				w.putService("web", []string{fmt.Sprintf("version=%d", version)})
			},
			"leader": func(t *rapid.T) {
				w.do([]string{"leader", rapid.SampledFrom([]string{"24h", "-24h", "0s"}).Draw(t, "skew")})
			},
		})
		calmDown(w, nodes)
		s := w.View().Service("web")
		paused := s.UpdateStatus != nil && s.UpdateStatus.State == swarm.UpdateStatePaused
		running := 0
		for task := range w.View().ServiceTasks("web") {
			if task.Live() && task.Status.State == api.TaskRunning && (paused || task.SpecVersion == s.SpecVersion) {
				running++
			}
		}
		if running != want {
			t.Fatalf("%d run in the end, %d wanted:\n%v\n%+v", running, want, w.ps("web"), s.UpdateStatus)
		}
		if u := s.UpdateStatus; u != nil && u.State == swarm.UpdateStateUpdating {
			t.Fatalf("the update never ends: %+v", u)
		}
	})
}

func holdLaws(t *rapid.T, w *world, startFirst bool) {
	for _, sl := range slot.Group(w.View(), "web") {
		specs := map[uint64]int{}
		for _, task := range sl.Live() {
			if from := w.View().Task(task.Replaces); from != nil && from.Live() {
				if next := sl.Successor(from); next != task {
					t.Fatalf("slot %d: two tasks take over from %s:\n%v", sl.Number, from.ID, w.ps("web"))
				}
				continue
			}
			specs[task.SpecVersion]++
			if specs[task.SpecVersion] > 1 {
				t.Fatalf("slot %d has two live tasks of one spec:\n%v", sl.Number, w.ps("web"))
			}
		}
		if len(specs) > 1 && !startFirst {
			t.Fatalf("slot %d has two live tasks:\n%v", sl.Number, w.ps("web"))
		}
	}
}

func liveSlots(w *world) (n int) {
	for _, sl := range slot.Group(w.View(), "web") {
		if len(sl.Live()) > 0 {
			n++
		}
	}
	return n
}

func drawRunning(t *rapid.T, w *world) (*api.Task, bool) {
	var list []*api.Task
	for task := range w.View().Tasks() {
		if task.Status.State >= api.TaskAssigned && !task.Status.State.Terminal() {
			list = append(list, task)
		}
	}
	if len(list) == 0 {
		return nil, false
	}
	slices.SortFunc(list, func(a, b *api.Task) int { return slot.KeyOf(a).Compare(slot.KeyOf(b)) })
	return rapid.SampledFrom(list).Draw(t, "task"), true
}

// calmDown ends all failures and lets time pass until nothing is waited for.
func calmDown(w *world, nodes []string) {
	for _, n := range nodes {
		w.editNode(n, "ready")
		w.editNode(n, "active")
	}
	for range 20 {
		w.settle()
		w.now = w.now.Add(time.Minute)
	}
}
