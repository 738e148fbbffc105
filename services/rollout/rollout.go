package rollout

import (
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/restart"
	"github.com/swarmctl/swarmctl/services/slot"
)

// defaultMonitor is Docker's: for how long a new task is watched for failure.
const defaultMonitor = 5 * time.Second

// Step returns what the update of a service, whose slots are given, needs next,
// and when to look again: nothing, where all tasks are current.
func Step(v *state.View, s *api.Service, slots []slot.Slot, seen slot.Seen, now time.Time) slot.Changes {
	u := &update{view: v, service: s, seen: seen, now: now, cfg: settings(s)}
	for _, sl := range slots {
		u.classify(sl)
	}
	switch {
	case stopped(s):
		// What has begun beside an old task still takes its place: a slot would
		// have two tasks for as long as nobody looks.
		u.retireOld()
		return u.out
	case u.current() && !UnderWay(s):
		return slot.Changes{}
	case !UnderWay(s):
		u.report(swarm.UpdateStateUpdating, "update in progress", now)
	}
	if t := u.failure(); t != nil && u.cfg.FailureAction != swarm.UpdateFailureActionContinue {
		u.out = slot.Changes{}
		if u.cfg.FailureAction == swarm.UpdateFailureActionRollback && !rollingBack(s) && s.PreviousSpec != nil {
			u.rollBack(t)
		} else {
			u.pause(t)
		}
		return u.out
	}
	u.retireOld()
	u.replace()
	if u.current() && u.settled() {
		u.complete()
	}
	return u.out
}

// update is one step in the making.
type update struct {
	view    *state.View
	service *api.Service
	seen    slot.Seen
	now     time.Time
	cfg     swarm.UpdateConfig
	out     slot.Changes

	total   int
	old     []slot.Slot // run or finished an earlier spec, nothing newer in them
	overlap []slot.Slot // have tasks of both
	busy    int         // slots under way: their new task is not settled yet
	failed  []*api.Task // new tasks that ended while they were watched
	wait    time.Time   // until when the last new task is watched
}

// settings are those of the update, or of the rollback that is under way.
func settings(s *api.Service) swarm.UpdateConfig {
	cfg, given := swarm.UpdateConfig{Parallelism: 1}, s.Spec.UpdateConfig
	if rollingBack(s) {
		given = s.Spec.RollbackConfig
	}
	if given != nil {
		cfg = *given
	}
	if cfg.Monitor <= 0 {
		cfg.Monitor = defaultMonitor
	}
	return cfg
}

func rollingBack(s *api.Service) bool {
	return s.UpdateStatus != nil && s.UpdateStatus.State == swarm.UpdateStateRollbackStarted
}

// UnderWay reports whether the service says that it is being updated, or
// rolled back.
func UnderWay(s *api.Service) bool {
	return s.UpdateStatus != nil && (s.UpdateStatus.State == swarm.UpdateStateUpdating || rollingBack(s))
}

// stopped reports whether the update waits for the user: the API clears the
// status with the next change of the spec.
func stopped(s *api.Service) bool {
	return s.UpdateStatus != nil &&
		(s.UpdateStatus.State == swarm.UpdateStatePaused || s.UpdateStatus.State == swarm.UpdateStateRollbackPaused)
}

// classify counts one slot in.
func (u *update) classify(sl slot.Slot) {
	var now, before []*api.Task
	for _, t := range sl.Live() {
		if t.SpecVersion == u.service.SpecVersion {
			now = append(now, t)
		} else {
			before = append(before, t)
		}
	}
	finished := restart.Finished(u.view, sl)
	if len(now)+len(before) == 0 && finished == nil {
		return // a slot of the past
	}
	u.total++
	failing := u.watch(sl)
	switch {
	case len(now) == 0 && (len(before) > 0 || finished.SpecVersion != u.service.SpecVersion):
		u.old = append(u.old, sl)
	case len(now) > 0 && len(before) > 0:
		u.overlap = append(u.overlap, sl)
		u.busy++
	case failing && u.cfg.FailureAction == swarm.UpdateFailureActionContinue:
		// Restarted as any other task is; the update does not wait for it.
	case len(now) > 0 && !u.rested(now[len(now)-1]):
		u.busy++
	}
}

// watch looks for new tasks of a slot that ended within the monitor's time of
// their start, and notes until when the others are watched.
func (u *update) watch(sl slot.Slot) (failing bool) {
	if !UnderWay(u.service) {
		return false
	}
	for _, t := range sl.Tasks {
		if t.SpecVersion != u.service.SpecVersion || u.predates(t) {
			continue
		}
		switch {
		case u.bad(t):
			failing = true
			u.failed = append(u.failed, t)
		case t.Live() && t.Status.State == api.TaskRunning:
			if end := u.seen.Tasks[t.ID].Running.Add(u.cfg.Monitor); end.After(u.wait) {
				u.wait = end
			}
		}
	}
	return failing
}

// bad reports whether a task ended too early. One that is done with its work,
// where the policy takes that for success, did not.
func (u *update) bad(t *api.Task) bool {
	switch t.Status.State {
	case api.TaskFailed, api.TaskRejected:
	case api.TaskComplete:
		if !restart.Decide(u.service, t, 0).Restart {
			return false
		}
	default:
		return false
	}
	return u.seen.Ran(t.ID, u.now) < u.cfg.Monitor
}

// predates reports whether a task was there before the update began: a
// rollback finds tasks of its spec that failed in an earlier life.
func (u *update) predates(t *api.Task) bool {
	began := u.service.UpdateStatus.StartedAt
	return began != nil && t.Meta.CreatedAt.Before(*began)
}

// rested reports whether a new task runs and has done so for the update's
// delay: then its place in the batch is free.
func (u *update) rested(t *api.Task) bool {
	if t.Status.State != api.TaskRunning {
		return false
	}
	if !UnderWay(u.service) {
		return true
	}
	free := u.seen.Tasks[t.ID].Running.Add(u.cfg.Delay)
	if free.After(u.now) {
		u.out.WakeAt(free)
		return false
	}
	return true
}

// current reports whether no slot is left that runs an earlier spec.
func (u *update) current() bool { return len(u.old)+len(u.overlap) == 0 }

// settled reports whether every new task has been watched for long enough.
func (u *update) settled() bool {
	if u.busy > 0 {
		return false
	}
	if u.wait.After(u.now) {
		u.out.WakeAt(u.wait)
		return false
	}
	return true
}

// failure returns the task that is one too many.
func (u *update) failure() *api.Task {
	slots := map[slot.Key]bool{}
	for _, t := range u.failed {
		slots[slot.KeyOf(t)] = true
		if float32(len(slots)) > u.cfg.MaxFailureRatio*float32(u.total) {
			return t
		}
	}
	return nil
}

// retireOld stops the old tasks of slots whose new one runs.
func (u *update) retireOld() {
	for _, sl := range u.overlap {
		live := sl.Live()
		if !slices.ContainsFunc(live, func(t *api.Task) bool {
			return t.SpecVersion == u.service.SpecVersion && t.Status.State == api.TaskRunning
		}) {
			continue
		}
		for _, t := range live {
			if t.SpecVersion != u.service.SpecVersion {
				u.out.Shut(t, api.TaskShutdown)
			}
		}
	}
}

// replace begins with as many slots as the parallelism leaves room for: first
// those that serve nobody, they cost nothing.
func (u *update) replace() {
	slices.SortStableFunc(u.old, func(a, b slot.Slot) int { return serving(a) - serving(b) })
	for _, sl := range u.old {
		if u.cfg.Parallelism > 0 && u.busy >= int(u.cfg.Parallelism) || u.out.Full() {
			return
		}
		u.busy++
		u.replaceSlot(sl)
	}
}

func serving(sl slot.Slot) int {
	for _, t := range sl.Live() {
		if t.Status.State == api.TaskRunning {
			return 1
		}
	}
	return 0
}

// replaceSlot gives a slot its new task. Stop-first: the new one gets ready
// while the old one stops, and runs when that has ended (see restart.Due).
func (u *update) replaceSlot(sl slot.Slot) {
	if u.cfg.Order == swarm.UpdateOrderStartFirst && serving(sl) == 1 {
		u.out.Create = append(u.out.Create, sl.Task(u.service, u.service.SpecVersion, api.TaskRunning))
		return
	}
	desired := api.TaskRunning
	for _, t := range sl.Live() {
		u.out.Shut(t, api.TaskShutdown)
		if t.Status.State >= api.TaskAssigned && !slot.Down(u.view, t) {
			desired = api.TaskReady
		}
	}
	u.out.Create = append(u.out.Create, sl.Task(u.service, u.service.SpecVersion, desired))
}
