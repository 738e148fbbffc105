package dockerapi_test

import (
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

func TestRebalanceIsAskedForOnce(t *testing.T) {
	c := start(t, engine(t))
	web := c.create(serviceSpec("web"))
	const path = "/swarmctl/services/web/rebalance"
	if got := c.get(path); !strings.Contains(got, "service web was never rebalanced: `swarmctl service rebalance web` does it") {
		t.Error(got)
	}
	if got := c.post(path, ""); !strings.HasPrefix(got, "200 ") {
		t.Fatal(got)
	}
	asked := c.store.View().Service(web.ID)
	if !asked.Rebalance.UnderWay() || asked.Rebalance.Since.IsZero() || asked.SpecVersion != web.SpecVersion {
		t.Fatalf("%+v", asked)
	}
	c.post("/v1.41"+path, "")
	if now := c.store.View().Service(web.ID); now.Meta.Version != asked.Meta.Version {
		t.Error("a second request changed the service again")
	}
	next := *asked
	next.Rebalance = &api.Rebalance{Outcome: "balanced: 1 task on 2 nodes"}
	c.apply(state.Op{PutService: &next})
	if got := c.get(path); !strings.Contains(got, `"Outcome":"balanced: 1 task on 2 nodes"`) {
		t.Error(got)
	}
}

func TestWhatCannotBeRebalanced(t *testing.T) {
	c := start(t, engine(t))
	agent, sum, single := serviceSpec("agent"), serviceSpec("sum"), serviceSpec("single")
	agent.Mode.Global = &swarm.GlobalService{}
	sum.Mode.ReplicatedJob = &swarm.ReplicatedJob{}
	single.Labels = map[string]string{"swarmctl.self-stop": "10s"}
	for _, spec := range []swarm.ServiceSpec{agent, sum, single} {
		c.create(spec)
	}
	for name, want := range map[string]string{
		"agent":  "400 {\"message\":\"service agent is global and cannot be rebalanced: it has one task on every node\"}",
		"sum":    "400 {\"message\":\"service sum is a job and cannot be rebalanced: what its tasks have done would be lost\"}",
		"single": "400 {\"message\":\"service single cannot be rebalanced: it has the label swarmctl.self-stop, so a task would have to stop before its successor starts: drain a node to move what it has\"}",
		"nosuch": "404 {\"message\":\"service nosuch not found\"}",
	} {
		if got := c.post("/swarmctl/services/"+name+"/rebalance", ""); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// Nobody knows for how long a canary waits: whoever waits for the rebalance would
// wait as long, without a word.
func TestNothingIsRebalancedWhileACanaryWaits(t *testing.T) {
	c := start(t, engine(t))
	next := *c.create(serviceSpec("web"))
	next.Canary = &api.Canary{Phase: api.CanaryHeld}
	c.apply(state.Op{PutService: &next})
	want := "409 {\"message\":\"service web has a canary that waits, and nothing is moved meanwhile: promote it with `swarmctl service promote web`, or go back with `swarmctl service rollback web`\"}"
	if got := c.post("/swarmctl/services/web/rebalance", ""); got != want {
		t.Error(got)
	}
	if c.store.View().Service(next.ID).Rebalance != nil {
		t.Error("a rebalance is under way")
	}
}

// A task on a node that is down serves nobody, whatever is meant to become of it.
func TestTasksOnANodeThatIsDownAreNotCounted(t *testing.T) {
	c := start(t, engine(t))
	c.addNode("node1", "h1", swarm.NodeRoleWorker, api.NodeReady)
	c.addNode("node2", "h2", swarm.NodeRoleWorker, api.NodeDown)
	web := c.create(serviceSpec("web"))
	c.addTask("t1", web, 1, "node1", running("c1"))
	c.addTask("t2", web, 2, "node2", running("c2"))
	list, err := c.docker.ServiceList(t.Context(), swarm.ServiceListOptions{Status: true})
	c.must(err)
	if got := list[0].ServiceStatus.RunningTasks; got != 1 {
		t.Errorf("%d tasks run, want 1", got)
	}
}
