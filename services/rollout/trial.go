package rollout

import (
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/services/slot"
)

// trial is for how long a version without a health check must have run somewhere
// before its tasks count as soon as they run; never longer than the monitor. A
// program that crashes at its start runs for a moment first: if that counted, the
// update would take the next slot before it hears of it, and start-first the old
// task. It is waited for once and not in every slot: the version, not the task,
// is on trial, and an update of a hundred replicas would take minutes longer than
// Docker's. The price: what crashes at start later in the update, or on some
// nodes alone, may cost one batch more than the parallelism, as in Docker.
const trial = time.Second

// stands reports whether a task runs, and its version has stood its trial: then
// it takes the place of another.
func (u *update) stands(t *api.Task) bool {
	if !u.inReach(t) {
		return false
	}
	at := u.seen.Tasks[t.ID].Running.Add(u.trialOf(t.SpecVersion))
	if at.After(u.now) {
		u.out.WakeAt(at)
		return false
	}
	return true
}

// trialOf is for how long tasks of a version must run before they count. Not at
// all, where a health check speaks for them.
// NB: that of an image is not known here: such a version is on trial as well.
func (u *update) trialOf(version uint64) time.Duration {
	if d, ok := u.trials[version]; ok {
		return d
	}
	d := min(u.cfg.Monitor, trial)
	if own := u.view.SpecVersion(u.service.ID, version); own != nil && checked(&own.Spec) || u.stood(version, d) {
		d = 0
	}
	if u.trials == nil {
		u.trials = map[uint64]time.Duration{}
	}
	u.trials[version] = d
	return d
}

// stood reports whether a task of a version has run for so long, and not failed.
func (u *update) stood(version uint64, d time.Duration) bool {
	for t := range u.view.ServiceTasks(u.service.ID) {
		failed := t.Status.State == api.TaskFailed || t.Status.State == api.TaskRejected
		if t.SpecVersion == version && !failed && !slot.Down(u.view, t) && u.seen.Ran(t.ID, u.now) >= d {
			return true
		}
	}
	return false
}

// checked reports whether the spec has a health check.
func checked(s *api.ServiceSpec) bool {
	c := s.TaskTemplate.ContainerSpec
	return c != nil && c.Healthcheck != nil && len(c.Healthcheck.Test) > 0 && c.Healthcheck.Test[0] != "NONE"
}
