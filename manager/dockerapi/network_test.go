package dockerapi_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// hostNetworks is the part of an engine that has networks.
type hostNetworks struct {
	mu    sync.Mutex
	names []string // the ID is the name with "host" before it
	calls []string
}

func (h *hostNetworks) inspect(name string) network.Inspect {
	return network.Inspect{Name: name, ID: "host" + name, Scope: "local", Driver: "bridge"}
}

func (h *hostNetworks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	path := strings.TrimPrefix(r.URL.Path, "/v1.41/networks")
	body, _ := io.ReadAll(r.Body)
	if r.Method != http.MethodGet {
		h.calls = append(h.calls, r.Method+" "+path)
	}
	switch {
	case path == "":
		f, _ := filters.FromJSON(r.URL.Query().Get("filters"))
		if f.Contains("bogus") {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"message":"Invalid filter 'bogus'"}`)
			return
		}
		list := []network.Inspect{}
		for _, n := range h.names {
			if f.ExactMatch("scope", "local") && f.Match("name", n) {
				list = append(list, h.inspect(n))
			}
		}
		_ = json.NewEncoder(w).Encode(list)
	case path == "/create":
		var req network.CreateRequest
		_ = json.Unmarshal(body, &req)
		h.names = append(h.names, req.Name)
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"Id":"host%s"}`, req.Name)
	case path == "/prune":
		_ = json.NewEncoder(w).Encode(network.PruneReport{NetworksDeleted: h.names})
		h.names = nil
	default:
		id, verb, _ := strings.Cut(path[1:], "/")
		at := slices.Index(h.names, strings.TrimPrefix(id, "host"))
		switch {
		case at < 0:
			w.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprintf(w, `{"message":"network %s not found"}`, id)
		case r.Method == http.MethodDelete:
			h.names = slices.Delete(h.names, at, at+1)
			w.WriteHeader(http.StatusNoContent)
		case verb == "":
			_ = json.NewEncoder(w).Encode(h.inspect(h.names[at]))
		}
	}
}

// withNetworks starts an API on a host that has networks of its own.
func withNetworks(t *testing.T, names ...string) (*cluster, *hostNetworks) {
	h := &hostNetworks{names: names}
	mux := engine(t)
	mux.Handle("/v1.41/networks", h)
	mux.Handle("/v1.41/networks/", h)
	return start(t, mux), h
}

func overlay() network.CreateOptions { return network.CreateOptions{Driver: "overlay"} }

func (c *cluster) network(name string, opts network.CreateOptions) string {
	c.Helper()
	res, err := c.docker.NetworkCreate(c.Context(), name, opts)
	c.must(err)
	return res.ID
}

// networks lists the names that the filters let through.
func (c *cluster) networks(args ...filters.KeyValuePair) string {
	c.Helper()
	list, err := c.docker.NetworkList(c.Context(), network.ListOptions{Filters: filters.NewArgs(args...)})
	c.must(err)
	names := []string{}
	for _, n := range list {
		names = append(names, n.Name)
	}
	return strings.Join(names, " ")
}

// What a host routes elsewhere is given to no network, and refused to whoever asks for it.
func TestNoNetworkGetsWhatAHostRoutes(t *testing.T) {
	c := start(t, nil)
	for id, routes := range map[api.NodeID][]string{"node1": {"10.0.0.0/23"}, "node2": {"192.168.0.0/16", "fd00:1::/32"}} {
		n := &api.Node{ID: id, Description: api.NodeDescription{Hostname: "host-of-" + string(id)}}
		for _, r := range routes {
			n.Routes = append(n.Routes, netip.MustParsePrefix(r))
		}
		c.apply(state.Op{PutNode: n})
	}
	c.network("free", overlay())
	if got := c.store.View().NetworkByName("free").IPAM.Configs[0].Subnet; got != "10.0.2.0/24" {
		t.Errorf("a network that leaves its subnet to the cluster has %s", got)
	}
	for subnet, want := range map[string]string{
		"192.168.5.0/24": "network taken: its subnet 192.168.5.0/24 overlaps with 192.168.0.0/16, which node host-of-node2 routes elsewhere: give another subnet, or leave it out",
		"10.0.0.0/8":     "network taken: its subnet 10.0.0.0/8 overlaps with 10.0.0.0/23, which node host-of-node1 routes elsewhere: give another subnet, or leave it out",
	} {
		_, err := c.docker.NetworkCreate(t.Context(), "taken", network.CreateOptions{Driver: "overlay", IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: subnet}}}})
		wantError(t, err, errdefs.IsPermissionDenied, want)
	}
	six := true
	_, err := c.docker.NetworkCreate(t.Context(), "taken", network.CreateOptions{Driver: "overlay", EnableIPv6: &six, IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: "fd00:1:2::/64"}}}})
	wantError(t, err, errdefs.IsPermissionDenied, "network taken: its subnet fd00:1:2::/64 overlaps with fd00:1::/32, which node host-of-node2 routes elsewhere: give another subnet, or leave it out")
	if got := c.store.View().NetworkByName("taken"); got != nil {
		t.Errorf("a network that was refused is there: %+v", got)
	}
}

func TestNetworksOfTheHostAndOfTheClusterAreOneList(t *testing.T) {
	c, host := withNetworks(t, "bridge", "br1")
	id := c.network("back", network.CreateOptions{Driver: "overlay", Attachable: true, Labels: map[string]string{"tier": "data"}})
	c.network("br2", network.CreateOptions{Driver: "bridge"})
	if got := c.networks(); got != "back bridge br1 br2" {
		t.Errorf("the list: %s", got)
	}
	for _, tt := range []struct{ filter, want string }{
		{"scope=swarm", "back"}, {"scope=local", "bridge br1 br2"}, {"name=b", "back bridge br1 br2"}, {"name=ack", "back"},
	} {
		key, value, _ := strings.Cut(tt.filter, "=")
		if got := c.networks(filters.Arg(key, value)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.filter, got, tt.want)
		}
	}
	for _, ref := range []string{"back", id, id[:2]} {
		n, err := c.docker.NetworkInspect(t.Context(), ref, network.InspectOptions{})
		c.must(err)
		if n.ID != id || n.Scope != "swarm" {
			t.Errorf("%s: %+v", ref, n)
		}
	}
	n, err := c.docker.NetworkInspect(t.Context(), "br1", network.InspectOptions{})
	c.must(err)
	if n.ID != "hostbr1" {
		t.Errorf("br1: %+v", n)
	}
	c.must(c.docker.NetworkRemove(t.Context(), "br1"))
	c.must(c.docker.NetworkRemove(t.Context(), "back"))
	if want := []string{"POST /create", "DELETE /hostbr1"}; !slices.Equal(host.calls, want) {
		t.Errorf("the engine was told %q, want %q", host.calls, want)
	}
	if got := c.networks(); got != "bridge br2" {
		t.Errorf("the list after removals: %s", got)
	}
}

func TestANetworkReadsAsFromARealSwarm(t *testing.T) {
	c, _ := withNetworks(t)
	c.network("back", overlay())
	const want = `{"Name":"back","Id":"id1","Created":"T","Scope":"swarm","Driver":"overlay","EnableIPv6":false,` +
		`"IPAM":{"Driver":"default","Options":null,"Config":[{"Subnet":"10.0.1.0/24","Gateway":"10.0.1.1"}]},"Internal":false,"Attachable":false,` +
		`"Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":null,"Options":{"com.docker.network.driver.overlay.vxlanid_list":"4097"},"Labels":null}`
	if diff := cmp.Diff(decode(t, want), decode(t, c.get("/v1.41/networks/back"))); diff != "" {
		t.Errorf("(-a real swarm +ours):\n%s", diff)
	}
}

func TestRefusedNetworks(t *testing.T) {
	c, _ := withNetworks(t, "bridge", "br1")
	c.network("back", overlay())
	c.network("front", network.CreateOptions{Driver: "overlay", IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: "10.9.0.0/24"}}}})
	ipam := func(configs ...network.IPAMConfig) network.CreateOptions {
		return network.CreateOptions{Driver: "overlay", IPAM: &network.IPAM{Driver: "default", Config: configs}}
	}
	for _, tt := range []struct {
		name string
		opts network.CreateOptions
		is   func(error) bool
		want string
	}{
		{"back", overlay(), errdefs.IsConflict, "network with name back already exists"},
		{"br1", overlay(), errdefs.IsConflict, "network with name br1 already exists"},
		{"back", network.CreateOptions{Driver: "bridge"}, errdefs.IsConflict, "network with name back already exists"},
		{"", overlay(), errdefs.IsInvalidArgument, "meta: name must be provided"},
		{"a b", overlay(), errdefs.IsInvalidArgument, `name must be valid as a DNS name component: "a b" is not: use letters, digits, - and _`},
		{"x", network.CreateOptions{Driver: "overlay", Scope: "local"}, errdefs.IsInvalidArgument, "cannot downgrade network scope for overlay networks"},
		{"ingress", overlay(), errdefs.IsPermissionDenied, "operation is not permitted on predefined ingress network"},
		{"x", network.CreateOptions{Driver: "macvlan", Scope: "swarm"}, errdefs.IsNotImplemented, `network "x": driver macvlan cannot span hosts: use --driver overlay, or leave out --scope swarm`},
		{"x", network.CreateOptions{Driver: "overlay", Ingress: true, Attachable: true}, errdefs.IsInvalidArgument, "ingress network cannot be attachable: published ports alone use it"},
		{"x", network.CreateOptions{Driver: "overlay", Ingress: true, Internal: true}, errdefs.IsInvalidArgument, "ingress network cannot be internal: clients from outside come through it"},
		{"x", network.CreateOptions{Driver: "overlay", Options: map[string]string{"encrypted": ""}}, errdefs.IsNotImplemented, `network "x": not supported yet: option encrypted: what goes between hosts is not encrypted; use a network of the hosts that is, or leave the option out`},
		{"x", network.CreateOptions{Driver: "overlay", Options: map[string]string{"com.docker.network.driver.mtu": "70000"}}, errdefs.IsInvalidArgument, `network "x": invalid MTU "70000": give a number from 68 to 65535, or leave out com.docker.network.driver.mtu for what the hosts' own network leaves room for`},
		{"x", ipam(network.IPAMConfig{Subnet: "10.9.0.128/25"}), errdefs.IsPermissionDenied, "Pool overlaps with other one on this address space: subnet 10.9.0.128/25 of network x overlaps with 10.9.0.0/24 of network front"},
		{"x", ipam(network.IPAMConfig{Subnet: "10.0.0.0/8"}), errdefs.IsPermissionDenied, "Pool overlaps with other one on this address space: subnet 10.0.0.0/8 of network x overlaps with 10.0.1.0/24 of network back"},
		{"x", ipam(network.IPAMConfig{Subnet: "10.8.0.0/24", Gateway: "10.7.0.1"}), errdefs.IsInvalidArgument, "ipam configuration: invalid gateway 10.7.0.1: it is no address of a host in subnet 10.8.0.0/24"},
		{"x", network.CreateOptions{Driver: "overlay", Options: map[string]string{api.OptionVXLAN: "4097"}}, errdefs.IsPermissionDenied, "network x: VXLAN id 4097 is that of network back"},
	} {
		_, err := c.docker.NetworkCreate(t.Context(), tt.name, tt.opts)
		wantError(t, err, tt.is, tt.want)
	}
	if got := c.networks(); got != "back front bridge br1" {
		t.Errorf("the list: %s", got)
	}
	_, err := c.docker.NetworkInspect(t.Context(), "none", network.InspectOptions{})
	wantError(t, err, errdefs.IsNotFound, "network none not found")
	wantError(t, c.docker.NetworkRemove(t.Context(), "none"), errdefs.IsNotFound, "network none not found")
	err = c.docker.NetworkConnect(t.Context(), "back", "c1", nil)
	wantError(t, err, errdefs.IsUnavailable, "network back: this node's part of the cluster's networks is not there yet")
	if _, err = c.docker.NetworkList(t.Context(), network.ListOptions{Filters: filters.NewArgs(filters.Arg("bogus", "x"))}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a filter that is none: %v", err)
	}
}

func TestManyCreatorsAtOnceGetSubnetsOfTheirOwn(t *testing.T) {
	c, _ := withNetworks(t)
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			if _, err := c.docker.NetworkCreate(t.Context(), fmt.Sprintf("n%d", i), overlay()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	subnets, ids := map[string]bool{}, map[uint32]bool{}
	for n := range c.store.View().Networks() {
		subnets[n.IPAM.Configs[0].Subnet], ids[n.VXLAN[0]] = true, true
	}
	if len(subnets) != 32 || len(ids) != 32 || !subnets["10.0.32.0/24"] || !ids[4097+31] {
		t.Errorf("%d subnets, %d identifiers: %v", len(subnets), len(ids), subnets)
	}
}

func TestTheClustersPoolIsUsedUpAndShown(t *testing.T) {
	c, _ := withNetworks(t)
	c.apply(state.Op{PutCluster: &api.Cluster{ID: "c1", AddrPool: []string{"10.50.0.0/25", "10.60.0.0/26"}, SubnetSize: 26}})
	for i, want := range []string{"10.50.0.64/26", "10.60.0.0/26"} {
		id := c.network(fmt.Sprintf("n%d", i), overlay())
		if got := c.store.View().Network(api.NetworkID(id)).IPAM.Configs[0].Subnet; got != want {
			t.Errorf("network %d has %s, want %s", i, got, want)
		}
	}
	_, err := c.docker.NetworkCreate(t.Context(), "more", overlay())
	wantError(t, err, errdefs.IsUnavailable, "no address space is left for a network: every subnet of /26 in 10.50.0.0/25, 10.60.0.0/26 is taken; "+
		"give one with --subnet, or remove networks that nobody uses")
	c.must(c.docker.NetworkRemove(t.Context(), "n0"))
	c.network("more", overlay())

	sw, err := c.docker.SwarmInspect(t.Context())
	c.must(err)
	info, err := c.docker.Info(t.Context())
	c.must(err)
	for _, got := range []swarm.ClusterInfo{sw.ClusterInfo, *info.Swarm.Cluster} {
		if !slices.Equal(got.DefaultAddrPool, []string{"10.50.0.0/25", "10.60.0.0/26"}) || got.SubnetSize != 26 {
			t.Errorf("the cluster shows %v by %d", got.DefaultAddrPool, got.SubnetSize)
		}
	}
}

func TestNetworksThatServicesUseStay(t *testing.T) {
	c, host := withNetworks(t, "br1")
	used := c.network("used", overlay())
	c.network("idle", network.CreateOptions{Driver: "overlay", Labels: map[string]string{"keep": ""}})
	c.network("spare", overlay())
	web := &api.Service{ID: "web", Spec: serviceSpec("web")}
	web.Spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: used}}
	c.apply(state.Op{PutService: web})

	if got := c.networks(filters.Arg("dangling", "true"), filters.Arg("scope", "swarm")); got != "idle spare" {
		t.Errorf("dangling: %s", got)
	}
	if got := c.networks(filters.Arg("dangling", "false"), filters.Arg("scope", "swarm")); got != "used" {
		t.Errorf("not dangling: %s", got)
	}
	wantError(t, c.docker.NetworkRemove(t.Context(), "used"), errdefs.IsInvalidArgument, "network used is in use by service web")
	report, err := c.docker.NetworksPrune(t.Context(), filters.NewArgs(filters.Arg("label!", "keep")))
	c.must(err)
	if want := []string{"spare", "br1"}; !slices.Equal(report.NetworksDeleted, want) || !slices.Equal(host.calls, []string{"POST /prune"}) {
		t.Errorf("pruned %v, want %v (the engine was told %q)", report.NetworksDeleted, want, host.calls)
	}
	if got := c.networks(); got != "idle used" {
		t.Errorf("left: %s", got)
	}
	_, err = c.docker.NetworksPrune(t.Context(), filters.NewArgs(filters.Arg("until", "1h")))
	c.must(err)
	if got := c.networks(); got != "idle used" {
		t.Errorf("what is younger than an hour was pruned: %s is left", got)
	}
}

// Whoever removes a stack removes its networks right after its services.
func TestANetworkGoesOnceItsLastTaskHasEnded(t *testing.T) {
	c, _ := withNetworks(t)
	used := c.network("used", overlay())
	web := &api.Service{ID: "web", Spec: serviceSpec("web")}
	web.Spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: used}}
	c.apply(state.Op{PutService: web}, state.Op{PutNode: &api.Node{ID: "n9"}})
	version := c.store.View().Service("web").SpecVersion
	c.apply(state.Op{CreateTasks: []*api.Task{{ID: "t1", ServiceID: "web", SpecVersion: version, Slot: 1, Desired: api.TaskRunning, Status: api.TaskStatus{State: api.TaskPending}}}})
	c.apply(state.Op{AssignTasks: []state.Assign{{Task: "t1", Node: "n9"}}})
	c.apply(state.Op{DeleteService: &state.DeleteService{ID: "web"}})
	removed := make(chan error)
	go func() { removed <- c.docker.NetworkRemove(t.Context(), "used") }()
	select {
	case err := <-removed:
		t.Fatalf("removed while a task is on it: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	c.apply(state.Op{ReportTasks: []state.Report{{Task: "t1", Status: api.TaskStatus{State: api.TaskShutdown}}}})
	c.must(<-removed)
	if got := c.networks(); got != "" {
		t.Errorf("left: %s", got)
	}
}

func TestNetworksOnAFollower(t *testing.T) {
	c, host := withNetworks(t, "br1")
	lead := start(t, nil)
	c.node.role, c.leader = dockerapi.Manager, lead.api.Forwarded()
	lead.node.role = dockerapi.Leader
	id := c.network("back", overlay()) // the replica of this test's follower never hears of it
	if got := c.networks(); got != "back br1" {
		t.Errorf("the list: %s", got)
	}
	n, err := c.docker.NetworkInspect(t.Context(), "back", network.InspectOptions{Scope: "swarm"})
	c.must(err)
	if n.ID != id {
		t.Errorf("inspected: %+v", n)
	}
	c.must(c.docker.NetworkRemove(t.Context(), "back"))
	if len(host.calls) > 0 || lead.store.View().NetworkByName("back") != nil {
		t.Errorf("the removal went elsewhere: %q", host.calls)
	}

	c.apply(state.Op{CreateNetwork: &api.Network{ID: "n1", Spec: api.NetworkSpec{Annotations: swarm.Annotations{Name: "known"}}}})
	c.leader = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	if got := c.networks(); got != "known br1" {
		t.Errorf("the list without a leader: %s", got)
	}
}

func TestNetworksWhereThereIsNoCluster(t *testing.T) {
	c, host := withNetworks(t, "br1")
	for role, want := range map[dockerapi.Role]string{
		dockerapi.Worker:   "Cannot create a multi-host network from a worker node. Please create the network from a manager node.",
		dockerapi.Inactive: `This node is not a swarm manager. Use "swarmctl init" or "swarmctl join" to connect this node to swarm and try again.`,
	} {
		c.node.role = role
		_, err := c.docker.NetworkCreate(t.Context(), "back", overlay())
		if err == nil || err.Error() != "Error response from daemon: "+want {
			t.Errorf("%d: %v", role, err)
		}
		if got := c.networks(); got != "br1" {
			t.Errorf("%d: the list: %s", role, got)
		}
	}
	c.must(c.docker.NetworkRemove(t.Context(), "br1"))
	if want := []string{"DELETE /br1"}; !slices.Equal(host.calls, want) {
		t.Errorf("the engine was told %q", host.calls)
	}
}

func TestNetworksOfTheClusterOutliveTheEngine(t *testing.T) {
	c := start(t, nil)
	id := c.network("back", overlay())
	n, err := c.docker.NetworkInspect(t.Context(), "back", network.InspectOptions{})
	c.must(err)
	if n.ID != id {
		t.Errorf("inspected: %+v", n)
	}
	c.must(c.docker.NetworkRemove(t.Context(), "back"))
	if _, err := c.docker.NetworkList(t.Context(), network.ListOptions{}); !errdefs.IsUnavailable(err) {
		t.Errorf("half a list passes for a whole one: %v", err)
	}
}
