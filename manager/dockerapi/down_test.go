package dockerapi_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

func TestTasksTellWhyTheyAreNotReplaced(t *testing.T) {
	c := withIngress(t)
	c.addNode("n2", "h2", swarm.NodeRoleWorker, api.NodeDown)
	c.addNode("n3", "h3", swarm.NodeRoleWorker, api.NodeDown)
	c.apply(state.Op{ObserveNode: &state.ObserveNode{ID: "n3", Verdict: &state.Verdict{State: api.NodeDown, DaemonGone: true}}})
	spec := serviceSpec("one")
	spec.Labels = map[string]string{setting.LabelSelfStop: "10s"}
	one, web := c.create(spec), c.create(serviceSpec("web"))
	c.addTask("ready", one, 1, "node1", running("c1"))
	c.addTask("down", one, 2, "n2", running("c2"))
	c.addTask("gone", one, 3, "n3", running("c3"))
	c.addTask("ended", one, 4, "n3", api.TaskStatus{State: api.TaskShutdown})
	c.addTask("other", web, 1, "n3", running("c4"))
	for task, want := range map[string]string{
		"ready": "", "ended": "", "other": "",
		"down": "its node h2 is down: another one takes over once it has stopped itself, 10s after it was cut off",
		"gone": "the daemon of its node h3 is gone, so nobody stops it: start the daemon, or, if nothing runs there any more, remove the node: swarmctl node rm --force h3",
	} {
		var one swarm.Task
		c.must(json.Unmarshal([]byte(c.get("/tasks/"+task)), &one))
		var all []swarm.Task
		c.must(json.Unmarshal([]byte(c.get("/tasks")), &all))
		for _, got := range append(all, one) {
			if got.ID == task && got.Status.Err != want {
				t.Errorf("task %s says %q, want %q", task, got.Status.Err, want)
			}
		}
	}
}

// A service that is slow to move says until when: first of all, since docker
// cuts errors short.
func TestTasksTellUntilWhenTheirNodeIsWaitedFor(t *testing.T) {
	c := withIngress(t)
	c.addNode("n2", "h2", swarm.NodeRoleWorker, api.NodeReady)
	slow, far, single := serviceSpec("slow"), serviceSpec("far"), serviceSpec("single")
	slow.Labels = map[string]string{setting.LabelRescheduleAfter: "5m"}
	far.Labels = map[string]string{setting.LabelRescheduleAfter: "72h"}
	single.Labels = map[string]string{setting.LabelRescheduleAfter: "5m", setting.LabelSelfStop: "10s"}
	for name, s := range map[string]*api.Service{"slow": c.create(slow), "far": c.create(far), "single": c.create(single), "web": c.create(serviceSpec("web"))} {
		c.addTask(api.TaskID(name), s, 1, "n2", running("c"+name))
	}
	c.apply(state.Op{ObserveNode: &state.ObserveNode{ID: "n2", Verdict: &state.Verdict{State: api.NodeDown}}})
	since := c.store.View().Node("n2").Status.Since.UTC()
	until := func(d time.Duration) string {
		layout := "15:04:05 UTC"
		if since.Add(d).YearDay() != since.YearDay() {
			layout = "2006-01-02 " + layout
		}
		return since.Add(d).Format(layout)
	}
	says := func(when string, want map[string]string) {
		t.Helper()
		for task, want := range want {
			var one swarm.Task
			c.must(json.Unmarshal([]byte(c.get("/tasks/"+task)), &one))
			var all []swarm.Task
			c.must(json.Unmarshal([]byte(c.get("/tasks")), &all))
			for _, got := range append(all, one) {
				if got.ID == task && got.Status.Err != want {
					t.Errorf("%s: task %s says %q, want %q", when, task, got.Status.Err, want)
				}
			}
		}
	}
	says("at once", map[string]string{
		"slow":   "replaced at " + until(5*time.Minute) + ": its node h2 is down (swarmctl.reschedule.after=5m)",
		"single": "replaced at " + until(5*time.Minute) + ": its node h2 is down (swarmctl.reschedule.after=5m)",
		"far":    "replaced at " + until(72*time.Hour) + ": its node h2 is down (swarmctl.reschedule.after=72h)",
		"web":    "",
	})
	if got, want := c.get("/swarmctl/tasks/slow/explain"), `"Note":"replaced at `; !strings.Contains(got, want) {
		t.Errorf("explained as %s, want %s", got, want)
	}
	c.later.Store(int64(6 * time.Minute))
	says("when the time is over", map[string]string{
		"slow": "", "single": "its node h2 is down: another one takes over once it has stopped itself, 10s after it was cut off",
	})
	c.apply(state.Op{ObserveNode: &state.ObserveNode{ID: "n2", Verdict: &state.Verdict{State: api.NodeReady}}})
	says("when the node is back", map[string]string{"slow": "", "far": "", "single": ""})
}
