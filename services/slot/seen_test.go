package slot_test

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/services/slot"
)

// What is written counts from then, unless its writer's clock is ahead; a new
// leader goes by the same.
func TestTimesCountFromTheEarlierOfWrittenAndSeen(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct{ written, want time.Time }{
		"written before": {now.Add(-time.Hour), now.Add(-time.Hour)},
		"clock ahead":    {now.Add(24 * time.Hour), now},
		"not written":    {time.Time{}, now},
	} {
		n := &api.Node{ID: "n", DrainedAt: tt.written, Status: api.NodeStatus{State: api.NodeDown, Since: tt.written}}
		n.Spec.Availability = swarm.NodeAvailabilityDrain
		s := &api.Service{ID: "s", Canary: &api.Canary{Phase: api.CanaryHeld, Since: tt.written}}
		seen := slot.NewSeen()
		seen.NoteNode(n, now)
		seen.NoteService(s, now)
		later := now.Add(time.Minute)
		seen.NoteNode(n, later)
		seen.NoteService(s, later)
		if a, b, c := seen.State(n, later), seen.Drained(n, later), seen.Phase(s, later); a != tt.want || b != tt.want || c != tt.want {
			t.Errorf("%s: state since %s, drained %s, phase %s, want %s", name, a, b, c, tt.want)
		}
	}
}

func TestANewUpdateAndANewStateCountAnew(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	seen, now := slot.NewSeen(), began.Add(time.Minute)
	s := &api.Service{ID: "s", UpdateStatus: &swarm.UpdateStatus{StartedAt: &began}}
	n := &api.Node{ID: "n", Status: api.NodeStatus{State: api.NodeReady}}
	seen.NoteService(s, now)
	seen.NoteNode(n, now)
	if got := seen.Update(s, now.Add(time.Hour)); got != now {
		t.Errorf("the update is seen since %s, want %s", got, now)
	}
	later := now.Add(time.Hour)
	s, n = &api.Service{ID: "s", UpdateStatus: &swarm.UpdateStatus{StartedAt: &later}}, &api.Node{ID: "n", Status: api.NodeStatus{State: api.NodeDown}}
	seen.NoteService(s, later)
	seen.NoteNode(n, later)
	if a, b := seen.Update(s, later), seen.State(n, later); a != later || b != later {
		t.Errorf("the next update since %s, the state since %s, want %s", a, b, later)
	}
}

func TestSuccessorsDuringACanary(t *testing.T) {
	s := &api.Service{SpecVersion: 9, PreviousSpecVersion: 4, PreviousSpec: &api.ServiceSpec{}}
	for _, tt := range []struct {
		phase    api.CanaryPhase
		of, want uint64
	}{
		{"", 4, 9}, {"", 0, 9},
		{api.CanaryPlacing, 9, 9}, {api.CanaryPlacing, 4, 4}, {api.CanaryPlacing, 7, 4}, {api.CanaryPlacing, 0, 4},
		{api.CanaryHeld, 4, 4}, {api.CanarySwitched, 4, 4}, {api.CanaryPromoted, 4, 9},
	} {
		s.Canary = nil
		if tt.phase != "" {
			s.Canary = &api.Canary{Phase: tt.phase}
		}
		if got := slot.Version(s, tt.of); got != tt.want {
			t.Errorf("%q: %d follows %d, want %d", tt.phase, got, tt.of, tt.want)
		}
	}
	s.Canary = &api.Canary{Phase: api.CanaryHeld}
	if slot.SpecOf(s, &api.Task{SpecVersion: 4}) != s.PreviousSpec || slot.SpecOf(s, &api.Task{SpecVersion: 9}) != &s.Spec {
		t.Error("a task is not judged by its own spec")
	}
}
