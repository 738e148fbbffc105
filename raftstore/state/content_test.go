package state

import (
	"fmt"
	"slices"
	"testing"

	"github.com/docker/docker/api/types/swarm"
	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
)

// checkVersions checks that one version of each name is in force, which is the
// last, and that something refers to every other.
func checkVersions(t *rapid.T, v *View) {
	lines := map[string][]opened{}
	for s := range all[api.Secret](v, tableSecrets, byID) {
		lines["secret "+s.Spec.Name] = append(lines["secret "+s.Spec.Name], secrets.open(s))
	}
	for c := range all[api.Config](v, tableConfigs, byID) {
		lines["config "+c.Spec.Name] = append(lines["config "+c.Spec.Name], configs.open(c))
	}
	for line, versions := range lines {
		slices.SortFunc(versions, func(a, b opened) int { return int(a.version.Before) - int(b.version.Before) })
		for i, o := range versions {
			last := i == len(versions)-1
			switch {
			case o.version.Superseded == last:
				t.Fatalf("%s: version %d of %d is superseded: %v", line, o.version.Number(), len(versions), o.version.Superseded)
			case !last && !v.refersTo(line[:len("secret")], o.id):
				t.Fatalf("%s: nobody refers to version %d", line, o.version.Number())
			case i > 0 && versions[i-1].version.Before == o.version.Before:
				t.Fatalf("%s: two versions %d", line, o.version.Number())
			}
		}
	}
}

// contentsHistory is a cluster in which secrets and services change, as the API
// and the leader change them. Nothing is removed that is in use.
type contentsHistory struct {
	*rapid.T
	s     *State
	index uint64
	ids   int
	bytes map[api.SecretID]string // what was stored under an ID
}

func (h *contentsHistory) id() string { h.ids++; return fmt.Sprint("id", h.ids) }

// apply applies commands as one entry of the log; each may be refused.
func (h *contentsHistory) apply(commands ...Command) {
	h.index++
	h.s.Apply(h.index, commands)
}

func (h *contentsHistory) pickService() *api.Service {
	list := slices.Collect(h.s.View().Services())
	if len(list) == 0 {
		return nil
	}
	return rapid.SampledFrom(list).Draw(h.T, "service")
}

// command is what somebody may want, or an empty one where it cannot be had.
func (h *contentsHistory) command() Command {
	v := h.s.View()
	named := slices.Collect(v.Secrets())
	var ops []Op
	switch what := rapid.SampledFrom([]string{"service", "version", "version", "update", "task", "end", "rollback", "fails", "remove", "deploy"}).Draw(h.T, "what"); what {
	case "service":
		s := &api.Service{ID: api.ServiceID(h.id())}
		s.Spec.Name = string(s.ID)
		if rapid.Bool().Draw(h.T, "of a stack") {
			s.Spec.Labels = map[string]string{api.LabelNamespace: "shop"}
		}
		s.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Secrets: h.references(named)}
		ops = append(ops, Op{PutService: s})
	case "version":
		current := rapid.SampledFrom(named).Draw(h.T, "secret")
		want := api.SecretSpec{Data: []byte(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(h.T, "data"))}
		op, next, rewritten, ok := v.ChangeSecret(current, want, api.SecretID(h.id()))
		if ok {
			ops = append(ops, op)
		} else if string(current.Spec.Data) != string(want.Data) {
			h.Fatal("another content is no change")
		}
		if was, ok := h.bytes[idOf(next)]; rewritten && ok && was != string(want.Data) {
			h.Fatalf("%s held %q and is taken for %q", next.ID, was, want.Data)
		} else if rewritten {
			h.bytes[next.ID] = string(want.Data)
		}
	case "update", "rollback", "fails", "remove", "deploy":
		s := h.pickService()
		if s == nil {
			break
		}
		switch what {
		case "update":
			spec := s.Spec
			spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: h.id(), Secrets: h.references(named)}
			ops = append(ops, Op{PutService: Updated(v, s, spec, nil)})
		case "rollback":
			if back, err := RolledBack(v, s, t0); err == nil {
				ops = append(ops, Op{PutService: back})
			}
		case "fails":
			ops = append(ops, Op{SetUpdateStatus: &SetUpdateStatus{ID: s.ID, RollBackFrom: s.SpecVersion, Status: &swarm.UpdateStatus{}}})
		case "deploy":
			ops = append(ops, Op{RecordDeploy: h.recorded(s)})
		case "remove":
			ops = append(ops, Op{DeleteService: &DeleteService{s.ID}})
		}
	case "task":
		if s := h.pickService(); s != nil {
			ops = append(ops, Op{CreateTasks: []*api.Task{{ID: api.TaskID(h.id()), ServiceID: s.ID, Slot: 1, SpecVersion: s.SpecVersion, NodeID: "n", Status: api.TaskStatus{State: api.TaskRunning}}}})
		}
	case "end":
		if tasks := slices.Collect(v.Tasks()); len(tasks) > 0 {
			ops = append(ops, Op{DeleteTasks: []api.TaskID{rapid.SampledFrom(tasks).Draw(h.T, "task").ID}})
		}
	}
	return Command{At: t0, Ops: ops}
}

// recorded is a deploy of a stack that refers to what a service has.
func (h *contentsHistory) recorded(s *api.Service) *RecordDeploy {
	d := api.StackDeploy{Number: h.index}
	for _, r := range refsOf(&s.Spec) {
		d.Secrets = append(d.Secrets, api.SecretID(r.ID))
	}
	r := &RecordDeploy{Stack: "shop", Deploys: []api.StackDeploy{d}}
	if have := h.s.View().Stack("shop"); have != nil {
		r.Version = have.Meta.Version.Index
	}
	return r
}

func idOf(s *api.Secret) api.SecretID {
	if s == nil {
		return ""
	}
	return s.ID
}

// references are to some of the secrets that have a name.
func (h *contentsHistory) references(named []*api.Secret) (list []*swarm.SecretReference) {
	for _, s := range named {
		if rapid.Bool().Draw(h.T, "uses "+s.Spec.Name) {
			list = append(list, &swarm.SecretReference{SecretID: string(s.ID), SecretName: s.Spec.Name})
		}
	}
	return list
}

// A task finds the bytes of the version that its spec names, for as long as it
// is there, and so does whatever a service may go back to; what was superseded
// and is nobody's is gone.
func TestATaskFindsTheVersionThatItsSpecNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &contentsHistory{T: t, s: New(), bytes: map[api.SecretID]string{}}
		for _, name := range []string{"key", "word"} {
			s := &api.Secret{ID: api.SecretID(h.id()), Spec: api.SecretSpec{Annotations: swarm.Annotations{Name: name}, Data: []byte("first")}}
			h.bytes[s.ID] = "first"
			h.apply(Command{At: t0, Ops: []Op{{PutSecret: s}}})
		}
		for range rapid.IntRange(1, 30).Draw(t, "entries") {
			var entry []Command
			for range rapid.IntRange(1, 3).Draw(t, "commands") {
				entry = append(entry, h.command()) // each knows of the state before the entry alone
			}
			h.apply(entry...)
			v := h.s.View()
			for list := range v.references() {
				for _, r := range list {
					if s := v.Secret(api.SecretID(r.ID)); s == nil || string(s.Spec.Data) != h.bytes[s.ID] || r.Name != "" && s.Spec.Name != r.Name {
						t.Fatalf("entry %d: somebody refers to %s of %s, which is %+v", h.index, r.ID, r.Name, s)
					}
				}
			}
			for task := range v.Tasks() {
				if v.SpecOf(task) == nil {
					t.Fatalf("task %s has no spec", task.ID)
				}
			}
			checkVersions(t, v)
		}
	})
}

// What it costs to find out that a superseded version is of no use any more,
// with a thousand services of two kept versions each.
func BenchmarkCollectVersion(b *testing.B) {
	s := New()
	index := uint64(1)
	named := func(id api.SecretID, name string) Op {
		return Op{PutSecret: &api.Secret{ID: id, Spec: api.SecretSpec{Annotations: swarm.Annotations{Name: name}, Data: []byte("x")}}}
	}
	s.Apply(index, []Command{{At: t0, Ops: []Op{named("s0", "key"), named("other", "other")}}})
	for i := range 1000 {
		svc := &api.Service{ID: api.ServiceID(fmt.Sprint("svc", i))}
		svc.Spec.Name = string(svc.ID)
		svc.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "a"}
		index++
		s.Apply(index, []Command{{At: t0, Ops: []Op{{PutService: svc}}}})
		v := s.View()
		old := v.Service(svc.ID)
		next := old.Spec
		next.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "b", Secrets: []*swarm.SecretReference{{SecretID: "other"}}}
		index++
		s.Apply(index, []Command{{At: t0, Ops: []Op{{PutService: Updated(v, old, next, nil)}}}})
	}
	for b.Loop() {
		v := s.View()
		op, _, _, _ := v.ChangeSecret(secrets.byName(v, "key"), api.SecretSpec{Data: fmt.Append(nil, index)}, api.SecretID(fmt.Sprint("s", index)))
		index++
		if err := s.Apply(index, []Command{{At: t0, Ops: []Op{op}}})[0].Err(); err != nil {
			b.Fatal(err)
		}
	}
}
