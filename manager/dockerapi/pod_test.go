package dockerapi_test

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

func sidecarSpec(name, of string) swarm.ServiceSpec {
	spec := serviceSpec(name)
	spec.Labels = map[string]string{setting.LabelPod: of}
	return spec
}

// A service of sidecars shows the mode and the number of the one that it belongs
// to, as Docker's CLI waits for that many tasks, and is sent back as it was shown.
func TestSidecarsShowTheNumberOfTheirService(t *testing.T) {
	c := start(t, nil)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	res, err := c.docker.ServiceCreate(t.Context(), sidecarSpec("log", "app"), swarm.ServiceCreateOptions{})
	c.must(err)
	if len(res.Warnings) != 1 || res.Warnings[0] != "label swarmctl.pod: there is no service app: service log runs nowhere until there is" {
		t.Errorf("warnings %q", res.Warnings)
	}
	log := c.store.View().Service(api.ServiceID(res.ID))
	shown := func() swarm.Service {
		t.Helper()
		got, _, err := c.docker.ServiceInspectWithRaw(t.Context(), "log", swarm.ServiceInspectOptions{})
		c.must(err)
		_, err = c.docker.ServiceUpdate(t.Context(), "log", got.Version, got.Spec, swarm.ServiceUpdateOptions{})
		c.must(err)
		if now := c.store.View().Service(log.ID); now.SpecVersion != log.SpecVersion || now.Spec.Mode.Replicated == nil || now.Spec.Mode.Replicated.Replicas != nil {
			t.Errorf("sent back as it was shown it is %+v", now.Spec.Mode)
		}
		return got
	}
	if got := shown(); *got.Spec.Mode.Replicated.Replicas != 0 {
		t.Errorf("%d replicas without a service", *got.Spec.Mode.Replicated.Replicas)
	}
	three := uint64(3)
	spec := serviceSpec("app")
	spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &three}
	app := c.create(spec)
	if got := shown(); *got.Spec.Mode.Replicated.Replicas != 3 {
		t.Errorf("%d replicas beside three", *got.Spec.Mode.Replicated.Replicas)
	}
	c.addTask("a1", app, 1, "node1", running("c1"))
	c.apply(state.Op{CreateTasks: []*api.Task{{ID: "l1", ServiceID: log.ID, Slot: 1, NodeID: "node1", PodOf: "a1", SpecVersion: log.SpecVersion, Desired: api.TaskRunning, Status: running("c2")}}})
	list, err := c.docker.ServiceList(t.Context(), swarm.ServiceListOptions{Status: true})
	c.must(err)
	for _, s := range list {
		if s.ServiceStatus == nil || *s.ServiceStatus != (swarm.ServiceStatus{RunningTasks: 1, DesiredTasks: 3}) {
			t.Errorf("%s: %+v", s.Spec.Name, s.ServiceStatus)
		}
	}
	c.must(c.docker.ServiceRemove(t.Context(), "app"))
	spec = serviceSpec("app")
	spec.Mode.Global = &swarm.GlobalService{}
	c.create(spec)
	if got := shown(); got.Spec.Mode.Global == nil {
		t.Errorf("beside a global service it is %+v", got.Spec.Mode)
	}
}

func TestRefusedSidecars(t *testing.T) {
	c := start(t, nil)
	create := func(spec swarm.ServiceSpec) error {
		_, err := c.docker.ServiceCreate(t.Context(), spec, swarm.ServiceCreateOptions{})
		return err
	}
	job := serviceSpec("job")
	job.Mode.ReplicatedJob = &swarm.ReplicatedJob{}
	c.create(job)
	c.create(serviceSpec("app"))
	log := c.create(sidecarSpec("log", "app"))
	c.create(sidecarSpec("early", "later"))

	wantError(t, create(sidecarSpec("own", "own")), errdefs.IsInvalidArgument, "label swarmctl.pod: service own cannot be a sidecar of itself: name another service")
	wantError(t, create(sidecarSpec("more", "log")), errdefs.IsInvalidArgument, "label swarmctl.pod: service log is a sidecar itself, of service app: name that one")
	wantError(t, create(sidecarSpec("more", "job")), errdefs.IsInvalidArgument, "label swarmctl.pod: service job is a job, and jobs have no sidecars: run both in one container, or make it a service")
	wantError(t, create(sidecarSpec("later", "app")), errdefs.IsInvalidArgument, "service later cannot be a sidecar itself: service early is a sidecar of it (label swarmctl.pod): remove that one first")
	job.Name = "later"
	wantError(t, create(job), errdefs.IsInvalidArgument, "service later cannot be a job: service early is a sidecar of it (label swarmctl.pod): remove that one first")

	update := func(spec swarm.ServiceSpec) error {
		_, err := c.docker.ServiceUpdate(t.Context(), spec.Name, c.store.View().Service(log.ID).Meta.Version, spec, swarm.ServiceUpdateOptions{})
		return err
	}
	wantError(t, update(serviceSpec("log")), errdefs.IsNotImplemented, `label swarmctl.pod cannot be changed from "app" to "": remove the service and create it anew`)
	five := uint64(5)
	spec := sidecarSpec("log", "app")
	spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &five}
	if err := update(spec); err == nil || !strings.Contains(err.Error(), "scale that one") {
		t.Errorf("scaled by itself: %v", err)
	}
}
