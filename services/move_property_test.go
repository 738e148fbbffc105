package services

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/services/slot"
)

// TestMovesLeaveNobodyUnserved drives drains, pauses, changes of leader
// and rebalances, and holds the laws: no decision leaves fewer slots serving, no
// more tasks are on their way than an update replaces at once, and when all is
// calm every replica runs where it may.
func TestMovesLeaveNobodyUnserved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		nodes := []string{"a", "b", "c", "d"}
		for _, n := range nodes {
			w.addNode(n)
			w.editNode(n, "label", "zone=x")
		}
		atOnce := rapid.IntRange(1, 3).Draw(t, "parallelism")
		w.putService("web", []string{"replicas=6", fmt.Sprintf("parallelism=%d", atOnce), "constraint=node.labels.zone:x"})
		w.settle()
		t.Repeat(map[string]func(*rapid.T){
			"step": func(t *rapid.T) {
				before := servingSlots(w)
				w.step()
				if now := servingSlots(w); now < before {
					t.Fatalf("%d slots serve, %d did before the step:\n%v", now, before, w.ps("web"))
				}
				if n := onTheirWay(w); n > atOnce {
					t.Fatalf("%d tasks are on their way:\n%v", n, w.ps("web"))
				}
			},
			"place": func(*rapid.T) { w.place() },
			"work":  func(*rapid.T) { w.work() },
			"node": func(t *rapid.T) {
				w.editNode(rapid.SampledFrom(nodes).Draw(t, "node"), rapid.SampledFrom([]string{"drain", "active", "pause"}).Draw(t, "what"))
			},
			"rebalance": func(*rapid.T) { w.do([]string{"rebalance", "web"}) },
			"leader":    func(*rapid.T) { w.do([]string{"leader", "0s"}) },
		})
		for _, n := range nodes {
			w.editNode(n, "active")
		}
		w.do([]string{"rebalance", "web"})
		w.settle()
		onNode := map[api.NodeID]int{}
		for task := range w.View().ServiceTasks("web") {
			if task.Live() && task.Status.State == api.TaskRunning {
				onNode[task.NodeID]++
			}
		}
		total := 0
		for _, n := range nodes {
			if has := onNode[api.NodeID(n)]; has < 1 || has > 2 {
				t.Fatalf("%d tasks on %s:\n%v", has, n, w.ps("web"))
			}
			total += onNode[api.NodeID(n)]
		}
		if total != 6 || w.View().Service("web").Rebalance.UnderWay() {
			t.Fatalf("%d of 6 run:\n%v", total, w.ps("web"))
		}
	})
}

func servingSlots(w *world) (n int) {
	for _, sl := range slot.Group(w.View(), "web") {
		for _, task := range sl.Live() {
			if task.Status.State == api.TaskRunning {
				n++
				break
			}
		}
	}
	return n
}

func onTheirWay(w *world) (n int) {
	for _, sl := range slot.Group(w.View(), "web") {
		for _, task := range sl.Live() {
			if next := sl.Successor(task); next != nil {
				n++
			}
		}
	}
	return n
}
