package restart_test

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/services/restart"
)

func ptr[T any](v T) *T { return &v }

func TestDecide(t *testing.T) {
	failed, complete, rejected := api.TaskFailed, api.TaskComplete, api.TaskRejected
	for name, c := range map[string]struct {
		policy   *swarm.RestartPolicy
		state    api.TaskState
		restarts int
		ran      time.Duration
		want     string
	}{
		"first failure":           {nil, failed, 0, 0, "restart in 0s, restarts 1"},
		"second":                  {nil, failed, 1, 0, "restart in 5s, restarts 2"},
		"fourth":                  {nil, failed, 3, 59 * time.Second, "restart in 20s, restarts 4"},
		"many":                    {nil, rejected, 99, 0, "restart in 5m0s, restarts 100"},
		"ran well":                {nil, failed, 9, time.Minute, "restart in 0s, restarts 1"},
		"success under any":       {nil, complete, 0, 0, "restart in 0s, restarts 1"},
		"stopped by its node":     {&swarm.RestartPolicy{Condition: "none"}, api.TaskShutdown, 3, time.Second, "restart in 0s, restarts 3"},
		"none":                    {&swarm.RestartPolicy{Condition: "none"}, failed, 0, 0, "no restart"},
		"success":                 {&swarm.RestartPolicy{Condition: "on-failure"}, complete, 0, 0, "no restart"},
		"rejected is a failure":   {&swarm.RestartPolicy{Condition: "on-failure"}, rejected, 0, 0, "restart in 0s, restarts 1"},
		"fixed delay":             {&swarm.RestartPolicy{Delay: ptr(3 * time.Second)}, failed, 0, 0, "restart in 3s, restarts 1"},
		"fixed delay, later":      {&swarm.RestartPolicy{Delay: ptr(3 * time.Second)}, failed, 7, 0, "restart in 3s, restarts 8"},
		"attempts left":           {&swarm.RestartPolicy{MaxAttempts: ptr(uint64(2))}, failed, 1, 0, "restart in 5s, restarts 2"},
		"attempts used up":        {&swarm.RestartPolicy{MaxAttempts: ptr(uint64(2))}, failed, 2, time.Hour, "no restart"},
		"attempts in the window":  {&swarm.RestartPolicy{MaxAttempts: ptr(uint64(2)), Window: ptr(time.Minute)}, failed, 2, 59 * time.Second, "no restart"},
		"attempts of another age": {&swarm.RestartPolicy{MaxAttempts: ptr(uint64(2)), Window: ptr(time.Minute)}, failed, 2, time.Minute, "restart in 0s, restarts 1"},
		"unlimited attempts":      {&swarm.RestartPolicy{MaxAttempts: ptr(uint64(0))}, failed, 50, 0, "restart in 5m0s, restarts 51"},
	} {
		s := &api.Service{SpecVersion: 4}
		s.Spec.TaskTemplate.RestartPolicy = c.policy
		task := &api.Task{SpecVersion: 4, Restarts: c.restarts, Status: api.TaskStatus{State: c.state}}
		if got := restart.Decide(s, task, c.ran).String(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// A job does not do again what is done, whatever its policy.
func TestJobsRestartFailuresAlone(t *testing.T) {
	for _, condition := range []swarm.RestartPolicyCondition{"", "any", "on-failure", "none"} {
		for _, mode := range []swarm.ServiceMode{{ReplicatedJob: &swarm.ReplicatedJob{}}, {GlobalJob: &swarm.GlobalJob{}}} {
			s := &api.Service{Spec: api.ServiceSpec{Mode: mode}}
			s.Spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: condition}
			for state, want := range map[api.TaskState]bool{api.TaskComplete: false, api.TaskFailed: condition != "none", api.TaskRejected: condition != "none"} {
				if d := restart.Decide(s, &api.Task{Status: api.TaskStatus{State: state}}, 0); d.Restart != want {
					t.Errorf("condition %q, %s: %s", condition, state, d)
				}
			}
		}
	}
}

// TestCrashLoopIsSlow counts the restarts of a task that crashes at once, and
// of one that always runs for a while: ten in ten minutes are the most.
func TestCrashLoopIsSlow(t *testing.T) {
	s := &api.Service{}
	for ran := time.Duration(0); ran < 2*time.Minute; ran += 5 * time.Second {
		task := &api.Task{Status: api.TaskStatus{State: api.TaskFailed}}
		count, at := 0, ran
		for at < 10*time.Minute {
			d := restart.Decide(s, task, ran)
			count++
			at += d.Delay + ran
			task.Restarts = d.Restarts
		}
		if count > 10 {
			t.Errorf("a task that runs for %s is restarted %d times in 10 minutes", ran, count)
		}
	}
}
