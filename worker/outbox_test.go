package worker

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmctl/swarmctl/api"
)

func TestOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		put := func(id api.TaskID, s api.TaskState, linger bool) { o.put(id, &api.TaskStatus{State: s}, linger) }
		awake := func() bool {
			select {
			case <-o.wake:
				return true
			default:
				return false
			}
		}
		put("a", api.TaskPreparing, true)
		if awake() {
			t.Error("a passing state does not linger")
		}
		time.Sleep(lingerTime)
		synctest.Wait()
		if !awake() {
			t.Error("a passing state lingers for ever")
		}
		put("a", api.TaskRunning, false)
		first := o.next()
		if len(first.Statuses) != 1 || api.TaskState(first.Statuses[0].State) != api.TaskRunning {
			t.Errorf("batch %v, want the latest state of one task", first)
		}
		put("a", api.TaskFailed, false)
		put("b", api.TaskRunning, false)
		if o.next() != nil {
			t.Error("two batches are under way")
		}
		o.acked(first.Seq + 7)
		if o.next() != nil {
			t.Error("a strange acknowledgement ended a batch")
		}
		o.acked(first.Seq)
		second := o.next()
		if len(second.Statuses) != 2 {
			t.Errorf("batch %v, want both tasks", second)
		}
		put("b", api.TaskFailed, false)
		o.reset() // a new session
		third := o.next()
		if len(third.Statuses) != 2 {
			t.Errorf("batch %v, want what was not acknowledged", third)
		}
		for _, s := range third.Statuses {
			if api.TaskState(s.State) != api.TaskFailed {
				t.Errorf("%v is not the latest", s)
			}
		}
	})
}

// That the tasks are settled is said with the last of what waits, and not of the
// session before.
func TestOutboxSettles(t *testing.T) {
	o := newOutbox()
	o.settle()
	for i := range maxBatch + 1 {
		o.put(api.TaskID(strconv.Itoa(i)), &api.TaskStatus{State: api.TaskFailed}, false)
	}
	first := o.next()
	o.acked(first.Seq)
	if last := o.next(); first.Settled || !last.Settled || len(last.Statuses) != 1 {
		t.Errorf("settled with the first batch: %t, with the last: %t", first.Settled, last.Settled)
	}
	o.settle()
	o.reset()
	if again := o.next(); again.Settled {
		t.Error("settled before the new session's set of tasks")
	}
}
