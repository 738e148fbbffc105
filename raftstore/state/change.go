package state

import (
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// Updated is the service after an update to another spec, to be put in place of
// old. What a rollback goes back to is the spec of the last rollout that was
// finished: it stays while an update is unfinished, so that neither a scaling
// nor a second update in the middle of one makes a half-rolled spec, perhaps a
// broken one, the way back.
// image is which image the spec's reference is, as Service.Image has it.
func Updated(v *View, old *api.Service, spec api.ServiceSpec, image *api.Image) *api.Service {
	next, open := *old, unfinished(v, old)
	next.Spec, next.Image = spec, image
	same := sameTasks(old, &next)
	switch {
	case same && (open || underWay(old) || old.Canary.Stands()):
		next.PreviousSpec = carried(old.PreviousSpec, &old.Spec, &spec)
	case open && old.PreviousSpec != nil && SameTask(old.PreviousSpec, &spec) && old.PreviousImage.Same(image):
		forgetPrevious(&next) // a rollback in other words
	case open && old.PreviousSpec != nil:
	default:
		rememberPrevious(&next, old)
	}
	// As in Docker, an update that changes nothing lets one that was paused go on:
	// a canary too that was paused before it was in its place.
	if !same || !underWay(old) && !waits(old) {
		next.UpdateStatus = nil
	}
	if !same {
		next.Canary = canaryOf(&next)
	}
	return &next
}

// sameTasks reports whether the containers of two versions of a service would
// be the same.
func sameTasks(a, b *api.Service) bool {
	return SameTask(&a.Spec, &b.Spec) && a.Image.Same(b.Image)
}

// rememberPrevious makes what a service was what it can go back to.
func rememberPrevious(s, was *api.Service) {
	current := was.Spec
	s.PreviousSpec, s.PreviousRegistryAuth, s.PreviousImage = &current, was.RegistryAuth, was.Image
}

func forgetPrevious(s *api.Service) {
	s.PreviousSpec, s.PreviousRegistryAuth, s.PreviousImage = nil, "", nil
}

// goBack makes a service what its previous spec says, with nothing more to go
// back to.
func goBack(s *api.Service) {
	s.Spec, s.RegistryAuth, s.Image = *s.PreviousSpec, s.PreviousRegistryAuth, s.PreviousImage
	forgetPrevious(s)
}

// RolledBack is the service after a rollback to its previous spec. What was not
// finished is nothing to go back to: a second rollback would deploy what was
// just refused. It is an error of code invalid where there is no previous spec.
func RolledBack(v *View, old *api.Service, now time.Time) (*api.Service, error) {
	switch {
	case old.PreviousSpec == nil && old.PreviousSpecVersion == 0:
		return nil, api.Errorf(api.CodeInvalid, "service %s does not have a previous spec: it was never updated", old.ID)
	case old.PreviousSpec == nil:
		return nil, api.Errorf(api.CodeInvalid, "service %s does not have a previous spec: its last update was rolled back already: update it to what it is to run", old.ID)
	}
	next := *old
	goBack(&next)
	if !unfinished(v, old) && !old.Canary.Stands() {
		rememberPrevious(&next, old)
	}
	if old.IsJob() {
		return &next, nil // it begins anew, so nothing is rolled back step by step
	}
	// What was refused gets no connections until its last task has ended, be it
	// of an earlier update that this one had taken the place of.
	if next.Canary = nil; old.Canary.Stands() && old.Canary.BlueGreen {
		next.Hidden = slices.DeleteFunc(slices.Clone(old.Hidden), func(v uint64) bool { return v == old.PreviousSpecVersion || v == old.SpecVersion })
		next.Hidden = append(next.Hidden, old.SpecVersion)
	}
	next.UpdateStatus = &swarm.UpdateStatus{
		State: swarm.UpdateStateRollbackStarted, StartedAt: &now, Message: "manually requested rollback",
	}
	return &next, nil
}

// Promoted is the service after its canary was promoted: the rest of the tasks
// follow, or, of a blue-green update, the new version gets the connections; a
// second promotion confirms that, and the old version goes. It is an error of
// code conflict where no canary waits for it.
func Promoted(old *api.Service) (*api.Service, error) {
	if !old.Canary.Stands() {
		return nil, api.Errorf(api.CodeConflict, "service %s has no canary that waits to be promoted: update it with the label %s=1, or a percentage, to get one", old.Name(), setting.LabelCanary)
	}
	switch {
	case waits(old):
	case old.UpdateStatus != nil && old.UpdateStatus.State == swarm.UpdateStatePaused:
		return nil, api.Errorf(api.CodeConflict, "service %s: its update was paused before its canary was in place: let it go on with `swarmctl service update %s`, or go back with `swarmctl service rollback %s`", old.Name(), old.Name(), old.Name())
	default:
		return nil, api.Errorf(api.CodeConflict, "service %s: its canary is still being placed: promote it when its tasks run, or roll the service back", old.Name())
	}
	next, canary := *old, *old.Canary
	next.Canary = &canary
	if canary.BlueGreen && canary.Phase == api.CanaryHeld {
		canary.Phase, next.Hidden = api.CanarySwitched, []uint64{old.PreviousSpecVersion}
		return &next, nil
	}
	canary.Phase = api.CanaryPromoted
	status := swarm.UpdateStatus{State: swarm.UpdateStateUpdating, Message: "canary promoted"}
	if was := old.UpdateStatus; was != nil {
		status.StartedAt = was.StartedAt
	}
	next.UpdateStatus = &status
	return &next, nil
}

// Paused is the service after it was stopped, or started again. Nothing else of it
// changes, so that a stop and a start leave no trace: what a rollback goes back
// to stays too.
func Paused(old *api.Service, stop bool) *api.Service {
	next := *old
	next.Spec = stoppable(old.Spec, stop)
	if old.PreviousSpec != nil {
		prev := stoppable(*old.PreviousSpec, stop)
		next.PreviousSpec = &prev
	}
	return &next
}

func stoppable(spec api.ServiceSpec, stop bool) api.ServiceSpec {
	labels := map[string]string{}
	maps.Copy(labels, spec.Labels)
	if delete(labels, api.LabelStopped); stop {
		labels[api.LabelStopped] = "true"
	}
	spec.Labels = labels
	return spec
}

// canaryOf is the canary that a change of the task begins, if its labels ask for one.
func canaryOf(s *api.Service) *api.Canary {
	share := setting.LifecycleOf(s.Spec.Labels).Canary
	if share == (setting.Share{}) || s.IsJob() || s.PreviousSpec == nil {
		return nil
	}
	return &api.Canary{Phase: api.CanaryPlacing, BlueGreen: share.Percent == 100}
}

// waits reports whether the service has a canary that is in its place.
func waits(s *api.Service) bool { return s.Canary.Stands() && s.Canary.Phase != api.CanaryPlacing }

func underWay(s *api.Service) bool {
	u := s.UpdateStatus
	return u != nil && (u.State == swarm.UpdateStateUpdating || u.State == swarm.UpdateStateRollbackStarted)
}

// unfinished reports whether the service's spec has not been rolled out to its
// end, nor ever was: what is rolled back to had been. A blue-green update whose
// new version serves counts as finished for whatever follows it.
func unfinished(v *View, s *api.Service) bool {
	switch {
	case s.IsJob():
		return false // it begins anew with every version
	case s.Canary.Stands():
		return s.Canary.Phase != api.CanarySwitched
	case s.UpdateStatus != nil:
		return s.UpdateStatus.State == swarm.UpdateStateUpdating || s.UpdateStatus.State == swarm.UpdateStatePaused
	}
	// The leader may not have seen the last update yet.
	for t := range v.ServiceTasks(s.ID) {
		if t.Live() && t.SpecVersion != s.SpecVersion {
			return true
		}
	}
	return false
}

// carried is a previous spec with those changes made to it that leave the tasks
// alone: what was scaled during an update stays so when that is rolled back.
func carried(prev, old, spec *api.ServiceSpec) *api.ServiceSpec {
	if prev == nil {
		return nil
	}
	next := *prev
	if !reflect.DeepEqual(old.Mode, spec.Mode) {
		next.Mode = spec.Mode
	}
	if !reflect.DeepEqual(old.UpdateConfig, spec.UpdateConfig) {
		next.UpdateConfig = spec.UpdateConfig
	}
	if !reflect.DeepEqual(old.RollbackConfig, spec.RollbackConfig) {
		next.RollbackConfig = spec.RollbackConfig
	}
	next.Labels = maps.Clone(prev.Labels)
	for name, value := range spec.Labels {
		if had, ok := old.Labels[name]; !ok || had != value {
			if next.Labels == nil {
				next.Labels = map[string]string{}
			}
			next.Labels[name] = value
		}
	}
	maps.DeleteFunc(next.Labels, func(name, _ string) bool {
		_, had := old.Labels[name]
		_, has := spec.Labels[name]
		return had && !has
	})
	return &next
}
