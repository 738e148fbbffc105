package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/restart"
	"github.com/swarmctl/swarmctl/services/slot"
)

// aim says which version every slot is to run while a canary stands: as many as
// its share have the new one, the others the old one, also those that have more
// than enough, and those that an update left behind that was not finished.
func (u *update) aim(slots []slot.Slot, away map[slot.Key]bool) {
	s := u.service
	if !s.Canary.Stands() {
		return
	}
	u.aims = make(map[slot.Key]uint64, len(slots))
	var list []slot.Slot
	for _, sl := range slots {
		u.aims[sl.Key] = s.PreviousSpecVersion
		if !away[sl.Key] && there(u.view, sl) {
			list = append(list, sl)
		}
	}
	if s.Canary.BlueGreen {
		return
	}
	slices.SortStableFunc(list, func(a, b slot.Slot) int { return cmp.Compare(u.fitness(a), u.fitness(b)) })
	for _, sl := range list[:u.canaries(len(list))] {
		u.aims[sl.Key] = s.SpecVersion
	}
}

// canaries is how many of so many slots are to run the new version.
func (u *update) canaries(total int) int {
	return int(setting.LifecycleOf(u.service.Spec.Labels).Canary.Of(uint64(total)))
}

// fitness orders slots by how well they do for a canary: those that are one;
// where there are too many, those first whose old task is not back yet; of the
// others those that are missed least.
func (u *update) fitness(sl slot.Slot) int {
	isNew := func(t *api.Task) bool { return t.SpecVersion == u.service.SpecVersion }
	finished := restart.Finished(u.view, sl)
	if finished != nil && isNew(finished) || slices.ContainsFunc(sl.Tasks, func(t *api.Task) bool { return isNew(t) && t.Wanted() }) {
		switch {
		case slices.ContainsFunc(sl.Live(), func(t *api.Task) bool { return !isNew(t) }):
			return 2
		case !u.serves(sl):
			return 1
		}
		return 0
	}
	return 3 + u.worth(sl)
}

// goesBack reports whether a slot that is to run the old version is on its way
// back to it, rather than at home and restarted: it had another one, and nothing
// has failed since.
func (u *update) goesBack(sl slot.Slot, now []*api.Task) bool {
	aim := u.aimOf(sl)
	return len(now) > 0 && now[len(now)-1].Restarts == 0 &&
		slices.ContainsFunc(sl.Tasks, func(t *api.Task) bool { return t.SpecVersion != aim })
}

// pair counts in a slot of a blue-green update, which runs both versions.
func (u *update) pair(sl slot.Slot, failing bool) {
	u.share++
	green, blue := u.lane(sl, u.service.SpecVersion), u.lane(sl, u.service.PreviousSpecVersion)
	if !there(u.view, blue) {
		u.single = append(u.single, sl)
	}
	if _, left := u.sort(sl); len(left) > 0 {
		u.overlap = append(u.overlap, sl)
	}
	switch {
	case !there(u.view, green):
		u.old = append(u.old, sl)
	case failing && u.cfg.FailureAction == swarm.UpdateFailureActionContinue, restart.Finished(u.view, green) != nil:
	case !u.rested(green.Live()):
		u.underWay(sl, green.Live())
	}
}

// lane is a slot with those of its tasks that run a version.
func (u *update) lane(sl slot.Slot, version uint64) slot.Slot {
	lane := slot.Slot{Key: sl.Key}
	for _, t := range sl.Tasks {
		if t.SpecVersion == version {
			lane.Tasks = append(lane.Tasks, t)
		}
	}
	return lane
}

// add starts a task of a version beside what the slot has.
func (u *update) add(sl slot.Slot, version uint64) {
	desired := api.TaskRunning
	if stopping, _ := u.lane(sl, version).Stopping(u.view, u.seen, u.now); stopping {
		desired = api.TaskReady
	}
	u.out.Create = append(u.out.Create, sl.Task(u.service, version, desired))
}

// hold says when the canary is in its place, and keeps it there until the user
// speaks, or until its time has come.
func (u *update) hold() {
	if !waits(u.service) {
		if u.current() && u.settled() {
			u.enter(api.CanaryHeld, swarm.UpdateStatePaused, u.waiting(api.CanaryHeld), u.service.Hidden...)
		}
		return
	}
	if at := u.promotesAt(); !at.IsZero() {
		if !at.After(u.now) {
			u.promote()
			return
		}
		u.out.WakeAt(at)
	}
	message := u.waiting(u.service.Canary.Phase)
	if was := u.service.UpdateStatus; was == nil || was.State != swarm.UpdateStatePaused || was.Message != message {
		u.end(swarm.UpdateStatePaused, message, nil)
	}
}

// promotesAt is when the canary is promoted by itself: when it has been in its
// phase for as long as was asked for, and no task of it has failed; where
// failures are taken for nothing, when the last one is as long ago. Zero: not
// as things are.
func (u *update) promotesAt() time.Time {
	after := setting.LifecycleOf(u.service.Spec.Labels).PromoteAfter
	goesOn := u.cfg.FailureAction == swarm.UpdateFailureActionContinue
	if after == 0 || !u.current() || !u.settled() || len(u.failed) > 0 && !goesOn {
		return time.Time{}
	}
	since := u.seen.Phase(u.service, u.now)
	for t := range u.view.ServiceTasks(u.service.ID) {
		switch {
		case !t.Live() || t.SpecVersion != u.service.SpecVersion:
		case !running(t):
			return time.Time{}
		case t.Restarts > 0 && u.seen.Tasks[t.ID].Running.After(since):
			since = u.seen.Tasks[t.ID].Running
		}
	}
	return since.Add(after)
}

// promote does by itself what state.Promoted does at the user's word.
func (u *update) promote() {
	s := u.service
	if slot.Both(s) && s.Canary.Phase == api.CanaryHeld {
		u.enter(api.CanarySwitched, swarm.UpdateStatePaused, u.waiting(api.CanarySwitched), s.PreviousSpecVersion)
		return
	}
	message := fmt.Sprintf("canary promoted: no failure for %s", setting.LifecycleOf(s.Spec.Labels).PromoteAfter)
	u.enter(api.CanaryPromoted, swarm.UpdateStateUpdating, message, s.Hidden...)
}

// enter brings the canary into a phase.
func (u *update) enter(phase api.CanaryPhase, s swarm.UpdateState, message string, hidden ...uint64) {
	u.end(s, message, nil)
	u.out.Update.Canary = u.canary(phase, hidden...)
}

func (u *update) canary(phase api.CanaryPhase, hidden ...uint64) *state.CanaryChange {
	return &state.CanaryChange{SpecVersion: u.service.SpecVersion, Phase: phase, Hidden: hidden}
}

// hiddenAfterRollback are the versions that get no connections while the update
// is rolled back. What a blue-green update has refused gets none until its last
// task has ended; once such an update is confirmed, whatever runs serves.
func (u *update) hiddenAfterRollback() (hidden []uint64) {
	for _, version := range u.service.Hidden {
		if version != u.service.PreviousSpecVersion && version != u.service.SpecVersion {
			hidden = append(hidden, version)
		}
	}
	if slot.Both(u.service) {
		hidden = append(hidden, u.service.SpecVersion)
	}
	return hidden
}

// waiting is what a canary says that waits in a phase for the user's word.
func (u *update) waiting(phase api.CanaryPhase) string {
	name := u.service.Name()
	where := fmt.Sprintf("%d of %d replicas run the new version", u.share, u.total)
	switch {
	case phase == api.CanarySwitched:
		where = "the new version gets the connections, the old one is kept"
	case slot.Both(u.service):
		where = fmt.Sprintf("all %d replicas run the new version too, and it gets no connections", u.total)
	}
	if waits(u.service) && len(u.failed) > 0 {
		t := u.failed[0]
		where += fmt.Sprintf("; a task of %s.%s has failed", name, api.Place(&u.service.Spec, t))
		if u.cfg.FailureAction != swarm.UpdateFailureActionContinue && setting.LifecycleOf(u.service.Spec.Labels).PromoteAfter > 0 {
			where += ", so it is not promoted by itself"
		}
	}
	return fmt.Sprintf("canary: %s: `swarmctl service promote %s` or `swarmctl service rollback %s`", where, name, name)
}
