package state

import (
	"bytes"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// New credentials are no new version; what nodes get them from has them, after
// a restart as well.
func TestCredentialsChangeWithoutANewVersion(t *testing.T) {
	s := New()
	svc := webService()
	svc.RegistryAuth = "first"
	mustApply(t, s, 1, Op{PutService: svc})
	before := s.View()
	next := *s.View().Service("svc")
	next.RegistryAuth, next.PreviousRegistryAuth = "second", "first"
	mustApply(t, s, 2, Op{PutService: &next})
	for name, v := range map[string]*View{"log": s.View(), "snapshot": restoredCopy(t, s).View()} {
		now := v.Service("svc")
		if now.SpecVersion != 1 || now.RegistryAuth != "second" || now.PreviousRegistryAuth != "first" || v.SpecVersion("svc", 1).RegistryAuth != "second" {
			t.Errorf("%s: version %d with %q, before that %q; nodes get %q", name, now.SpecVersion, string(now.RegistryAuth), string(now.PreviousRegistryAuth), string(v.SpecVersion("svc", 1).RegistryAuth))
		}
	}
	if got := before.SpecVersion("svc", 1).RegistryAuth; got != "first" {
		t.Errorf("an old view has changed: %q", string(got))
	}
}

func TestLabelsThatContainersAreMadeFromMakeANewVersion(t *testing.T) {
	with := func(labels map[string]string) *api.ServiceSpec {
		return &api.ServiceSpec{Annotations: swarm.Annotations{Name: "web", Labels: labels}}
	}
	plain := with(map[string]string{"tier": "front"})
	if !SameTask(plain, with(nil)) {
		t.Error("a label of the user's own replaces containers")
	}
	if SameTask(plain, with(map[string]string{"swarmctl.privileged": "true"})) {
		t.Error("containers that become privileged are not replaced")
	}
}

// The leader rolls back what has failed, with the credentials that went with
// it, unless the user was faster.
func TestAFailedUpdateIsRolledBack(t *testing.T) {
	s := New()
	svc := webService()
	svc.RegistryAuth = "first"
	mustApply(t, s, 1, Op{PutService: svc})
	next, good := *s.View().Service("svc"), s.View().Service("svc").Spec
	next.PreviousSpec, next.PreviousRegistryAuth = &good, "first"
	next.Spec.TaskTemplate.ForceUpdate, next.RegistryAuth = 1, "second"
	mustApply(t, s, 2, Op{PutService: &next})
	status := &swarm.UpdateStatus{State: swarm.UpdateStateRollbackStarted}
	if r := mustApply(t, s, 3, Op{SetUpdateStatus: &SetUpdateStatus{ID: "svc", Status: status, RollBackFrom: 1}}); len(r.Stale) != 1 {
		t.Errorf("what was decided for an earlier spec is carried out: stale %v", r.Stale)
	}
	mustApply(t, s, 4, Op{SetUpdateStatus: &SetUpdateStatus{ID: "svc", Status: status, RollBackFrom: 2}})
	now := s.View().Service("svc")
	if now.SpecVersion != 1 || now.Spec.TaskTemplate.ForceUpdate != 0 || now.RegistryAuth != "first" || now.PreviousSpec != nil || now.UpdateStatus.State != status.State {
		t.Errorf("after the rollback: %+v", now)
	}
	if v := s.View().SpecVersion("svc", 1); v == nil || v.RegistryAuth != "first" {
		t.Errorf("nodes are given %+v", v)
	}
	if r := mustApply(t, s, 5, Op{SetUpdateStatus: &SetUpdateStatus{ID: "svc", Status: status, RollBackFrom: 1}}); len(r.Stale) != 1 {
		t.Errorf("with nothing to go back to: stale %v", r.Stale)
	}
}

func TestResourcesSetAsideAreKept(t *testing.T) {
	s := populated(t)
	gpu := api.GenericResource{NamedResourceSpec: &swarm.NamedGenericResource{Kind: "gpu", Value: "a"}}
	data, err := EncodeBatch([]Command{{At: t0, Ops: []Op{{AssignTasks: []Assign{{Task: "t1", Node: "n1", Generic: []api.GenericResource{gpu}}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	commands, err := DecodeBatch(data)
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(5, commands)
	restored := New()
	if err := restored.Restore(bytes.NewReader(snapshotOf(t, s))); err != nil {
		t.Fatal(err)
	}
	if g := restored.View().Task("t1").GenericResources; len(g) != 1 || g[0].NamedResourceSpec.Value != "a" {
		t.Errorf("the task has %+v", g)
	}
}
