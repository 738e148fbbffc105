package slot

import (
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// Seen is what the leader has seen, by its own clock: the times in the store
// come from other machines, whose clocks may be off by a day. It dies with the
// term; the next leader starts counting when it takes over. Copies share what
// they hold.
type Seen struct {
	Tasks   map[api.TaskID]Times
	Nodes   map[api.NodeID]NodeTimes
	Updates map[api.ServiceID]UpdateTimes
	// Rebalanced is since when the last rebalance of a service is seen to have ended.
	Rebalanced map[api.ServiceID]time.Time
	// Held is for services that are being updated and wait for others, or have.
	Held map[api.ServiceID]HeldTimes
}

// NewSeen returns a Seen that has seen nothing.
func NewSeen() Seen {
	return Seen{
		Tasks: map[api.TaskID]Times{}, Nodes: map[api.NodeID]NodeTimes{}, Updates: map[api.ServiceID]UpdateTimes{},
		Rebalanced: map[api.ServiceID]time.Time{}, Held: map[api.ServiceID]HeldTimes{},
	}
}

// HeldTimes is when a service was seen last to wait for another one, or to do so
// no more.
type HeldTimes struct {
	Waits bool
	Last  time.Time
}

// NoteHeld records whether a service waits for another one.
func (s Seen) NoteHeld(id api.ServiceID, waits bool, now time.Time) {
	if was, ok := s.Held[id]; waits || ok && was.Waits {
		s.Held[id] = HeldTimes{waits, now}
	}
}

// Times are when a task was first seen at all, running, and ended. Zero: not yet.
type Times struct{ First, Running, Ended time.Time }

// NodeTimes are since when a node is seen in its state, drained, and ready to
// take new tasks; those are zero where it is not.
type NodeTimes struct {
	State                  api.NodeState
	Since, Drained, Usable time.Time
}

// UpdateTimes are since when the update of a service is seen that began at
// Started, and its canary in its phase.
type UpdateTimes struct {
	Started    time.Time
	First      time.Time
	Phase      api.CanaryPhase
	PhaseSince time.Time
}

// Note records a task as it is now.
func (s Seen) Note(t *api.Task, now time.Time) {
	at := s.Tasks[t.ID]
	first := func(p *time.Time) {
		if p.IsZero() {
			*p = now
		}
	}
	first(&at.First)
	if t.Status.State == api.TaskRunning {
		first(&at.Running)
	}
	if t.Status.State.Terminal() {
		first(&at.Ended)
	}
	s.Tasks[t.ID] = at
}

// NoteNode records a node as it is now.
func (s Seen) NoteNode(n *api.Node, now time.Time) {
	at := s.Nodes[n.ID]
	if at.State != n.Status.State || at.Since.IsZero() {
		at.State, at.Since = n.Status.State, now
	}
	switch {
	case n.Spec.Availability != swarm.NodeAvailabilityDrain:
		at.Drained = time.Time{}
	case at.Drained.IsZero():
		at.Drained = now
	}
	switch {
	case n.Spec.Availability != swarm.NodeAvailabilityActive || n.Status.State != api.NodeReady:
		at.Usable = time.Time{}
	case at.Usable.IsZero():
		at.Usable = now
	}
	s.Nodes[n.ID] = at
}

// NoteService records the update of a service, and its rebalance, as they are now.
func (s Seen) NoteService(svc *api.Service, now time.Time) {
	if _, ok := s.Rebalanced[svc.ID]; svc.Rebalance == nil || svc.Rebalance.UnderWay() {
		delete(s.Rebalanced, svc.ID)
	} else if !ok {
		s.Rebalanced[svc.ID] = now
	}
	if svc.UpdateStatus == nil && svc.Canary == nil {
		delete(s.Updates, svc.ID)
		return
	}
	at := s.Updates[svc.ID]
	if began := started(svc); at.First.IsZero() || !at.Started.Equal(began) {
		at = UpdateTimes{Started: began, First: now}
	}
	switch {
	case svc.Canary == nil:
		at.Phase, at.PhaseSince = "", time.Time{}
	case at.Phase != svc.Canary.Phase:
		at.Phase, at.PhaseSince = svc.Canary.Phase, now
	}
	s.Updates[svc.ID] = at
}

func started(svc *api.Service) time.Time {
	if svc.UpdateStatus == nil || svc.UpdateStatus.StartedAt == nil {
		return time.Time{}
	}
	return *svc.UpdateStatus.StartedAt
}

// Ran is for how long a task has been seen running; 0 if it never was.
func (s Seen) Ran(id api.TaskID, now time.Time) time.Duration {
	at := s.Tasks[id]
	switch {
	case at.Running.IsZero():
		return 0
	case at.Ended.IsZero():
		return now.Sub(at.Running)
	}
	return at.Ended.Sub(at.Running)
}

// Due is when a task has waited for its restart delay: counted from its
// creation or from when it was first seen, whichever comes first.
func (s Seen) Due(t *api.Task, now time.Time) time.Time {
	return earliest(t.Meta.CreatedAt, s.Tasks[t.ID].First, now).Add(t.RestartDelay)
}

// State is since when a node is in its state: as it was written, or as it was
// first seen, whichever comes first.
func (s Seen) State(n *api.Node, now time.Time) time.Time {
	at := s.Nodes[n.ID]
	if at.State != n.Status.State {
		at.Since = time.Time{}
	}
	return earliest(n.Status.Since, at.Since, now)
}

// Drained is since when a node that is drained is so, by the same rule.
func (s Seen) Drained(n *api.Node, now time.Time) time.Time {
	return earliest(n.DrainedAt, s.Nodes[n.ID].Drained, now)
}

// Phase is since when the service's canary is in its phase, by the same rule.
func (s Seen) Phase(svc *api.Service, now time.Time) time.Time {
	var written, seen time.Time
	if svc.Canary != nil {
		written = svc.Canary.Since
		if at := s.Updates[svc.ID]; at.Phase == svc.Canary.Phase {
			seen = at.PhaseSince
		}
	}
	return earliest(written, seen, now)
}

// Update is since when this leader sees the service's update. A new leader
// counts anew: what it measures is progress that it has seen itself.
func (s Seen) Update(svc *api.Service, now time.Time) time.Time {
	if at := s.Updates[svc.ID]; at.Started.Equal(started(svc)) && !at.First.IsZero() {
		return at.First
	}
	return now
}

// earliest is the earlier of two times that are known; now, if neither is.
func earliest(written, seen, now time.Time) time.Time {
	switch {
	case written.IsZero() && seen.IsZero():
		return now
	case written.IsZero() || !seen.IsZero() && seen.Before(written):
		return seen
	}
	return written
}
