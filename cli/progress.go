package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// seen is what the API said of a service at one moment: the service, its
// tasks of the newest spec, the nodes that are not down and, where its update
// is paused, where that stands.
type seen struct {
	service swarm.Service
	tasks   []swarm.Task
	up      map[string]bool
	rollout *api.Rollout
}

// bar is a line of progress. total is 0 where there is nothing to draw.
type bar struct {
	id, text    string
	done, total int
	tick        bool // a countdown: without a terminal only its first line is worth printing
}

// Limits of what is drawn.
const (
	maxBars       = 20
	maxBarError   = 75
	defaultStable = 5 * time.Second
)

// taskOrder numbers the states a task passes; bars grow with it.
var taskOrder = map[swarm.TaskState]int{
	swarm.TaskStateNew: 1, swarm.TaskStateAllocated: 2, swarm.TaskStatePending: 3, swarm.TaskStateAssigned: 4,
	swarm.TaskStateAccepted: 5, swarm.TaskStatePreparing: 6, swarm.TaskStateReady: 7, swarm.TaskStateStarting: 8,
	swarm.TaskStateRunning: 9, swarm.TaskStateComplete: 10, swarm.TaskStateShutdown: 11, swarm.TaskStateFailed: 12, swarm.TaskStateRejected: 13,
}

func ended(s swarm.TaskState) bool { return taskOrder[s] > taskOrder[swarm.TaskStateRunning] }

// follower judges, look by look, how far a service has come to what was asked
// of it. It reads no clock and calls nobody.
type follower struct {
	name  string          // how the user calls the service
	slots map[int]int     // a slot's place among the bars, in the order they were seen
	nodes map[string]bool // those of a global job, as they were when it was first seen

	converged   bool
	convergedAt time.Time
	wasStable   bool // it converged before and did not stay so
	rollback    bool
	asked       bool   // the user asked for the rollback: that it is completed is no failure
	why         string // why the cluster rolls back
	running     int    // of a job: complete
	wanted      int
	job         bool
}

// verdict is what one look yields: lines to show, whether to stop, and how
// long until the next look is due without anything changing.
type verdict struct {
	bars []bar
	done bool
	due  time.Duration
}

// look takes one observation.
func (f *follower) look(s seen, now time.Time) (verdict, error) {
	if f.slots == nil {
		f.slots = map[int]int{}
	}
	if r := s.rollout; r != nil && r.Waits() && (r.Failed == "" || goesOn(s.service)) {
		return f.canary(s, r)
	}
	bars, done, err := f.updateStatus(s.service.UpdateStatus)
	if err != nil {
		return verdict{bars: bars}, err
	}
	taskBars, converged, err := f.tasks(s)
	bars = append(bars, taskBars...)
	if err != nil {
		return verdict{bars: bars}, err
	}
	switch {
	case converged && s.service.JobStatus != nil:
		return verdict{bars: append(bars, bar{text: "job complete"}), done: true}, nil
	case converged && done && !f.converged:
		f.converged = true // the update was watched by the cluster
		return verdict{bars: bars, done: true}, nil
	case !converged:
		if f.converged {
			bars, f.wasStable = append(bars, bar{id: "verify", text: "Detected task failure"}), true
		}
		f.converged = false
		return verdict{bars: bars}, nil
	case !f.converged:
		f.converged, f.convergedAt = true, now
	}
	left := stableFor(s.service) - now.Sub(f.convergedAt)
	if left > 0 {
		text := fmt.Sprintf("Waiting %d seconds to verify that tasks are stable...", (left+time.Second-1)/time.Second)
		return verdict{bars: append(bars, bar{id: "verify", text: text, tick: true}), due: left}, nil
	}
	bars = append(bars, bar{id: "verify", text: fmt.Sprintf("Service %s converged", f.name)})
	if u := s.service.UpdateStatus; u != nil && u.State == swarm.UpdateStateRollbackCompleted {
		bars = append(bars, bar{id: "rollback", text: u.Message})
	}
	if f.rollback && !f.asked { // also where the cluster watches what is back a little longer than we did
		return verdict{bars: bars, done: true}, f.rolledBack()
	}
	return verdict{bars: bars, done: true}, nil
}

// canary judges a service whose canary waits for the user: it has converged
// when that and the tasks beside it are there.
func (f *follower) canary(s seen, r *api.Rollout) (verdict, error) {
	bars, _, err := f.tasks(s)
	if err != nil || !inPlace(r) {
		return verdict{bars: bars}, err
	}
	return verdict{bars: append(bars, heldBar(f.name, r)), done: true}, nil
}

// goesOn reports whether failures do not stop an update of the service.
func goesOn(s swarm.Service) bool {
	return s.Spec.UpdateConfig != nil && s.Spec.UpdateConfig.FailureAction == swarm.UpdateFailureActionContinue
}

// rolledBack is the end of an update that did not succeed and left the service
// as it was before.
func (f *follower) rolledBack() error {
	msg := "service update failed: " + f.name + " was rolled back to what it was before"
	if f.why != "" {
		msg += ": " + f.why
	}
	return &exitError{code: exitRolledBack, msg: msg}
}

// stableFor is how long tasks must run before the service counts as converged.
func stableFor(s swarm.Service) time.Duration {
	if u := s.Spec.UpdateConfig; u != nil && u.Monitor != 0 {
		return u.Monitor
	}
	return defaultStable
}

// updateStatus reads what the cluster says of a rolling update.
func (f *follower) updateStatus(u *swarm.UpdateStatus) (bars []bar, completed bool, err error) {
	if u == nil {
		return nil, false, nil
	}
	switch u.State {
	case swarm.UpdateStateUpdating:
		f.rollback = false
		bars = waitBar(u)
	case swarm.UpdateStateCompleted:
		return nil, true, nil
	case swarm.UpdateStatePaused:
		return nil, false, fmt.Errorf("service update paused: %s", u.Message)
	case swarm.UpdateStateRollbackPaused:
		return nil, false, fmt.Errorf("service rollback paused: %s", u.Message)
	case swarm.UpdateStateRollbackStarted:
		why, _ := api.CutHeld(u.Message)
		if !f.rollback && why != "" {
			bars = []bar{{id: "rollback", text: why}}
		}
		f.rollback, f.why = true, why
		bars = append(bars, waitBar(u)...)
	case swarm.UpdateStateRollbackCompleted:
		f.rollback = true
	}
	return bars, false, nil
}

// waitBar says which service an update waits for: it has no new tasks then that
// would.
func waitBar(u *swarm.UpdateStatus) []bar {
	if _, waits := api.CutHeld(u.Message); waits != "" {
		return []bar{{id: "update", text: waits}}
	}
	return nil
}

// tasks counts the tasks and makes their bars.
func (f *follower) tasks(s seen) ([]bar, bool, error) {
	switch m := s.service.Spec.Mode; {
	case m.Replicated != nil:
		wanted := 1
		if m.Replicated.Replicas != nil {
			wanted = int(*m.Replicated.Replicas)
		}
		if isStopped(s) {
			wanted = 0
		}
		bars, ok := f.replicated(s, wanted)
		return bars, ok, nil
	case m.Global != nil:
		bars, ok := f.global(s)
		return bars, ok || isStopped(s), nil
	case m.ReplicatedJob != nil:
		return f.replicatedJob(s)
	case m.GlobalJob != nil:
		return f.globalJob(s)
	}
	return nil, false, errors.New("unrecognized service mode")
}

// isStopped reports whether the service is to have no tasks for now.
func isStopped(s seen) bool { return s.service.Spec.Labels[api.LabelStopped] == "true" }

// current picks the task that speaks for each slot or node: the one meant to
// live, and of several the one that has come least far.
func current[K comparable](tasks []swarm.Task, key func(swarm.Task) (K, bool)) map[K]swarm.Task {
	best := map[K]swarm.Task{}
	for _, t := range tasks {
		k, ok := key(t)
		if !ok || taskOrder[t.DesiredState] == 0 || taskOrder[t.Status.State] == 0 {
			continue
		}
		if b, ok := best[k]; ok && cmp.Or(cmp.Compare(taskOrder[b.DesiredState], taskOrder[t.DesiredState]),
			cmp.Compare(taskOrder[b.Status.State], taskOrder[t.Status.State])) <= 0 {
			continue
		}
		best[k] = t
	}
	return best
}

func runs(t swarm.Task) bool {
	return !ended(t.DesiredState) && t.Status.State == swarm.TaskStateRunning
}

// finished reports whether a task has done its work in a service that wants no
// other one then, which is a job in all but its mode.
func finished(s swarm.Service, t swarm.Task) bool {
	p := s.Spec.TaskTemplate.RestartPolicy
	return t.Status.State == swarm.TaskStateComplete && p != nil &&
		(p.Condition == swarm.RestartPolicyConditionNone || p.Condition == swarm.RestartPolicyConditionOnFailure)
}

func (f *follower) replicated(s seen, wanted int) ([]bar, bool) {
	tasks := current(s.tasks, func(t swarm.Task) (int, bool) { return t.Slot, t.NodeID == "" || s.up[t.NodeID] })
	slots := make([]int, 0, len(tasks))
	for slot := range tasks {
		slots = append(slots, slot)
	}
	slices.Sort(slots)
	lines := make([]bar, wanted)
	for i := range lines {
		lines[i] = bar{id: fmt.Sprintf("%d/%d", i+1, wanted), text: " "}
	}
	f.running, f.wanted = 0, wanted
	for _, slot := range slots {
		t := tasks[slot]
		if f.slots[slot] == 0 {
			f.slots[slot] = len(f.slots) + 1
		}
		if runs(t) || finished(s.service, t) {
			f.running++
		}
		if at := f.slots[slot] - 1; at < wanted {
			lines[at] = taskBar(lines[at].id, t, taskOrder[swarm.TaskStateRunning])
		}
	}
	return f.withOverall(lines), f.running == wanted
}

func (f *follower) global(s seen) ([]bar, bool) {
	tasks := current(s.tasks, func(t swarm.Task) (string, bool) { return t.NodeID, true })
	if len(tasks) == 0 {
		return []bar{{id: "overall progress", text: "waiting for new tasks"}}, false
	}
	ids := make([]string, 0, len(tasks))
	for id := range tasks {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var lines []bar
	f.running, f.wanted = 0, len(tasks)
	for _, id := range ids {
		t := tasks[id]
		if !s.up[id] {
			continue
		}
		if runs(t) {
			f.running++
		}
		lines = append(lines, taskBar(shortID(id), t, taskOrder[swarm.TaskStateRunning]))
	}
	return f.withOverall(lines), f.running == f.wanted
}

// replicatedJob counts what has completed in the job's current iteration.
func (f *follower) replicatedJob(s seen) ([]bar, bool, error) {
	j := s.service.Spec.Mode.ReplicatedJob
	f.wanted, f.running, f.job = int(*j.TotalCompletions), 0, true
	tasks := current(s.tasks, func(t swarm.Task) (int, bool) { return t.Slot, inIteration(s, t) && t.Slot < f.wanted })
	lines := make([]bar, f.wanted)
	active := 0
	for i := range lines {
		lines[i] = bar{id: fmt.Sprintf("%d/%d", i+1, f.wanted), text: " "}
		t, ok := tasks[i]
		if !ok {
			continue
		}
		lines[i] = taskBar(lines[i].id, t, taskOrder[swarm.TaskStateComplete])
		switch {
		case t.Status.State == swarm.TaskStateComplete:
			f.running++
		case !ended(t.Status.State):
			active++
		}
	}
	digits := len(strconv.FormatUint(*j.MaxConcurrent, 10))
	most := min(f.wanted-f.running, int(*j.MaxConcurrent))
	bars := []bar{f.jobProgress(), {id: "active tasks", text: fmt.Sprintf("%*d out of %*d tasks", digits, active, digits, most)}}
	return f.withLines(bars, lines), f.running == f.wanted, jobFailure(f, tasks)
}

// globalJob counts the nodes that have done their part. Nodes that come later
// are not waited for.
func (f *follower) globalJob(s seen) ([]bar, bool, error) {
	tasks := current(s.tasks, func(t swarm.Task) (string, bool) {
		return t.NodeID, inIteration(s, t) && (f.nodes == nil || f.nodes[t.NodeID])
	})
	if len(tasks) == 0 {
		return []bar{{id: "job progress", text: "waiting for tasks"}}, false, nil
	}
	ids := slices.Sorted(maps.Keys(tasks))
	if f.nodes == nil {
		f.nodes = map[string]bool{}
		for _, id := range ids {
			f.nodes[id] = true
		}
	}
	f.wanted, f.running, f.job = len(f.nodes), 0, true
	var lines []bar
	for _, id := range ids {
		if tasks[id].Status.State == swarm.TaskStateComplete {
			f.running++
		}
		lines = append(lines, taskBar(id, tasks[id], taskOrder[swarm.TaskStateComplete]))
	}
	return f.withLines([]bar{f.jobProgress()}, lines), f.running == f.wanted, jobFailure(f, tasks)
}

func inIteration(s seen, t swarm.Task) bool {
	return s.service.JobStatus != nil && t.JobIteration != nil && t.JobIteration.Index == s.service.JobStatus.JobIteration.Index
}

// jobFailure is the end of a job that can never be complete: every task that
// has not completed has failed, and will not be restarted.
func jobFailure[K comparable](f *follower, tasks map[K]swarm.Task) error {
	if len(tasks) < f.wanted || f.running == f.wanted {
		return nil
	}
	var why string
	for _, t := range tasks {
		switch st := t.Status.State; {
		case st == swarm.TaskStateComplete:
		case t.DesiredState == swarm.TaskStateShutdown && (st == swarm.TaskStateFailed || st == swarm.TaskStateRejected):
			why = max(why, t.Status.Err)
		default:
			return nil
		}
	}
	return fmt.Errorf("job failed: %d out of %d tasks are complete, the others have failed and their restart policy allows no further attempt: %s",
		f.running, f.wanted, why)
}

func (f *follower) jobProgress() bar {
	digits := len(strconv.Itoa(f.wanted))
	return bar{id: "job progress", text: fmt.Sprintf("%*d out of %d complete", digits, f.running, f.wanted), done: f.running, total: f.wanted}
}

// withOverall puts the sum before the bars, and leaves the bars out where they
// would be too many.
func (f *follower) withOverall(lines []bar) []bar {
	text := f.sum()
	if f.rollback {
		text = "rolling back update: " + text
	}
	return f.withLines([]bar{{id: "overall progress", text: text}}, lines)
}

func (f *follower) withLines(all, lines []bar) []bar {
	if f.wanted > maxBars {
		return all
	}
	return append(all, lines...)
}

// sum is "1 out of 3 tasks".
func (f *follower) sum() string { return fmt.Sprintf("%d out of %d tasks", f.running, f.wanted) }

// standing is "1 out of 3 tasks running".
func (f *follower) standing() string {
	if f.job {
		return f.sum() + " complete"
	}
	return f.sum() + " running"
}

// taskBar is one task's line: its error, or its state.
func taskBar(id string, t swarm.Task, total int) bar {
	if t.Status.Err != "" {
		return bar{id: id, text: ellipsis(strings.ReplaceAll(t.Status.Err, "\n", " "), maxBarError)}
	}
	over := func(s swarm.TaskState) bool { return ended(s) && s != swarm.TaskStateComplete }
	if over(t.DesiredState) || over(t.Status.State) {
		return bar{id: id, text: " "}
	}
	return bar{id: id, text: fmt.Sprintf("%-9s", t.Status.State), done: taskOrder[t.Status.State], total: total}
}
