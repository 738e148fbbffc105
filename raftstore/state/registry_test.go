package state

import (
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// The last login counts, is told to those who follow, and survives a snapshot.
func TestLoginsToRegistries(t *testing.T) {
	s := New()
	_, cursor := s.Follow()
	mustApply(t, s, 1, Op{PutRegistry: &api.Registry{Host: "r.io", Username: "me", Auth: "one"}})
	mustApply(t, s, 2, Op{PutRegistry: &api.Registry{Host: "r.io", Username: "you", Auth: "two"}})
	for _, want := range []api.RegistryAuth{"one", "two"} {
		if e, ok := cursor.TryNext(); !ok || len(e.Registries) != 1 || e.Registries[0].After.Auth != want {
			t.Fatalf("event %+v, %t", e, ok)
		}
	}
	got := restoredCopy(t, s).View().Registry("r.io")
	if got == nil || got.Username != "you" || got.Auth != "two" || !got.Meta.CreatedAt.Equal(t0) || got.Meta.Version.Index != 2 {
		t.Errorf("restored: %+v", got)
	}
	mustApply(t, s, 3, Op{DeleteRegistry: &DeleteRegistry{Host: "r.io"}})
	err := s.Apply(4, []Command{{At: t0, Ops: []Op{{DeleteRegistry: &DeleteRegistry{Host: "r.io"}}}}})[0].Err()
	if api.CodeOf(err) != api.CodeNotFound || s.View().Registry("r.io") != nil {
		t.Errorf("logged out twice: %v", err)
	}
}

// Of a service whose tag is built anew, both images are kept as long as they may
// be wanted: a rollback, asked for or not, has the one of before, and its version.
func TestAnImageIsPartOfItsVersion(t *testing.T) {
	for name, back := range map[string]func(*testing.T, *State){
		"asked for": func(t *testing.T, s *State) {
			next, err := RolledBack(s.View(), s.View().Service("svc"), t0)
			if err != nil {
				t.Fatal(err)
			}
			mustApply(t, s, 3, Op{PutService: next})
		},
		"by itself": func(t *testing.T, s *State) {
			mustApply(t, s, 3, Op{SetUpdateStatus: &SetUpdateStatus{ID: "svc", RollBackFrom: 2, Status: &swarm.UpdateStatus{State: swarm.UpdateStateRollbackStarted}}})
		},
	} {
		s := New()
		svc := webService()
		svc.Image = &api.Image{ID: "one"}
		mustApply(t, s, 1, Op{PutService: svc})
		old := s.View().Service("svc")
		mustApply(t, s, 2, Op{PutService: Updated(s.View(), old, old.Spec, &api.Image{ID: "two"})})
		s = restoredCopy(t, s)
		if got := s.View().Service("svc"); got.SpecVersion != 2 || got.Image.ID != "two" || got.PreviousImage.ID != "one" || s.View().SpecVersion("svc", 2).Image.ID != "two" {
			t.Fatalf("%s: updated: %+v", name, got)
		}
		back(t, s)
		if got := s.View().Service("svc"); got.SpecVersion != 1 || got.Image.ID != "one" || s.View().SpecVersion("svc", 1).Image.ID != "one" {
			t.Errorf("%s: version %d with %+v", name, got.SpecVersion, got.Image)
		}
	}
}

// Another ID of the same image replaces nothing.
func TestTheSameImageIsTheSameVersion(t *testing.T) {
	s := New()
	svc := webService()
	svc.Image = &api.Image{ID: "one", Content: "same"}
	mustApply(t, s, 1, Op{PutService: svc})
	old := s.View().Service("svc")
	mustApply(t, s, 2, Op{PutService: Updated(s.View(), old, old.Spec, &api.Image{ID: "two", Content: "same"})})
	if got := s.View().Service("svc").SpecVersion; got != 1 {
		t.Errorf("version %d", got)
	}
}
