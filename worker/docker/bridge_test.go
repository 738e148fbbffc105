package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// fakeEngine answers for networks, and for containers that are only made, as an
// engine of some version of the API does.
type fakeEngine struct {
	mu         sync.Mutex
	networks   []network.Inspect
	created    []network.CreateRequest
	containers map[string]*fakeContainer // by name
	refuse     string                    // what a create of a network is refused with
	busy       bool                      // networks have active endpoints
}

type fakeContainer struct {
	container.CreateRequest
	running  bool
	connects []network.ConnectOptions
	to       []string
}

// newFakeEngine is an Engine that speaks to a fake one.
func newFakeEngine(t *testing.T, version string) (*Engine, *fakeEngine) {
	t.Helper()
	f := &fakeEngine{containers: map[string]*fakeContainer{}}
	mux := http.NewServeMux()
	at := "/v" + version
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", version) })
	mux.HandleFunc("POST "+at+"/networks/create", f.createNetwork)
	mux.HandleFunc("GET "+at+"/networks", f.listNetworks)
	mux.HandleFunc("GET "+at+"/networks/{id}", f.inspectNetwork)
	mux.HandleFunc("DELETE "+at+"/networks/{id}", f.removeNetwork)
	mux.HandleFunc("POST "+at+"/networks/{id}/connect", f.connect)
	mux.HandleFunc("POST "+at+"/containers/create", f.createContainer)
	mux.HandleFunc("GET "+at+"/containers/{id}/json", f.inspectContainer)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	e, err := New(Config{Host: "tcp://" + srv.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	e.cli.NegotiateAPIVersion(t.Context())
	return e, f
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, code int, format string, args ...any) {
	answer(w, code, map[string]string{"message": fmt.Sprintf(format, args...)})
}

func (f *fakeEngine) find(ref string) *network.Inspect {
	i := slices.IndexFunc(f.networks, func(n network.Inspect) bool { return n.ID == ref || n.Name == ref })
	if i < 0 {
		return nil
	}
	return &f.networks[i]
}

func (f *fakeEngine) createNetwork(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var req network.CreateRequest
	_ = json.NewDecoder(r.Body).Decode(&req)
	f.created = append(f.created, req)
	switch {
	case f.find(req.Name) != nil:
		refuse(w, http.StatusConflict, "network with name %s already exists", req.Name)
	case f.refuse != "":
		refuse(w, http.StatusForbidden, "%s", f.refuse)
	default:
		n := network.Inspect{ID: fmt.Sprintf("id-%d", len(f.created)), Name: req.Name, Driver: req.Driver, Internal: req.Internal, IPAM: *req.IPAM, Options: req.Options, Labels: req.Labels}
		f.networks = append(f.networks, n)
		answer(w, http.StatusCreated, network.CreateResponse{ID: n.ID})
	}
}

func (f *fakeEngine) listNetworks(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []network.Inspect
	for _, n := range f.networks {
		if strings.Contains(r.URL.Query().Get("filters"), `"`+api.LabelNetworkCluster+"="+n.Labels[api.LabelNetworkCluster]+`"`) {
			list = append(list, n)
		}
	}
	answer(w, http.StatusOK, list)
}

func (f *fakeEngine) inspectNetwork(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.find(r.PathValue("id"))
	if n == nil {
		refuse(w, http.StatusNotFound, "network %s not found", r.PathValue("id"))
		return
	}
	answer(w, http.StatusOK, n)
}

func (f *fakeEngine) removeNetwork(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.find(r.PathValue("id"))
	switch {
	case n == nil:
		refuse(w, http.StatusNotFound, "network %s not found", r.PathValue("id"))
	case f.busy:
		refuse(w, http.StatusForbidden, "error while removing network: network %s id %s has active endpoints", n.Name, n.ID)
	default:
		f.networks = slices.DeleteFunc(f.networks, func(o network.Inspect) bool { return o.ID == n.ID })
		w.WriteHeader(http.StatusNoContent)
	}
}

func (f *fakeEngine) connect(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var req network.ConnectOptions
	_ = json.NewDecoder(r.Body).Decode(&req)
	if f.find(r.PathValue("id")) == nil {
		refuse(w, http.StatusNotFound, "network %s not found", r.PathValue("id"))
		return
	}
	c := f.containers[strings.TrimPrefix(req.Container, "id-")]
	c.connects, c.to = append(c.connects, req), append(c.to, r.PathValue("id"))
}

func (f *fakeEngine) createContainer(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := r.URL.Query().Get("name")
	c := new(fakeContainer)
	_ = json.NewDecoder(r.Body).Decode(&c.CreateRequest)
	if f.containers[name] != nil {
		refuse(w, http.StatusConflict, "Conflict. The container name %q is already in use", "/"+name)
		return
	}
	for n := range c.NetworkingConfig.EndpointsConfig {
		if f.find(n) == nil {
			refuse(w, http.StatusNotFound, "network %s not found", n)
			return
		}
	}
	f.containers[name] = c
	answer(w, http.StatusCreated, container.CreateResponse{ID: "id-" + name})
}

func (f *fakeEngine) inspectContainer(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := r.PathValue("id")
	c := f.containers[name]
	state := container.State{Status: container.StateCreated}
	if c.running {
		state = container.State{Status: container.StateRunning, Running: true, Pid: 7}
	}
	answer(w, http.StatusOK, container.InspectResponse{
		ContainerJSONBase: &container.ContainerJSONBase{ID: "id-" + name, Name: "/" + name, State: &state}, Config: c.Config,
	})
}

func backBridge() *fabric.Bridge {
	return &fabric.Bridge{
		Cluster: "c1", Network: "n1", Name: "back", Interface: "sw-n1", MTU: 1450,
		Subnets: []fabric.BridgeSubnet{
			{Prefix: netip.MustParsePrefix("10.0.1.0/24"), Gateway: netip.MustParseAddr("10.0.1.254")},
			{Prefix: netip.MustParsePrefix("fd00::/64"), Gateway: netip.MustParseAddr("fd00::fe")},
		},
	}
}

func TestBridgeIsMadeOnceAndFoundAgain(t *testing.T) {
	e, f := newFakeEngine(t, "1.41")
	b := backBridge()
	for range 2 { // the second time it is there
		b.ID = ""
		if err := e.CreateBridge(t.Context(), b); err != nil || b.ID != "id-1" {
			t.Fatalf("ID %q, %v", b.ID, err)
		}
	}
	got, err := json.Marshal(f.created[0].CreateOptions)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Driver":"bridge","Scope":"","EnableIPv6":true,"IPAM":{"Driver":"default","Options":null,"Config":[{"Subnet":"10.0.1.0/24","Gateway":"10.0.1.254"},{"Subnet":"fd00::/64","Gateway":"fd00::fe"}]},"Internal":false,"Attachable":false,"Ingress":false,"ConfigOnly":false,"ConfigFrom":null,"Options":{"com.docker.network.bridge.enable_ip_masquerade":"true","com.docker.network.bridge.name":"sw-n1","com.docker.network.driver.mtu":"1450"},"Labels":{"com.swarmctl.cluster":"c1","com.swarmctl.network":"n1"}}`
	if string(got) != want {
		t.Errorf("the engine is asked for\n%s, want\n%s", got, want)
	}
	f.networks = append(f.networks, network.Inspect{ID: "other", Name: "theirs", Labels: map[string]string{api.LabelNetworkCluster: "c2"}})
	list, err := e.Bridges(t.Context(), "c1")
	if err != nil || len(list) != 1 || list[0].ID != "id-1" || !list[0].SameAs(b) || list[0].MTU != 1450 || list[0].Network != "n1" {
		t.Errorf("bridges %+v, %v", list, err)
	}
	f.busy = true
	if err := e.RemoveBridge(t.Context(), "id-1"); !errors.Is(err, api.ErrConflict) || !strings.Contains(err.Error(), "has active endpoints") {
		t.Errorf("a bridge in use: %v", err)
	}
	f.busy = false
	for range 2 { // the second time it is gone
		if err := e.RemoveBridge(t.Context(), "id-1"); err != nil {
			t.Error(err)
		}
	}
}

func TestBridgeThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*fakeEngine, *fabric.Bridge)
		want    string
		code    api.Code
	}{
		{"name taken", func(f *fakeEngine, _ *fabric.Bridge) {
			f.networks = []network.Inspect{{ID: "0123456789abcdef", Name: "back"}}
		}, "network \"back\": this host has a network of that name of its own (0123456789ab): remove it with `docker network rm back`, or give the cluster's network another name", api.CodeConflict},
		{"other addresses", func(f *fakeEngine, b *fabric.Bridge) {
			f.networks = []network.Inspect{{ID: "0123456789abcdef", Name: "back", Labels: map[string]string{api.LabelNetworkCluster: "c1", api.LabelNetworkID: "n1"}}}
		}, `network "back": its bridge (0123456789ab) was made with other addresses: it must be removed first, and can be once no container is on it`, api.CodeConflict},
		{"addresses taken", func(f *fakeEngine, _ *fabric.Bridge) { f.refuse = "Pool overlaps with other one on this address space" },
			"network \"back\": the container engine does not make its bridge: Pool overlaps with other one on this address space: free what it names (`docker network ls`, `ip address`), or give the network another subnet", api.CodeConflict},
		{"no IPv4", func(_ *fakeEngine, b *fabric.Bridge) { b.Subnets = b.Subnets[1:] },
			`network "back" has no IPv4 subnet, which needs Docker Engine 28.0 (API 1.48), and this node's speaks API 1.41: give it one, or keep its services to nodes with a newer engine by a constraint`, api.CodeUnsupported},
	} {
		e, f := newFakeEngine(t, "1.41")
		b := backBridge()
		c.prepare(f, b)
		if err := e.CreateBridge(t.Context(), b); err == nil || err.Error() != c.want || api.CodeOf(err) != c.code {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, c.want)
		}
	}
}

func onTwo() *Request {
	c := planCases["networks"]
	c.nets = onNetworks("back", "front")
	return c.request()
}

func bridges(names ...string) (list []network.Inspect) {
	for _, n := range names {
		list = append(list, network.Inspect{ID: n, Name: n})
	}
	return list
}

func TestContainerIsOnAllOfItsNetworks(t *testing.T) {
	for _, c := range []struct {
		version string
		first   int // networks in the create
		rest    string
	}{{"1.41", 1, "[front]"}, {"1.44", 2, "[]"}} {
		e, f := newFakeEngine(t, c.version)
		f.networks = bridges("back", "front")
		r := onTwo()
		if _, err := e.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		made := f.containers[api.TaskName(r.Spec, r.Task)]
		if n := len(made.NetworkingConfig.EndpointsConfig); n != c.first || fmt.Sprint(made.to) != c.rest || made.HostConfig.NetworkMode != "back" {
			t.Errorf("API %s: made on %d networks of mode %s, then on %v", c.version, n, made.HostConfig.NetworkMode, made.to)
		}
		if got := fmt.Sprint(made.HostConfig.DNS); got != "[10.0.0.254 1.1.1.1]" {
			t.Errorf("names are asked of %s", got)
		}
	}
}

// A program that was killed, or an engine that went away, between the create
// and the connects leaves a container that lacks a network.
func TestContainerThatLacksANetworkIsCompleted(t *testing.T) {
	e, f := newFakeEngine(t, "1.41")
	f.networks = bridges("back")
	r := onTwo()
	if _, err := e.Create(t.Context(), r); !errors.Is(err, api.ErrUnavailable) || !strings.Contains(err.Error(), "network front not found") {
		t.Fatalf("without the second network: %v", err)
	}
	made := f.containers[api.TaskName(r.Spec, r.Task)]
	f.networks = bridges("back", "front")
	for range 2 { // before it has started, and after
		if _, err := e.Create(t.Context(), r); err != nil || fmt.Sprint(made.to) != "[front]" {
			t.Errorf("completed with %v, %v", made.to, err)
		}
		made.running = true
	}
}

func TestContainerWhoseNetworkIsGoneWaits(t *testing.T) {
	for _, version := range []string{"1.41", "1.44"} {
		e, _ := newFakeEngine(t, version)
		if _, err := e.Create(t.Context(), onTwo()); !errors.Is(err, api.ErrUnavailable) || errors.Is(err, ErrNoImage) {
			t.Errorf("API %s: %v", version, err)
		}
	}
}
