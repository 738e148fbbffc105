package dockerapi_test

import (
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

func jobSpec(name string, mode swarm.ServiceMode) swarm.ServiceSpec {
	spec := serviceSpec(name)
	spec.Mode = mode
	return spec
}

// addJobTask adds a task of an iteration that is to be complete.
func (c *cluster) addJobTask(id api.TaskID, s *api.Service, slot int, iteration uint64, state0 api.TaskState) {
	c.Helper()
	t := &api.Task{
		ID: id, ServiceID: s.ID, Slot: slot, SpecVersion: s.SpecVersion, JobIteration: iteration, Desired: api.TaskComplete,
		Status: api.TaskStatus{State: state0},
	}
	if slot == 0 {
		t.NodeID = api.NodeID("node" + string(id))
	}
	c.apply(state.Op{CreateTasks: []*api.Task{t}})
}

func (c *cluster) update(name string, change func(*swarm.ServiceSpec)) error {
	c.Helper()
	s, _, err := c.docker.ServiceInspectWithRaw(c.Context(), name, swarm.ServiceInspectOptions{})
	c.must(err)
	change(&s.Spec)
	_, err = c.docker.ServiceUpdate(c.Context(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{})
	return err
}

func (c *cluster) inspect(name string) swarm.Service {
	c.Helper()
	s, _, err := c.docker.ServiceInspectWithRaw(c.Context(), name, swarm.ServiceInspectOptions{})
	c.must(err)
	return s
}

func TestDefaultsOfAReplicatedJob(t *testing.T) {
	c := start(t, nil)
	n := func(n uint64) *uint64 { return &n }
	for name, tt := range map[string]struct {
		given         swarm.ReplicatedJob
		atOnce, total uint64
	}{
		"nothing": {swarm.ReplicatedJob{}, 1, 1},
		"at-once": {swarm.ReplicatedJob{MaxConcurrent: n(3)}, 3, 3},
		"total":   {swarm.ReplicatedJob{TotalCompletions: n(3)}, 1, 3},
		"none":    {swarm.ReplicatedJob{MaxConcurrent: n(0), TotalCompletions: n(0)}, 0, 0},
	} {
		c.create(jobSpec(name, swarm.ServiceMode{ReplicatedJob: &tt.given}))
		got := c.inspect(name).Spec.Mode.ReplicatedJob
		if *got.MaxConcurrent != tt.atOnce || *got.TotalCompletions != tt.total {
			t.Errorf("%s: %d at once, %d in all", name, *got.MaxConcurrent, *got.TotalCompletions)
		}
	}
}

// What Docker refuses for a job is refused in its words.
func TestWhatAJobMayNotHave(t *testing.T) {
	c := start(t, nil)
	c.create(jobSpec("all", swarm.ServiceMode{GlobalJob: &swarm.GlobalJob{}}))
	c.create(serviceSpec("web"))

	spec := jobSpec("x", swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{}})
	spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: 2}
	_, err := c.docker.ServiceCreate(t.Context(), spec, swarm.ServiceCreateOptions{})
	wantError(t, err, errdefs.IsInvalidArgument, "Jobs may not have an update config: a change of what its tasks run begins a job anew")

	err = c.update("all", func(s *swarm.ServiceSpec) { s.UpdateConfig = &swarm.UpdateConfig{} })
	wantError(t, err, errdefs.IsInvalidArgument, "Jobs may not have an update config: a change of what its tasks run begins a job anew")

	for name, mode := range map[string]swarm.ServiceMode{
		"all": {ReplicatedJob: &swarm.ReplicatedJob{}}, "web": {GlobalJob: &swarm.GlobalJob{}},
	} {
		is := map[string]string{"all": "global-job", "web": "replicated"}[name]
		err = c.update(name, func(s *swarm.ServiceSpec) { s.Mode = mode })
		wantError(t, err, errdefs.IsNotImplemented, "service mode change is not allowed: it is "+is+"; remove the service and create it anew")
	}
}

func TestIterationsOfAJobInTheAPI(t *testing.T) {
	c := start(t, nil)
	c.create(jobSpec("sum", swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{}}))
	first := c.inspect("sum").JobStatus
	if first == nil || first.JobIteration.Index != 0 || first.LastExecution.IsZero() {
		t.Fatalf("after its creation: %+v", first)
	}
	c.must(c.update("sum", func(s *swarm.ServiceSpec) {
		ten := uint64(10)
		s.Mode.ReplicatedJob.TotalCompletions, s.Labels = &ten, map[string]string{"a": "b"}
	}))
	if now := c.inspect("sum").JobStatus; *now != *first {
		t.Errorf("scaled and labelled it is %+v, was %+v", now, first)
	}
	c.must(c.update("sum", func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ }))
	if now := c.inspect("sum").JobStatus; now.JobIteration.Index != 1 || !now.LastExecution.After(first.LastExecution) {
		t.Errorf("by force it is %+v", now)
	}
	s := c.inspect("sum")
	_, err := c.docker.ServiceUpdate(t.Context(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{Rollback: "previous"})
	c.must(err)
	if now := c.inspect("sum"); now.JobStatus.JobIteration.Index != 2 || now.UpdateStatus != nil {
		t.Errorf("rolled back it is %+v, %+v", now.JobStatus, now.UpdateStatus)
	}
	if c.create(serviceSpec("web")); c.inspect("web").JobStatus != nil {
		t.Error("a service that is no job has the status of one")
	}
}

// The counts are of the current iteration, and a job's tasks say which is theirs.
// Docker's CLI expects the slots of a replicated job to begin at 0.
func TestJobStatusCounts(t *testing.T) {
	c := start(t, nil)
	two, five := uint64(2), uint64(5)
	sum := c.create(jobSpec("sum", swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: &two, TotalCompletions: &five}}))
	all := c.create(jobSpec("all", swarm.ServiceMode{GlobalJob: &swarm.GlobalJob{}}))
	for _, s := range []*api.Service{sum, all} {
		c.must(c.update(s.Name(), func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ }))
	}
	sum, all = c.store.View().Service(sum.ID), c.store.View().Service(all.ID)
	c.addJobTask("s1", sum, 1, 0, api.TaskComplete)
	c.addJobTask("s2", sum, 1, 1, api.TaskComplete)
	c.addJobTask("s3", sum, 1, 1, api.TaskComplete) // its node had been taken for dead
	c.addJobTask("s4", sum, 2, 1, api.TaskRunning)
	c.addJobTask("s5", sum, 3, 1, api.TaskFailed)
	c.addJobTask("g1", all, 0, 1, api.TaskComplete)
	c.addJobTask("g2", all, 0, 1, api.TaskRunning)
	c.addJobTask("g3", all, 0, 1, api.TaskPending)
	c.addJobTask("g4", all, 0, 0, api.TaskRunning)
	c.addJobTask("g5", all, 0, 1, api.TaskFailed)
	c.apply(state.Op{DesireTasks: []state.Desire{{Task: "g5", State: api.TaskShutdown}}}) // and is not tried again

	list, err := c.docker.ServiceList(t.Context(), swarm.ServiceListOptions{Status: true})
	c.must(err)
	want := map[string]swarm.ServiceStatus{
		"sum": {RunningTasks: 1, DesiredTasks: 2, CompletedTasks: 1}, "all": {RunningTasks: 1, DesiredTasks: 3, CompletedTasks: 1},
	}
	for _, s := range list {
		if *s.ServiceStatus != want[s.Spec.Name] {
			t.Errorf("%s: %+v, want %+v", s.Spec.Name, s.ServiceStatus, want[s.Spec.Name])
		}
	}
	for id, want := range map[string]struct {
		slot      int
		iteration uint64
	}{"s1": {0, 0}, "s4": {1, 1}, "g1": {0, 1}, "g4": {0, 0}} {
		task, _, err := c.docker.TaskInspectWithRaw(t.Context(), id)
		c.must(err)
		if task.Slot != want.slot || task.JobIteration == nil || task.JobIteration.Index != want.iteration || task.DesiredState != swarm.TaskStateComplete {
			t.Errorf("task %s: slot %d, iteration %v, desired %s", id, task.Slot, task.JobIteration, task.DesiredState)
		}
	}
	for path, want := range map[string]string{"sum.1": "sum.1.s4", "all.nodeg2": "all.nodeg2.g2"} {
		if path == "all.nodeg2" {
			c.addNode("nodeg2", "h2", swarm.NodeRoleWorker, api.NodeReady)
		}
		if got := decode(t, c.get("/swarmctl/tasks/"+path+"/explain")).(map[string]any)["Name"]; got != want {
			t.Errorf("%s is %v, not %s", path, got, want)
		}
	}
}
