package dockerapi_test

import (
	"encoding/json"
	"testing"

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
