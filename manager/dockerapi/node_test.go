package dockerapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

func (c *cluster) nodeRead(id string) swarm.Node {
	c.Helper()
	n, _, err := c.docker.NodeInspectWithRaw(c.Context(), id)
	c.must(err)
	return n
}

func TestNodeUpdateAndRoles(t *testing.T) {
	c := start(t, nil)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	c.addNode("node2", "h2", swarm.NodeRoleWorker, api.NodeReady)

	n := c.nodeRead("h2")
	n.Spec.Availability = swarm.NodeAvailabilityDrain
	n.Spec.Labels = map[string]string{"zone": "a"}
	c.must(c.docker.NodeUpdate(t.Context(), "h2", n.Version, n.Spec))
	if now := c.nodeRead("node2"); now.Spec.Availability != swarm.NodeAvailabilityDrain || now.Spec.Labels["zone"] != "a" {
		t.Errorf("the node's spec is %+v", now.Spec)
	}

	n = c.nodeRead("h1")
	if n.ManagerStatus == nil || !n.ManagerStatus.Leader || n.ManagerStatus.Reachability != swarm.ReachabilityReachable {
		t.Errorf("the leader's status is %+v", n.ManagerStatus)
	}
	n.Spec.Role = swarm.NodeRoleWorker
	err := c.docker.NodeUpdate(t.Context(), "h1", n.Version, n.Spec)
	wantError(t, err, errdefs.IsInvalidArgument, "attempting to demote the last manager of the swarm: promote another node first")

	n.Spec.Role = "boss"
	err = c.docker.NodeUpdate(t.Context(), "h1", n.Version, n.Spec)
	wantError(t, err, errdefs.IsInvalidArgument, `invalid Role: "boss": use manager or worker`)
}

func TestLabelsOfNodesThatAreOurs(t *testing.T) {
	c := start(t, nil)
	c.addNode("node1", "h1", swarm.NodeRoleWorker, api.NodeReady)
	for label, want := range map[string]string{
		"swarmctl.drain.deadline=1h":    "",
		"swarmctl.drain.deadline=later": `node label swarmctl.drain.deadline: "later" is no duration: give a number with a unit, as in 90s or 10m`,
		"swarmctl.drain=1h":             `node label "swarmctl.drain": this version of swarmctl knows no such label: it knows swarmctl.drain.deadline; other labels must not begin with "swarmctl."`,
	} {
		n := c.nodeRead("h1")
		name, value, _ := strings.Cut(label, "=")
		n.Spec.Labels = map[string]string{name: value}
		err := c.docker.NodeUpdate(t.Context(), "h1", n.Version, n.Spec)
		if want == "" {
			c.must(err)
		} else {
			wantError(t, err, errdefs.IsInvalidArgument, want)
		}
	}
}

func TestADemotionMustNotCostTheQuorum(t *testing.T) {
	c := start(t, nil)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	c.addNode("node2", "h2", swarm.NodeRoleManager, api.NodeReady)
	c.addNode("node3", "h3", swarm.NodeRoleManager, api.NodeDown)

	n := c.nodeRead("h2")
	n.Spec.Role = swarm.NodeRoleWorker
	err := c.docker.NodeUpdate(t.Context(), "h2", n.Version, n.Spec)
	wantError(t, err, errdefs.IsInvalidArgument, "can't remove member from the raft: this would result in a loss of quorum: "+
		"only 1 of the other 2 managers are ready")

	n = c.nodeRead("h3") // the dead one may go
	n.Spec.Role = swarm.NodeRoleWorker
	c.must(c.docker.NodeUpdate(t.Context(), "h3", n.Version, n.Spec))
}

func TestNodeRemove(t *testing.T) {
	c := start(t, nil)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	c.addNode("node2", "h2", swarm.NodeRoleWorker, api.NodeReady)
	c.addNode("node3", "h3", swarm.NodeRoleWorker, api.NodeDown)
	ctx := t.Context()

	err := c.docker.NodeRemove(ctx, "h1", swarm.NodeRemoveOptions{Force: true})
	wantError(t, err, errdefs.IsInvalidArgument, "node node1 is a cluster manager and is a member of the raft cluster. "+
		"It must be demoted to worker before removal")
	err = c.docker.NodeRemove(ctx, "h2", swarm.NodeRemoveOptions{})
	wantError(t, err, errdefs.IsInvalidArgument, "node node2 is not down and can't be removed: let it leave the cluster first, or use force")
	c.must(c.docker.NodeRemove(ctx, "h3", swarm.NodeRemoveOptions{}))
	c.must(c.docker.NodeRemove(ctx, "h2", swarm.NodeRemoveOptions{Force: true}))
	err = c.docker.NodeRemove(ctx, "h2", swarm.NodeRemoveOptions{})
	wantError(t, err, errdefs.IsNotFound, "node h2 not found")
}

func TestWhoAnswersTheSwarmHalf(t *testing.T) {
	c := start(t, nil)
	ctx := t.Context()

	c.node.role = dockerapi.Inactive
	_, err := c.docker.NodeList(ctx, swarm.NodeListOptions{})
	wantError(t, err, errdefs.IsUnavailable, `This node is not a swarm manager. Use "swarmctl init" or "swarmctl join" to connect this node to swarm and try again.`)
	wantError(t, c.docker.SwarmLeave(ctx, false), errdefs.IsUnavailable, "This node is not part of a swarm")
	if id, err := c.docker.SwarmInit(ctx, swarm.InitRequest{SubnetSize: 24}); err != nil || id != "node1" {
		t.Errorf("init: %q, %v", id, err)
	}
	c.must(c.docker.SwarmJoin(ctx, swarm.JoinRequest{RemoteAddrs: []string{"10.0.0.1:2377"}, JoinToken: "x"}))

	c.node.role = dockerapi.Worker
	_, err = c.docker.NodeList(ctx, swarm.NodeListOptions{})
	wantError(t, err, errdefs.IsUnavailable, "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. "+
		"Please run this command on a manager node or promote the current node to a manager.")
	_, err = c.docker.SwarmInit(ctx, swarm.InitRequest{})
	wantError(t, err, errdefs.IsUnavailable, `This node is already part of a swarm. Use "swarmctl leave" to leave this swarm and join another one.`)
	c.must(c.docker.SwarmLeave(ctx, true))

	c.node.role = dockerapi.Manager
	_, err = c.docker.NodeList(ctx, swarm.NodeListOptions{})
	c.must(err)
	if len(c.forward) != 1 || c.forward[0] != "GET /v1.41/nodes" {
		t.Errorf("forwarded: %q", c.forward)
	}
}

func TestInfoKeepsTheClustersSecrets(t *testing.T) {
	c := start(t, nil)
	c.apply(state.Op{PutCluster: &api.Cluster{ID: "c1", WorkerToken: "SECRET", RootKey: []byte("SECRET"), GossipKeys: [][]byte{[]byte("SECRET")}}})
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	c.addNode("node2", "h2", swarm.NodeRoleWorker, api.NodeReady)
	body := c.get("/info") // the engine is down, and still there is an answer
	if strings.Contains(body, "SECRET") || strings.Contains(body, "U0VDUkVU") {
		t.Errorf("a secret is told: %s", body)
	}
	info, err := c.docker.Info(t.Context())
	c.must(err)
	if s := info.Swarm; s.Cluster == nil || s.Cluster.ID != "c1" || s.Nodes != 2 || s.Managers != 1 || len(info.Warnings) != 1 {
		t.Errorf("info: %+v, warnings %q", s, info.Warnings)
	}
}

func TestWhatIsForwardedIsNotForwardedAgain(t *testing.T) {
	c := start(t, nil)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	leader := serve(t, c.api.Forwarded())
	for _, tt := range []struct {
		role dockerapi.Role
		path string
		want int
	}{
		{dockerapi.Leader, "/v1.41/nodes/h1", 200},
		{dockerapi.Leader, "/v1.41/containers/json", 403},
		{dockerapi.Leader, "/v1.41/info", 403},
		{dockerapi.Manager, "/v1.41/nodes/h1", 503},
	} {
		c.node.role = tt.role
		res, err := http.Get("http://" + leader + tt.path)
		c.must(err)
		_ = res.Body.Close()
		if res.StatusCode != tt.want {
			t.Errorf("%s as %d: status %d, want %d", tt.path, tt.role, res.StatusCode, tt.want)
		}
	}
	if len(c.forward) > 0 {
		t.Errorf("forwarded again: %q", c.forward)
	}
}

// Docker's CLI passes over what it does not know, and `docker node inspect` shows it.
func TestHowBusyANodeIs(t *testing.T) {
	c := start(t, nil)
	c.addNode("node1", "h1", swarm.NodeRoleWorker, api.NodeReady)
	const load = `"Load":{"CPU":40,"Memory":25}`
	observe := func(o state.ObserveNode) {
		o.ID = "node1"
		c.apply(state.Op{ObserveNode: &o})
	}
	observe(state.ObserveNode{Load: &api.NodeLoad{CPU: 40, Memory: 25}})
	for _, path := range []string{"/nodes", "/nodes/h1"} {
		if got := c.get(path); !strings.Contains(got, load) {
			t.Errorf("%s: %s", path, got)
		}
	}
	observe(state.ObserveNode{Verdict: &state.Verdict{State: api.NodeDown}})
	if got := c.get("/nodes/h1"); strings.Contains(got, "Load") {
		t.Errorf("a node that is down says how busy it was: %s", got)
	}
}
