package dockerapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// box is an engine that has networks and containers.
type box struct {
	*testing.T
	mu         sync.Mutex
	networks   map[string]*network.Inspect // by name; the ID is the name with "e-" before it
	containers map[string]*boxed           // by ID
	version    string                      // of its API
	noImage    bool                        // what create says
	noBridge   int                         // how often create says that
	made       []json.RawMessage           // bodies of create
	calls      []string
	listeners  []chan events.Message
	seq        int
	before     func(call string) // what a test does ahead of every request, or nil
	lose       bool              // changes are made, and the answers lost
}

type boxed struct {
	ID, Name        string
	Labels          map[string]string
	Running         bool
	NetworkSettings struct {
		Networks map[string]*network.EndpointSettings
	}
}

func newBox(t *testing.T) *box {
	return &box{T: t, networks: map[string]*network.Inspect{}, containers: map[string]*boxed{}, version: "1.43"}
}

// bridge is the engine's part of a network of the cluster.
func (b *box) bridge(n *api.Network) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.networks[n.Spec.Name] = &network.Inspect{
		Name: n.Spec.Name, ID: "e-" + n.Spec.Name, Driver: "bridge", Scope: "local",
		Labels: map[string]string{api.LabelNetworkID: string(n.ID), api.LabelNetworkCluster: "c1"},
	}
}

func (b *box) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if v, rest, ok := strings.Cut(strings.TrimPrefix(path, "/v1."), "/"); ok && strings.HasPrefix(path, "/v1.") && v != "" {
		path = "/" + rest
	}
	if path == "/events" {
		b.events(w, r)
		return
	}
	if b.before != nil {
		b.before(r.Method + " " + path)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lose && r.Method == http.MethodPost {
		w = httptest.NewRecorder()
		defer panic(http.ErrAbortHandler)
	}
	w.Header().Set("Api-Version", b.version)
	w.Header().Set("Content-Type", "application/json")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		b.calls = append(b.calls, r.Method+" "+path)
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case path == "/_ping":
		_, _ = io.WriteString(w, "OK")
	case path == "/networks":
		f, _ := filters.FromJSON(r.URL.Query().Get("filters"))
		list := []*network.Inspect{}
		for _, n := range b.networks {
			if f.MatchKVList("label", n.Labels) && f.Match("name", n.Name) && f.ExactMatch("driver", n.Driver) {
				list = append(list, n)
			}
		}
		slices.SortFunc(list, func(a, b *network.Inspect) int { return strings.Compare(a.Name, b.Name) })
		_ = json.NewEncoder(w).Encode(list)
	case path == "/networks/prune":
		f, _ := filters.FromJSON(r.URL.Query().Get("filters"))
		var report network.PruneReport
		for name, n := range b.networks {
			if !f.Contains("label!") || !f.MatchKVList("label!", n.Labels) {
				report.NetworksDeleted = append(report.NetworksDeleted, name)
				delete(b.networks, name)
			}
		}
		_ = json.NewEncoder(w).Encode(report)
	case parts[0] == "networks":
		b.network(w, r, parts[1:])
	case path == "/containers/create":
		b.create(w, r)
	case path == "/containers/json":
		f, _ := filters.FromJSON(r.URL.Query().Get("filters"))
		list := []*boxed{}
		for _, c := range b.containers {
			if f.MatchKVList("label", c.Labels) {
				list = append(list, c)
			}
		}
		_ = json.NewEncoder(w).Encode(list)
	case parts[0] == "containers" && parts[len(parts)-1] == "start":
		if b.noBridge > 0 {
			b.noBridge--
			b.fail(w, 404, "network ov not found")
			return
		}
		b.find(parts[1]).Running = true
		w.WriteHeader(http.StatusNoContent)
	case parts[0] == "containers":
		b.container(w, parts[1])
	default:
		b.fail(w, 404, "page not found")
	}
}

func (b *box) fail(w http.ResponseWriter, status int, format string, args ...any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": fmt.Sprintf(format, args...)})
}

func (b *box) create(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.made = append(b.made, body)
	if b.noBridge > 0 {
		b.noBridge--
		b.fail(w, 404, "network ov not found")
		return
	}
	if b.noImage {
		b.fail(w, 404, "No such image: demo:1")
		return
	}
	var req struct {
		Labels           map[string]string
		NetworkingConfig struct {
			EndpointsConfig map[string]*network.EndpointSettings
		}
	}
	_ = json.Unmarshal(body, &req)
	b.seq++
	c := &boxed{ID: fmt.Sprintf("%064d", b.seq), Name: "/" + r.URL.Query().Get("name"), Labels: req.Labels}
	if c.Name == "/" {
		c.Name = fmt.Sprintf("/happy_name%d", b.seq)
	}
	c.NetworkSettings.Networks = req.NetworkingConfig.EndpointsConfig
	b.containers[c.ID] = c
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(container.CreateResponse{ID: c.ID})
}

func (b *box) find(ref string) *boxed {
	for _, c := range b.containers {
		if c.ID == ref || c.Name == "/"+ref {
			return c
		}
	}
	return nil
}

func (b *box) container(w http.ResponseWriter, ref string) {
	c := b.find(ref)
	if c == nil {
		b.fail(w, 404, "No such container: %s", ref)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"Id": c.ID, "Name": c.Name, "State": map[string]any{"Running": c.Running, "Pid": 77}, "Config": map[string]any{"Labels": c.Labels}, "NetworkSettings": c.NetworkSettings,
	})
}

func (b *box) network(w http.ResponseWriter, r *http.Request, parts []string) {
	n := b.networks[strings.TrimPrefix(parts[0], "e-")]
	if n == nil {
		b.fail(w, 404, "network %s not found", parts[0])
		return
	}
	if len(parts) == 1 {
		out := *n
		out.Containers = map[string]network.EndpointResource{}
		for _, c := range b.containers {
			if e := c.NetworkSettings.Networks[n.Name]; e != nil {
				out.Containers[c.ID] = network.EndpointResource{Name: c.Name[1:], IPv4Address: e.IPAMConfig.IPv4Address + "/24"}
			}
		}
		_ = json.NewEncoder(w).Encode(out)
		return
	}
	var req network.ConnectOptions
	_ = json.NewDecoder(r.Body).Decode(&req)
	c := b.find(req.Container)
	switch {
	case c == nil:
		b.fail(w, 404, "No such container: %s", req.Container)
	case parts[1] == "disconnect":
		delete(c.NetworkSettings.Networks, n.Name)
	default:
		if c.NetworkSettings.Networks == nil {
			c.NetworkSettings.Networks = map[string]*network.EndpointSettings{}
		}
		req.EndpointConfig.NetworkID = n.ID
		c.NetworkSettings.Networks[n.Name] = req.EndpointConfig
	}
}

func (b *box) events(w http.ResponseWriter, r *http.Request) {
	l := make(chan events.Message, 16)
	b.mu.Lock()
	b.listeners = append(b.listeners, l)
	b.mu.Unlock()
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case e := <-l:
			_ = json.NewEncoder(w).Encode(e)
			_ = http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// happen changes a container and tells of it.
func (b *box) happen(id string, action events.Action, change func(*boxed)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.containers[id]
	change(c)
	for _, l := range b.listeners {
		l <- events.Message{Type: "container", Action: action, Actor: events.Actor{ID: id, Attributes: c.Labels}}
	}
}

// nets is a node's networks: what is prepared is there at once.
type nets struct {
	box   *box
	store *memStore

	mu       sync.Mutex
	attached map[string]string // what was said last of each container
	changed  chan struct{}     // closed, and replaced, when that changes
	broken   error             // what Prepare says
}

func (n *nets) Known() (out []*fabric.Network) {
	for net := range n.store.View().Networks() {
		out = append(out, &fabric.Network{
			ID: net.ID, Name: net.Spec.Name, Attachable: net.Spec.Attachable, Ingress: net.Spec.Ingress,
			Subnets: []fabric.Subnet{{Prefix: netip.MustParsePrefix(net.IPAM.Configs[0].Subnet), VXLAN: net.VXLAN[0]}},
		})
	}
	return out
}

func (n *nets) Prepare(_ context.Context, _ string, list []api.Attachment) (plan dockerapi.Networking, err error) {
	for _, at := range list {
		net := n.store.View().Network(at.Network)
		n.box.bridge(net)
		mac := fabric.MAC(at.Addrs[0])
		plan.Networks = append(plan.Networks, dockerapi.Bridge{Network: at.Network, Name: net.Spec.Name, Addrs: at.Addrs, MAC: mac[:]})
	}
	plan.DNS = []netip.Addr{netip.MustParseAddr("10.0.1.2")}
	return plan, n.broken
}

func (n *nets) Attach(_ context.Context, id string, pid int, list []api.Attachment, _ []netip.Addr) error {
	n.say(id, fmt.Sprintf("%d in %v", pid, list[0].Addrs))
	return nil
}

func (n *nets) Detach(id string) { n.say(id, "") }

func (n *nets) say(id, what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.attached[id] = what
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *nets) of(id string) (string, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attached[id], n.changed
}

// withContainers starts an API on a node whose containers may be in the
// cluster's networks, of which there are ov, which takes them, and closed.
func withContainers(t *testing.T) (*cluster, *box, *nets) {
	b := newBox(t)
	n := &nets{box: b, attached: map[string]string{}, changed: make(chan struct{})}
	c := start(t, b, func(cfg *dockerapi.Config, c *cluster) {
		n.store = c.store
		cfg.Networks = n
	})
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	c.network("ov", network.CreateOptions{Driver: "overlay", Attachable: true})
	c.network("closed", overlay())
	return c, b, n
}

// keep has the API follow the containers until the test ends.
func (c *cluster) keep() {
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { c.api.KeepAttachments(ctx) })
	c.Cleanup(func() { stop(); done.Wait() })
}

// attachments are the containers that the cluster knows, as it has them.
func (c *cluster) attachments() (out []string) {
	view := c.store.View()
	for a := range view.AttachedContainers() {
		text := fmt.Sprintf("%s on %s:", a.Name, a.NodeID)
		for _, at := range a.Networks {
			text += fmt.Sprintf(" %s %v %v", view.Network(at.Network).Spec.Name, at.Addrs, a.Aliases[at.Network])
		}
		out = append(out, text)
	}
	return out
}

// awaitAttachments waits until the cluster knows those containers.
func (c *cluster) awaitAttachments(want ...string) {
	c.Helper()
	_, cursor := c.store.Follow()
	ctx, cancel := context.WithTimeout(c.Context(), 10*time.Second)
	defer cancel()
	for !slices.Equal(c.attachments(), want) {
		if _, err := cursor.Next(ctx); err != nil {
			c.Fatalf("the cluster knows\n%s\nwant\n%s", strings.Join(c.attachments(), "\n"), strings.Join(want, "\n"))
		}
	}
}

func (n *nets) await(t *testing.T, id, want string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		got, changed := n.of(id)
		if got == want {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("container %s: %q, want %q", id, got, want)
		}
	}
}

func (c *cluster) run(name, networkName string, e *network.EndpointSettings) (string, error) {
	if e == nil {
		e = &network.EndpointSettings{}
	}
	res, err := c.docker.ContainerCreate(c.Context(), &container.Config{Image: "demo:1", Labels: map[string]string{"mine": "x"}},
		&container.HostConfig{NetworkMode: container.NetworkMode(networkName), DNS: []string{"9.9.9.9"}},
		&network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{networkName: e}}, nil, name)
	return res.ID, err
}

func TestAContainerIsMadeInANetworkOfTheCluster(t *testing.T) {
	c, b, n := withContainers(t)
	c.keep()
	id, err := c.run("box", "ov", &network.EndpointSettings{Aliases: []string{"www"}})
	c.must(err)
	c.awaitAttachments("box on node1: ov [10.0.1.3] [000000000000 www]")

	var made struct {
		Image, MacAddress string
		Labels            map[string]string
		HostConfig        struct {
			NetworkMode string
			Dns         []string //nolint:revive // Docker's name
		}
		NetworkingConfig struct {
			EndpointsConfig map[string]*network.EndpointSettings
		}
	}
	c.must(json.Unmarshal(b.made[0], &made))
	e := made.NetworkingConfig.EndpointsConfig["ov"]
	if made.Image != "demo:1" || made.HostConfig.NetworkMode != "ov" || made.MacAddress != "" ||
		!slices.Equal(made.HostConfig.Dns, []string{"10.0.1.2", "9.9.9.9"}) || made.Labels["mine"] != "x" {
		t.Errorf("the engine was asked for %s", b.made[0])
	}
	if e == nil || e.IPAMConfig.IPv4Address != "10.0.1.3" || !slices.Equal(e.Aliases, []string{"www"}) {
		t.Errorf("the engine was asked for %s", b.made[0])
	}
	attachment := made.Labels["com.swarmctl.attachment"]

	b.happen(id, events.ActionStart, func(c *boxed) { c.Running = true })
	n.await(t, attachment, "77 in [10.0.1.3]")
	b.happen(id, events.ActionRename, func(c *boxed) { c.Name = "/other" })
	c.awaitAttachments("other on node1: ov [10.0.1.3] [000000000000 www]")
	b.happen(id, events.ActionDie, func(c *boxed) { c.Running = false })
	n.await(t, attachment, "")
	b.happen(id, events.ActionDestroy, func(*boxed) { delete(b.containers, id) })
	c.awaitAttachments()
	if free := c.store.View().FreeAddrs(c.store.View().NetworkByName("ov").ID); free != 253 {
		t.Errorf("%d addresses are free, want 253", free)
	}
}

func TestAContainerThatIsNotMadeKeepsNoAddress(t *testing.T) {
	c, b, n := withContainers(t)
	b.noImage = true
	_, err := c.run("box", "ov", nil)
	wantError(t, err, errdefs.IsNotFound, "No such image: demo:1")
	n.broken = api.Errorf(api.CodeUnavailable, "the bridge is not there")
	_, err = c.run("box", "ov", nil)
	wantError(t, err, errdefs.IsUnavailable, "the bridge is not there")
	if got := c.attachments(); len(got) > 0 || len(b.made) != 1 {
		t.Errorf("left: %q; %d requests reached the engine, want 1", got, len(b.made))
	}
}

func TestContainersThatANetworkDoesNotTake(t *testing.T) {
	c, b, _ := withContainers(t)
	c.keep()
	_, err := c.run("box", "closed", nil)
	wantError(t, err, errdefs.IsPermissionDenied, "Could not attach to network closed: network closed not manually attachable: it takes services alone; one that takes containers too is made with --attachable")
	_, err = c.run("box", "ov", &network.EndpointSettings{Aliases: []string{"w w"}})
	wantError(t, err, errdefs.IsInvalidArgument, `network ov: alias "w w" is no name: use letters, digits, - and _, at most 63 of them between dots and 253 in all`)
	_, err = c.run("box", "ov", &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: "10.9.9.9"}})
	if !errdefs.IsInvalidArgument(err) {
		t.Errorf("an address of another network: %v", err)
	}
	if got := c.attachments(); len(got) > 0 || len(b.made) > 0 {
		t.Errorf("left: %q; %d requests reached the engine", got, len(b.made))
	}
	id, err := c.run("box", "ov", &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: "10.0.1.77"}})
	c.must(err)
	if got := b.containers[id].NetworkSettings.Networks["ov"].IPAMConfig.IPv4Address; got != "10.0.1.77" {
		t.Errorf("the address that was asked for has become %s", got)
	}
}

func TestRequestsForOtherContainersReachTheEngineAsTheyAre(t *testing.T) {
	c, b, _ := withContainers(t)
	b.networks["br1"] = &network.Inspect{Name: "br1", ID: "e-br1"}
	for _, body := range []string{
		`{"Image":"demo:1", "Novel":{"a":[1,2]},"HostConfig":{"NetworkMode":"br1"}}`,
		`{"Image":"demo:1","HostConfig":{"NetworkMode":"container:x"}}`,
		`{"Image":"demo:1"}`, `{"HostConfig":null}`, `{"HostConfig":7}`, `nonsense`, ``,
		`{"HostConfig":{"NetworkMode":"nosuch"}}`,
	} {
		b.made = nil
		res, err := http.Post(c.url+"/v1.41/containers/create", "application/json", strings.NewReader(body))
		c.must(err)
		_ = res.Body.Close()
		if len(b.made) != 1 || string(b.made[0]) != body {
			t.Errorf("%s has become %s", body, b.made)
		}
	}
	if got := c.attachments(); len(got) > 0 {
		t.Errorf("the cluster knows %q", got)
	}
}

func TestAContainerIsConnectedAndDisconnected(t *testing.T) {
	c, b, n := withContainers(t)
	b.containers["c1"] = &boxed{ID: "c1", Name: "/box", Running: true}
	c.keep()
	c.must(c.docker.NetworkConnect(t.Context(), "ov", "box", &network.EndpointSettings{Aliases: []string{"db"}}))
	c.awaitAttachments("box on node1: ov [10.0.1.3] [c1 db]")
	n.await(t, "c1", "77 in [10.0.1.3]")
	if e := b.containers["c1"].NetworkSettings.Networks["ov"]; e == nil || e.IPAMConfig.IPv4Address != "10.0.1.3" {
		t.Errorf("the engine has %+v", e)
	}
	wantError(t, c.docker.NetworkConnect(t.Context(), "ov", "box", nil), errdefs.IsPermissionDenied, "endpoint with name box already exists in network ov")
	wantError(t, c.docker.NetworkConnect(t.Context(), "closed", "box", nil), errdefs.IsPermissionDenied, "Could not attach to network closed: network closed not manually attachable: it takes services alone; one that takes containers too is made with --attachable")
	wantError(t, c.docker.NetworkConnect(t.Context(), "ov", "nosuch", nil), errdefs.IsNotFound, "No such container: nosuch")
	wantError(t, c.docker.NetworkRemove(t.Context(), "ov"), errdefs.IsInvalidArgument, "network ov is in use by container box: disconnect or remove it first")

	c.network("second", network.CreateOptions{Driver: "overlay", Attachable: true})
	c.must(c.docker.NetworkConnect(t.Context(), "second", "box", nil))
	c.awaitAttachments("box on node1: ov [10.0.1.3] [c1 db] second [10.0.3.3] [c1]")
	c.must(c.docker.NetworkDisconnect(t.Context(), "ov", "box", false))
	c.awaitAttachments("box on node1: second [10.0.3.3] [c1]")
	c.must(c.docker.NetworkDisconnect(t.Context(), "second", "box", false))
	c.awaitAttachments()
	wantError(t, c.docker.NetworkDisconnect(t.Context(), "closed", "box", false), errdefs.IsPermissionDenied, "container c1 is not connected to network closed")
}

func TestTheContainersOfTasksAreTheirServices(t *testing.T) {
	c, b, _ := withContainers(t)
	b.bridge(c.store.View().NetworkByName("ov"))
	b.containers["c1"] = &boxed{ID: "c1", Name: "/web.1.t1", Labels: map[string]string{api.LabelOurTask: "t1"}}
	wantError(t, c.docker.NetworkConnect(t.Context(), "ov", "c1", nil), errdefs.IsPermissionDenied, "container web.1.t1 is a task's: put its service on network ov with `service update --network-add`")
	wantError(t, c.docker.NetworkDisconnect(t.Context(), "ov", "c1", true), errdefs.IsPermissionDenied, "container web.1.t1 is a task's: take its service off network ov with `service update --network-rm`")
}

func TestWhatHappenedWhileNobodyFollowedIsSeenTo(t *testing.T) {
	c, b, n := withContainers(t)
	ov := c.store.View().NetworkByName("ov")
	for _, id := range []string{"gone", "kept"} {
		c.apply(state.Op{PutAttached: &api.AttachedContainer{ID: id, NodeID: "node1", Name: id, Networks: []api.Attachment{{Network: ov.ID}}}})
	}
	b.bridge(ov)
	kept := &boxed{ID: "c1", Name: "/kept", Labels: map[string]string{"com.swarmctl.attachment": "kept"}, Running: true}
	kept.NetworkSettings.Networks = map[string]*network.EndpointSettings{"ov": {NetworkID: "e-ov", IPAddress: "10.0.1.4"}}
	b.containers["c1"] = kept
	b.containers["c2"] = &boxed{ID: "c2", Name: "/stranger"}
	c.keep()
	c.awaitAttachments("kept on node1: ov [10.0.1.4] [c1]")
	n.await(t, "kept", "77 in [10.0.1.4]")
}

func TestAWorkersContainersAreInTheClustersNetworksToo(t *testing.T) {
	b := newBox(t)
	n := &nets{box: b, attached: map[string]string{}, changed: make(chan struct{})}
	lead := start(t, nil)
	lead.addNode("node1", "h2", swarm.NodeRoleWorker, api.NodeReady)
	n.store = lead.store
	c := start(t, b, func(cfg *dockerapi.Config, c *cluster) {
		cfg.Networks, cfg.ToManager = n, lead.api.ForNode("node1")
		cfg.NewID = api.NewID // no two nodes make the same
	})
	c.node.role = dockerapi.Worker
	lead.network("ov", network.CreateOptions{Driver: "overlay", Attachable: true})
	c.keep()
	id, err := c.run("", "ov", nil)
	c.must(err)
	lead.awaitAttachments("happy_name1 on node1: ov [10.0.1.3] [000000000000]")
	if got := c.networks(); got != "ov" {
		t.Errorf("a worker lists %q", got)
	}
	shown, err := c.docker.NetworkInspect(t.Context(), "ov", network.InspectOptions{})
	c.must(err)
	if shown.Scope != "swarm" || shown.Driver != "overlay" || shown.Containers[id].Name != "happy_name1" {
		t.Errorf("a worker shows %+v", shown)
	}
	wantError(t, c.docker.NetworkRemove(t.Context(), "ov"), errdefs.IsUnavailable, "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.")
}

func TestANodeSpeaksForItselfAlone(t *testing.T) {
	lead := start(t, nil)
	for path, want := range map[string]int{
		"/swarmctl/nodes/n1/attachments":       http.StatusOK,
		"/swarmctl/nodes/n2/attachments":       http.StatusForbidden,
		"/swarmctl/nodes/n1/../n2/attachments": http.StatusForbidden,
		"/services":                            http.StatusForbidden,
		"/swarmctl/networks":                   http.StatusForbidden,
	} {
		addr := serve(t, lead.api.ForNode("n1"))
		req, err := http.NewRequest(http.MethodGet, "http://"+addr, nil)
		lead.must(err)
		req.URL.Path = path
		res, err := http.DefaultTransport.RoundTrip(req)
		lead.must(err)
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, res.Status, want)
		}
	}
}

func TestTheBridgesOfTheClustersNetworksAreNotTheHosts(t *testing.T) {
	c, b, _ := withContainers(t)
	b.networks["br1"] = &network.Inspect{Name: "br1", ID: "e-br1", Driver: "bridge", Scope: "local"}
	b.bridge(c.store.View().NetworkByName("ov"))
	left := &api.Network{ID: "gone"}
	left.Spec.Name = "left"
	b.bridge(left)
	if got := c.networks(); got != "closed ov br1" {
		t.Errorf("the list: %s", got)
	}
	if got := c.networks(filters.Arg("driver", "bridge")); got != "br1" {
		t.Errorf("the list of bridges: %s", got)
	}
	shown, err := c.docker.NetworkInspect(t.Context(), "ov", network.InspectOptions{})
	c.must(err)
	if shown.Driver != "overlay" || shown.Containers == nil {
		t.Errorf("it is shown as %+v", shown)
	}
	_, err = c.docker.NetworkInspect(t.Context(), "left", network.InspectOptions{})
	wantError(t, err, errdefs.IsNotFound, "network left not found")
	report, err := c.docker.NetworksPrune(t.Context(), filters.Args{})
	c.must(err)
	if want := []string{"closed", "ov", "br1"}; !slices.Equal(report.NetworksDeleted, want) {
		t.Errorf("pruned %q, want %q", report.NetworksDeleted, want)
	}
	if _, ok := b.networks["left"]; !ok {
		t.Error("a bridge of the cluster's was pruned")
	}
}

func TestAnInspectedNetworkShowsWhoIsOnIt(t *testing.T) {
	c, _, _ := withContainers(t)
	ov := c.store.View().NetworkByName("ov")
	spec := serviceSpec("web")
	spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "ov", Aliases: []string{"www"}}}
	web := c.create(spec)
	c.apply(state.Op{CreateTasks: []*api.Task{{ID: "t1", ServiceID: web.ID, Slot: 1, SpecVersion: web.SpecVersion, Desired: api.TaskRunning, Status: api.TaskStatus{State: api.TaskPending}}}})
	c.apply(state.Op{AssignTasks: []state.Assign{{Task: "t1", Node: "node1"}}})
	c.apply(state.Op{PutAttached: &api.AttachedContainer{ID: "c1", NodeID: "node1", Name: "box", Networks: []api.Attachment{{Network: ov.ID}}}})
	shown, err := c.docker.NetworkInspect(t.Context(), "ov", network.InspectOptions{Verbose: true})
	c.must(err)
	view := c.store.View()
	vip, task := view.Service(web.ID).Endpoint.VIPs[0].Addrs[0], view.Task("t1").Networks[0].Addrs[0]
	host := map[string]string{"Host IP": "10.0.0.1"}
	want := map[string]network.ServiceInfo{
		"web": {VIP: vip.String(), Ports: []string{}, Tasks: []network.Task{{Name: "web.1.t1", EndpointID: "t1", EndpointIP: task.String(), Info: host}}},
		"":    {VIP: "<nil>", Ports: []string{}, Tasks: []network.Task{{Name: "box", EndpointID: "c1", EndpointIP: view.Attached("c1").Networks[0].Addrs[0].String(), Info: host}}},
	}
	if diff := cmp.Diff(want, shown.Services); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	if want := []network.PeerInfo{{Name: "h1", IP: "10.0.0.1"}}; !slices.Equal(shown.Peers, want) {
		t.Errorf("peers: %v, want %v", shown.Peers, want)
	}

	s, _, err := c.docker.ServiceInspectWithRaw(t.Context(), "web", swarm.ServiceInspectOptions{})
	c.must(err)
	if want := []swarm.EndpointVirtualIP{{NetworkID: string(ov.ID), Addr: vip.String() + "/24"}}; !slices.Equal(s.Endpoint.VirtualIPs, want) {
		t.Errorf("the service's endpoint: %+v", s.Endpoint)
	}
	tasks, err := c.docker.TaskList(t.Context(), swarm.TaskListOptions{})
	c.must(err)
	one, _, err := c.docker.TaskInspectWithRaw(t.Context(), "t1")
	c.must(err)
	if diff := cmp.Diff(one, tasks[0]); diff != "" {
		t.Errorf("a task reads otherwise in a list (-inspected +listed):\n%s", diff)
	}
	if at := one.NetworksAttachments; len(at) != 1 || at[0].Network.Spec.Name != "ov" || at[0].Addresses[0] != task.String()+"/24" {
		t.Errorf("the task's networks: %+v", at)
	}
}

func TestANodeThatLeavesTakesItsContainersOffTheNetworks(t *testing.T) {
	c, b, _ := withContainers(t)
	b.bridge(c.store.View().NetworkByName("ov"))
	b.networks["br1"] = &network.Inspect{Name: "br1", ID: "e-br1"}
	box := &boxed{ID: "c1", Name: "/box"}
	box.NetworkSettings.Networks = map[string]*network.EndpointSettings{"ov": {IPAMConfig: &network.EndpointIPAMConfig{}}, "br1": {IPAMConfig: &network.EndpointIPAMConfig{}}}
	b.containers["c1"] = box
	c.must(c.api.ReleaseContainers(t.Context()))
	if got := box.NetworkSettings.Networks; len(got) != 1 || got["br1"] == nil {
		t.Errorf("it is on %v", got)
	}
}

// Engines before API 1.44 derive hardware addresses as the cluster does, and one
// that is given with the container would stay when its address changes; later
// ones take none for the container from a request that can say no better.
func TestAHardwareAddressIsSaidOnlyWhereTheEngineHasAnotherOne(t *testing.T) {
	for _, tt := range []struct{ engine, request, container, endpoint string }{
		{"1.41", "/v1.41", "", "02:42:0a:00:01:03"},
		{"1.48", "/v1.43", "02:42:0a:00:01:03", "02:42:0a:00:01:03"},
		{"1.48", "/v1.44", "", "02:42:0a:00:01:03"},
		{"1.48", "", "", "02:42:0a:00:01:03"},
	} {
		c, b, _ := withContainers(t)
		b.version = tt.engine
		c.keep()
		res, err := http.Post(c.url+tt.request+"/containers/create", "application/json", strings.NewReader(`{"Image":"demo:1","HostConfig":{"NetworkMode":"ov"}}`))
		c.must(err)
		_ = res.Body.Close()
		var made struct {
			MacAddress       string
			NetworkingConfig network.NetworkingConfig
		}
		c.must(json.Unmarshal(b.made[0], &made))
		if made.MacAddress != tt.container || made.NetworkingConfig.EndpointsConfig["ov"].MacAddress != tt.endpoint {
			t.Errorf("%+v: the engine was asked for %s", tt, b.made[0])
		}
	}
}

func TestABridgeThatHasJustGoneIsMadeAgain(t *testing.T) {
	c, b, _ := withContainers(t)
	c.keep()
	b.noBridge = 2
	_, err := c.run("box", "ov", nil)
	c.must(err)
	c.awaitAttachments("box on node1: ov [10.0.1.3] [000000000000]")
	if len(b.made) != 3 {
		t.Errorf("the engine was asked %d times", len(b.made))
	}
}

func TestAContainerStartsThoughItsBridgeHasGone(t *testing.T) {
	c, b, n := withContainers(t)
	c.keep()
	_, err := c.run("box", "ov", nil)
	c.must(err)
	b.mu.Lock()
	delete(b.networks, "ov")
	b.noBridge = 2
	b.mu.Unlock()
	c.must(c.docker.ContainerStart(t.Context(), "box", container.StartOptions{}))
	var attachment string
	for a := range c.store.View().AttachedContainers() {
		attachment = a.ID
	}
	if got, _ := n.of(attachment); got != "77 in [10.0.1.3]" {
		t.Errorf("it has been started and has %q of the networks", got)
	}
}
