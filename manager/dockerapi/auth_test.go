package dockerapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

func encoded(t *testing.T, user string) string {
	t.Helper()
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: user, Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

// Credentials stay with a service until an update brings others, or asks for
// those of the spec before; a rollback takes up those that went with it.
func TestCredentialsStayWithTheService(t *testing.T) {
	c := start(t, nil)
	first, second := encoded(t, "first"), encoded(t, "second")
	made, err := c.docker.ServiceCreate(t.Context(), serviceSpec("web"), swarm.ServiceCreateOptions{EncodedRegistryAuth: first})
	c.must(err)
	service := func() *api.Service { return c.store.View().Service(api.ServiceID(made.ID)) }
	update := func(opts swarm.ServiceUpdateOptions, image string) {
		t.Helper()
		spec := serviceSpec("web")
		spec.TaskTemplate.ContainerSpec.Image = image
		_, err := c.docker.ServiceUpdate(t.Context(), "web", service().Meta.Version, spec, opts)
		c.must(err)
	}
	expect := func(step, want string) {
		t.Helper()
		s := service()
		if got := string(s.RegistryAuth); got != want {
			t.Errorf("%s: the service has %q, want %q", step, got, want)
		}
		if got := string(c.store.View().SpecVersion(s.ID, s.SpecVersion).RegistryAuth); got != want {
			t.Errorf("%s: nodes are given %q, want %q", step, got, want)
		}
	}
	expect("created", first)
	version := service().SpecVersion
	update(swarm.ServiceUpdateOptions{EncodedRegistryAuth: second}, "demo:1")
	expect("new credentials", second)
	if service().SpecVersion != version {
		t.Error("new credentials alone replace the tasks")
	}
	update(swarm.ServiceUpdateOptions{RegistryAuthFrom: swarm.RegistryAuthFromPreviousSpec}, "demo:1")
	expect("from the spec before", first)
	update(swarm.ServiceUpdateOptions{EncodedRegistryAuth: second}, "demo:2")
	expect("new credentials and image", second)
	update(swarm.ServiceUpdateOptions{RegistryAuthFrom: swarm.RegistryAuthFromSpec}, "demo:3")
	expect("nothing new", second)
	update(swarm.ServiceUpdateOptions{}, "demo:4")
	expect("nothing said", second)
	update(swarm.ServiceUpdateOptions{EncodedRegistryAuth: first}, "demo:5")
	update(swarm.ServiceUpdateOptions{Rollback: "previous"}, "demo:5")
	expect("rolled back", second)
}

func TestCredentialsThatAreRefused(t *testing.T) {
	c := start(t, nil)
	s := c.create(serviceSpec("web"))
	_, err := c.docker.ServiceCreate(t.Context(), serviceSpec("api"), swarm.ServiceCreateOptions{EncodedRegistryAuth: "c2VjcmV0"})
	wantError(t, err, errdefs.IsInvalidArgument, "invalid X-Registry-Auth header: it must be the JSON of an AuthConfig in URL-safe base64")
	_, err = c.docker.ServiceUpdate(t.Context(), "web", s.Meta.Version, serviceSpec("web"), swarm.ServiceUpdateOptions{RegistryAuthFrom: "moon"})
	wantError(t, err, errdefs.IsInvalidArgument, `unsupported registryAuthFrom value "moon": use spec or previous-spec`)
	_, err = c.docker.ServiceUpdate(t.Context(), "web", s.Meta.Version, serviceSpec("web"), swarm.ServiceUpdateOptions{RegistryAuthFrom: swarm.RegistryAuthFromPreviousSpec})
	wantError(t, err, errdefs.IsInvalidArgument, "service web does not have a previous spec to take credentials from")
}

// Nothing that the API says has the credentials in it: no answer, no event.
func TestNoAnswerHasCredentials(t *testing.T) {
	c := start(t, nil)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	first, second := encoded(t, "first"), encoded(t, "second")
	messages, _ := c.docker.Events(t.Context(), events.ListOptions{})
	_, err := c.docker.ServiceCreate(t.Context(), serviceSpec("web"), swarm.ServiceCreateOptions{EncodedRegistryAuth: first})
	c.must(err)
	s := c.store.View().ServiceByName("web")
	_, err = c.docker.ServiceUpdate(t.Context(), "web", s.Meta.Version, serviceSpec("web"), swarm.ServiceUpdateOptions{EncodedRegistryAuth: second})
	c.must(err)
	s = c.store.View().ServiceByName("web")
	c.addTask("t1", s, 1, "node1", running("c1"))
	told := ""
	for _, path := range []string{"/services", "/services?status=1", "/services/web", "/services/web?insertDefaults=1", "/tasks", "/tasks/t1", "/swarmctl/tasks/t1/explain", "/swarm", "/nodes", "/info"} {
		told += c.get(path)
	}
	for range 3 { // the service twice, and the task
		m := <-messages
		for k, v := range m.Actor.Attributes {
			told += k + "=" + v + " "
		}
	}
	if !strings.Contains(told, "demo:1") || strings.Contains(told, first) || strings.Contains(told, second) {
		t.Errorf("told: %s", told)
	}
}

func TestThePolicyOfTheCluster(t *testing.T) {
	c := start(t, nil)
	c.apply(state.Op{PutCluster: &api.Cluster{ID: "c1"}})
	privileged := func(name string) swarm.ServiceSpec {
		spec := serviceSpec(name)
		spec.Labels = map[string]string{"swarmctl.privileged": "true"}
		return spec
	}
	deny := func(list string) error {
		sw, err := c.docker.SwarmInspect(t.Context())
		c.must(err)
		sw.Spec.Labels = map[string]string{"swarmctl.policy.deny": list}
		return c.docker.SwarmUpdate(t.Context(), sw.Version, sw.Spec, swarm.UpdateFlags{})
	}
	s := c.create(privileged("old")) // nothing is denied by default
	wantError(t, deny("root"), errdefs.IsInvalidArgument, `cluster label swarmctl.policy.deny: "root" cannot be denied: use some of privileged,device,gpus,host-pid,host-ipc,host-network,bind-mount,cap-add,unconfined`)
	c.must(deny("privileged,host-pid"))

	const way = `(label swarmctl.policy.deny): leave it out, or allow it for all services: "swarmctl update --policy-deny" with the list without it`
	_, err := c.docker.ServiceCreate(t.Context(), privileged("new"), swarm.ServiceCreateOptions{})
	wantError(t, err, errdefs.IsPermissionDenied, `service "new": swarmctl.privileged=true: the cluster's policy denies privileged `+way)

	three := uint64(3)
	spec := privileged("old")
	spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &three}
	_, err = c.docker.ServiceUpdate(t.Context(), "old", s.Meta.Version, spec, swarm.ServiceUpdateOptions{})
	c.must(err) // what it had it keeps
	spec.Labels["swarmctl.pid"] = "host"
	now := c.store.View().Service(s.ID)
	_, err = c.docker.ServiceUpdate(t.Context(), "old", now.Meta.Version, spec, swarm.ServiceUpdateOptions{})
	wantError(t, err, errdefs.IsPermissionDenied, `service "old": swarmctl.pid=host: the cluster's policy denies host-pid `+way)

	_, err = c.docker.ServiceUpdate(t.Context(), "old", now.Meta.Version, serviceSpec("old"), swarm.ServiceUpdateOptions{})
	c.must(err)
	now = c.store.View().Service(s.ID)
	_, err = c.docker.ServiceUpdate(t.Context(), "old", now.Meta.Version, serviceSpec("old"), swarm.ServiceUpdateOptions{Rollback: "previous"})
	wantError(t, err, errdefs.IsPermissionDenied, `service "old": swarmctl.privileged=true: the cluster's policy denies privileged `+way)
}

// A change of a label that containers are made from replaces them; a change of
// any other does not.
func TestLabelsThatReplaceTasks(t *testing.T) {
	c := start(t, nil)
	s := c.create(serviceSpec("web"))
	for _, tt := range []struct {
		label   string
		replace bool
	}{{"tier", false}, {"swarmctl.pid", true}} {
		before := c.store.View().Service(s.ID)
		spec := serviceSpec("web")
		spec.Labels = map[string]string{tt.label: "host"}
		_, err := c.docker.ServiceUpdate(t.Context(), "web", before.Meta.Version, spec, swarm.ServiceUpdateOptions{})
		c.must(err)
		if got := c.store.View().Service(s.ID).SpecVersion != before.SpecVersion; got != tt.replace {
			t.Errorf("label %s: tasks are replaced: %v, want %v", tt.label, got, tt.replace)
		}
	}
}

// Docker's CLI asks for a network within the swarm's scope before it puts a
// service into one.
func TestTheNetworksThatEveryNodeHas(t *testing.T) {
	c := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"Name":"the engine's ` + r.URL.RequestURI() + `"}`))
	}))
	for _, name := range []string{"host", "none", "bridge"} {
		if got := c.get("/v1.41/networks/" + name + "?scope=swarm"); !strings.Contains(got, `"Id":"`+name+`"`) || !strings.Contains(got, `"Scope":"swarm"`) {
			t.Errorf("%s: %s", name, got)
		}
		if got := c.get("/v1.41/networks/" + name); !strings.Contains(got, "the engine's /v1.41/networks/"+name) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestATaskTellsItsGenericResources(t *testing.T) {
	c := start(t, nil)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	s := c.create(serviceSpec("web"))
	c.addTask("t1", s, 1, "", api.TaskStatus{State: api.TaskPending})
	c.apply(state.Op{AssignTasks: []state.Assign{{Task: "t1", Node: "node1", Generic: []api.GenericResource{
		{NamedResourceSpec: &swarm.NamedGenericResource{Kind: "gpu", Value: "GPU-1"}},
		{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: "ssd", Value: 2}},
	}}}})
	task, _, err := c.docker.TaskInspectWithRaw(t.Context(), "t1")
	c.must(err)
	if g := task.GenericResources; len(g) != 2 || g[0].NamedResourceSpec.Value != "GPU-1" || g[1].DiscreteResourceSpec.Value != 2 {
		t.Errorf("the task has %+v", g)
	}
	if got := c.get("/swarmctl/tasks/t1/explain"); !strings.Contains(got, `"Resources":["gpu=GPU-1","ssd=2"]`) {
		t.Errorf("explain: %s", got)
	}
}
