package dispatcher

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// fakeStore is the real state behind a Propose that the test can make fail or
// hang, and that commits without telling this manager while it lags.
type fakeStore struct {
	*state.State
	mu       sync.Mutex
	index    uint64
	err      error
	hang     bool
	lag      bool
	backlog  []state.Command
	proposed []state.Command
}

func newFakeStore(nodes ...api.NodeID) *fakeStore {
	s := &fakeStore{State: state.New()}
	s.put(state.Op{PutCluster: &api.Cluster{ID: "c", GossipKeys: [][]byte{[]byte("key")}}})
	s.put(state.Op{PutNode: &api.Node{ID: "m1", ManagerAddr: "10.0.0.1:2377"}})
	for _, id := range nodes {
		s.put(state.Op{PutNode: &api.Node{ID: id}})
	}
	return s
}

func (s *fakeStore) Propose(ctx context.Context, cmd state.Command) (state.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hang {
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return state.Result{}, ctx.Err()
	}
	if s.err != nil {
		return state.Result{}, s.err
	}
	s.proposed = append(s.proposed, cmd)
	s.index++
	if s.lag {
		s.backlog = append(s.backlog, cmd)
		return state.Result{Index: s.index}, nil
	}
	return s.Apply(s.index, []state.Command{cmd})[0], nil
}

func (s *fakeStore) put(ops ...state.Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index++
	if err := s.Apply(s.index, []state.Command{{Ops: ops}})[0].Err(); err != nil {
		panic(err)
	}
}

// catchUp ends the lag.
func (s *fakeStore) catchUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag = false
	for i, cmd := range s.backlog {
		s.Apply(s.index-uint64(len(s.backlog)-1-i), []state.Command{cmd})
	}
	s.backlog = nil
}

func (s *fakeStore) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *fakeStore) proposals() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.proposed)
}

// service creates a service with tasks t1.. on the node.
func (s *fakeStore) service(id string, node api.NodeID, tasks ...api.TaskID) {
	svc := &api.Service{ID: api.ServiceID(id)}
	svc.Spec.Name = id
	s.put(state.Op{PutService: svc})
	s.tasks(id, node, tasks...)
}

func (s *fakeStore) tasks(id string, node api.NodeID, tasks ...api.TaskID) {
	version := s.View().Service(api.ServiceID(id)).SpecVersion
	for i, task := range tasks {
		s.put(state.Op{CreateTasks: []*api.Task{{ID: task, ServiceID: api.ServiceID(id), Slot: i + 1, SpecVersion: version, Desired: api.TaskRunning, Status: api.TaskStatus{State: api.TaskPending}}}})
		s.put(state.Op{AssignTasks: []state.Assign{{Task: task, Node: node}}})
	}
}

// rig is a dispatcher behind real gRPC, over a pipe.
type rig struct {
	t     *testing.T
	store *fakeStore
	d     *Dispatcher
	conn  *grpc.ClientConn
	dial  func() wire.DispatcherClient
}

// peerFromMetadata stands in for the certificates.
func peerFromMetadata(ctx context.Context) (api.NodeID, swarm.NodeRole, error) {
	if id := metadata.ValueFromIncomingContext(ctx, "peer"); len(id) == 1 {
		return api.NodeID(id[0]), swarm.NodeRoleWorker, nil
	}
	return "", "", api.Errorf(api.CodeForbidden, "no certificate")
}

func newRig(t *testing.T, store *fakeStore) *rig { return newRigOf(t, store, "m1") }

// newRigOf is a dispatcher on one manager of several.
func newRigOf(t *testing.T, store Store, id api.NodeID) *rig {
	t.Helper()
	d, err := New(Config{NodeID: id, Store: store, Peer: peerFromMetadata, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l := bufconn.Listen(1 << 16)
	srv := grpc.NewServer()
	wire.RegisterDispatcherServer(srv, d)
	wire.RegisterManagersServer(srv, &managersEnd{d: d})
	go func() { _ = srv.Serve(l) }()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	cc, err := grpc.NewClient("passthrough:///"+string(id),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		<-done
		_ = cc.Close()
		srv.Stop()
	})
	fake, _ := store.(*fakeStore)
	return &rig{t: t, store: fake, d: d, conn: cc, dial: func() wire.DispatcherClient { return wire.NewDispatcherClient(cc) }}
}

// worker is a node's end of a session.
type worker struct {
	t      *testing.T
	rig    *rig
	id     api.NodeID
	stream wire.Dispatcher_SessionClient
	cancel context.CancelFunc
	beats  chan struct{} // closed to fall silent
	queue  chan *wire.FromManager
	err    error

	sending sync.Mutex
	mu      sync.Mutex
	fabric  *fabric.Set // what it was told of the networks
	parts   []*wire.Fabric
	cleared uint64
	works   bool // it applies what it is told
	// log has, in their order, what the node was told of the fabric, of tasks and of clearance.
	log []string
}

func (r *rig) open(id api.NodeID) *worker {
	r.t.Helper()
	return r.openAs(id, &wire.Hello{DescriptionJson: []byte(`{"Hostname":"` + string(id) + `"}`), AdvertiseAddr: "10.0.0.9"})
}

func (r *rig) openAs(id api.NodeID, hello *wire.Hello) *worker {
	r.t.Helper()
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "peer", string(id)))
	stream, err := r.dial().Session(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	w := &worker{t: r.t, rig: r, id: id, stream: stream, cancel: cancel, queue: make(chan *wire.FromManager, 1000), fabric: fabric.NewSet()}
	r.t.Cleanup(cancel)
	w.send(&wire.FromNode{Message: &wire.FromNode_Hello{Hello: hello}})
	go func() {
		defer close(w.queue)
		for {
			m, err := stream.Recv()
			if err != nil {
				w.err = wire.FromStatus(err)
				return
			}
			if !w.hears(m) {
				w.queue <- m
			}
		}
	}()
	return w
}

func (w *worker) send(m *wire.FromNode) {
	w.t.Helper()
	w.sending.Lock()
	defer w.sending.Unlock()
	if err := w.stream.Send(m); err != nil {
		w.t.Fatal(err)
	}
}

// hears takes what is about networks.
func (w *worker) hears(m *wire.FromManager) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch m := m.GetMessage().(type) {
	case *wire.FromManager_Fabric:
		if w.parts = append(w.parts, m.Fabric); m.Fabric.More {
			return true
		}
		u, err := wire.DecodeFabric(w.parts)
		if err != nil {
			w.t.Error(err)
			return true
		}
		w.parts = nil
		w.log = append(w.log, fmt.Sprint("fabric ", u.Index))
		w.fabric.Apply(u)
		if w.works {
			w.acks()
		}
		return true
	case *wire.FromManager_Cleared:
		w.cleared = m.Cleared.Index
		w.log = append(w.log, fmt.Sprint("cleared ", m.Cleared.Index))
		return true
	case *wire.FromManager_Assignments:
		w.log = append(w.log, fmt.Sprint("assignments ", m.Assignments.Index))
		w.knows(m.Assignments.Tasks)
	}
	return false
}

// knows fails where a task comes before what the fabric says of it.
func (w *worker) knows(tasks []*wire.Task) {
	for _, task := range tasks {
		if len(task.Networks) == 0 {
			continue
		}
		switch e := w.fabric.Endpoints[task.Id]; {
		case e == nil:
			w.t.Errorf("node %s is given task %s, which it does not know the addresses of", w.id, task.Id)
		case api.TaskState(task.Desired) > api.TaskComplete && e.State != fabric.Silent:
			w.t.Errorf("node %s is told to stop task %s, which is in the balancers", w.id, task.Id)
		}
	}
}

// acks says that all is applied.
func (w *worker) acks() {
	index := w.fabric.Index
	go func() { // the node hears while it speaks
		w.sending.Lock()
		defer w.sending.Unlock()
		_ = w.stream.Send(&wire.FromNode{Message: &wire.FromNode_FabricApplied{FabricApplied: &wire.FabricApplied{Index: index}}})
	}()
}

// applies says whether the node applies what it is told.
func (w *worker) applies(does bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.works = does; does {
		w.acks()
	}
}

// told returns, and forgets, what it was told of the fabric, of tasks and of clearance.
func (w *worker) told() []string {
	soon()
	w.mu.Lock()
	defer w.mu.Unlock()
	log := w.log
	w.log = nil
	return log
}

// soon is when all nodes have been told: a change may wait for a moment.
func soon() {
	time.Sleep(time.Millisecond)
	synctest.Wait()
}

func (w *worker) clearedUpTo() uint64 {
	soon()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cleared
}

// managersEnd is the leader's end of Managers.Applied.
type managersEnd struct {
	wire.UnimplementedManagersServer
	d *Dispatcher
}

// Applied implements wire.ManagersServer.
func (m *managersEnd) Applied(stream wire.Managers_AppliedServer) error {
	id, _, err := peerFromMetadata(stream.Context())
	if err != nil {
		return err
	}
	return wire.ToStatus(m.d.ServeClearance(id, stream))
}

func (w *worker) beat() {
	w.send(&wire.FromNode{Message: &wire.FromNode_Heartbeat{Heartbeat: &wire.Heartbeat{}}})
}

// next returns the next message that is no answer to a heartbeat.
func (w *worker) next() *wire.FromManager {
	w.t.Helper()
	for {
		select {
		case m, ok := <-w.queue:
			if !ok {
				w.t.Fatalf("session of %s ended: %v", w.id, w.err)
			}
			if m.GetHeartbeat() == nil {
				return m
			}
		case <-time.After(10 * time.Second):
			w.t.Fatalf("node %s waits for a message that does not come", w.id)
		}
	}
}

// end returns why the session ended.
func (w *worker) end() error {
	for range w.queue { //nolint:revive // drained
	}
	return w.err
}

// greeted takes the welcome and the full set.
func (w *worker) greeted() (*wire.Welcome, *wire.Assignments) {
	w.t.Helper()
	welcome, full := w.next().GetWelcome(), w.next().GetAssignments()
	if welcome == nil || !full.GetFull() {
		w.t.Fatalf("got %v, %v", welcome, full)
	}
	return welcome, full
}

func (w *worker) status() api.NodeStatus { return w.rig.store.View().Node(w.id).Status }
