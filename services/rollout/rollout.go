package rollout

import (
	"cmp"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/global"
	"github.com/swarmctl/swarmctl/services/pods"
	"github.com/swarmctl/swarmctl/services/restart"
	"github.com/swarmctl/swarmctl/services/slot"
)

// Step returns what the update of a service, whose slots are given, needs next,
// and when to look again: nothing, where all tasks are current. It comes after
// Fails had nothing to say, and after the number of tasks was right.
func Step(v *state.View, s *api.Service, slots []slot.Slot, seen slot.Seen, now time.Time) slot.Changes {
	u := look(v, s, slots, seen, now)
	switch {
	case Stopped(s):
		// What has begun beside an old task still takes its place: a slot would
		// have two tasks for as long as nobody looks.
		u.out = slot.Changes{}
		u.retireOld()
		return u.out
	case u.current() && !UnderWay(s) && s.Canary == nil && len(s.Hidden) == 0:
		return slot.Changes{}
	case !UnderWay(s):
		u.begin()
	}
	u.retireOld()
	u.replace()
	u.tellHeld()
	switch {
	case s.Canary.Stands():
		u.hold()
	case u.current() && u.settled():
		u.complete()
	}
	return u.out
}

// Fails returns how an update ends that has failed: it is paused, or rolled
// back. It asks for nothing where the update is well, or none is under way. It
// is asked before anything else is decided: what follows a task that failed is
// then of the spec that is gone back to, and no broken one is started in between.
func Fails(v *state.View, s *api.Service, slots []slot.Slot, seen slot.Seen, now time.Time) slot.Changes {
	if !UnderWay(s) {
		return slot.Changes{}
	}
	u := look(v, s, slots, seen, now)
	why := u.failure()
	u.out = slot.Changes{}
	switch {
	case why == "":
	case waits(s) && u.cfg.FailureAction != swarm.UpdateFailureActionRollback:
		// Nothing is under way that could be stopped; hold says it.
	case u.cfg.FailureAction == swarm.UpdateFailureActionRollback && !rollingBack(s) && s.PreviousSpec != nil:
		u.rollBack(why)
	default:
		u.pause(why)
	}
	return u.out
}

// Busy is in how many slots the update of a service has a task under way: what
// else is moved meanwhile comes on top of that. A canary that waits has none: if
// it fails again and again, a drain is not to wait for it until its deadline.
func Busy(v *state.View, s *api.Service, slots []slot.Slot, seen slot.Seen, now time.Time) int {
	if !moves(s) {
		return 0
	}
	return look(v, s, slots, seen, now).busy
}

// update is one step in the making.
type update struct {
	view    *state.View
	service *api.Service
	seen    slot.Seen
	now     time.Time
	cfg     swarm.UpdateConfig
	out     slot.Changes

	trials  map[uint64]time.Duration // for how long tasks of a version must run to count
	aims    map[slot.Key]uint64      // the spec version that a slot is to run; nil: the service's
	total   int                      // slots that the update can get at
	share   int                      // of them those that are to run the service's version
	old     []slot.Slot              // run or finished another version than they are to run, and have nothing else
	overlap []slot.Slot              // have tasks of both
	single  []slot.Slot              // of a blue-green update: lack their old task
	busy    int                      // slots under way: their new task is not settled yet
	open    int                      // of these, those that the update is not done without
	apart   int                      // slots of nodes that are down or paused, with an earlier spec: nobody waits for them
	silent  []*api.Task              // in such slots, get no connections and will get none
	failed  []*api.Task              // new tasks that ended while they were watched
	wait    time.Time                // until when the last new task is watched
	stalled []stall                  // new tasks that do not run yet
	waits   string                   // for which other services, and what: nothing that serves is replaced meanwhile
	held    bool                     // a slot is not replaced because of that
	last    time.Time                // the last progress: a new task came to run, or the update, or its phase, was seen to begin
}

// look counts in what is there.
func look(v *state.View, s *api.Service, slots []slot.Slot, seen slot.Seen, now time.Time) *update {
	u := &update{view: v, service: s, seen: seen, now: now, cfg: settings(s), last: seen.Update(s, now)}
	if at := seen.Updates[s.ID].PhaseSince; at.After(u.last) {
		u.last = at
	}
	u.waits = state.Unmet(v, s)
	if at := seen.Held[s.ID].Last; at.After(u.last) {
		u.last = at
	}
	away := u.away(slots)
	u.aim(slots, away)
	for _, sl := range slots {
		if away[sl.Key] {
			u.passOver(sl)
		} else {
			u.classify(sl)
		}
	}
	if at := u.deadline(); !at.IsZero() {
		u.out.WakeAt(at)
	}
	return u
}

// away are the slots of a global service, and the pods of sidecars, that nothing
// new can be started in, because their nodes are down or paused, or the pod ends.
// They keep what they have, and get the new version when the node is back.
func (u *update) away(slots []slot.Slot) map[slot.Key]bool {
	away := map[slot.Key]bool{}
	switch {
	case setting.PodOf(u.service.Spec.Labels) != "":
		for _, sl := range slots {
			away[sl.Key] = pods.Place(u.view, sl) != global.Wanted
		}
		return away
	case u.service.Spec.Mode.Global == nil:
		return nil
	}
	for sl, place := range global.Places(u.view, u.service, slots) {
		if place != global.Wanted {
			away[sl.Key] = true
		}
	}
	return away
}

// passOver counts in a slot that is away. Where its new task runs already, it
// takes over all the same; and what gets no connections goes before the update
// is done with it, or it would get them then.
func (u *update) passOver(sl slot.Slot) {
	u.watch(sl)
	now, before := u.sort(sl)
	switch {
	case len(before) == 0:
	case slices.ContainsFunc(now, u.inReach):
		u.overlap = append(u.overlap, sl)
	default:
		u.apart++
		for _, t := range before {
			if u.service.Hides(t.SpecVersion) && !slot.Both(u.service) {
				u.silent = append(u.silent, t)
			}
		}
	}
}

// aimOf is the spec version that a slot is to run. Of a blue-green update every
// slot runs two: this is the older one.
func (u *update) aimOf(sl slot.Slot) uint64 {
	if version, ok := u.aims[sl.Key]; ok {
		return version
	}
	return u.service.SpecVersion
}

// sort parts the live tasks of a slot into those that it should have and others.
func (u *update) sort(sl slot.Slot) (now, before []*api.Task) {
	aim := u.aimOf(sl)
	for _, t := range sl.Live() {
		switch {
		case t.SpecVersion == aim:
			now = append(now, t)
		case !slot.Both(u.service) || t.SpecVersion != u.service.SpecVersion:
			before = append(before, t)
		}
	}
	return now, before
}

// classify counts one slot in.
func (u *update) classify(sl slot.Slot) {
	if !there(u.view, sl) {
		return
	}
	u.total++
	failing := u.watch(sl)
	if slot.Both(u.service) {
		u.pair(sl, failing)
		return
	}
	now, before := u.sort(sl)
	aim, finished := u.aimOf(sl), restart.Finished(u.view, sl)
	if aim == u.service.SpecVersion {
		u.share++
	}
	switch {
	case len(now) > 0 && len(before) > 0:
		u.overlap = append(u.overlap, sl)
		u.underWay(sl, now)
	case len(before) > 0 || finished != nil && finished.SpecVersion != aim:
		u.old = append(u.old, sl)
	case failing && u.cfg.FailureAction == swarm.UpdateFailureActionContinue:
		// Restarted as any other task is; the update does not wait for it.
	case aim != u.service.SpecVersion && !u.goesBack(sl, now):
		// At home, and restarted as any other task is.
	case finished == nil && !u.rested(now):
		u.underWay(sl, now)
	}
}

// there reports whether a slot counts: something runs in it or has to, or has
// ended and wants no successor. What ended and has none yet is waited for as if
// it ran.
func there(v *state.View, sl slot.Slot) bool {
	return len(sl.Live()) > 0 || slices.ContainsFunc(sl.Tasks, slot.EndedByItself) || restart.Finished(v, sl) != nil
}

// underWay counts in a slot whose task, of those given, is not settled yet.
func (u *update) underWay(sl slot.Slot, now []*api.Task) {
	u.busy++
	if u.aimOf(sl) == u.service.SpecVersion || slot.Both(u.service) {
		u.open++
	}
	u.expect(sl, now)
}

// watch looks for new tasks of a slot that ended within the monitor's time of
// their start, and notes until when the others are watched.
func (u *update) watch(sl slot.Slot) (failing bool) {
	if !UnderWay(u.service) {
		return false
	}
	waits := waits(u.service)
	for _, t := range sl.Tasks {
		if t.SpecVersion != u.service.SpecVersion || u.predates(t) {
			continue
		}
		if ran := u.seen.Tasks[t.ID].Running; ran.After(u.last) {
			u.last = ran
		}
		switch {
		case u.bad(t):
			failing = true
			u.failed = append(u.failed, t)
		case waits && t.Live() && t.Restarts > 0: // it follows one that history has forgotten
			failing = true
			u.failed = append(u.failed, t)
		case t.Live() && running(t):
			if end := u.seen.Tasks[t.ID].Running.Add(u.cfg.Monitor); end.After(u.wait) {
				u.wait = end
			}
		}
	}
	return failing
}

// bad reports whether a task ended too early; for a canary that waits it always is. One that is done with its work,
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
	return waits(u.service) || u.seen.Ran(t.ID, u.now) < u.cfg.Monitor
}

// predates reports whether a task was there before the update began: a
// rollback finds tasks of its spec that failed in an earlier life. What failed
// before a canary was promoted did not keep the user from it.
func (u *update) predates(t *api.Task) bool {
	s := u.service
	if c := s.Canary; c != nil && !c.Stands() && t.Meta.CreatedAt.Before(c.Since) {
		return true
	}
	return s.UpdateStatus != nil && s.UpdateStatus.StartedAt != nil && t.Meta.CreatedAt.Before(*s.UpdateStatus.StartedAt)
}

// rested reports whether a slot's new task runs and has done so for the
// update's delay, and for as long as its version is on trial: then its place in
// the batch is free. Of several, which is a task being moved to another node, one
// is enough.
func (u *update) rested(tasks []*api.Task) bool {
	var free time.Time
	for _, t := range tasks {
		if !running(t) {
			continue
		}
		at := u.seen.Tasks[t.ID].Running.Add(max(u.cfg.Delay, u.trialOf(t.SpecVersion)))
		if free.IsZero() || at.Before(free) {
			free = at
		}
	}
	switch {
	case free.IsZero():
		return false
	case UnderWay(u.service) && free.After(u.now):
		u.out.WakeAt(free)
		return false
	}
	return true
}

func running(t *api.Task) bool { return t.Status.State == api.TaskRunning }

// current reports whether no slot is left that runs an earlier spec.
func (u *update) current() bool { return len(u.old)+len(u.overlap) == 0 }

// settled reports whether every new task has been watched for long enough.
func (u *update) settled() bool {
	if u.open > 0 {
		return false
	}
	if u.wait.After(u.now) {
		u.out.WakeAt(u.wait)
		return false
	}
	return true
}

// promises is how many slots a failure is measured by.
func (u *update) promises() int {
	if u.service.Canary.Stands() {
		return u.share
	}
	return u.total
}

// failure says what the update fails by: the task that ended and is one too
// many, or the one that it has waited for too long. Empty: it does not fail.
func (u *update) failure() string {
	slots := map[slot.Key]bool{}
	for _, t := range u.failed {
		slots[slot.KeyOf(t)] = true
		if u.cfg.FailureAction != swarm.UpdateFailureActionContinue && float32(len(slots)) > u.cfg.MaxFailureRatio*float32(u.promises()) {
			return " due to failure or early termination of task " + string(t.ID)
		}
	}
	if t := u.stuck(); t != nil {
		return ": " + u.noProgress(t)
	}
	return ""
}

// retireOld stops the old tasks of slots whose new one runs, and has stood its trial.
func (u *update) retireOld() {
	for _, t := range u.silent {
		u.out.Shut(t, api.TaskShutdown)
	}
	for _, sl := range u.overlap {
		now, before := u.sort(sl)
		if !slices.ContainsFunc(now, u.stands) {
			continue
		}
		for _, t := range before {
			u.out.Shut(t, api.TaskShutdown)
		}
	}
}

// replace begins with as many slots as the parallelism leaves room for: first
// those that serve nobody, they cost nothing; then what an update left behind
// that was not finished; the last are those that run what was good before. While
// the service waits for another one, these go on: their successors would wait.
func (u *update) replace() {
	for _, sl := range u.single {
		u.add(sl, u.service.PreviousSpecVersion)
	}
	slices.SortStableFunc(u.old, func(a, b slot.Slot) int { return cmp.Compare(u.worth(a), u.worth(b)) })
	for _, sl := range u.old {
		switch {
		case u.out.Full():
			return
		case u.waits != "" && u.serves(sl):
			u.held = true
			u.trim(sl)
		case u.cfg.Parallelism > 0 && u.busy >= int(u.cfg.Parallelism):
			u.trim(sl)
		default:
			u.busy++
			u.replaceSlot(sl)
		}
	}
}

// trim leaves a slot that waits for its turn the one task that serves: a second
// one, which an update has left that was not finished, would come on top of the
// parallelism.
func (u *update) trim(sl slot.Slot) {
	keep := u.keeper(sl)
	if keep == nil || u.service.Hides(keep.SpecVersion) || slot.Both(u.service) {
		return
	}
	for _, t := range sl.Live() {
		if t != keep && t.Replaces == "" {
			u.out.Shut(t, api.TaskShutdown)
		}
	}
}

// worth orders slots by how little is lost with what runs in them.
func (u *update) worth(sl slot.Slot) int {
	switch {
	case !u.serves(sl):
		return 0
	case slices.ContainsFunc(sl.Live(), u.unfinished):
		return 1
	}
	return 2
}

// unfinished reports whether a task runs a spec that was never rolled out to
// its end: neither the service's nor its previous one.
func (u *update) unfinished(t *api.Task) bool {
	return t.SpecVersion != u.service.SpecVersion && t.SpecVersion != u.service.PreviousSpecVersion
}

// serves reports whether a slot has a task that runs and gets connections.
func (u *update) serves(sl slot.Slot) bool {
	return slices.ContainsFunc(sl.Live(), func(t *api.Task) bool { return u.inReach(t) && !u.service.Hides(t.SpecVersion) })
}

// inReach reports whether a task runs on a node that is not down.
func (u *update) inReach(t *api.Task) bool { return running(t) && !slot.Down(u.view, t) }

// replaceSlot gives a slot its new task. Stop-first: the new one gets ready
// while the old one stops, and runs when that has ended (see restart.Due).
func (u *update) replaceSlot(sl slot.Slot) {
	if slot.Both(u.service) {
		u.add(sl, u.service.SpecVersion)
		return
	}
	var keep *api.Task
	if u.cfg.Order == swarm.UpdateOrderStartFirst {
		keep = u.keeper(sl)
	}
	beside := keep != nil
	desired := api.TaskRunning
	if stopping, _ := sl.Stopping(u.view, u.seen, u.now); stopping && !beside {
		desired = api.TaskReady
	}
	for _, t := range sl.Live() {
		if t == keep {
			continue
		}
		u.out.Shut(t, api.TaskShutdown)
		if lost, _ := slot.Lost(u.view, t, u.seen, u.now); !lost && !beside && t.Status.State >= api.TaskAssigned {
			desired = api.TaskReady
		}
	}
	u.out.Create = append(u.out.Create, sl.Task(u.service, u.aimOf(sl), desired))
}

// keeper is the task of a slot that serves while the new one starts beside it;
// nil, if none does. Of several, which an update has left that was not finished,
// it is the one that gets connections, and of these the one that was good before.
func (u *update) keeper(sl slot.Slot) (keep *api.Task) {
	rank := func(t *api.Task) int {
		switch {
		case u.service.Hides(t.SpecVersion):
			return 2
		case u.unfinished(t):
			return 1
		}
		return 0
	}
	for _, t := range sl.Live() {
		if u.inReach(t) && (keep == nil || rank(t) < rank(keep)) {
			keep = t
		}
	}
	return keep
}
