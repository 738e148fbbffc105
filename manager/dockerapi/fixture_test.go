package dockerapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/ca"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// fakeNode is a daemon whose membership a test sets.
type fakeNode struct {
	role dockerapi.Role
	info swarm.Info
	init []swarm.InitRequest
	join []swarm.JoinRequest
	left []bool
	keys []string // that Unlock was called with
}

func (n *fakeNode) ID() api.NodeID                  { return "node1" }
func (n *fakeNode) Role() dockerapi.Role            { return n.role }
func (n *fakeNode) Info(context.Context) swarm.Info { return n.info }
func (n *fakeNode) Join(_ context.Context, r swarm.JoinRequest) error {
	n.join = append(n.join, r)
	return nil
}

func (n *fakeNode) Leave(_ context.Context, force bool) error {
	n.left = append(n.left, force)
	return nil
}

func (n *fakeNode) Unlock(_ context.Context, key string) error {
	n.keys = append(n.keys, key)
	return nil
}

func (n *fakeNode) Init(_ context.Context, r swarm.InitRequest) (api.NodeID, error) {
	n.init = append(n.init, r)
	return "node1", nil
}

// memStore is a store without Raft: what is proposed is applied at once.
type memStore struct {
	*state.State
	mu     sync.Mutex
	index  uint64
	before func(*state.Op) error // what a test has against an operation, or nil
}

func (s *memStore) ReadView(context.Context) (*state.View, error) { return s.View(), nil }

func (s *memStore) Propose(_ context.Context, cmd state.Command) (state.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range cmd.Ops {
		if s.before == nil {
			break
		}
		if err := s.before(&cmd.Ops[i]); err != nil {
			return state.Result{}, err
		}
	}
	s.index++
	res := s.Apply(s.index, []state.Command{cmd})[0]
	return res, res.Err()
}

func (s *memStore) Rehearse(_ context.Context, cmd state.Command) error {
	return s.View().Rehearse(cmd)
}

// fakeEngines are the container engines of the nodes, by the node's ID. A node
// that is not there refuses the connection; one that hangs never answers.
type fakeEngines struct {
	addr map[api.NodeID]string
	hang map[api.NodeID]bool
	wrap func(net.Conn) net.Conn // what a test puts around connections, or nil
}

func (e *fakeEngines) Engine(ctx context.Context, id api.NodeID) (net.Conn, error) {
	if e.hang[id] {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	addr, ok := e.addr[id]
	if !ok {
		return nil, errors.New("connection refused")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err == nil && e.wrap != nil {
		conn = e.wrap(conn)
	}
	return conn, err
}

// Daemon answers with what a test puts behind it under the node's ID and "/daemon".
func (e *fakeEngines) Daemon(ctx context.Context, id api.NodeID) (net.Conn, error) {
	return e.Engine(ctx, id+"/daemon")
}

// cluster is an API over a state, with clients to it.
type cluster struct {
	*testing.T
	node    *fakeNode
	store   *memStore
	engines *fakeEngines
	api     *dockerapi.API
	docker  *client.Client
	url     string
	forward []string     // what was forwarded
	leader  http.Handler // who answers it, or nil for an empty list
	later   atomic.Int64 // nanoseconds by which the API's clock is ahead
}

// start serves the API with the local engine answered by engine; nil is an
// engine that is down.
func start(t *testing.T, engine http.Handler, change ...func(*dockerapi.Config, *cluster)) *cluster {
	c := &cluster{
		T: t, node: &fakeNode{role: dockerapi.Leader}, store: &memStore{State: state.New()},
		engines: &fakeEngines{addr: map[api.NodeID]string{}, hang: map[api.NodeID]bool{}},
	}
	if engine != nil {
		c.engines.addr["node1"] = serve(t, engine)
	}
	var ids atomic.Int64
	cfg := dockerapi.Config{
		Node: c.node, Store: c.store, Tunnel: c.engines, Version: "v0.test", LogPatience: 200 * time.Millisecond, RegistryPatience: 100 * time.Millisecond,
		DialEngine: func(ctx context.Context) (net.Conn, error) { return c.engines.Engine(ctx, "node1") },
		Forward: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c.forward = append(c.forward, r.Method+" "+r.URL.RequestURI())
			if c.leader != nil {
				c.leader.ServeHTTP(w, r)
				return
			}
			_, _ = fmt.Fprint(w, "[]")
		}),
		Explain: func(_ *state.View, t *api.Task) []api.NodeReason {
			return []api.NodeReason{{Node: "node1", Hostname: "h1", Reasons: []api.Reason{{Rule: "resources", Text: "has no room for " + string(t.ID)}}}}
		},
		Now:        func() time.Time { return time.Now().Add(time.Duration(c.later.Load())) },
		RotateRoot: ca.Rotate,
		NewToken:   func([]byte) string { return fmt.Sprintf("token%d", ids.Add(1)) },
		NewID:      func() string { return fmt.Sprintf("id%d", ids.Add(1)) },
	}
	for _, f := range change {
		f(&cfg, c)
	}
	a, err := dockerapi.New(cfg)
	c.must(err)
	c.api = a
	addr := serve(t, a)
	c.url = "http://" + addr
	c.docker, err = client.NewClientWithOpts(client.WithHost("tcp://"+addr), client.WithVersion("1.41"))
	c.must(err)
	t.Cleanup(func() { _ = c.docker.Close() })
	return c
}

func serve(t *testing.T, h http.Handler) (addr string) {
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.Listener.Addr().String()
}

func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) apply(ops ...state.Op) {
	c.Helper()
	_, err := c.store.Propose(c.Context(), state.Command{At: time.Now(), Ops: ops})
	c.must(err)
}

func (c *cluster) addNode(id api.NodeID, host string, role swarm.NodeRole, st api.NodeState) {
	c.Helper()
	n := &api.Node{
		ID: id, Spec: api.NodeSpec{Role: role, Availability: swarm.NodeAvailabilityActive},
		Description: api.NodeDescription{Hostname: host}, Status: api.NodeStatus{State: st, Addr: "10.0.0.1"},
	}
	if role == swarm.NodeRoleManager {
		n.ManagerAddr = "10.0.0.1:2377"
	}
	c.apply(state.Op{PutNode: n})
}

// addTask adds a task that has come as far as the status says.
func (c *cluster) addTask(id api.TaskID, service *api.Service, slot int, node api.NodeID, status api.TaskStatus) {
	c.Helper()
	c.apply(state.Op{CreateTasks: []*api.Task{{
		ID: id, ServiceID: service.ID, Slot: slot, NodeID: node, SpecVersion: service.SpecVersion,
		Desired: api.TaskRunning, Status: status,
	}}})
}

// get returns the body of an answer, whatever its status.
func (c *cluster) get(path string) string {
	c.Helper()
	res, err := http.Get(c.url + path)
	c.must(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	c.must(err)
	return string(body)
}

func running(container string) api.TaskStatus {
	return api.TaskStatus{State: api.TaskRunning, At: time.Unix(1, 0).UTC(), Container: &api.ContainerStatus{ID: container, PID: 7}}
}

func (c *cluster) create(spec swarm.ServiceSpec) *api.Service {
	c.Helper()
	res, err := c.docker.ServiceCreate(c.Context(), spec, swarm.ServiceCreateOptions{})
	c.must(err)
	return c.store.View().Service(api.ServiceID(res.ID))
}

func serviceSpec(name string) swarm.ServiceSpec {
	return swarm.ServiceSpec{
		Annotations:  swarm.Annotations{Name: name},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "demo:1"}},
	}
}

// wantError checks an answer's message in full and that the client takes it
// for an error of the kind.
func wantError(t *testing.T, err error, is func(error) bool, message string) {
	t.Helper()
	if want := "Error response from daemon: " + message; err == nil || err.Error() != want {
		t.Fatalf("error:\n got: %v\nwant: %s", err, want)
	}
	if !is(err) {
		t.Fatalf("%v: the status code is of another kind: %T", err, err)
	}
}
