package history

import (
	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/jobs"
	"github.com/swarmctl/swarmctl/services/restart"
	"github.com/swarmctl/swarmctl/services/slot"
)

// defaultLimit is how many tasks a slot keeps, the current one included, where
// the cluster's spec does not say.
const defaultLimit = 5

// Limit is the cluster's limit; negative keeps everything.
func Limit(c *api.Cluster) int {
	if c == nil || c.Spec.Orchestration.TaskHistoryRetentionLimit == nil {
		return defaultLimit
	}
	return int(*c.Spec.Orchestration.TaskHistoryRetentionLimit)
}

// Reap returns the tasks of a service, which may be gone itself, that are to
// leave the store. A task on a node that is down stays until the node has said
// that it ended, or is removed: its container may still run there.
func Reap(v *state.View, id api.ServiceID, slots []slot.Slot) slot.Changes {
	var c slot.Changes
	limit, service := Limit(v.Cluster()), v.Service(id)
	for _, sl := range slots {
		if c.Full() {
			break
		}
		c.Delete = append(c.Delete, reapSlot(v, service, sl, limit)...)
	}
	return c
}

func reapSlot(v *state.View, service *api.Service, sl slot.Slot, limit int) (ids []api.TaskID) {
	gone := service == nil || sl.Number == 0 && v.Node(sl.Node) == nil
	if sl.Pod != "" {
		with := v.Task(sl.Pod)
		if gone = service == nil || with == nil; !gone && with.Status.State.Terminal() && limit > 0 {
			limit = 1 // one for each that its own history has kept
		}
	}
	holder, last := holderOf(v, service, sl), lastAttempts(sl)
	kept := len(sl.Tasks)
	for _, t := range sl.Tasks { // the oldest first
		if !t.Status.State.Terminal() || slot.EndedByItself(t) {
			continue
		}
		surplus := limit >= 0 && kept > limit && t != holder && last[t.Replaces] != t
		if gone || t.Desired == api.TaskRemove || surplus {
			ids = append(ids, t.ID)
			kept--
		}
	}
	return ids
}

// lastAttempts are, by the live task that they were to take over from, the
// tasks that tried last: without them they would be tried anew for ever.
func lastAttempts(sl slot.Slot) map[api.TaskID]*api.Task {
	var last map[api.TaskID]*api.Task
	for _, from := range sl.Live() {
		for _, t := range sl.Tasks {
			if t.Replaces == from.ID {
				if last == nil {
					last = map[api.TaskID]*api.Task{}
				}
				last[from.ID] = t
			}
		}
	}
	return last
}

// holderOf is the task without which the slot would be filled anew.
func holderOf(v *state.View, service *api.Service, sl slot.Slot) *api.Task {
	if service != nil && service.IsJob() {
		return jobs.Outcome(service, sl)
	}
	return restart.Finished(v, sl)
}
