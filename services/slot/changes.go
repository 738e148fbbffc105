package slot

import (
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Batch is how many tasks one command creates, removes or changes at most.
// More wait for the next command, so that no log entry grows without bounds.
const Batch = 1000

// Changes is what a reconciler asks for.
type Changes struct {
	Create []*api.Task // without IDs
	Desire []state.Desire
	Delete []api.TaskID
	Update *state.SetUpdateStatus
	// Put is the service as it should be, if it was not changed meanwhile.
	Put *api.Service
	// Wake is when to look again though nothing happens; zero is never.
	Wake time.Time
}

// Shut raises the desired state of a task.
func (c *Changes) Shut(t *api.Task, desired api.TaskState) {
	if t.Desired < desired {
		c.Desire = append(c.Desire, state.Desire{Task: t.ID, State: desired})
	}
}

// WakeAt asks to be woken at a time, unless it is to be earlier already.
func (c *Changes) WakeAt(at time.Time) {
	if c.Wake.IsZero() || at.Before(c.Wake) {
		c.Wake = at
	}
}

// Full reports whether there is no room for more in one command.
func (c *Changes) Full() bool { return len(c.Create)+len(c.Desire)+len(c.Delete) >= Batch }

// Empty reports whether there is nothing to propose.
func (c *Changes) Empty() bool {
	return len(c.Create)+len(c.Desire)+len(c.Delete) == 0 && c.Update == nil && c.Put == nil
}

// Ops makes the operations of one command; the new tasks get their IDs here.
// What goes is done before what comes, so that at no time a slot has two.
func (c *Changes) Ops(newID func() string) []state.Op {
	var ops []state.Op
	if len(c.Delete) > 0 {
		ops = append(ops, state.Op{DeleteTasks: c.Delete})
	}
	if len(c.Desire) > 0 {
		ops = append(ops, state.Op{DesireTasks: c.Desire})
	}
	if len(c.Create) > 0 {
		for _, t := range c.Create {
			t.ID = api.TaskID(newID())
		}
		ops = append(ops, state.Op{CreateTasks: c.Create})
	}
	if c.Update != nil {
		ops = append(ops, state.Op{SetUpdateStatus: c.Update})
	}
	if c.Put != nil {
		ops = append(ops, state.Op{PutService: c.Put})
	}
	return ops
}
