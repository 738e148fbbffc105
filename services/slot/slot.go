package slot

import (
	"cmp"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Key names a slot: a number from 1 in a replicated service, a node in a global
// one. A slot of sidecars is a pod: it has the task that they live with, its node,
// and its number where that has one.
type Key struct {
	Number int
	Node   api.NodeID
	Pod    api.TaskID
}

// KeyOf is the slot that a task fills.
func KeyOf(t *api.Task) Key {
	switch {
	case t.PodOf != "":
		return Key{Number: t.Slot, Node: t.NodeID, Pod: t.PodOf}
	case t.Slot > 0:
		return Key{Number: t.Slot}
	}
	return Key{Node: t.NodeID}
}

// Compare orders slots by number, then by node, then by pod.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Number, o.Number), cmp.Compare(k.Node, o.Node), cmp.Compare(k.Pod, o.Pod))
}

// Task returns a new task that fills the slot, of the spec version (see Version)
// and without an ID: who proposes it gives it one.
func (k Key) Task(s *api.Service, version uint64, desired api.TaskState) *api.Task {
	return &api.Task{
		ServiceID: s.ID, Slot: k.Number, NodeID: k.Node, PodOf: k.Pod, SpecVersion: version, JobIteration: s.JobIteration(), Desired: desired,
		Status: api.TaskStatus{State: api.TaskPending, Message: "waits for a node"},
	}
}

// Slot is one place of a service with the tasks, present and past, that fill it.
type Slot struct {
	Key
	// Tasks are ordered by their last change: clocks of leaders may disagree
	// about when a task was created, the log does not.
	Tasks []*api.Task
}

// Group returns the slots of a service in their order.
func Group(v *state.View, id api.ServiceID) []Slot {
	byKey := map[Key][]*api.Task{}
	for t := range v.ServiceTasks(id) {
		byKey[KeyOf(t)] = append(byKey[KeyOf(t)], t)
	}
	slots := make([]Slot, 0, len(byKey))
	for k, tasks := range byKey {
		slices.SortFunc(tasks, func(a, b *api.Task) int {
			return cmp.Or(cmp.Compare(a.Meta.Version.Index, b.Meta.Version.Index), cmp.Compare(a.ID, b.ID))
		})
		slots = append(slots, Slot{Key: k, Tasks: tasks})
	}
	slices.SortFunc(slots, func(a, b Slot) int { return a.Compare(b.Key) })
	return slots
}

// Live returns the tasks that are meant to run and have not ended.
func (s Slot) Live() []*api.Task {
	var live []*api.Task
	for _, t := range s.Tasks {
		if t.Live() {
			live = append(live, t)
		}
	}
	return live
}

// Down reports whether the task's node is out of reach. Whether nothing that it
// does is waited for any more, Lost says.
func Down(v *state.View, t *api.Task) bool {
	if t.NodeID == "" {
		return false
	}
	n := v.Node(t.NodeID)
	return n == nil || n.Status.State == api.NodeDown || n.Status.State == api.NodeDisconnected
}

// Drained reports whether the task's node is to be emptied.
func Drained(v *state.View, t *api.Task) bool {
	n := v.Node(t.NodeID)
	return n != nil && n.Spec.Availability == swarm.NodeAvailabilityDrain
}

// Stopping reports whether the slot has a task that is to stop and has not yet;
// one that is lost is not waited for. again is when to look again though nothing
// happens; zero is never.
func (s Slot) Stopping(v *state.View, seen Seen, now time.Time) (stopping bool, again time.Time) {
	for _, t := range s.Tasks {
		if t.Wanted() || t.Status.State.Terminal() {
			continue
		}
		if lost, at := Lost(v, t, seen, now); !lost {
			return true, at
		}
	}
	return false, time.Time{}
}

// EndedByItself reports whether a task has ended that was meant to run, and
// nobody has said yet what follows. A task that is complete where it was meant
// to be has nothing to follow it.
func EndedByItself(t *api.Task) bool {
	return t.Wanted() && t.Status.State.Terminal() && t.Status.State != t.Desired
}
