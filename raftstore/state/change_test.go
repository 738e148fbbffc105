package state

import (
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// updated puts the service with a change of its spec in place of what it was.
func updated(t *testing.T, s *State, index uint64, change func(*api.ServiceSpec)) *api.Service {
	t.Helper()
	old := s.View().Service("svc")
	spec := old.Spec
	change(&spec)
	mustApply(t, s, index, Op{PutService: Updated(s.View(), old, spec, old.Image)})
	return s.View().Service("svc")
}

func force(n uint64) func(*api.ServiceSpec) {
	return func(s *api.ServiceSpec) { s.TaskTemplate.ForceUpdate = n }
}

func scaleTo(n uint64) func(*api.ServiceSpec) {
	return func(s *api.ServiceSpec) { s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &n} }
}

func labelled(labels map[string]string) func(*api.ServiceSpec) {
	return func(s *api.ServiceSpec) { s.Labels = labels }
}

func says(t *testing.T, s *State, index uint64, state swarm.UpdateState) {
	t.Helper()
	mustApply(t, s, index, Op{SetUpdateStatus: &SetUpdateStatus{ID: "svc", Status: &swarm.UpdateStatus{State: state}}})
}

// The way back is kept over everything that is changed in the middle of an
// update, and what is changed then without tasks being replaced goes with it.
func TestTheWayBackIsTheLastFinishedRollout(t *testing.T) {
	for _, tt := range []struct {
		state       swarm.UpdateState
		change      func(*api.ServiceSpec)
		back        uint64 // ForceUpdate of what is rolled back to
		replicas    uint64 // of the same
		keepsStatus bool
	}{
		{swarm.UpdateStateUpdating, scaleTo(5), 1, 5, true},
		{swarm.UpdateStateUpdating, labelled(map[string]string{"a": "b"}), 1, 2, true},
		{swarm.UpdateStateUpdating, force(3), 1, 2, false},
		{swarm.UpdateStatePaused, scaleTo(5), 1, 5, false},
		{swarm.UpdateStatePaused, force(3), 1, 2, false},
		{swarm.UpdateStateCompleted, scaleTo(5), 2, 2, false},
		{swarm.UpdateStateCompleted, force(3), 2, 2, false},
		{swarm.UpdateStateRollbackStarted, scaleTo(5), 1, 5, true},
		{swarm.UpdateStateRollbackCompleted, force(3), 2, 2, false},
	} {
		s := New()
		svc := webService()
		scaleTo(2)(&svc.Spec)
		force(1)(&svc.Spec)
		mustApply(t, s, 1, Op{PutService: svc})
		updated(t, s, 2, force(2))
		says(t, s, 3, tt.state)
		got := updated(t, s, 4, tt.change)
		back := &api.Service{Spec: *got.PreviousSpec}
		if n, _ := back.Replicas(); n != tt.replicas || back.Spec.TaskTemplate.ForceUpdate != tt.back || (got.UpdateStatus != nil) != tt.keepsStatus {
			t.Errorf("%s: back to %d with %d replicas, status %+v", tt.state, back.Spec.TaskTemplate.ForceUpdate, n, got.UpdateStatus)
		}
		if v := s.View().SpecVersion("svc", got.PreviousSpecVersion); !SameTask(&back.Spec, &got.Spec) && (v == nil || !SameTask(&v.Spec, &back.Spec)) {
			t.Errorf("%s: the previous version %d is not that of the previous spec", tt.state, got.PreviousSpecVersion)
		}
		if back.Spec.Labels["a"] != got.Spec.Labels["a"] {
			t.Errorf("%s: labels %v, before %v", tt.state, got.Spec.Labels, back.Spec.Labels)
		}
	}
}

func TestAnUpdateBackToThePreviousSpecIsARollback(t *testing.T) {
	s := New()
	svc := webService()
	mustApply(t, s, 1, Op{PutService: svc})
	updated(t, s, 2, force(2))
	says(t, s, 3, swarm.UpdateStatePaused)
	if got := updated(t, s, 4, force(0)); got.SpecVersion != 1 || got.PreviousSpec != nil {
		t.Errorf("version %d, back to %+v", got.SpecVersion, got.PreviousSpec)
	}
	if _, err := RolledBack(s.View(), s.View().Service("svc"), t0); api.CodeOf(err) != api.CodeInvalid {
		t.Errorf("back to what was just refused: %v", err)
	}
}

// A blue-green update from its beginning to each of its ends.
func TestBlueGreenHidesOneSide(t *testing.T) {
	held := func(t *testing.T) *State {
		s := New()
		svc := webService()
		svc.Spec.Labels = map[string]string{setting.LabelCanary: "100%"}
		mustApply(t, s, 1, Op{PutService: svc})
		if c := s.View().Service("svc").Canary; c != nil {
			t.Fatalf("a new service is a canary: %+v", c)
		}
		if got := updated(t, s, 2, force(2)); got.Canary.Phase != api.CanaryPlacing || !got.Hides(2) || got.Hides(1) {
			t.Fatalf("%+v, hidden %v", got.Canary, got.Hidden)
		}
		if _, err := Promoted(s.View().Service("svc")); api.CodeOf(err) != api.CodeConflict {
			t.Errorf("promoted while it is placed: %v", err)
		}
		mustApply(t, s, 3, Op{SetUpdateStatus: &SetUpdateStatus{ID: "svc", Status: &swarm.UpdateStatus{State: swarm.UpdateStatePaused}}})
		if _, err := Promoted(s.View().Service("svc")); api.CodeOf(err) != api.CodeConflict || !strings.Contains(err.Error(), "was paused") {
			t.Errorf("promoted while it is paused: %v", err)
		}
		if got := Updated(s.View(), s.View().Service("svc"), s.View().Service("svc").Spec, nil); got.UpdateStatus != nil || got.Canary.Phase != api.CanaryPlacing {
			t.Errorf("it does not go on: %+v, %+v", got.UpdateStatus, got.Canary)
		}
		mustApply(t, s, 3, Op{SetUpdateStatus: &SetUpdateStatus{ID: "svc", Status: &swarm.UpdateStatus{State: swarm.UpdateStatePaused},
			Canary: &CanaryChange{SpecVersion: 2, Phase: api.CanaryHeld, Hidden: []uint64{2}}}})
		return s
	}
	promote := func(t *testing.T, s *State, index uint64) *api.Service {
		next, err := Promoted(s.View().Service("svc"))
		if err != nil {
			t.Fatal(err)
		}
		mustApply(t, s, index, Op{PutService: next})
		return s.View().Service("svc")
	}
	s := held(t)
	if got := updated(t, s, 4, scaleTo(7)); got.Canary.Phase != api.CanaryHeld || !got.Hides(2) || got.UpdateStatus == nil {
		t.Errorf("scaled: %+v, hidden %v", got.Canary, got.Hidden)
	}
	if got := promote(t, s, 5); got.Canary.Phase != api.CanarySwitched || !got.Hides(1) || got.Hides(2) {
		t.Errorf("promoted once: %+v, hidden %v", got.Canary, got.Hidden)
	}
	if got := updated(t, s, 6, scaleTo(8)); got.SpecVersion != 2 || !SameTask(got.PreviousSpec, &s.View().SpecVersion("svc", 1).Spec) {
		t.Errorf("scaled after the switch: back to %+v", got.PreviousSpec)
	}
	if got := promote(t, s, 7); got.Canary.Stands() || !got.Hides(1) || got.UpdateStatus.State != swarm.UpdateStateUpdating {
		t.Errorf("promoted twice: %+v, hidden %v, %+v", got.Canary, got.Hidden, got.UpdateStatus)
	}
	for name, before := range map[string]func(*State){
		"held": func(*State) {}, "switched": func(s *State) { promote(t, s, 4) },
	} {
		s := held(t)
		before(s)
		updated(t, s, 5, scaleTo(3))
		next, err := RolledBack(s.View(), s.View().Service("svc"), t0)
		if err != nil {
			t.Fatal(err)
		}
		mustApply(t, s, 6, Op{PutService: next})
		if got := s.View().Service("svc"); got.SpecVersion != 1 || got.Canary != nil || !got.Hides(2) || got.Hides(1) || got.PreviousSpec != nil {
			t.Errorf("%s, rolled back: version %d, %+v, hidden %v", name, got.SpecVersion, got.Canary, got.Hidden)
		}
	}
	s = held(t)
	if got := updated(t, s, 4, force(3)); !got.Hides(2) || !got.Hides(4) || got.PreviousSpecVersion != 1 {
		t.Errorf("a second update: hidden %v, previous %d", got.Hidden, got.PreviousSpecVersion)
	}
	late := &SetUpdateStatus{ID: "svc", Canary: &CanaryChange{SpecVersion: 2, Phase: api.CanaryPromoted}}
	if r := mustApply(t, s, 5, Op{SetUpdateStatus: late}); len(r.Stale) != 1 {
		t.Errorf("what was decided for an earlier canary is carried out: stale %v", r.Stale)
	}
}

// Since when a node is down or drained is what the log says, not its writer.
func TestSinceWhenANodeIsAsItIs(t *testing.T) {
	s := New()
	n := &api.Node{ID: "n", Status: api.NodeStatus{State: api.NodeReady}}
	for i, tt := range []struct {
		state          api.NodeState
		availability   swarm.NodeAvailability
		since, drained int // the step at which it began; 0: not drained
	}{
		{api.NodeReady, swarm.NodeAvailabilityActive, 1, 0},
		{api.NodeDown, swarm.NodeAvailabilityActive, 2, 0},
		{api.NodeDown, swarm.NodeAvailabilityDrain, 2, 3},
		{api.NodeReady, swarm.NodeAvailabilityDrain, 4, 3},
		{api.NodeReady, swarm.NodeAvailabilityActive, 4, 0},
	} {
		at := func(step int) time.Time { return t0.Add(time.Duration(step) * time.Second) }
		n.Status.State, n.Spec.Availability, n.Status.Since = tt.state, tt.availability, t0.Add(time.Hour)
		if err := s.Apply(uint64(i+1), []Command{{At: at(i + 1), Ops: []Op{{PutNode: n}}}})[0].Err(); err != nil {
			t.Fatal(err)
		}
		got := *s.View().Node("n")
		if !got.Status.Since.Equal(at(tt.since)) || got.DrainedAt.IsZero() != (tt.drained == 0) || tt.drained > 0 && !got.DrainedAt.Equal(at(tt.drained)) {
			t.Errorf("step %d: since %s, drained %s", i+1, got.Status.Since, got.DrainedAt)
		}
		n = &got
	}
}
