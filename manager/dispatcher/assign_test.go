package dispatcher

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/docker/docker/api/types/swarm"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// node is the other end of an assignment stream. It forgets a spec with the
// last of its tasks, as a node may.
type node struct {
	tasks map[string]*wire.Task
	specs map[string]*wire.Spec
	// contents are the secrets and configs that it has.
	contents map[string]*wire.Content
}

func (n *node) take(t *rapid.T, v *state.View, list []*wire.Assignments) {
	for _, a := range list {
		for _, s := range a.Specs {
			n.specs[fmt.Sprint(s.ServiceId, s.Version)] = s
		}
		for _, c := range a.Contents {
			if n.contents[c.Id] != nil {
				t.Fatalf("secret %s comes twice", c.Id)
			}
			n.contents[c.Id] = c
		}
		for _, id := range a.Removed {
			if n.tasks[id] == nil {
				t.Fatalf("told to remove %s, which it never had", id)
			}
			delete(n.tasks, id)
		}
		for _, task := range a.Tasks {
			spec := n.specs[fmt.Sprint(task.ServiceId, task.SpecVersion)]
			if spec == nil {
				t.Fatalf("task %s comes without its spec", task.Id)
			}
			now := v.SpecVersion(api.ServiceID(task.ServiceId), task.SpecVersion)
			if n.tasks[task.Id] == nil && spec.RegistryAuth != string(now.RegistryAuth) {
				t.Fatalf("task %s comes with credentials %q, now they are %q", task.Id, spec.RegistryAuth, string(now.RegistryAuth))
			}
			decoded, err := wire.DecodeSpec(spec)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range api.ContentRefs(decoded.Spec.TaskTemplate.ContainerSpec) {
				c, over := n.contents[r.ID], api.TaskState(task.Status.State).Terminal()
				if c == nil && !over || c != nil && !c.Gone && string(c.Data) != "bytes of "+r.ID {
					t.Fatalf("task %s comes without %s: %v", task.Id, &r, c)
				}
			}
			n.tasks[task.Id] = task
		}
		for _, id := range a.Released {
			if n.contents[id] == nil {
				t.Fatalf("told to forget secret %s, which it does not have", id)
			}
			delete(n.contents, id)
		}
	}
	needed := map[string]*wire.Spec{}
	for _, task := range n.tasks {
		key := fmt.Sprint(task.ServiceId, task.SpecVersion)
		needed[key] = n.specs[key]
	}
	n.specs = needed
}

// TestNodeKnowsWhatTheStoreHolds: whatever happens between two messages, a
// node that has taken all of them has exactly its tasks, as they are desired, and
// exactly the secrets and configs that those of them use which have not ended.
func TestNodeKnowsWhatTheStoreHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newFakeStore("n1", "n2")
		for _, id := range []string{"s1", "s2"} {
			s.put(state.Op{PutSecret: &api.Secret{ID: api.SecretID(id), Spec: api.SecretSpec{Annotations: swarm.Annotations{Name: id}, Data: []byte("bytes of " + id)}}})
		}
		s.put(state.Op{PutConfig: &api.Config{ID: "c1", Spec: api.ConfigSpec{Annotations: swarm.Annotations{Name: "c1"}, Data: []byte("bytes of c1")}}})
		s.service("a", "n1", "a1", "a2")
		s.service("b", "n1", "b1")
		k, n := newTold("n1"), &node{tasks: map[string]*wire.Task{}, specs: map[string]*wire.Spec{}, contents: map[string]*wire.Content{}}
		list, err := k.full(s.View())
		if err != nil {
			t.Fatal(err)
		}
		n.take(t, s.View(), list)
		dirty, created := map[api.TaskID]struct{}{}, 0
		deliver := func() {
			list, err := k.changes(s.View(), dirty)
			if err != nil {
				t.Fatal(err)
			}
			n.take(t, s.View(), list)
			clear(dirty)
		}
		anyTask := func() api.TaskID {
			var ids []api.TaskID
			for task := range s.View().Tasks() {
				ids = append(ids, task.ID)
			}
			if len(ids) == 0 {
				return "none"
			}
			return rapid.SampledFrom(ids).Draw(t, "task")
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				created++
				id := api.TaskID(fmt.Sprint("t", created))
				s.tasks(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "service"), rapid.SampledFrom([]api.NodeID{"n1", "n2"}).Draw(t, "node"), id)
				dirty[id] = struct{}{}
			},
			"update": func(t *rapid.T) {
				next := *s.View().Service("a")
				next.Spec.TaskTemplate.ForceUpdate++
				s.put(state.Op{PutService: &next})
			},
			"use": func(t *rapid.T) {
				next := *s.View().Service(api.ServiceID(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "service")))
				c := &swarm.ContainerSpec{}
				for _, id := range rapid.SliceOfN(rapid.SampledFrom([]string{"s1", "s2"}), 0, 2).Draw(t, "secrets") {
					if s.View().Secret(api.SecretID(id)) != nil {
						c.Secrets = append(c.Secrets, &swarm.SecretReference{SecretID: id, SecretName: id})
					}
				}
				if rapid.Bool().Draw(t, "config") && s.View().Config("c1") != nil {
					c.Configs = []*swarm.ConfigReference{{ConfigID: "c1", ConfigName: "c1"}}
				}
				next.Spec.TaskTemplate.ContainerSpec = c
				s.put(state.Op{PutService: &next})
			},
			"remove": func(t *rapid.T) { // one that old tasks may use
				op := rapid.SampledFrom([]state.Op{{DeleteSecret: &state.DeleteSecret{ID: "s1"}}, {DeleteConfig: &state.DeleteConfig{ID: "c1"}}}).Draw(t, "what")
				_, _ = s.Propose(context.Background(), state.Command{Ops: []state.Op{op}})
			},
			"end": func(t *rapid.T) {
				id := anyTask()
				s.put(state.Op{ReportTasks: []state.Report{{Task: id, Status: api.TaskStatus{State: api.TaskFailed}}}})
				dirty[id] = struct{}{}
			},
			"login": func(t *rapid.T) {
				next := *s.View().Service("a")
				next.RegistryAuth = api.RegistryAuth(rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "credentials"))
				s.put(state.Op{PutService: &next})
			},
			"desire": func(t *rapid.T) {
				id := anyTask()
				s.put(state.Op{DesireTasks: []state.Desire{{Task: id, State: api.TaskShutdown}}})
				dirty[id] = struct{}{}
			},
			"delete": func(t *rapid.T) {
				id := anyTask()
				s.put(state.Op{DeleteTasks: []api.TaskID{id}})
				dirty[id] = struct{}{}
			},
			"deliver": func(*rapid.T) { deliver() },
			"resync":  func(*rapid.T) { dirty = k.everything(s.View()) },
		})
		deliver()
		want, uses := 0, map[string]bool{}
		for task := range s.View().NodeTasks("n1") {
			want++
			for _, r := range api.ContentRefs(s.View().SpecOf(task).Spec.TaskTemplate.ContainerSpec) {
				if !task.Status.State.Terminal() {
					uses[r.ID] = true
				}
			}
			if got := n.tasks[string(task.ID)]; got == nil || api.TaskState(got.Desired) != task.Desired {
				t.Fatalf("task %s is %v at the node, desired %s", task.ID, got, task.Desired)
			}
		}
		if want != len(n.tasks) {
			t.Fatalf("the node has %d tasks, the store %d", len(n.tasks), want)
		}
		if have := slices.Sorted(maps.Keys(n.contents)); !slices.Equal(have, slices.Sorted(maps.Keys(uses))) || len(k.contents) != len(have) {
			t.Fatalf("the node has secrets %v, its tasks use %v, the manager believes %v", have, uses, k.contents)
		}
	})
}

// Credentials go to the nodes that have tasks of the service and to no other,
// and a spec is said again only where it has changed for new containers.
func TestASpecIsToldAgainWhenItMeansSomethingElse(t *testing.T) {
	s := newFakeStore("n1", "n2")
	s.service("a", "n1", "a1")
	s.service("b", "n2", "b1")
	change := func(f func(*api.Service)) {
		next := *s.View().Service("a")
		f(&next)
		s.put(state.Op{PutService: &next})
	}
	change(func(a *api.Service) { a.RegistryAuth = "first" })
	k, other := newTold("n1"), newTold("n2")
	tell := func(k *told, tasks ...api.TaskID) string {
		t.Helper()
		ids := map[api.TaskID]struct{}{}
		for _, id := range tasks {
			ids[id] = struct{}{}
		}
		list, err := k.changes(s.View(), ids)
		if len(tasks) == 0 {
			list, err = k.full(s.View())
		}
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, a := range list {
			for _, m := range a.Specs {
				spec, err := wire.DecodeSpec(m)
				if err != nil {
					t.Fatal(err)
				}
				text += fmt.Sprintf("%s %q", m.ServiceId, string(spec.RegistryAuth))
				if l := spec.Spec.TaskTemplate.LogDriver; l != nil {
					text += " logs to " + l.Name
				}
			}
		}
		return text
	}
	for _, step := range []struct {
		what string
		do   func()
		k    *told
		ask  []api.TaskID
		want string
	}{
		{"at first", func() {}, k, nil, `a "first"`},
		{"the node of another service", func() {}, other, nil, `b ""`},
		{"a second task", func() { s.tasks("a", "n1", "a2") }, k, []api.TaskID{"a2"}, ``},
		{"new credentials", func() { change(func(a *api.Service) { a.RegistryAuth = "second" }) }, k, []api.TaskID{"a1", "a2"}, ``},
		{"and a task that needs them", func() { s.tasks("a", "n1", "a3") }, k, []api.TaskID{"a3"}, `a "second"`},
		{"the cluster's log driver", func() {
			c := *s.View().Cluster()
			c.Spec.TaskDefaults.LogDriver = &swarm.Driver{Name: "syslog"}
			s.put(state.Op{PutCluster: &c})
			s.tasks("a", "n1", "a4")
		}, k, []api.TaskID{"a4"}, `a "second" logs to syslog`},
		{"is not that of a service with its own", func() {
			change(func(a *api.Service) { a.Spec.TaskTemplate.LogDriver = &swarm.Driver{Name: "none"} })
			s.tasks("a", "n1", "a5")
		}, k, []api.TaskID{"a5"}, `a "second" logs to none`},
	} {
		step.do()
		if got := tell(step.k, step.ask...); got != step.want {
			t.Errorf("%s: told %q, want %q", step.what, got, step.want)
		}
	}
	if l := s.View().Service("b").Spec.TaskTemplate.LogDriver; l != nil {
		t.Errorf("the stored spec got a log driver: %+v", l)
	}
}

// Secrets and configs stay within what one message may be, however many a task
// uses, and come before it.
func TestManyLargeConfigsTravelInSeveralMessages(t *testing.T) {
	s := newFakeStore("n1")
	svc := &api.Service{ID: "a"}
	svc.Spec.Name, svc.Spec.TaskTemplate.ContainerSpec = "a", &swarm.ContainerSpec{}
	for i := range 5 {
		id := fmt.Sprint("c", i)
		s.put(state.Op{PutConfig: &api.Config{ID: api.ConfigID(id), Spec: api.ConfigSpec{Annotations: swarm.Annotations{Name: id}, Data: make([]byte, 900<<10)}}})
		c := svc.Spec.TaskTemplate.ContainerSpec
		c.Configs = append(c.Configs, &swarm.ConfigReference{ConfigID: id, ConfigName: id})
	}
	s.put(state.Op{PutService: svc})
	s.tasks("a", "n1", "a1")
	list, err := newTold("n1").full(s.View())
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, a := range list {
		if size := proto.Size(a); size > 2<<20 {
			t.Errorf("a message of %d bytes", size)
		}
		for _, c := range a.Contents {
			got += c.Id + " "
		}
		for _, task := range a.Tasks {
			got += task.Id
		}
	}
	if got != "c0 c1 c2 c3 c4 a1" || !list[len(list)-1].Full {
		t.Errorf("they come as %s", got)
	}
}
