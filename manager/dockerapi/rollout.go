package dockerapi

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/rollout"
)

// serviceRollout answers how far a service is on its way to another version.
func (a *API) serviceRollout(w http.ResponseWriter, r *http.Request) error {
	view, s, err := found(a, r, (*state.View).FindService)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, rolloutOf(view, s, a.cfg.Now()))
}

// servicePromote promotes the canary of a service, or confirms one that gets
// the connections already. Who gives a phase means the canary in that phase alone: it
// may go on by itself in that moment, and to confirm it is to give up the way back.
func (a *API) servicePromote(w http.ResponseWriter, r *http.Request) error {
	view, s, err := found(a, r, (*state.View).FindService)
	if err != nil {
		return err
	}
	now := rolloutOf(view, s, a.cfg.Now())
	if meant := api.CanaryPhase(r.URL.Query().Get("phase")); meant != "" && now.Phase != "" && meant != now.Phase {
		return api.Errorf(api.CodeConflict, "service %s: its canary is not %s any more but %s: see `swarmctl service inspect --pretty %[1]s`, and promote it again if that is what you want", s.Name(), meant, now.Phase)
	}
	if now.Phase == api.CanaryPlacing && !rollout.Stopped(s) {
		return api.Errorf(api.CodeConflict, "service %s: %d of the %d tasks of its canary run: promote it when all of them do, or go back with `swarmctl service rollback %s`",
			s.Name(), now.New, now.Wanted, s.Name())
	}
	next, err := state.Promoted(s)
	if err != nil {
		return err
	}
	if err := a.propose(r, state.Op{PutService: next}); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, swarm.ServiceUpdateResponse{})
}

func rolloutOf(view *state.View, s *api.Service, now time.Time) api.Rollout {
	var out api.Rollout
	var failed *api.Task
	places := map[string]struct{}{}
	for t := range view.ServiceTasks(s.ID) {
		if t.Live() {
			places[api.Place(&s.Spec, t)] = struct{}{}
		}
		switch {
		case t.Status.State == api.TaskRunning && t.Wanted() && t.SpecVersion == s.SpecVersion:
			out.New++
		case t.Status.State == api.TaskRunning && t.Wanted():
			out.Old++
		case failedSince(s, t) && (failed == nil || t.Meta.Version.Index > failed.Meta.Version.Index):
			failed = t
		}
	}
	var replicated bool
	if out.Replicas, replicated = s.Replicas(); !replicated || setting.PodOf(s.Spec.Labels) != "" {
		out.Replicas = uint64(len(places))
	}
	if failed != nil {
		out.Failed = view.TaskName(failed) + ": " + cmp.Or(failed.Status.Err, failed.Status.State.String())
	}
	settings := setting.LifecycleOf(s.Spec.Labels)
	if out.Wanted = out.Replicas; s.Canary == nil {
		return out
	}
	out.Phase, out.BlueGreen = s.Canary.Phase, s.Canary.BlueGreen
	if s.Canary.Stands() && !out.BlueGreen {
		out.Wanted = settings.Canary.Of(out.Replicas)
	}
	if out.Waits() {
		out.HeldFor = max(0, now.Sub(s.Canary.Since))
		if left := max(0, settings.PromoteAfter-out.HeldFor); settings.PromoteAfter > 0 && out.Failed == "" {
			out.PromoteIn = &left
		}
	}
	return out
}

// failedSince reports whether a task of the new version has failed in the
// update that the service says it is in.
func failedSince(s *api.Service, t *api.Task) bool {
	if u := s.UpdateStatus; u == nil || u.StartedAt != nil && t.Meta.CreatedAt.Before(*u.StartedAt) {
		return false
	}
	return t.SpecVersion == s.SpecVersion && (t.Status.State == api.TaskFailed || t.Status.State == api.TaskRejected)
}

// warnings are those of a change of a service. One that replaces no task does
// not repeat what was said before.
func warnings(view *state.View, old, next *api.Service, rollback bool, with ...string) []string {
	list := specWarnings(view, &next.Spec, with...)
	switch {
	case state.SameTask(&old.Spec, &next.Spec):
		said := specWarnings(view, &old.Spec, with...)
		return slices.DeleteFunc(list, func(w string) bool { return slices.Contains(said, w) })
	case rollback:
		return list
	}
	return append(list, takeover(old)...)
}

// takeover warns of what an update of a service takes the place of, if anything.
func takeover(old *api.Service) []string {
	what := map[swarm.UpdateState]string{
		swarm.UpdateStateUpdating: "an update that was under way", swarm.UpdateStatePaused: "an update that was paused",
		swarm.UpdateStateRollbackStarted: "a rollback that was under way", swarm.UpdateStateRollbackPaused: "a rollback that was paused",
	}
	var was string
	switch {
	case old.Canary.Stands():
		was = "a canary that was neither confirmed nor rolled back"
	case old.UpdateStatus != nil:
		was = what[old.UpdateStatus.State]
	}
	if was == "" {
		return nil
	}
	return []string{"this update of service " + old.Name() + " takes the place of " + was}
}
