package api

import (
	"slices"

	"github.com/docker/docker/api/types/swarm"
)

// Service is what a user asked for, with what the cluster remembers of it.
type Service struct {
	ID   ServiceID
	Spec ServiceSpec
	// RegistryAuth is what nodes pull the spec's image with.
	RegistryAuth RegistryAuth `cbor:",omitempty"`
	// PreviousSpec is what a rollback goes back to, with its credentials: the spec
	// of the last rollout that was finished. Nil where there is nothing to go back
	// to: the service was never updated, or an unfinished update was rolled back.
	PreviousSpec         *ServiceSpec `cbor:",omitempty"`
	PreviousRegistryAuth RegistryAuth `cbor:",omitempty"`
	// Image is which image the spec's reference is, and PreviousImage the same of
	// PreviousSpec; nil where no manager's engine had it, or the reference has a
	// digest.
	Image         *Image `cbor:",omitempty"`
	PreviousImage *Image `cbor:",omitempty"`
	// SpecVersion is the version of the task spec that tasks should run. It
	// moves only when a change of the spec means new containers; a change of
	// replicas, labels or update settings leaves it.
	SpecVersion uint64
	// PreviousSpecVersion is the SpecVersion of PreviousSpec.
	PreviousSpecVersion uint64              `cbor:",omitempty"`
	UpdateStatus        *swarm.UpdateStatus `cbor:",omitempty"`
	// Canary is nil where no canary is under way.
	Canary *Canary `cbor:",omitempty"`
	// Hidden are the spec versions whose tasks run without getting connections:
	// of a blue-green update the side that does not serve, and what was refused,
	// until its last task has ended.
	Hidden []uint64 `cbor:",omitempty"`
	// Rebalance is nil where nobody has asked for one.
	Rebalance *Rebalance `cbor:",omitempty"`
	// JobStatus is set for jobs alone. The state machine keeps it: every spec
	// version that comes into force is a new iteration of the job.
	JobStatus *swarm.JobStatus `cbor:",omitempty"`
	// Endpoint is how the service is reached. The state machine keeps it.
	Endpoint Endpoint `cbor:",omitempty"`
	Meta     Meta
}

// SpecVersion is the spec of a service as tasks of one version see it. It is
// kept for as long as a task, or a rollback, refers to it.
type SpecVersion struct {
	ServiceID ServiceID
	Version   uint64
	Spec      ServiceSpec
	// RegistryAuth is the only part that may change: new credentials are no
	// reason to replace containers.
	RegistryAuth RegistryAuth `cbor:",omitempty"`
	Image        *Image       `cbor:",omitempty"`
}

// RegistryAuth is the credentials of a registry, as the header X-Registry-Auth
// of Docker's API encodes them; empty for none. It is a secret: neither a
// formatted text, nor a log, nor JSON says what it is.
type RegistryAuth string

// String tells only whether there are any.
func (a RegistryAuth) String() string {
	if a == "" {
		return "no credentials"
	}
	return "credentials"
}

// GoString is String, for %#v.
func (a RegistryAuth) GoString() string { return a.String() }

// MarshalJSON writes null: there is no JSON that should have them.
func (a RegistryAuth) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// Name is the service's name.
func (s *Service) Name() string { return s.Spec.Name }

// Replicas is how many tasks a replicated service asks for, none while it is
// stopped; ok is false for the other modes.
func (s *Service) Replicas() (n uint64, ok bool) {
	r := s.Spec.Mode.Replicated
	switch {
	case r == nil:
		return 0, false
	case s.Stopped():
		return 0, true
	case r.Replicas == nil:
		return 1, true
	}
	return *r.Replicas, true
}

// Stopped reports whether the service is to have no tasks for now: see LabelStopped.
func (s *Service) Stopped() bool { return s.Spec.Labels[LabelStopped] == "true" }

// Hides reports whether tasks of the spec version get no connections.
func (s *Service) Hides(version uint64) bool { return slices.Contains(s.Hidden, version) }

// IsJob reports whether the service's tasks are to do something and end, in
// mode replicated-job or global-job.
func (s *Service) IsJob() bool {
	return s.Spec.Mode.ReplicatedJob != nil || s.Spec.Mode.GlobalJob != nil
}

// Goal is the state that the service's tasks are to reach.
func (s *Service) Goal() TaskState {
	if s.IsJob() {
		return TaskComplete
	}
	return TaskRunning
}

// JobIteration is the iteration that a job is in, from 0. Services that are no
// jobs stay at 0.
func (s *Service) JobIteration() uint64 {
	if s.JobStatus == nil {
		return 0
	}
	return s.JobStatus.JobIteration.Index
}

// Completions is how many tasks of a replicated job may run at once and how
// many are to complete: one, and as many as may run at once, where it is not said.
func (s *Service) Completions() (atOnce, total uint64) {
	j := s.Spec.Mode.ReplicatedJob
	if j == nil {
		return 0, 0
	}
	atOnce = 1
	if j.MaxConcurrent != nil {
		atOnce = *j.MaxConcurrent
	}
	if j.TotalCompletions == nil {
		return atOnce, atOnce
	}
	return atOnce, *j.TotalCompletions
}
