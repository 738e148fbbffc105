package worker

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// beside gives the node a task that is a sidecar of another one.
func (w *world) beside(id, with api.TaskID, desired api.TaskState, args ...string) {
	w.store.mu.Lock()
	version := uint64(len(w.store.specs) + 1)
	w.store.specs[version] = w.spec(args...)
	w.store.tasks[id] = &api.Task{ID: id, ServiceID: "service2", Slot: 1, NodeID: testNode, PodOf: with, SpecVersion: version, Desired: desired, Status: api.TaskStatus{State: api.TaskAssigned}}
	w.store.index++
	w.store.mu.Unlock()
	w.tell(id)
}

func (w *world) expectPod(id, with api.TaskID) {
	w.Helper()
	if got := w.engine.Pod(id); got != with {
		w.Errorf("task %s shares the network namespace of task %q, want %q", id, got, with)
	}
}

func TestSidecarWaitsForTheContainerThatItLivesWith(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.beside("log", "app", api.TaskRunning)
		w.settle()
		w.expect("log", api.TaskPreparing, "waiting for the container that it is a sidecar of")
		w.expectContainers("[]")
		w.add("app", w.spec(), api.TaskReady)
		w.settle()
		w.expect("log", api.TaskReady, "waiting for the container that it is a sidecar of")
		w.expectContainers("[app created log created]")
		w.want("app", api.TaskRunning)
		w.settle()
		w.expect("app", api.TaskRunning, "")
		w.expect("log", api.TaskRunning, "")
		w.expectPod("log", "app")
		w.expectPod("app", "")
	})
}

func TestSidecarStartsThoughWhatItLivesWithIsNotHealthyYet(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		spec := w.spec()
		spec.TaskTemplate.ContainerSpec.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "true"}}
		w.add("app", spec, api.TaskRunning)
		w.beside("log", "app", api.TaskRunning)
		w.start()
		w.settle()
		w.expect("app", api.TaskStarting, "")
		w.expect("log", api.TaskRunning, "")
		w.engine.Health("app", docker.Healthy)
		w.settle()
		w.expect("app", api.TaskRunning, "")
	})
}

// A sidecar goes on without the container that it lived with until it is told to
// stop, and one that comes too late never starts.
func TestSidecarWhenItsPodEnds(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.run("app")
		w.beside("log", "app", api.TaskRunning)
		w.beside("wait", "app", api.TaskReady)
		w.start()
		w.settle()
		w.expect("wait", api.TaskReady, "")
		w.engine.Exit("app", 1)
		w.want("wait", api.TaskRunning)
		w.beside("late", "app", api.TaskRunning)
		w.settle()
		w.expect("app", api.TaskFailed, "task: non-zero exit (1)")
		w.expect("log", api.TaskRunning, "")
		w.expectContainers("[app exited log running wait created]")
		for _, id := range []api.TaskID{"log", "wait", "late"} {
			w.want(id, api.TaskShutdown)
		}
		w.settle()
		for _, id := range []api.TaskID{"log", "wait", "late"} {
			w.expect(id, api.TaskShutdown, "")
			w.drop(id)
		}
		w.drop("app")
		w.settle()
		w.expectContainers("[]")
	})
}

func TestSidecarIsRestartedBesideTheSameContainer(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.run("app")
		w.beside("log", "app", api.TaskRunning)
		w.start()
		w.settle()
		w.engine.Exit("log", 2)
		w.beside("again", "app", api.TaskRunning)
		w.settle()
		w.expect("log", api.TaskFailed, "task: non-zero exit (2)")
		w.expect("again", api.TaskRunning, "")
		w.expectPod("again", "app")
		w.expect("app", api.TaskRunning, "")
	})
}

// The daemon is restarted at each stage of a pod.
func TestSidecarOutlivesTheDaemon(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		again := func() {
			w.settle()
			w.kill()
			w.start()
			w.settle()
		}
		w.start()
		w.beside("log", "app", api.TaskRunning)
		again()
		w.add("app", w.spec(), api.TaskReady)
		again()
		w.expectContainers("[app created log created]")
		w.want("app", api.TaskRunning)
		again()
		w.expect("log", api.TaskRunning, "")
		w.expectPod("log", "app")
		if n := w.engine.Starts("log"); n != 1 {
			w.Errorf("started %d times, want once", n)
		}
	})
}

// The container that it lives with ends while it is being started: that is no
// failure of the sidecar, which would count against its restart policy.
func TestSidecarIsStartedTooLate(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.run("app")
		w.beside("log", "app", api.TaskReady)
		w.start()
		w.settle()
		w.engine.Pace(4 * time.Second)
		w.want("log", api.TaskRunning)
		time.Sleep(time.Second)
		w.engine.Exit("app", 1)
		time.Sleep(3 * time.Second)
		w.settle()
		w.expect("log", api.TaskStarting, "")
		w.want("log", api.TaskShutdown)
		w.settle()
		w.expect("log", api.TaskShutdown, "")
	})
}
