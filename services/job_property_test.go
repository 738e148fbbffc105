package services

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/services/jobs"
	"github.com/swarmctl/swarmctl/services/slot"
)

// jobWorld is a job in trouble, with what it has brought about so far.
type jobWorld struct {
	*world
	nodes  []string
	global bool
	atOnce int
	total  int
	// done are the slots of the current iteration that were done, each with how many
	// tasks it had been given by then.
	iteration uint64
	done      map[slot.Key]int
}

// TestJobLaws drives a job through random failures of tasks and nodes, scalings,
// new iterations and changes of leader, and holds the laws: no decision puts
// more tasks to work than may be at once; no slot has two tasks that are meant
// to run; a slot that is done is given no other task in that iteration; and
// when the failures stop, every slot is done and nothing is at work.
func TestJobLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &jobWorld{world: newWorld(), nodes: []string{"a", "b", "c", "d"}, atOnce: 2, total: 5, done: map[slot.Key]int{}}
		for _, n := range w.nodes {
			w.addNode(n)
		}
		w.global = rapid.Bool().Draw(t, "global")
		if w.global {
			w.putService("job", []string{"global-job", "delay=1s"})
		} else {
			w.putService("job", []string{"completions=5", "at-once=2", "delay=1s"})
		}
		version := 0
		t.Repeat(map[string]func(*rapid.T){
			"":      w.holdJobLaws,
			"step":  w.stepWithin,
			"place": func(*rapid.T) { w.place() },
			"work":  func(*rapid.T) { w.work() },
			"wait":  func(t *rapid.T) { w.now = w.now.Add(time.Duration(rapid.IntRange(1, 3).Draw(t, "s")) * time.Second) },
			"end": func(t *rapid.T) {
				if task, ok := drawRunning(t, w.world); ok {
					w.report(task.ID, rapid.SampledFrom([]api.TaskState{api.TaskComplete, api.TaskFailed, api.TaskRejected}).Draw(t, "state"))
				}
			},
			"node": func(t *rapid.T) {
				w.editNode(rapid.SampledFrom(w.nodes).Draw(t, "node"), rapid.SampledFrom([]string{"down", "ready", "unknown", "drain", "pause", "active"}).Draw(t, "what"))
			},
			"scale": func(t *rapid.T) {
				if !w.global {
					w.scaleJob(rapid.IntRange(0, 6).Draw(t, "total"), rapid.IntRange(1, 4).Draw(t, "at once"))
				}
			},
			"again": func(*rapid.T) {
				version++
				w.putService("job", []string{fmt.Sprintf("version=%d", version%3)})
			},
			"leader": func(t *rapid.T) {
				w.do([]string{"leader", rapid.SampledFrom([]string{"24h", "-24h", "0s"}).Draw(t, "skew")})
			},
		})
		w.finish()
		w.holdJobLaws(t)
		w.isDone(t)
	})
}

func (w *jobWorld) scaleJob(total, atOnce int) {
	w.total, w.atOnce = total, atOnce
	w.putService("job", []string{fmt.Sprintf("completions=%d", total), fmt.Sprintf("at-once=%d", atOnce)})
	for k := range w.done {
		if k.Number > total {
			delete(w.done, k) // what is scaled away is done anew should it come back
		}
	}
}

// atWork counts the tasks that may be at work, by slot.
func (w *jobWorld) atWork() (bySlot map[slot.Key]int, total int) {
	bySlot = map[slot.Key]int{}
	for t := range w.View().ServiceTasks("job") {
		if !t.Status.State.Terminal() && !slot.Down(w.View(), t) {
			bySlot[slot.KeyOf(t)]++
			total++
		}
	}
	return bySlot, total
}

func (w *jobWorld) stepWithin(t *rapid.T) {
	slotsBefore, before := w.atWork()
	w.step()
	slotsAfter, after := w.atWork()
	if !w.global && after > max(before, w.atOnce) {
		t.Fatalf("%d at work, %d may be:\n%v", after, w.atOnce, w.ps("job"))
	}
	for k, n := range slotsAfter {
		if n > max(slotsBefore[k], 1) {
			t.Fatalf("slot %v has %d at work:\n%v", k, n, w.ps("job"))
		}
	}
}

func (w *jobWorld) holdJobLaws(t *rapid.T) {
	s := w.View().Service("job")
	if s.JobIteration() != w.iteration {
		w.iteration = s.JobIteration()
		clear(w.done)
	}
	for _, sl := range slot.Group(w.View(), "job") {
		if live := sl.Live(); len(live) > 1 {
			t.Fatalf("slot %v has two tasks that are meant to run:\n%v", sl.Key, w.ps("job"))
		}
		given := 0
		for _, task := range sl.Tasks {
			if task.JobIteration == w.iteration {
				given++
			}
		}
		if before, ok := w.done[sl.Key]; ok && given > before {
			t.Fatalf("slot %v was done and is given another task:\n%v", sl.Key, w.ps("job"))
		}
		if o := jobs.Outcome(s, sl); o != nil && o.Status.State == api.TaskComplete && sl.Number <= w.total {
			w.done[sl.Key] = given
		}
	}
}

// finish ends all failures and lets every task complete.
func (w *jobWorld) finish() {
	for _, n := range w.nodes {
		w.editNode(n, "ready")
		w.editNode(n, "active")
	}
	for range 20 {
		w.settle()
		for t := range w.View().ServiceTasks("job") {
			if t.Live() && t.Status.State == api.TaskRunning {
				w.report(t.ID, api.TaskComplete)
			}
		}
		w.now = w.now.Add(time.Minute)
	}
}

func (w *jobWorld) isDone(t *rapid.T) {
	want := w.total
	if w.global {
		want = len(w.nodes)
	}
	s, done := w.View().Service("job"), 0
	for _, sl := range slot.Group(w.View(), "job") {
		if o := jobs.Outcome(s, sl); o != nil && o.Status.State == api.TaskComplete {
			done++
		}
	}
	if _, busy := w.atWork(); done != want || busy > 0 {
		t.Fatalf("%d slots done of %d, %d at work:\n%v", done, want, busy, w.ps("job"))
	}
}
