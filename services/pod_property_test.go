package services

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// pair is a service and two of sidecars, under random failures.
type pair struct {
	*world
	global bool
	want   int
}

// TestPodLaws drives a service and its sidecars through failures of tasks and
// nodes, scalings, updates of all of them, removals and changes of leader, and
// holds: a task has at most one live sidecar of each service, on its own node; and when the failures stop, every task that runs has all
// its sidecars at their newest spec, and no sidecar runs beside nothing.
func TestPodLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &pair{world: newWorld(), global: rapid.Bool().Draw(t, "global"), want: 3}
		nodes := []string{"a", "b", "c"}
		for _, n := range nodes {
			w.addNode(n)
		}
		version := 0
		app := []string{"replicas=3", "monitor=1s", "order=" + rapid.SampledFrom([]string{"stop-first", "start-first"}).Draw(t, "order")}
		if w.global {
			app[0] = "global"
		}
		w.putService("app", app)
		for _, name := range []string{"log", "proxy"} {
			w.putService(name, []string{"label." + setting.LabelPod + "=app", "monitor=1s", "on-failure=continue"})
		}
		t.Repeat(map[string]func(*rapid.T){
			"":       func(t *rapid.T) { w.holdPods(t) },
			"step":   func(*rapid.T) { w.step() },
			"place":  func(*rapid.T) { w.place() },
			"work":   func(*rapid.T) { w.work() },
			"settle": func(*rapid.T) { w.settle() },
			"wait":   func(t *rapid.T) { w.now = w.now.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "s")) * time.Second) },
			"end": func(t *rapid.T) {
				if task, ok := drawRunning(t, w.world); ok {
					w.report(task.ID, rapid.SampledFrom([]api.TaskState{api.TaskComplete, api.TaskFailed, api.TaskRejected}).Draw(t, "state"))
				}
			},
			"node": func(t *rapid.T) {
				w.editNode(rapid.SampledFrom(nodes).Draw(t, "node"), rapid.SampledFrom([]string{"down", "ready", "ready", "unknown", "drain", "pause", "active", "active"}).Draw(t, "what"))
			},
			"scale": func(t *rapid.T) {
				if w.want = rapid.IntRange(0, 5).Draw(t, "replicas"); !w.global && w.View().Service("app") != nil {
					w.putService("app", []string{fmt.Sprintf("replicas=%d", w.want)})
				}
			},
			"update": func(t *rapid.T) {
				version++
				if name := rapid.SampledFrom([]string{"app", "log", "proxy"}).Draw(t, "service"); w.View().Service(api.ServiceID(name)) != nil {
					w.putService(name, []string{fmt.Sprintf("version=%d", version)})
				}
			},
			"remove": func(t *rapid.T) {
				if w.View().Service("app") != nil {
					w.apply(state.Op{DeleteService: &state.DeleteService{ID: "app"}})
				} else if !w.left("app") { // its ID is its name here
					if !w.global {
						app[0] = fmt.Sprintf("replicas=%d", w.want)
					}
					w.putService("app", app)
				}
			},
			"leader": func(t *rapid.T) {
				w.do([]string{"leader", rapid.SampledFrom([]string{"24h", "-24h", "0s"}).Draw(t, "skew")})
			},
		})
		calmDown(w.world, nodes)
		w.holdPods(t)
		w.holdCalm(t)
	})
}

// left reports whether the service has tasks.
func (w *pair) left(id api.ServiceID) bool {
	for range w.View().ServiceTasks(id) {
		return true
	}
	return false
}

func (w *pair) holdPods(t *rapid.T) {
	for _, service := range []api.ServiceID{"log", "proxy"} {
		live := map[api.TaskID]int{}
		for s := range w.View().ServiceTasks(service) {
			if !s.Live() || s.PodOf == "" {
				continue
			}
			if live[s.PodOf]++; live[s.PodOf] > 1 {
				t.Fatalf("task %s has two live sidecars of %s:\n%s", s.PodOf, service, w.told())
			}
			if with := w.View().Task(s.PodOf); with != nil && with.NodeID != s.NodeID {
				t.Fatalf("sidecar %s is not where task %s is:\n%s", s.ID, with.ID, w.told())
			}
		}
	}
}

// holdCalm: every pod is whole, and nothing runs beside nothing.
func (w *pair) holdCalm(t *rapid.T) {
	running := 0
	for with := range w.View().ServiceTasks("app") {
		if !with.Live() || with.Status.State != api.TaskRunning {
			continue
		}
		running++
		for _, service := range []api.ServiceID{"log", "proxy"} {
			n := 0
			for s := range w.View().ServiceTasks(service) {
				if s.PodOf == with.ID && s.Live() && s.Status.State == api.TaskRunning && s.SpecVersion == w.View().Service(service).SpecVersion {
					n++
				}
			}
			if n != 1 {
				t.Fatalf("task %s has %d sidecars of %s in the end:\n%s", with.ID, n, service, w.told())
			}
		}
	}
	if want := map[bool]int{true: 3, false: w.want}[w.global]; w.View().Service("app") != nil && running != want {
		t.Fatalf("%d pods in the end, want %d:\n%s", running, want, w.told())
	}
	for s := range w.View().Tasks() {
		if with := w.View().Task(s.PodOf); s.PodOf != "" && s.Live() && (with == nil || !with.Live()) {
			t.Fatalf("sidecar %s outlives its pod:\n%s", s.ID, w.told())
		}
	}
}

func (w *pair) told() string {
	var lines []string
	for _, id := range []string{"app", "log", "proxy"} {
		for t := range w.View().ServiceTasks(api.ServiceID(id)) {
			lines = append(lines, fmt.Sprintf("%s %s on %s, pod %s: desired %s, %s, spec %d", place(t), t.ID, t.NodeID, t.PodOf, t.Desired, t.Status.State, t.SpecVersion))
		}
		if s := w.View().Service(api.ServiceID(id)); s != nil {
			lines = append(lines, fmt.Sprintf("%s %v", id, w.inspect(id)))
		}
	}
	return strings.Join(lines, "\n")
}
