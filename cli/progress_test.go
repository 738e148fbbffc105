package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// moment builds an observation: "1 running n1" is slot 1's task on node n1,
// a fourth word is the desired state.
func moment(service swarm.Service, tasks ...string) seen {
	s := seen{service: service, up: map[string]bool{"n1": true, "n2": true}}
	for _, line := range tasks {
		words := strings.Fields(line)
		t := swarm.Task{ID: line, DesiredState: swarm.TaskStateRunning, Status: swarm.TaskStatus{State: swarm.TaskState(words[1])}}
		_, _ = fmt.Sscan(words[0], &t.Slot)
		if words[2] != "-" {
			t.NodeID = words[2]
		}
		if len(words) > 3 {
			t.DesiredState = swarm.TaskState(words[3])
		}
		if t.Status.State == swarm.TaskStateFailed {
			t.Status.Err = "task: non-zero exit (3)"
		}
		s.tasks = append(s.tasks, t)
	}
	return s
}

func replicatedService(n uint64) swarm.Service {
	return swarm.Service{Spec: swarm.ServiceSpec{Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}}}}
}

// TestFollowerToConvergence plays a service's way: what is shown at each look.
func TestFollowerToConvergence(t *testing.T) {
	svc := replicatedService(2)
	steps := []struct {
		at    time.Duration
		tasks []string
		show  string
		done  bool
	}{
		{0, nil, "overall progress: 0 out of 2 tasks|1/2:|2/2:", false},
		{1 * time.Second, []string{"1 pending -", "2 preparing n1"}, "overall progress: 0 out of 2 tasks|1/2: pending|2/2: preparing", false},
		{2 * time.Second, []string{"1 running n2", "2 starting n1"}, "overall progress: 1 out of 2 tasks|1/2: running|2/2: starting", false},
		{3 * time.Second, []string{"1 running n2", "2 running n1"}, "overall progress: 2 out of 2 tasks|1/2: running|2/2: running|verify: Waiting 5 seconds to verify that tasks are stable...", false},
		{5500 * time.Millisecond, []string{"1 running n2", "2 running n1"}, "overall progress: 2 out of 2 tasks|1/2: running|2/2: running|verify: Waiting 3 seconds to verify that tasks are stable...", false},
		{6 * time.Second, []string{"1 failed n2 shutdown", "1 ready n2 ready", "2 running n1"}, "overall progress: 1 out of 2 tasks|1/2: ready|2/2: running|verify: Detected task failure", false},
		{7 * time.Second, []string{"1 running gone", "1 pending - ", "2 running n1"}, "overall progress: 1 out of 2 tasks|1/2: pending|2/2: running", false},
		{8 * time.Second, []string{"1 running n2", "2 running n1"}, "overall progress: 2 out of 2 tasks|1/2: running|2/2: running|verify: Waiting 5 seconds to verify that tasks are stable...", false},
		{13 * time.Second, []string{"1 running n2", "2 running n1"}, "overall progress: 2 out of 2 tasks|1/2: running|2/2: running|verify: Service web converged", true},
	}
	f := &follower{name: "web"}
	start := time.Unix(1000, 0)
	for _, s := range steps {
		v, err := f.look(moment(svc, s.tasks...), start.Add(s.at))
		if err != nil {
			t.Fatal(err)
		}
		if got := shown(v.bars); got != s.show || v.done != s.done {
			t.Errorf("after %s:\n got %s (done %t)\nwant %s (done %t)", s.at, got, v.done, s.show, s.done)
		}
	}
}

func shown(bars []bar) string {
	var list []string
	s := &screen{}
	for _, b := range bars {
		list = append(list, s.line(b))
	}
	return strings.Join(list, "|")
}

func TestFollowerOfUpdates(t *testing.T) {
	status := func(state swarm.UpdateState) swarm.Service {
		svc := replicatedService(1)
		svc.UpdateStatus = &swarm.UpdateStatus{State: state, Message: "why"}
		return svc
	}
	tests := []struct {
		state swarm.UpdateState
		task  string
		show  string
		err   string
		done  bool
	}{
		{swarm.UpdateStatePaused, "1 running n1", "", "service update paused: why", false},
		{swarm.UpdateStateRollbackPaused, "1 running n1", "", "service rollback paused: why", false},
		{swarm.UpdateStateCompleted, "1 running n1", "overall progress: 1 out of 1 tasks|1/1: running", "", true},
		{swarm.UpdateStateCompleted, "1 starting n1", "overall progress: 0 out of 1 tasks|1/1: starting", "", false},
		{swarm.UpdateStateRollbackStarted, "1 failed n1", "rollback: why|overall progress: rolling back update: 0 out of 1 tasks|1/1: task: non-zero exit (3)", "", false},
	}
	for _, tt := range tests {
		v, err := (&follower{name: "web"}).look(moment(status(tt.state), tt.task), time.Unix(1, 0))
		if got := fmt.Sprint(err); tt.err != "" && got != tt.err || tt.err == "" && err != nil {
			t.Errorf("%s: error %v, want %q", tt.state, err, tt.err)
		}
		if got := shown(v.bars); got != tt.show || v.done != tt.done {
			t.Errorf("%s: %q done %t, want %q done %t", tt.state, got, v.done, tt.show, tt.done)
		}
	}
}

// An update that waits for another service has no new tasks that say so.
func TestFollowerOfUpdateThatWaits(t *testing.T) {
	const waits = "waits for service db to be healthy: 0 of 1 running"
	for _, tt := range []struct {
		state         swarm.UpdateState
		message, show string
	}{
		{swarm.UpdateStateUpdating, "update in progress; " + waits, "update: " + waits + "|overall progress: 0 out of 1 tasks|1/1:"},
		{swarm.UpdateStateUpdating, "update in progress", "overall progress: 0 out of 1 tasks|1/1:"},
		{swarm.UpdateStateRollbackStarted, "it failed; " + waits, "rollback: it failed|update: " + waits + "|overall progress: rolling back update: 0 out of 1 tasks|1/1:"},
	} {
		svc := replicatedService(1)
		svc.UpdateStatus = &swarm.UpdateStatus{State: tt.state, Message: tt.message}
		f := &follower{name: "web"}
		v, err := f.look(moment(svc), time.Unix(1, 0))
		if got := shown(v.bars); err != nil || got != tt.show || v.done || strings.Contains(f.why, "waits") {
			t.Errorf("%s: %q done %t, %v, why %q; want %q", tt.message, got, v.done, err, f.why, tt.show)
		}
	}
	pending := moment(replicatedService(1), "1 pending -")
	pending.tasks[0].Status.Err = waits
	if v, err := (&follower{name: "web"}).look(pending, time.Unix(1, 0)); err != nil || shown(v.bars) != "overall progress: 0 out of 1 tasks|1/1: "+waits {
		t.Errorf("a task that waits: %q, %v", shown(v.bars), err)
	}
}

// What runs once, by its restart policy, has come to what was asked for when it
// has ended well.
func TestFollowerOfWhatRunsOnce(t *testing.T) {
	for condition, want := range map[swarm.RestartPolicyCondition]string{
		"": "0 out of 1", "any": "0 out of 1", "none": "1 out of 1", "on-failure": "1 out of 1",
	} {
		svc := replicatedService(1)
		svc.Spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: condition}
		for _, desired := range []string{"running", "shutdown"} {
			v, err := (&follower{name: "web"}).look(moment(svc, "1 complete n1 "+desired), time.Unix(1, 0))
			if got := shown(v.bars); err != nil || !strings.HasPrefix(got, "overall progress: "+want) {
				t.Errorf("%s, desired %s: %q, %v", condition, desired, got, err)
			}
		}
	}
}

// A canary that waits for the user is what an update was to come to, once its
// tasks and those beside it are there. One of which a task has failed is not,
// unless failures are to count for nothing.
func TestFollowerOfCanaries(t *testing.T) {
	held := api.Rollout{Phase: api.CanaryHeld, New: 1, Old: 2, Wanted: 1, Replicas: 3}
	green := api.Rollout{Phase: api.CanaryHeld, BlueGreen: true, New: 3, Old: 3, Wanted: 3, Replicas: 3}
	with := func(r api.Rollout, change func(*api.Rollout)) api.Rollout { change(&r); return r }
	const (
		commands = ": `swarmctl service promote web` %s, `swarmctl service rollback web` %s"
		failure  = "service update paused: why"
	)
	for _, tt := range []struct {
		name    string
		rollout api.Rollout
		action  string
		show    string // behind the bars
		err     string
	}{
		{"in place", held, "", "canary: 1 of 3 replicas run the new version" + fmt.Sprintf(commands, "updates the others", "undoes it"), ""},
		{"scaled up", with(held, func(r *api.Rollout) { r.Replicas = 4 }), "", "", ""},
		{"more of it to come", with(held, func(r *api.Rollout) { r.Wanted = 2 }), "", "", ""},
		{"paused before", with(held, func(r *api.Rollout) { r.Phase = api.CanaryPlacing }), "", "", failure},
		{"failed", with(held, func(r *api.Rollout) { r.Failed = "web.1.x" }), "pause", "", failure},
		{"failed, for all we care", with(held, func(r *api.Rollout) { r.Failed = "web.1.x" }), "continue", "canary: 1 of 3 replicas run the new version" + fmt.Sprintf(commands, "updates the others", "undoes it"), ""},
		{"side by side", green, "", "canary: 3 tasks of the new version run beside the old ones" + fmt.Sprintf(commands, "gives them all connections", "stops them"), ""},
		{"not yet side by side", with(green, func(r *api.Rollout) { r.Old = 2 }), "", "", ""},
		{"switched", with(green, func(r *api.Rollout) { r.Phase = api.CanarySwitched }), "", "canary: the new version gets all connections" + fmt.Sprintf(commands, "stops the 3 tasks of the old one", "goes back to them"), ""},
	} {
		svc := replicatedService(3)
		svc.UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStatePaused, Message: "why"}
		svc.Spec.UpdateConfig = &swarm.UpdateConfig{FailureAction: tt.action}
		s := moment(svc, "1 running n1")
		s.rollout = &tt.rollout
		v, err := (&follower{name: "web"}).look(s, time.Unix(1, 0))
		if got := fmt.Sprint(err); tt.err != "" && got != tt.err || tt.err == "" && err != nil {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.err)
		}
		_, got, _ := strings.Cut(shown(v.bars), "|2/3:|3/3:")
		if got = strings.TrimPrefix(got, "|"); got != tt.show || v.done != (tt.show != "") {
			t.Errorf("%s: %q done %t, want %q", tt.name, got, v.done, tt.show)
		}
	}
}

// An update that the cluster has undone is a failure, also while it watches what
// is back still; a rollback that the user asked for is not.
func TestFollowerOfRollbacks(t *testing.T) {
	for _, last := range []swarm.UpdateState{swarm.UpdateStateRollbackCompleted, swarm.UpdateStateRollbackStarted} {
		testRollbacks(t, last)
	}
}

func testRollbacks(t *testing.T, last swarm.UpdateState) {
	t.Helper()
	svc := replicatedService(1)
	for _, asked := range []bool{false, true} {
		f := &follower{name: "web", asked: asked}
		look := func(state swarm.UpdateState, message string, at int64) (verdict, error) {
			svc.UpdateStatus = &swarm.UpdateStatus{State: state, Message: message}
			return f.look(moment(svc, "1 running n1"), time.Unix(at, 0))
		}
		for _, s := range []swarm.UpdateState{swarm.UpdateStateUpdating, swarm.UpdateStateRollbackStarted, last} {
			if v, err := look(s, "task x failed", 1); err != nil || v.done {
				t.Fatalf("%s: done %t, %v", s, v.done, err)
			}
		}
		v, err := look(last, "task x failed", 7)
		if !v.done {
			t.Errorf("asked %t: not done", asked)
		}
		var stderr bytes.Buffer
		want, text := exitRolledBack, "service update failed: web was rolled back to what it was before: task x failed\n"
		if asked {
			want, text = 0, ""
		}
		if code := report(&stderr, err); code != want || stderr.String() != text {
			t.Errorf("asked %t: exit code %d, %q", asked, code, stderr.String())
		}
	}
}

func TestFollowerOfOtherModes(t *testing.T) {
	global := swarm.Service{Spec: swarm.ServiceSpec{Mode: swarm.ServiceMode{Global: &swarm.GlobalService{}}}}
	job := swarm.Service{JobStatus: &swarm.JobStatus{}, Spec: swarm.ServiceSpec{Mode: swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: as(uint64(1)), TotalCompletions: as(uint64(2))}}}}
	everywhere := swarm.Service{JobStatus: &swarm.JobStatus{}, Spec: swarm.ServiceSpec{Mode: swarm.ServiceMode{GlobalJob: &swarm.GlobalJob{}}}}
	tests := []struct {
		name  string
		seen  seen
		show  string
		done  bool
		isJob bool
	}{
		{"global, no task yet", moment(global), "overall progress: waiting for new tasks", false, false},
		{"global", moment(global, "0 running n1", "0 starting n2"), "overall progress: 1 out of 2 tasks|n1: running|n2: starting", false, false},
		{"many", moment(replicatedService(21), "1 running n1"), "overall progress: 1 out of 21 tasks", false, false},
		{"none wanted", moment(replicatedService(0)), "overall progress: 0 out of 0 tasks|verify: Waiting 5 seconds to verify that tasks are stable...", false, false},
		{"job", moment(job, "0 complete n1", "1 running n1"), "job progress: 1 out of 2 complete|active tasks: 1 out of 1 tasks|1/2: complete|2/2: running", false, true},
		{"job, not begun", moment(job), "job progress: 0 out of 2 complete|active tasks: 0 out of 1 tasks|1/2:|2/2:", false, true},
		{"job, tried again", moment(job, "0 failed n1 shutdown", "0 ready n1 ready"), "job progress: 0 out of 2 complete|active tasks: 1 out of 1 tasks|1/2: ready|2/2:", false, true},
		{"global job, not begun", moment(everywhere), "job progress: waiting for tasks", false, true},
		{"global job", moment(everywhere, "0 complete n1", "0 running n2"), "job progress: 1 out of 2 complete|n1: complete|n2: running", false, true},
		{"global job done", moment(everywhere, "0 complete n1", "0 complete n2"), "job progress: 2 out of 2 complete|n1: complete|n2: complete|job complete", true, true},
		{"job done", moment(job, "0 complete n1", "1 complete n1"), "job progress: 2 out of 2 complete|active tasks: 0 out of 0 tasks|1/2: complete|2/2: complete|job complete", true, true},
	}
	for _, tt := range tests {
		if tt.isJob {
			for i := range tt.seen.tasks {
				tt.seen.tasks[i].JobIteration = &swarm.Version{}
				if tt.seen.tasks[i].DesiredState == swarm.TaskStateRunning {
					tt.seen.tasks[i].DesiredState = swarm.TaskStateComplete
				}
			}
		}
		v, err := (&follower{name: "web"}).look(tt.seen, time.Unix(1, 0))
		if got := shown(v.bars); err != nil || got != tt.show || v.done != tt.done {
			t.Errorf("%s: %q done %t (%v), want %q done %t", tt.name, got, v.done, err, tt.show, tt.done)
		}
	}
}

// Of a job, earlier iterations do not count, nor do nodes that come while it is
// watched; and one that nobody will try again is an error.
func TestFollowerOfJobs(t *testing.T) {
	everywhere := swarm.Service{JobStatus: &swarm.JobStatus{JobIteration: swarm.Version{Index: 1}}}
	everywhere.Spec.Mode.GlobalJob = &swarm.GlobalJob{}
	f := &follower{name: "scan"}
	look := func(iterations []uint64, tasks ...string) (verdict, error) {
		s := moment(everywhere, tasks...)
		for i := range s.tasks {
			s.tasks[i].JobIteration = &swarm.Version{Index: iterations[i]}
			if s.tasks[i].DesiredState == swarm.TaskStateRunning {
				s.tasks[i].DesiredState = swarm.TaskStateComplete
			}
		}
		return f.look(s, time.Unix(1, 0))
	}
	for _, step := range []struct {
		iterations []uint64
		tasks      []string
		show, err  string
	}{
		{[]uint64{0}, []string{"0 complete n1"}, "job progress: waiting for tasks", ""},
		{[]uint64{0, 1, 1}, []string{"0 complete n1", "0 running n1", "0 failed n2"}, "job progress: 0 out of 2 complete|n1: running|n2: task: non-zero exit (3)", ""},
		{[]uint64{1, 1, 1}, []string{"0 complete n1", "0 pending n2", "0 running n3"}, "job progress: 1 out of 2 complete|n1: complete|n2: pending", ""},
		{[]uint64{1, 1}, []string{"0 complete n1", "0 failed n2 shutdown"}, "job progress: 1 out of 2 complete|n1: complete|n2: task: non-zero exit (3)",
			"job failed: 1 out of 2 tasks are complete, the others have failed and their restart policy allows no further attempt: task: non-zero exit (3)"},
	} {
		v, err := look(step.iterations, step.tasks...)
		if got := shown(v.bars); got != step.show || v.done || step.err == "" && err != nil || step.err != "" && (err == nil || err.Error() != step.err) {
			t.Errorf("%v: %q done %t, %v; want %q, %q", step.tasks, got, v.done, err, step.show, step.err)
		}
	}
}

func TestScreenOnATerminal(t *testing.T) {
	var b bytes.Buffer
	s := &screen{w: &b, tty: true, width: 40, height: 10, shown: map[string]bar{}}
	s.draw([]bar{{id: "overall progress", text: "0 out of 1 tasks"}, {id: "1/1", text: " "}})
	s.draw([]bar{{id: "overall progress", text: "1 out of 1 tasks"}, {id: "1/1", text: "running  ", done: 9, total: 9}})
	want := "\r\x1b[2Koverall progress: 0 out of 1 tasks\n\r\x1b[2K1/1:  \n" +
		"\x1b[2A\r\x1b[2Koverall progress: 1 out of 1 tasks\n\r\x1b[2K1/1: running   [=====================>]\n"
	if b.String() != want {
		t.Errorf("got %q\nwant %q", b.String(), want)
	}
}
