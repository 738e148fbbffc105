package api

import "github.com/docker/docker/api/types/swarm"

// Service is what a user asked for, with what the cluster remembers of it.
type Service struct {
	ID   ServiceID
	Spec ServiceSpec
	// PreviousSpec is what a rollback goes back to.
	PreviousSpec *ServiceSpec `cbor:",omitempty"`
	// SpecVersion is the version of the task spec that tasks should run. It
	// moves only when a change of the spec means new containers; a change of
	// replicas, labels or update settings leaves it.
	SpecVersion uint64
	// PreviousSpecVersion is the SpecVersion of PreviousSpec.
	PreviousSpecVersion uint64              `cbor:",omitempty"`
	UpdateStatus        *swarm.UpdateStatus `cbor:",omitempty"`
	JobStatus           *swarm.JobStatus    `cbor:",omitempty"`
	Meta                Meta
}

// SpecVersion is the spec of a service as tasks of one version see it. It is
// kept for as long as a task, or a rollback, refers to it.
type SpecVersion struct {
	ServiceID ServiceID
	Version   uint64
	Spec      ServiceSpec
}

// Name is the service's name.
func (s *Service) Name() string { return s.Spec.Name }

// Replicas is how many tasks a replicated service asks for; ok is false for the other modes.
func (s *Service) Replicas() (n uint64, ok bool) {
	r := s.Spec.Mode.Replicated
	if r == nil {
		return 0, false
	}
	if r.Replicas == nil {
		return 1, true
	}
	return *r.Replicas, true
}
