package dockerapi_test

import (
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

func TestLifeOfAService(t *testing.T) {
	c := start(t, nil)
	s := c.create(serviceSpec("web"))

	got, _, err := c.docker.ServiceInspectWithRaw(t.Context(), "web", swarm.ServiceInspectOptions{InsertDefaults: true})
	c.must(err)
	if *got.Spec.Mode.Replicated.Replicas != 1 || got.Spec.UpdateConfig.Parallelism != 1 || got.Spec.TaskTemplate.RestartPolicy.Condition != "any" {
		t.Errorf("defaults are not filled in: %+v", got.Spec)
	}

	spec := got.Spec
	three := uint64(3)
	spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &three}
	_, err = c.docker.ServiceUpdate(t.Context(), "web", got.Version, spec, swarm.ServiceUpdateOptions{})
	c.must(err)
	_, err = c.docker.ServiceUpdate(t.Context(), "web", got.Version, spec, swarm.ServiceUpdateOptions{})
	wantError(t, err, errdefs.IsConflict, "service "+string(s.ID)+": update out of sequence: it has changed since it was read; read it again and retry")

	now := c.store.View().Service(s.ID)
	if n, _ := now.Replicas(); n != 3 || now.PreviousSpec == nil {
		t.Fatalf("after the update: %d replicas, previous spec %v", n, now.PreviousSpec)
	}
	_, err = c.docker.ServiceUpdate(t.Context(), "web", now.Meta.Version, spec, swarm.ServiceUpdateOptions{Rollback: "previous"})
	c.must(err)
	now = c.store.View().Service(s.ID)
	if n, _ := now.Replicas(); n != 1 || now.UpdateStatus.State != swarm.UpdateStateRollbackStarted {
		t.Fatalf("after the rollback: %d replicas, %+v", n, now.UpdateStatus)
	}

	c.must(c.docker.ServiceRemove(t.Context(), "web"))
	wantError(t, c.docker.ServiceRemove(t.Context(), "web"), errdefs.IsNotFound, "service web not found")
}

func TestRefusedChangesOfAService(t *testing.T) {
	c := start(t, nil)
	s := c.create(serviceSpec("web"))
	c.create(serviceSpec("api")) // id2: both IDs begin with "id"
	ctx := t.Context()

	_, err := c.docker.ServiceCreate(ctx, serviceSpec("web"), swarm.ServiceCreateOptions{})
	wantError(t, err, errdefs.IsConflict, "name conflicts with an existing object: service web already exists")

	_, _, err = c.docker.ServiceInspectWithRaw(ctx, "id", swarm.ServiceInspectOptions{})
	wantError(t, err, errdefs.IsInvalidArgument, "service id is ambiguous (2 matches found): give more of the ID")

	renamed := serviceSpec("web2")
	_, err = c.docker.ServiceUpdate(ctx, "web", s.Meta.Version, renamed, swarm.ServiceUpdateOptions{})
	wantError(t, err, errdefs.IsNotImplemented, `renaming services is not supported: remove "web" and create "web2"`)

	global := serviceSpec("web")
	global.Mode.Global = &swarm.GlobalService{}
	_, err = c.docker.ServiceUpdate(ctx, "web", s.Meta.Version, global, swarm.ServiceUpdateOptions{})
	wantError(t, err, errdefs.IsNotImplemented, "service mode change is not allowed: it is replicated; remove the service and create it anew")

	_, err = c.docker.ServiceUpdate(ctx, "web", s.Meta.Version, serviceSpec("web"), swarm.ServiceUpdateOptions{Rollback: "previous"})
	wantError(t, err, errdefs.IsInvalidArgument, "service "+string(s.ID)+" does not have a previous spec: it was never updated")

	_, err = c.docker.ServiceUpdate(ctx, "web", swarm.Version{}, serviceSpec("web"), swarm.ServiceUpdateOptions{})
	wantError(t, err, errdefs.IsInvalidArgument, `invalid service version '0': versions begin at 1: give the version that the service had when it was read`)
}

// A spec that an update sends back as it was read must not look like a change
// to those who compare task specs.
func TestAServiceReadAndWrittenBackIsTheSame(t *testing.T) {
	c := start(t, nil)
	s := c.create(serviceSpec("web"))
	got, _, err := c.docker.ServiceInspectWithRaw(t.Context(), "web", swarm.ServiceInspectOptions{})
	c.must(err)
	_, err = c.docker.ServiceUpdate(t.Context(), "web", got.Version, got.Spec, swarm.ServiceUpdateOptions{})
	c.must(err)
	if now := c.store.View().Service(s.ID); now.SpecVersion != s.SpecVersion {
		t.Errorf("the spec version moved from %d to %d", s.SpecVersion, now.SpecVersion)
	}
}

func TestServiceStatusCounts(t *testing.T) {
	c := start(t, nil)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	three := uint64(3)
	spec := serviceSpec("web")
	spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &three}
	web := c.create(spec)
	spec = serviceSpec("agent")
	spec.Mode.Global = &swarm.GlobalService{}
	agent := c.create(spec)
	c.addTask("t1", web, 1, "node1", running("c1"))
	c.addTask("t2", web, 2, "", api.TaskStatus{State: api.TaskPending})
	c.addTask("t3", agent, 0, "node1", running("c3"))
	c.addTask("t4", agent, 0, "node1", api.TaskStatus{State: api.TaskFailed})

	list, err := c.docker.ServiceList(t.Context(), swarm.ServiceListOptions{Status: true})
	c.must(err)
	want := map[string]swarm.ServiceStatus{"web": {RunningTasks: 1, DesiredTasks: 3}, "agent": {RunningTasks: 1, DesiredTasks: 1}}
	for _, s := range list {
		if s.ServiceStatus == nil || *s.ServiceStatus != want[s.Spec.Name] {
			t.Errorf("%s: %+v, want %+v", s.Spec.Name, s.ServiceStatus, want[s.Spec.Name])
		}
	}
}

func TestTokensRotate(t *testing.T) {
	c := start(t, nil)
	c.apply(state.Op{PutCluster: &api.Cluster{ID: "c1", WorkerToken: "w", ManagerToken: "m"}})
	sw, err := c.docker.SwarmInspect(t.Context())
	c.must(err)
	c.must(c.docker.SwarmUpdate(t.Context(), sw.Version, sw.Spec, swarm.UpdateFlags{RotateWorkerToken: true}))
	if now := c.store.View().Cluster(); now.WorkerToken != "token1" || now.ManagerToken != "m" {
		t.Errorf("tokens are %q and %q", now.WorkerToken, now.ManagerToken)
	}
	err = c.docker.SwarmUpdate(t.Context(), sw.Version, sw.Spec, swarm.UpdateFlags{})
	wantError(t, err, errdefs.IsConflict, "update out of sequence: the cluster has changed since it was read; read it again and retry")
}
