package dockerapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// fakeProber reaches every address but those that a test has cut off.
type fakeProber struct{ cut map[string]bool }

func (p fakeProber) Reach(_ context.Context, _ api.NetworkID, to netip.Addr) (int, time.Duration, error) {
	if p.cut[to.String()] {
		return 1450, 0, errors.New("no answer")
	}
	return 1450, time.Millisecond, nil
}

func (p fakeProber) Look(_ context.Context, q *api.TraceRequest) (out []api.TraceStep) {
	out = append(out, api.TraceStep{What: "bridge", OK: true, Text: "it is there"})
	for _, g := range q.Gateways {
		out = append(out, api.TraceStep{What: "reach", OK: !p.cut[g.Addr.String()], Text: g.Node + " at " + g.Addr.String()})
	}
	return out
}

// withProbers has three nodes on a network, of which the third does not answer.
func withProbers(t *testing.T) (*cluster, fakeProber) {
	c := withIngress(t)
	p := fakeProber{cut: map[string]bool{}}
	c.addNode("node2", "h2", swarm.NodeRoleWorker, api.NodeReady)
	c.addNode("node3", "h3", swarm.NodeRoleWorker, api.NodeDown)
	for _, id := range []api.NodeID{"node1", "node2"} {
		node := start(t, nil, func(cfg *dockerapi.Config, _ *cluster) { cfg.Prober = p })
		c.engines.addr[id+"/daemon"] = serve(t, node.api.OfNode())
	}
	c.network("ov", network.CreateOptions{Driver: "overlay", Attachable: true})
	return c, p
}

func (c *cluster) ask(path string, v any) {
	c.Helper()
	if body := c.get(path); json.Unmarshal([]byte(body), v) != nil {
		c.Fatalf("%s: %s", path, body)
	}
}

func TestEveryPairOfNodesIsChecked(t *testing.T) {
	c, p := withProbers(t)
	if got, want := c.get("/swarmctl/networks/ov/check"), `{"message":"network ov is on no node yet: a node has it while it runs a task or a container of it"}`+"\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	ov := c.store.View().NetworkByName("ov").ID
	for _, id := range []api.NodeID{"node1", "node2", "node3"} {
		c.apply(state.Op{PutAttached: &api.AttachedContainer{ID: "on" + string(id), NodeID: id, Name: "c", Networks: []api.Attachment{{Network: ov}}}})
	}
	two := c.store.View().Node("node2").Gateways
	p.cut[two[len(two)-1].Addrs[0].String()] = true
	var got []api.Probe
	c.ask("/swarmctl/networks/ov/check", &got)
	want := []api.Probe{
		{From: "h1", To: "h2", Size: 1450, Err: "no answer"},
		{From: "h1", To: "h3", Size: 1450, Took: time.Millisecond},
		{From: "h2", To: "h1", Size: 1450, Took: time.Millisecond},
		{From: "h2", To: "h3", Size: 1450, Took: time.Millisecond},
		{From: "h3", To: "h1", Err: "node h3 is down"},
		{From: "h3", To: "h2", Err: "node h3 is down"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheWayToAServiceIsTold(t *testing.T) {
	c, p := withProbers(t)
	spec := publishing("web", swarm.PortConfig{TargetPort: 80, PublishedPort: 8080})
	spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "ov"}}
	web := c.create(spec)
	for _, id := range []api.TaskID{"t1", "t2"} {
		slot, node := 1, api.NodeID("node1")
		if id == "t2" {
			slot, node = 2, "node2"
		}
		c.apply(state.Op{CreateTasks: []*api.Task{{ID: id, ServiceID: web.ID, Slot: slot, SpecVersion: web.SpecVersion, Desired: api.TaskRunning, Status: api.TaskStatus{State: api.TaskPending}}}})
		c.apply(state.Op{AssignTasks: []state.Assign{{Task: id, Node: node}}})
	}
	c.apply(state.Op{ReportTasks: []state.Report{{Task: "t2", Status: running("c2")}}})
	broken := func(path string) (out []string) {
		c.Helper()
		var steps []api.TraceStep
		c.ask(path, &steps)
		if len(steps) < 5 {
			t.Errorf("%s: only %v", path, steps)
		}
		for _, s := range steps {
			if !s.OK {
				out = append(out, s.Node+" "+s.What+": "+s.Text)
			}
		}
		return out
	}
	if diff := cmp.Diff([]string{"h1 backend: web.1 is assigned: it gets no connections yet"}, broken("/swarmctl/services/web/trace?from=h1")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, at := range c.store.View().Node("node2").Gateways {
		p.cut[at.Addrs[0].String()] = true
	}
	if got := broken("/swarmctl/services/web/trace?from=h1&port=8080"); len(got) != 2 {
		t.Errorf("it breaks at %q, want at the backend that is not there and at the way to h2", got)
	}
	if got := c.get("/swarmctl/services/web/trace?from=h1&port=x"); got != `{"message":"port \"x\": give a number from 1 to 65535, as in SERVICE:8080"}`+"\n" {
		t.Error(got)
	}
}
