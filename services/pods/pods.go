package pods

import (
	"slices"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/global"
	"github.com/swarmctl/swarmctl/services/slot"
)

// Reconcile returns what brings a service of sidecars, whose slots are given,
// closer to one task a pod. Where there is no service that they could belong to,
// one task that is never placed says so.
func Reconcile(v *state.View, s *api.Service, slots []slot.Slot, seen slot.Seen, now time.Time) slot.Changes {
	var c slot.Changes
	explain(&c, v, s, slots)
	for _, sl := range all(v, s, slots) {
		if c.Full() {
			break
		}
		global.Fill(&c, v, s, sl, Place(v, sl), seen, now)
	}
	return c
}

// Place says what a pod is for its sidecars. While the task that they live with
// stops they go on, as it may need them to its end, but nothing follows them; and
// on a node that is out of reach nothing can be started.
func Place(v *state.View, sl slot.Slot) global.Place {
	with := v.Task(sl.Pod)
	switch {
	case with == nil || with.Status.State.Terminal():
		return global.Unwanted
	case !with.Wanted() || with.Status.State < api.TaskAssigned:
		return global.Tolerated
	}
	if n := v.Node(with.NodeID); n == nil || n.Status.State != api.NodeReady {
		return global.Tolerated
	}
	return global.Wanted
}

// Open are those of the slots whose pod has not ended: what an update is about.
func Open(v *state.View, slots []slot.Slot) (open []slot.Slot) {
	for _, sl := range slots {
		if Place(v, sl) != global.Unwanted {
			open = append(open, sl)
		}
	}
	return open
}

// all are the pods that have, or had, a task of the service, and those that should.
func all(v *state.View, s *api.Service, slots []slot.Slot) (pods []slot.Slot) {
	known := map[api.TaskID]bool{}
	for _, sl := range slots {
		if sl.Pod != "" {
			known[sl.Pod] = true
			pods = append(pods, sl)
		}
	}
	of, err := v.PodService(&s.Spec)
	if err != nil || of == nil {
		return pods
	}
	for t := range v.ServiceTasks(of.ID) {
		sl := slot.Slot{Key: slot.Key{Number: t.Slot, Node: t.NodeID, Pod: t.ID}}
		if !known[t.ID] && Place(v, sl) == global.Wanted {
			pods = append(pods, sl)
		}
	}
	slices.SortFunc(pods, func(a, b slot.Slot) int { return a.Compare(b.Key) })
	return pods
}

// explain keeps a task that says why there are no pods, for as long as there can
// be none. It is in state New, which no scheduler looks at.
func explain(c *slot.Changes, v *state.View, s *api.Service, slots []slot.Slot) {
	_, err := v.PodService(&s.Spec)
	said := false
	for _, sl := range slots {
		if sl.Pod != "" {
			continue
		}
		for _, t := range sl.Tasks {
			if err != nil && t.Live() && t.Status.Err == err.Error() && t.SpecVersion == s.SpecVersion && !said {
				said = true
				continue
			}
			c.Delete = append(c.Delete, t.ID)
		}
	}
	if err == nil || said {
		return
	}
	t := slot.Key{Number: 1}.Task(s, s.SpecVersion, api.TaskRunning)
	t.Status = api.TaskStatus{State: api.TaskNew, Message: "waits for its pod", Err: err.Error()}
	c.Create = append(c.Create, t)
}
