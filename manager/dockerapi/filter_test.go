package dockerapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// filtered asks for a list and returns the IDs of what it holds, or the error's message.
func (c *cluster) filtered(kind, filters string) string {
	c.Helper()
	res, err := http.Get(c.url + "/v1.41/" + kind + "?filters=" + url.QueryEscape(filters))
	c.must(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	c.must(err)
	if res.StatusCode != http.StatusOK {
		var e struct{ Message string }
		c.must(json.Unmarshal(body, &e))
		return res.Status[:3] + " " + e.Message
	}
	var list []struct{ ID string }
	c.must(json.Unmarshal(body, &list))
	ids := []string{}
	for _, o := range list {
		ids = append(ids, o.ID)
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

func TestFilters(t *testing.T) {
	c := start(t, nil)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	c.addNode("node2", "h2", swarm.NodeRoleWorker, api.NodeReady)
	n := *c.store.View().Node("node2")
	n.Spec.Labels = map[string]string{"zone": "a"}
	n.Description.Engine.Labels = map[string]string{"ssd": ""}
	c.apply(state.Op{PutNode: &n})
	spec := serviceSpec("web")
	spec.Labels = map[string]string{"tier": "front"}
	web := c.create(spec) // id1
	spec = serviceSpec("agent")
	spec.Mode.Global = &swarm.GlobalService{}
	agent := c.create(spec) // id2
	c.addTask("t1", web, 1, "node1", running("c1"))
	c.addTask("t2", web, 2, "node2", running("c2"))
	c.addTask("t3", agent, 0, "node2", running("c3"))
	c.apply(state.Op{DesireTasks: []state.Desire{{Task: "t2", State: api.TaskShutdown}}})

	for _, tt := range []struct{ kind, filters, want string }{
		{"nodes", ``, "node1 node2"},
		{"nodes", `{"role":["worker"]}`, "node2"},
		{"nodes", `{"role":["boss"]}`, "400 invalid role filter: 'boss': use one of manager, worker"},
		{"nodes", `{"name":["h"]}`, "node1 node2"},
		{"nodes", `{"id":["node2","x"]}`, "node2"},
		{"nodes", `{"membership":["pending"]}`, ""},
		{"nodes", `{"node.label":["zone"]}`, "node2"},
		{"nodes", `{"node.label":["zone=b"]}`, ""},
		{"nodes", `{"label":["ssd"]}`, "node2"},
		{"nodes", `{"bogus":["x"]}`, "400 invalid filter 'bogus': use one of id, label, membership, name, node.label, role"},
		{"services", `{"mode":["global"]}`, "id2"},
		{"services", `{"name":["we"]}`, "id1"},
		{"services", `{"label":["tier=front"]}`, "id1"},
		{"services", `{"runtime":["plugin"]}`, ""},
		{"services", `{"role":["x"]}`, "400 invalid filter 'role': use one of id, label, mode, name, runtime"},
		{"services", `nonsense`, `400 invalid filters: they are given as JSON, as in {"name":["web"]}`},
		{"tasks", `{"service":["web"]}`, "t1 t2"},
		{"tasks", `{"service":["web"],"desired-state":["running"]}`, "t1"},
		{"tasks", `{"desired-state":["asleep"]}`, "400 invalid desired-state filter: 'asleep'"},
		{"tasks", `{"service":["none"]}`, "404 service none not found"},
		{"tasks", `{"node":["h2"]}`, "t2 t3"},
		{"tasks", `{"node":["h9"]}`, "404 node h9 not found"},
		{"tasks", `{"name":["web.2"]}`, "t2"},
		{"tasks", `{"label":["tier"]}`, "t1 t2"},
		{"tasks", `{"_up-to-date":["true"],"service":["web"]}`, "t1 t2"},
		{"tasks", `{"bogus":["x"]}`, "400 invalid filter 'bogus': use one of desired-state, id, label, name, node, runtime, service"},
		{"secrets", ``, ""},
		{"configs", `{"name":["x"]}`, ""},
	} {
		if got := c.filtered(tt.kind, tt.filters); got != tt.want {
			t.Errorf("%s %s:\n got: %s\nwant: %s", tt.kind, tt.filters, got, tt.want)
		}
	}
}
