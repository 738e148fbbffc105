package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/worker/docker"
	"github.com/swarmctl/swarmctl/worker/files"
	"github.com/swarmctl/swarmctl/worker/runtimetest"
)

var _ Engine = (*runtimetest.Engine)(nil)
var _ Engine = (*docker.Engine)(nil)
var _ Network = (*runtimetest.Network)(nil)
var _ Files = (*runtimetest.Files)(nil)
var _ Files = (*files.Store)(nil)

const (
	testNode    api.NodeID = "node1"
	testCluster            = "cluster1"
)

// store is what the managers agree on: tasks, with the statuses that were
// acknowledged. It holds the law that states only grow.
type store struct {
	mu     sync.Mutex
	tasks  map[api.TaskID]*api.Task
	specs  map[uint64]*api.ServiceSpec
	auths  map[uint64]api.RegistryAuth
	images map[uint64]*api.Image
	said   map[api.TaskID]string // the last message of each task
	// contents are secrets and configs; one that is not there is gone.
	contents map[string]*api.Content
	index    uint64
	batches  int
	// settled is, for each time that the node has said so, which tasks ran by then
	// as far as the managers know.
	settled []string
}

// manager is one that serves sessions from the store.
type manager struct {
	wire.UnimplementedDispatcherServer
	name     string
	store    *store
	listener *bufconn.Listener
	server   *grpc.Server

	mu       sync.Mutex
	sessions map[*testSession]struct{}
	hellos   int
	refuse   error
	mute     bool // answers nothing, as one that lost power
	noAck    bool
	deaf     bool           // nothing that nodes say reaches it
	since    []*wire.Fabric // what has changed of the networks since what sessions begin with
	goodbyes int
	beats    int
	said     []string // the descriptions that came after the first
	applied  []uint64 // what nodes said of the networks
	problems []string // and of published ports
	volumes  []string // and of volumes, with the ends of tasks
	tunnels  map[string]chan net.Conn
	old      bool // it knows of no secrets and configs
	// images sends the images that are asked for; nil refuses.
	images func(task string, send func(*wire.ImagePart) error, ctx context.Context) error
	asked  []string // for images, by task
	auth   string   // what the cluster has for every registry
}

// Image implements wire.DispatcherServer.
func (m *manager) Image(req *wire.ImageRequest, stream wire.Dispatcher_ImageServer) error {
	m.mu.Lock()
	m.asked = append(m.asked, req.GetTaskId())
	f := m.images
	m.mu.Unlock()
	if f == nil {
		return wire.ToStatus(api.Errorf(api.CodeNotFound, "none of h1 has it"))
	}
	return wire.ToStatus(f(req.GetTaskId(), stream.Send, stream.Context()))
}

// Credentials implements wire.DispatcherServer.
func (m *manager) Credentials(context.Context, *wire.CredentialsRequest) (*wire.CredentialsReply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &wire.CredentialsReply{RegistryAuth: m.auth}, nil
}

// askedFor are the tasks in whose name images were asked for.
func (m *manager) askedFor() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.asked)
}

type testSession struct {
	stream wire.Dispatcher_SessionServer
	mu     sync.Mutex
	specs  map[uint64]bool
	// contents are those that the node was sent and not told to forget.
	contents map[string]bool
}

func (m *manager) Session(stream wire.Dispatcher_SessionServer) error {
	hello, err := stream.Recv()
	if err != nil || hello.GetHello() == nil {
		return errors.New("no hello")
	}
	m.mu.Lock()
	m.hellos++
	refuse := m.refuse
	m.volumes = append(m.volumes, namesOf(hello.GetHello().GetVolumes()))
	m.problems = append(m.problems, fmt.Sprint(hello.GetHello().GetPortProblems().GetWhy()))
	s := &testSession{stream: stream, specs: map[uint64]bool{}, contents: map[string]bool{}}
	m.sessions[s] = struct{}{}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.sessions, s)
		m.mu.Unlock()
	}()
	if refuse != nil {
		return wire.ToStatus(refuse)
	}
	m.say(s, &wire.FromManager{Message: &wire.FromManager_Welcome{Welcome: &wire.Welcome{
		SessionId: api.NewID(), Heartbeat: durationpb.New(500 * time.Millisecond), Cluster: &wire.ClusterInfo{ClusterId: testCluster},
	}}})
	m.weave(s, true)
	m.mu.Lock()
	since := m.since
	m.mu.Unlock()
	for _, f := range since {
		m.say(s, &wire.FromManager{Message: &wire.FromManager_Fabric{Fabric: f}})
	}
	m.assign(s, true, slices.Collect(maps.Keys(m.store.all()))...)
	for {
		in, err := stream.Recv()
		if err != nil {
			return err
		}
		m.mu.Lock()
		deaf := m.deaf
		m.mu.Unlock()
		if deaf {
			continue
		}
		switch in := in.GetMessage().(type) {
		case *wire.FromNode_Heartbeat:
			m.mu.Lock()
			m.beats++
			m.mu.Unlock()
			m.say(s, &wire.FromManager{Message: &wire.FromManager_Heartbeat{Heartbeat: &wire.Heartbeat{Stamp: in.Heartbeat.Stamp}}})
		case *wire.FromNode_Status:
			m.mu.Lock()
			ack := !m.noAck && !m.mute
			for _, s := range in.Status.GetStatuses() {
				if state := api.TaskState(s.GetState()); state.Terminal() {
					m.volumes = append(m.volumes, state.String()+" "+s.GetTaskId())
				}
			}
			m.mu.Unlock()
			if ack {
				m.store.commit(in.Status)
				m.say(s, &wire.FromManager{Message: &wire.FromManager_StatusAck{StatusAck: &wire.StatusAck{Seq: in.Status.Seq}}})
				m.assign(s, false) // what only a task has used that has ended
			}
		case *wire.FromNode_FabricApplied:
			m.mu.Lock()
			m.applied = append(m.applied, in.FabricApplied.Index)
			m.mu.Unlock()
		case *wire.FromNode_Volumes:
			m.mu.Lock()
			m.volumes = append(m.volumes, namesOf(in.Volumes))
			m.mu.Unlock()
		case *wire.FromNode_PortProblems:
			m.mu.Lock()
			m.problems = append(m.problems, fmt.Sprint(in.PortProblems.GetWhy()))
			m.mu.Unlock()
		case *wire.FromNode_DescriptionJson:
			m.mu.Lock()
			m.said = append(m.said, string(in.DescriptionJson))
			m.mu.Unlock()
		case *wire.FromNode_Goodbye:
			m.mu.Lock()
			m.goodbyes++
			m.mu.Unlock()
			return nil
		}
	}
}

func (m *manager) Tunnel(stream wire.Dispatcher_TunnelServer) error {
	id := metadata.ValueFromIncomingContext(stream.Context(), "tunnel-id")[0]
	conn := wire.NewConn(stream, id, nil)
	m.mu.Lock()
	ch := m.tunnels[id]
	m.mu.Unlock()
	ch <- conn
	<-conn.Done()
	return nil
}

func (m *manager) say(s *testSession, msg *wire.FromManager) {
	m.mu.Lock()
	mute := m.mute
	m.mu.Unlock()
	if mute {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.stream.Send(msg)
}

// all tells all nodes.
func (m *manager) all(msg *wire.FromManager) {
	for _, s := range m.open() {
		m.say(s, msg)
	}
}

func (m *manager) open() []*testSession {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.sessions))
}

// cluster tells all nodes of the cluster.
func (m *manager) cluster(info *wire.ClusterInfo) {
	m.all(&wire.FromManager{Message: &wire.FromManager_Cluster{Cluster: info}})
}

// cleared says that all nodes have applied the networks' state.
func (m *manager) cleared(index uint64) {
	m.all(&wire.FromManager{Message: &wire.FromManager_Cleared{Cleared: &wire.Cleared{Index: index}}})
}

// saidApplied is what nodes have said since it was asked for last.
func (m *manager) saidApplied() []uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	said := m.applied
	m.applied = nil
	return said
}

// weave tells of the networks: back and front, in two messages.
func (m *manager) weave(s *testSession, full bool) {
	m.store.mu.Lock()
	index := m.store.index
	m.store.mu.Unlock()
	for i, n := range []*wire.FabricNetwork{{Id: "n1", Name: "back"}, {Id: "n2", Name: "front"}} {
		m.say(s, &wire.FromManager{Message: &wire.FromManager_Fabric{Fabric: &wire.Fabric{
			Index: index, Full: full, More: i == 0, Networks: []*wire.FabricNetwork{n},
		}}})
	}
}

// beatsIn counts the heartbeats of a time.
func (m *manager) beatsIn(d time.Duration) int {
	count := func() int {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.beats
	}
	before := count()
	time.Sleep(d)
	synctest.Wait()
	return count() - before
}

func (m *manager) assign(s *testSession, full bool, ids ...api.TaskID) {
	slices.Sort(ids)
	m.store.mu.Lock()
	defer m.store.mu.Unlock() // also while it is said: what is said later is newer
	a := &wire.Assignments{Full: full, Index: m.store.index}
	for _, id := range ids {
		t := m.store.tasks[id]
		if t == nil {
			a.Removed = append(a.Removed, string(id))
			continue
		}
		if !s.specs[t.SpecVersion] {
			s.specs[t.SpecVersion] = true
			spec, err := wire.EncodeSpec(&api.SpecVersion{ServiceID: t.ServiceID, Version: t.SpecVersion, Spec: *m.store.specs[t.SpecVersion], RegistryAuth: m.store.auths[t.SpecVersion], Image: m.store.images[t.SpecVersion]})
			if err != nil {
				panic(err)
			}
			a.Specs = append(a.Specs, spec)
		}
		task, err := wire.EncodeTask(t)
		if err != nil {
			panic(err)
		}
		a.Tasks = append(a.Tasks, task)
	}
	if !m.old {
		m.contents(s, a)
	}
	if len(a.Tasks)+len(a.Removed)+len(a.Released) == 0 && !full {
		return
	}
	m.say(s, &wire.FromManager{Message: &wire.FromManager_Assignments{Assignments: a}})
}

// contents has the node know the secrets and configs that its tasks use. In a
// full set they come in a message of their own.
func (m *manager) contents(s *testSession, a *wire.Assignments) {
	uses := m.store.uses()
	var news []*wire.Content
	for id := range uses {
		if c := m.store.contents[id]; s.contents[id] {
			continue
		} else if c != nil {
			news = append(news, wire.EncodeContent(c))
		} else {
			news = append(news, &wire.Content{Id: id, Gone: true})
		}
		s.contents[id] = true
	}
	for id := range s.contents {
		if !uses[id] {
			delete(s.contents, id)
			a.Released = append(a.Released, id)
		}
	}
	if a.Full && len(news) > 0 {
		m.say(s, &wire.FromManager{Message: &wire.FromManager_Assignments{Assignments: &wire.Assignments{Index: a.Index, Contents: news}}})
		return
	}
	a.Contents = news
}

// uses are the secrets and configs of tasks that have not ended.
func (s *store) uses() map[string]bool {
	uses := map[string]bool{}
	for _, t := range s.tasks {
		for _, r := range api.ContentRefs(s.specs[t.SpecVersion].TaskTemplate.ContainerSpec) {
			if !t.Status.State.Terminal() {
				uses[r.ID] = true
			}
		}
	}
	return uses
}

func (s *store) all() map[api.TaskID]*api.Task {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.tasks)
}

// running are the tasks that the managers hold for running; s.mu is held.
func (s *store) running() string {
	var ids []string
	for id, t := range s.tasks {
		if t.Status.State == api.TaskRunning {
			ids = append(ids, string(id))
		}
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

func (s *store) commit(b *wire.StatusBatch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(b.Statuses) > 0 {
		s.batches++
	}
	defer func() {
		if b.Settled {
			s.settled = append(s.settled, s.running())
		}
	}()
	for _, w := range b.Statuses {
		id, status, err := wire.DecodeTaskStatus(w)
		if err != nil {
			panic(err)
		}
		s.said[id] = status.Message
		if t := s.tasks[id]; t != nil && status.State > t.Status.State {
			next := *t
			next.Status = status
			s.tasks[id] = &next
		}
	}
}

// world is a worker with its engine and its managers, in a synctest bubble.
type world struct {
	*testing.T
	engine   *runtimetest.Engine
	network  *runtimetest.Network // of the daemon that runs
	files    *runtimetest.Files
	store    *store
	managers []*manager
	suspects sync.Map
	w        *Worker
	cfg      func(*Config)
	stop     func() error
}

func inWorld(t *testing.T, managers int, f func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, engine: runtimetest.New("host1"), files: runtimetest.NewFiles(), store: &store{
			tasks: map[api.TaskID]*api.Task{}, specs: map[uint64]*api.ServiceSpec{}, auths: map[uint64]api.RegistryAuth{}, images: map[uint64]*api.Image{}, said: map[api.TaskID]string{}, contents: map[string]*api.Content{},
		}}
		w.engine.Bind(w.files)
		for i := range managers {
			w.managers = append(w.managers, w.manager("m"+strconv.Itoa(i+1)))
		}
		f(w)
		w.kill()
		for _, m := range w.managers {
			m.server.Stop()
		}
		synctest.Wait()
	})
}

func (w *world) manager(name string) *manager {
	m := &manager{
		name: name, store: w.store, listener: bufconn.Listen(1 << 20), server: grpc.NewServer(),
		sessions: map[*testSession]struct{}{}, tunnels: map[string]chan net.Conn{},
	}
	wire.RegisterDispatcherServer(m.server, m)
	go func() { _ = m.server.Serve(m.listener) }()
	return m
}

func (w *world) config() Config {
	w.network = runtimetest.NewNetwork(w.engine, testCluster)
	cfg := Config{
		NodeID: testNode, ClusterID: testCluster, Engine: w.engine, Network: w.network, Files: w.files,
		Dial: func(_ context.Context, addr string) (*grpc.ClientConn, error) {
			i, _ := strconv.Atoi(addr)
			return grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					return w.managers[i].listener.DialContext(ctx)
				}))
		},
		Managers: func() (peers []*wire.Peer) {
			for i, m := range w.managers {
				peers = append(peers, &wire.Peer{NodeId: m.name, Addr: strconv.Itoa(i)})
			}
			return peers
		},
		Suspect: func(id api.NodeID) bool { _, ok := w.suspects.Load(id); return ok },
	}
	if w.cfg != nil {
		w.cfg(&cfg)
	}
	return cfg
}

// start starts a daemon's worker; stop and kill end it.
func (w *world) start() {
	w.Helper()
	wk, err := New(w.config())
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- wk.Run(ctx) }()
	w.w = wk
	var once sync.Once
	var result error
	w.stop = func() error {
		once.Do(func() { cancel(); result = <-done })
		return result
	}
}

func (w *world) kill() {
	if w.stop != nil {
		_ = w.stop()
	}
}

// settle waits until nothing happens any more, heartbeats aside.
func (w *world) settle() {
	time.Sleep(2 * time.Second)
	synctest.Wait()
}

func (w *world) spec(args ...string) *api.ServiceSpec {
	return &api.ServiceSpec{
		Annotations:  swarm.Annotations{Name: "web"},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "app:1", Args: args}},
	}
}

// add gives the node a task.
func (w *world) add(id api.TaskID, spec *api.ServiceSpec, desired api.TaskState, networks ...api.Attachment) {
	w.store.mu.Lock()
	version := uint64(len(w.store.specs) + 1)
	w.store.specs[version] = spec
	w.store.tasks[id] = &api.Task{ID: id, ServiceID: "service1", Slot: len(w.store.tasks) + 1, NodeID: testNode, SpecVersion: version, Desired: desired, Networks: networks, Status: api.TaskStatus{State: api.TaskAssigned}}
	w.store.index++
	w.store.mu.Unlock()
	w.tell(id)
}

func (w *world) run(id api.TaskID, args ...string) { w.add(id, w.spec(args...), api.TaskRunning) }

func (w *world) want(id api.TaskID, desired api.TaskState) {
	w.store.mu.Lock()
	t := *w.store.tasks[id]
	t.Desired = desired
	w.store.tasks[id] = &t
	w.store.index++
	w.store.mu.Unlock()
	w.tell(id)
}

func (w *world) drop(id api.TaskID) {
	w.store.mu.Lock()
	delete(w.store.tasks, id)
	w.store.index++
	w.store.mu.Unlock()
	w.tell(id)
}

func (w *world) tell(ids ...api.TaskID) {
	for _, m := range w.managers {
		for _, s := range m.open() {
			m.weave(s, false)
			m.assign(s, false, ids...)
		}
	}
}

func (w *world) status(id api.TaskID) api.TaskStatus {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	return w.store.tasks[id].Status
}

func (w *world) expect(id api.TaskID, state api.TaskState, err string) {
	w.Helper()
	if s := w.status(id); s.State != state || s.Err != err {
		w.Errorf("task %s is %v %q, want %v %q", id, s.State, s.Err, state, err)
	}
}

func (w *world) expectContainers(want string) {
	w.Helper()
	var got []string
	for _, c := range w.engine.Containers() {
		got = append(got, fmt.Sprintf("%s %s", c.Task, c.State))
	}
	slices.Sort(got)
	if s := fmt.Sprint(got); s != want {
		w.Errorf("containers %s, want %s", s, want)
	}
}
