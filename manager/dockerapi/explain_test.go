package dockerapi_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Docker's CLI sends the version before the path, curl does not.
func TestTaskIsExplainedByIDAndByPlace(t *testing.T) {
	c := start(t, nil)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	web := c.create(serviceSpec("web"))
	agent := c.create(swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: "agent"}, TaskTemplate: serviceSpec("").TaskTemplate,
		Mode: swarm.ServiceMode{Global: &swarm.GlobalService{}},
	})
	late := c.create(dependingSpec("late", "db:healthy"))
	pending := api.TaskStatus{State: api.TaskPending, Err: "no suitable node"}
	c.addTask("old", web, 1, "node1", api.TaskStatus{State: api.TaskFailed, At: time.Unix(9, 0), Err: "exit 1"})
	c.addTask("waits", web, 1, "", pending)
	c.addTask("held", late, 1, "", pending)
	c.addTask("runs", web, 2, "node1", running("c1"))
	c.addTask("failed", web, 3, "node1", api.TaskStatus{State: api.TaskFailed, Err: "exit 1"})
	c.addTask("onh1", agent, 0, "node1", running("c2"))
	c.apply(state.Op{CreateTasks: []*api.Task{{
		ID: "later", ServiceID: web.ID, Slot: 4, SpecVersion: web.SpecVersion, Desired: api.TaskReady, RestartDelay: 40 * time.Second, Restarts: 5, Status: pending,
	}}})
	c.addTask("receives", web, 5, "node1", api.TaskStatus{State: api.TaskPreparing, Message: "preparing: receiving shop:1 from h1, 12 of 40 MB"})
	waits := `"State":"pending","Desired":"running","Since":"T","Err":"no suitable node",` +
		`"Nodes":[{"Node":"node1","Hostname":"h1","Reasons":[{"Rule":"resources","Text":"has no room for waits"}]}]}`
	for ref, want := range map[string]string{
		"waits":    waits,
		"web.1":    waits,
		"web.2":    `"Name":"web.2.runs","ServiceID":"id1","State":"running","Desired":"running","NodeID":"node1","Node":"h1","Since":"T"}`,
		"web.3":    `"State":"failed","Desired":"running","NodeID":"node1","Node":"h1","Since":"T","Err":"exit 1"}`,
		"web.4":    `"Desired":"ready","Since":"T","Err":"no suitable node","Note":"restart in 40s after 5 failures","Nodes"`,
		"late.1":   `"Note":"waits for service db to be healthy: there is no service db","Nodes"`,
		"web.5":    `"State":"preparing","Desired":"running","NodeID":"node1","Node":"h1","Since":"T","Note":"receiving shop:1 from h1, 12 of 40 MB"}`,
		"agent.h1": `"ID":"onh1"`, "agent.node1": `"ID":"onh1"`,
		"web.9":    "{\"message\":\"service web has no task 9: `service ps web` lists what it has\"}",
		"agent.h2": "{\"message\":\"service agent has no task h2: `service ps agent` lists what it has\"}",
		"db.1":     "{\"message\":\"task db.1 not found: give an ID, or SERVICE.SLOT as `service ps` lists them\"}",
		"nosuch":   `{"message":"task nosuch not found"}`,
	} {
		for _, prefix := range []string{"", "/v1.41"} {
			got := c.get(prefix + "/swarmctl/tasks/" + ref + "/explain")
			if i := strings.Index(got, `"Since":"`); i >= 0 {
				i += len(`"Since":"`)
				got = got[:i] + "T" + got[i+strings.IndexByte(got[i:], '"'):]
			}
			if !strings.Contains(got, want) {
				t.Errorf("%s: got %s want %s", ref, got, want)
			}
		}
	}
}

func TestFollowerForwardsWhatIsOurs(t *testing.T) {
	c := start(t, nil)
	c.node.role = dockerapi.Manager
	c.get("/swarmctl/tasks/t1/explain")
	if want := []string{http.MethodGet + " /swarmctl/tasks/t1/explain"}; !slices.Equal(c.forward, want) {
		t.Errorf("forwarded %v, want %v", c.forward, want)
	}
	c.node.role = dockerapi.Worker
	if got := c.get("/swarmctl/tasks/t1/explain"); !strings.Contains(got, "not a swarm manager") {
		t.Errorf("a worker answers %s", got)
	}
}
