package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// dependency is a service that another one waits for, in words: "job 3",
// "global", "global-job", "replicas 2" or "once 2", which is restarted on failure
// alone.
func dependency(words string) *api.Service {
	s := &api.Service{ID: "on"}
	s.Spec.Name = "on"
	kind, number, _ := strings.Cut(words, " ")
	var n uint64
	_, _ = fmt.Sscan(number, &n)
	switch kind {
	case "job":
		s.Spec.Mode.ReplicatedJob = &swarm.ReplicatedJob{TotalCompletions: &n}
	case "global":
		s.Spec.Mode.Global = &swarm.GlobalService{}
	case "global-job":
		s.Spec.Mode.GlobalJob = &swarm.GlobalJob{}
	default:
		s.Spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &n}
	}
	if kind == "once" || kind == "global" {
		s.Spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionOnFailure}
	}
	return s
}

func TestUnmet(t *testing.T) {
	const waits = "waits for service on to be "
	for _, tt := range []struct {
		name, service string
		// tasks are "SLOT@NODE DESIRED STATE", with a ! of the version before; nodes are
		// "up", "down" and "new", whose tasks are not settled.
		tasks []string
		want  map[setting.Condition]string
	}{
		{"nothing yet", "replicas 2", nil, map[setting.Condition]string{
			"started": waits + "started: 0 of 2 started", "healthy": waits + "healthy: 0 of 2 running",
			"completed": waits + "completed: its tasks are started again whatever they end with: give it restart condition on-failure, or make it a job",
		}},
		{"starts", "replicas 2", []string{"1@up running starting", "2@up running preparing"}, map[setting.Condition]string{"started": "", "healthy": waits + "healthy: 0 of 2 running"}},
		{"one of them runs", "replicas 2", []string{"1@up running running", "2@down running running"}, map[setting.Condition]string{"started": "", "healthy": ""}},
		{"the version before runs", "replicas 1", []string{"!1@up running running"}, map[setting.Condition]string{"healthy": ""}},
		{"is to stop", "replicas 1", []string{"1@up shutdown running"}, map[setting.Condition]string{"started": waits + "started: 0 of 1 started"}},
		{"out of reach", "replicas 1", []string{"1@down running running"}, map[setting.Condition]string{"healthy": waits + "healthy: 0 of 1 running"}},
		{"in doubt", "replicas 1", []string{"1@new running running"}, map[setting.Condition]string{"healthy": waits + "healthy: 0 of 1 running"}},
		{"none wanted", "replicas 0", nil, map[setting.Condition]string{"started": waits + "started: it is scaled to 0", "completed": waits + "completed: it is scaled to 0"}},
		{"on every node", "global", []string{"0@up running running", "0@down running running"}, map[setting.Condition]string{"healthy": "", "completed": waits + "completed: 0 of 1 complete"}},
		{"done on the nodes that are there", "global", []string{"0@up shutdown complete", "0@down running running"}, map[setting.Condition]string{"completed": ""}},
		{"done once", "once 1", []string{"1@up shutdown complete"}, map[setting.Condition]string{
			"completed": "", "started": "", "healthy": waits + "healthy: its tasks have ended: wait for it to be completed",
		}},
		{"half done", "once 2", []string{"1@up running complete", "2@up running running"}, map[setting.Condition]string{"completed": waits + "completed: 1 of 2 complete"}},
		{"done by the version before", "once 1", []string{"!1@up shutdown complete"}, map[setting.Condition]string{"completed": waits + "completed: 0 of 1 complete"}},
		{"a job at work", "job 2", []string{"1@up complete complete", "2@up complete running"}, map[setting.Condition]string{"completed": waits + "completed: 1 of 2 complete", "healthy": ""}},
		{"a job done at the second go", "job 2", []string{"1@up complete complete", "2@up shutdown failed", "2@up complete complete"}, map[setting.Condition]string{"completed": "", "started": ""}},
		{"a job that goes on", "job 2", []string{"2@up shutdown failed", "2@up ready pending"}, map[setting.Condition]string{"completed": waits + "completed: 0 of 2 complete"}},
		{"a job that has just failed", "job 1", []string{"1@up complete failed"}, map[setting.Condition]string{"completed": waits + "completed: 0 of 1 complete"}},
		{"a job given up", "job 3", []string{"1@up complete complete", "3@up shutdown failed", "2@up shutdown rejected"}, map[setting.Condition]string{
			"completed": waits + "completed: task on.1 has failed and is not started again: no such thing",
		}},
		{"a job taken elsewhere", "job 1", []string{"1@up shutdown shutdown"}, map[setting.Condition]string{"completed": waits + "completed: 0 of 1 complete"}},
		{"a long job", "job 11", []string{"1@up complete complete"}, map[setting.Condition]string{"completed": waits + "completed: not all of its 11 tasks are complete"}},
		{"a job of fewer tasks than before", "job 1", []string{"1@up complete complete", "2@up shutdown failed"}, map[setting.Condition]string{"completed": ""}},
		{"a job on no node", "global-job", nil, map[setting.Condition]string{"completed": waits + "completed: no node has a task of it"}},
		{"a job on every node", "global-job", []string{"0@up complete complete", "0@new complete running"}, map[setting.Condition]string{"completed": waits + "completed: 1 of 2 complete"}},
		{"a job on every node that is there", "global-job", []string{"0@up complete complete", "0@down complete running"}, map[setting.Condition]string{"completed": ""}},
	} {
		v := viewOf(t, dependency(tt.service), tt.tasks)
		for condition, want := range tt.want {
			app := &api.Service{}
			app.Spec.Name, app.Spec.Labels = "app", map[string]string{setting.LabelDependsOn: "on:" + string(condition)}
			if got := Unmet(v, app); got != want {
				t.Errorf("%s: %s: %q, want %q", tt.name, condition, got, want)
			}
			never := slices.ContainsFunc([]string{"scaled", "given up", "not started again", "whatever", "have ended"}, func(s string) bool { return strings.Contains(want, s) })
			app.Spec.Labels[setting.LabelDependsOn] += ":optional"
			if got := Unmet(v, app); (got == "") != (want == "" || never) {
				t.Errorf("%s: %s, optional: %q", tt.name, condition, got)
			}
		}
	}
}

// viewOf is a state with the service at its second version, and tasks.
func viewOf(t *testing.T, s *api.Service, tasks []string) *View {
	t.Helper()
	st, index := New(), uint64(0)
	apply := func(ops ...Op) {
		t.Helper()
		index++
		if err := st.Apply(index, []Command{{Ops: ops}})[0].Err(); err != nil {
			t.Fatal(err)
		}
	}
	for id, status := range map[api.NodeID]api.NodeStatus{"up": {State: api.NodeReady}, "down": {State: api.NodeDown}, "new": {State: api.NodeReady, Unsettled: true}} {
		apply(Op{PutNode: &api.Node{ID: id, Status: status}})
	}
	if s.IsJob() {
		apply(Op{PutService: s})
	} else {
		first := *s
		first.Spec.TaskTemplate.ForceUpdate = 1
		apply(Op{PutService: &first})
		next := *s
		next.Meta = st.View().Service(s.ID).Meta
		apply(Op{PutService: &next})
	}
	now := st.View().Service(s.ID)
	for i, line := range tasks {
		words := strings.Fields(line)
		place, before := strings.CutPrefix(words[0], "!")
		number, node, _ := strings.Cut(place, "@")
		task := &api.Task{ID: api.TaskID(fmt.Sprint("t", i)), ServiceID: s.ID, NodeID: api.NodeID(node), SpecVersion: now.SpecVersion}
		_, _ = fmt.Sscan(number, &task.Slot)
		if before {
			task.SpecVersion = now.PreviousSpecVersion
		}
		task.Desired, _ = api.ParseTaskState(words[1])
		task.Status.State, _ = api.ParseTaskState(words[2])
		if task.Status.State == api.TaskFailed || task.Status.State == api.TaskRejected {
			task.Status.Err = map[bool]string{true: "no such thing", false: "exit 1"}[task.Slot == 2]
		}
		apply(Op{CreateTasks: []*api.Task{task}})
	}
	return st.View()
}

// Services that wait for each other are refused, and explained where a rollback
// has brought them about.
func TestCircles(t *testing.T) {
	st := New()
	index := uint64(0)
	put := func(name, on string) error {
		index++
		s := &api.Service{ID: api.ServiceID(name)}
		s.Spec.Name = name
		if old := st.View().Service(s.ID); old != nil {
			s.Meta = old.Meta
		}
		if on != "" {
			s.Spec.Labels = map[string]string{setting.LabelDependsOn: on}
		}
		return st.Apply(index, []Command{{Ops: []Op{{PutService: s}}}})[0].Err()
	}
	for _, step := range []struct{ name, on, err string }{
		{"a", "b,c", ""},
		{"b", "d", ""},
		{"c", "d", ""}, // two ways to d are no circle
		{"d", "e:completed,a:optional", "label swarmctl.depends-on: d -> a -> b -> d: they would wait for each other for ever: leave one of these dependencies out"},
		{"d", "d", "label swarmctl.depends-on: d -> d: they would wait for each other for ever: leave one of these dependencies out"},
		{"d", "", ""},
		{"d", "c", "label swarmctl.depends-on: d -> c -> d: they would wait for each other for ever: leave one of these dependencies out"},
	} {
		if err := put(step.name, step.on); fmt.Sprint(err) != map[bool]string{true: step.err, false: "<nil>"}[step.err != ""] {
			t.Errorf("%s depends on %q: %v, want %q", step.name, step.on, err, step.err)
		}
	}
	d := *st.View().Service("d")
	d.Spec.Labels = map[string]string{setting.LabelDependsOn: "a"}
	if got, want := Unmet(st.View(), &d), "waits for service a to be started: 0 of 1 started; they wait for each other: d -> a -> b -> d"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
