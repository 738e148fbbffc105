package slot

import (
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/constraint"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Leave says that a task is to run elsewhere. Its zero value: it stays.
type Leave struct {
	// Why goes on after the node's name: "is drained". Empty: the task stays.
	Why string
	// Lost says that nobody reaches the task where it is. Whoever is not lost
	// serves until its successor does.
	Lost bool
	// Overdue says that the task is to be stopped though nobody takes over.
	Overdue bool
}

// Moves tells which tasks of a service are to leave their nodes.
type Moves struct {
	view      *state.View
	service   *api.Service
	seen      Seen
	now       time.Time
	lifecycle setting.Lifecycle
	specs     map[uint64]moveSpec
}

// moveSpec is what a version of the spec says of moves.
type moveSpec struct {
	rules    constraint.List // none where they do not parse: they come from a newer program
	selfStop time.Duration
}

// NewMoves returns the moves of a service at a time.
func NewMoves(v *state.View, s *api.Service, seen Seen, now time.Time) *Moves {
	return &Moves{view: v, service: s, seen: seen, now: now, lifecycle: setting.LifecycleOf(s.Spec.Labels), specs: map[uint64]moveSpec{}}
}

// Leaving says whether a task is to leave its node, and when to ask again
// though nothing happens; zero is never. Every task is judged by its own spec:
// what a newer one asks for is the business of the rollout. Constraints on other
// services say where a task starts, and make none leave: two services that
// follow each other would never come to rest.
func (m *Moves) Leaving(t *api.Task) (Leave, time.Time) {
	if t.NodeID == "" {
		return Leave{}, time.Time{}
	}
	n := m.view.Node(t.NodeID)
	switch {
	case n == nil:
		return Leave{Why: "is no longer in the cluster", Lost: true}, time.Time{}
	case Down(m.view, t):
		return m.down(t, n)
	case n.Spec.Availability == swarm.NodeAvailabilityDrain:
		deadline := m.seen.Drained(n, m.now).Add(setting.DrainDeadlineOf(n.Spec.Labels))
		return Leave{Why: "is drained", Overdue: !deadline.After(m.now)}, deadline
	}
	if why := m.spec(t).rules.Explain(n); why != "" {
		return Leave{Why: "does not satisfy " + why}, time.Time{}
	}
	return Leave{}, time.Time{}
}

// down judges a task whose node is out of reach. A container that stops itself
// is waited for until it has.
func (m *Moves) down(t *api.Task, n *api.Node) (Leave, time.Time) {
	at := m.seen.State(n, m.now).Add(m.lifecycle.RescheduleAfter)
	stopped, ok := Stopped(m.view, t, m.seen, m.now)
	if stopped.After(at) {
		at = stopped
	}
	switch {
	case !ok:
		return Leave{}, time.Time{}
	case at.After(m.now):
		return Leave{}, at
	}
	return Leave{Why: "is down", Lost: true}, time.Time{}
}

// Single reports whether the task must never run beside another one of its
// slot: its successor starts when it has ended.
func (m *Moves) Single(t *api.Task) bool { return m.spec(t).selfStop > 0 }

func (m *Moves) spec(t *api.Task) moveSpec {
	spec, ok := m.specs[t.SpecVersion]
	if ok {
		return spec
	}
	if own := m.view.SpecOf(t); own != nil {
		spec.rules, _ = RulesOf(&own.Spec)
		spec.selfStop = setting.SelfStopOf(own.Spec.Labels)
	}
	m.specs[t.SpecVersion] = spec
	return spec
}

// Room is how many more tasks of a service, whose slots are given, may be moved
// while they serve: as many as an update replaces at once, without those under
// way and the slots that an update has under way.
func (m *Moves) Room(slots []Slot, updating int) int {
	atOnce := uint64(1)
	if c := m.service.Spec.UpdateConfig; c != nil {
		atOnce = c.Parallelism
	}
	if atOnce == 0 {
		return len(slots)
	}
	room := int(min(atOnce, 1<<31)) - updating
	for _, sl := range slots {
		if m.moving(sl) {
			room--
		}
	}
	return room
}

// moving reports whether a task that serves, or served, is on its way to another node.
func (m *Moves) moving(sl Slot) bool {
	for _, t := range sl.Tasks {
		if !t.Wanted() || t.Status.State == api.TaskRunning || t.Status.State.Terminal() && !EndedByItself(t) {
			continue
		}
		if from := m.view.Task(t.Replaces); from != nil && !Down(m.view, from) || m.Single(t) {
			return true
		}
	}
	return false
}

// Successor returns the live task of the slot that takes over from t, if there is one.
func (s Slot) Successor(t *api.Task) *api.Task {
	for _, next := range s.Tasks {
		if next.Replaces == t.ID && next.Live() {
			return next
		}
	}
	return nil
}
