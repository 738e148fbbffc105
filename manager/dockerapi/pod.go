package dockerapi

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// A service of sidecars is stored as replicated, without a number. Whoever asks is
// shown the mode of the service that it belongs to, and its number: Docker's CLI
// waits for that many tasks.

// shownMode is the mode that a service shows.
func shownMode(view *state.View, s *api.ServiceSpec) swarm.ServiceMode {
	if s.Labels[setting.LabelPod] == "" {
		return s.Mode
	}
	of, err := view.PodService(s)
	var n uint64
	switch {
	case err != nil || of == nil:
	case of.Spec.Mode.Global != nil:
		return swarm.ServiceMode{Global: &swarm.GlobalService{}}
	default:
		n, _ = of.Replicas()
	}
	return swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}}
}

// storedMode puts the mode of sidecars that clients send back as they were shown it
// into the shape in which it is stored.
func storedMode(view *state.View, s *api.ServiceSpec) {
	if s.Labels[setting.LabelPod] != "" && reflect.DeepEqual(s.Mode, shownMode(view, s)) {
		s.Mode = swarm.ServiceMode{Replicated: &swarm.ReplicatedService{}}
	}
}

// checkPod refuses sidecars of what can have none, and what can be none. That the
// service which they belong to is not there yet is no mistake: see specWarnings.
func checkPod(view *state.View, s *api.ServiceSpec) error {
	if _, err := view.PodService(s); err != nil && !errors.Is(err, api.ErrNotFound) {
		return err
	}
	job := s.Mode.ReplicatedJob != nil || s.Mode.GlobalJob != nil
	if s.Labels[setting.LabelPod] == "" && !job {
		return nil
	}
	if sidecar, has := view.Sidecars(s.Name); has && sidecar != s.Name {
		what := "be a job"
		if !job {
			what = "be a sidecar itself"
		}
		return api.Errorf(api.CodeInvalid, "service %s cannot %s: service %s is a sidecar of it (label %s): remove that one first", s.Name, what, sidecar, setting.LabelPod)
	}
	return nil
}

// podless warns of a service to be a sidecar of that does not exist.
func podless(view *state.View, there func(string) bool, s *api.ServiceSpec) []string {
	if _, err := view.PodService(s); errors.Is(err, api.ErrNotFound) && !there(s.Labels[setting.LabelPod]) {
		return []string{fmt.Sprintf("label %s: there is no service %s: service %s runs nowhere until there is", setting.LabelPod, s.Labels[setting.LabelPod], s.Name)}
	}
	return nil
}
