package worker

import (
	"time"

	"github.com/swarmctl/swarmctl/api"
)

// drainPatience is how long a task that serves runs on after it was told to
// stop, if the managers do not say that every node has taken it out of its
// balancers. It is longer than
// it takes to find that a node is gone, which is not waited for then: so it is for
// nodes that are slow.
const drainPatience = 5 * time.Second

// drain holds a task that the assignment of an index is the first to stop,
// until the balancers of all nodes have let go of it or have had their time. It
// is decide that says whether the task has anything to wait for.
func (r *runner) drain(t *task, index uint64) {
	if t.stopping || t.desired() < api.TaskShutdown {
		return
	}
	t.stopping, t.stopAt = true, index
	if len(t.assigned.Networks) == 0 || index <= r.cleared {
		return
	}
	t.held = true
	r.held[t] = struct{}{}
	time.AfterFunc(drainPatience, func() {
		r.post(func() {
			if t.held && t.status.State == api.TaskRunning {
				r.log.Warn("a task is stopped that some node's balancers may still send to: no manager has said that all have let go of it", "task", t.id, "after", drainPatience)
			}
			r.release(t)
		})
	})
}

// clear takes the managers' word that every node has applied the networks'
// state up to an index.
func (r *runner) clear(index uint64) {
	r.cleared = max(r.cleared, index)
	for t := range r.held {
		if t.stopAt <= r.cleared {
			r.release(t)
		}
	}
}

func (r *runner) release(t *task) {
	if t.held {
		t.held = false
		delete(r.held, t)
		r.look(t)
	}
}
