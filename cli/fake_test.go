package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/swarmctl/swarmctl/api"
)

// world is a daemon that behaves: it keeps what it is told, its tasks run at
// once, and it answers as the Docker Engine API does.
type world struct {
	move       *api.VolumeMove // of a volume, that is under way
	looks      int             // so many at that
	mu         sync.Mutex
	now        time.Time
	seq        int
	version    uint64
	state      swarm.LocalNodeState
	nodes      []swarm.Node
	services   []swarm.Service
	previous   map[string]swarm.ServiceSpec
	tasks      []swarm.Task
	tokens     swarm.JoinTokens
	cluster    swarm.ClusterInfo
	key        string // that unlocks managers
	secrets    []secretItem
	configs    []configItem
	superseded []secretItem
	networks   []network.Inspect
	outdated   int // how many updates to refuse because somebody else was first
	requests   []string
	content    map[string]string // of secrets, by ID
	stacks     map[string]*api.Stack
	denied     string // why the cluster would not have a stack
	rebuilt    []api.StackChange
	writes     int          // changes of services, secrets, configs and networks
	ending     []swarm.Task // of services that are gone, each for one more look
	rollout    *api.Rollout // of every service
	watchers   []chan struct{}
	input      string // what the next command reads
	execs      commands

	registries []api.RegistryLogin
}

func newWorld() *world {
	w := &world{
		now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), state: swarm.LocalNodeStateActive, previous: map[string]swarm.ServiceSpec{},
		execs: commands{code: map[string]int{}}, content: map[string]string{}, stacks: map[string]*api.Stack{},
		tokens: swarm.JoinTokens{Worker: "SWMTKN-1-root-worker", Manager: "SWMTKN-1-root-manager"},
	}
	for i, host := range []string{"h1", "h2", "h10"} {
		n := swarm.Node{ID: fmt.Sprintf("node%d%s", i+1, strings.Repeat("n", 20)), Spec: swarm.NodeSpec{Role: swarm.NodeRoleWorker, Availability: swarm.NodeAvailabilityActive}}
		n.CreatedAt, n.Version.Index = w.now, 1
		n.Description = swarm.NodeDescription{Hostname: host, Platform: swarm.Platform{Architecture: "x86_64", OS: "linux"},
			Resources: swarm.Resources{NanoCPUs: 2e9, MemoryBytes: 4 << 30}, Engine: swarm.EngineDescription{EngineVersion: "20.10.24", Plugins: []swarm.PluginDescription{{Type: "Volume", Name: "local"}}}}
		n.Status = swarm.NodeStatus{State: swarm.NodeStateReady, Addr: fmt.Sprintf("10.0.0.%d", i+1)}
		w.nodes = append(w.nodes, n)
	}
	w.nodes[0].Spec.Role = swarm.NodeRoleManager
	w.nodes[0].ManagerStatus = &swarm.ManagerStatus{Leader: true, Reachability: swarm.ReachabilityReachable, Addr: "10.0.0.1:2377"}
	return w
}

// start serves the world and returns its address.
func (w *world) start(t *testing.T) string {
	srv := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(func() {
		w.mu.Lock()
		for _, c := range w.watchers {
			close(c)
		}
		w.watchers = nil
		w.mu.Unlock()
		srv.Close()
	})
	return "tcp://" + srv.Listener.Addr().String()
}

func (w *world) id(kind string) string {
	w.seq++
	return fmt.Sprintf("%s%d%s", kind, w.seq, strings.Repeat("x", 24-len(kind)))
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if strings.HasPrefix(path, "/v1.") {
		_, path, _ = strings.Cut(path[1:], "/")
		path = "/" + path
	}
	if path == "/events" {
		w.events(rw, r)
		return
	}
	if task, engine, ok := strings.Cut(path, "/engine/"); ok && task == "/swarmctl/tasks/t1" {
		w.execCall(rw, r, engine)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, r.Method+" "+path)
	rw.Header().Set("Api-Version", "1.41")
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if w.state == swarm.LocalNodeStateLocked && slices.Contains([]string{"nodes", "services", "tasks", "secrets", "configs", "swarm"}, parts[0]) && path != "/swarm/unlock" {
		fail(rw, 503, `Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.`)
		return
	}
	if w.state != swarm.LocalNodeStateActive && slices.Contains([]string{"nodes", "services", "tasks", "secrets", "configs"}, parts[0]) {
		fail(rw, 503, `This node is not a swarm manager. Use "swarmctl init" or "swarmctl join" to connect this node to swarm and try again.`)
		return
	}
	switch parts[0] {
	case "_ping":
		io.WriteString(rw, "OK")
	case "version":
		answer(rw, types.Version{Version: "0.1", APIVersion: "1.41", Components: []types.ComponentVersion{{Name: "Engine", Version: "20.10.24", Details: map[string]string{"ApiVersion": "1.41", "MinAPIVersion": "1.12", "GoVersion": "go1.19", "Os": "linux", "Arch": "amd64"}}}})
	case "info":
		w.info(rw)
	case "swarm":
		w.swarm(rw, r, parts[1:])
	case "nodes":
		w.serveNodes(rw, r, parts[1:])
	case "services":
		w.serveServices(rw, r, parts[1:])
	case "tasks":
		w.serveTasks(rw, r, parts[1:])
	case "secrets":
		w.serveSecrets(rw, r, parts[1:])
	case "configs":
		w.serveConfigs(rw, r, parts[1:])
	case "networks":
		w.serveNetworks(rw, r, parts[1:])
	case "swarmctl":
		if parts[1] == "stacks" {
			w.serveStacks(rw, r, parts[2:])
			return
		}
		if parts[len(parts)-1] == "exec" {
			w.execTarget(rw, parts[2])
			return
		}
		if parts[1] == "secrets" || parts[1] == "configs" {
			w.rewriteContent(rw, r, parts[1], parts[2])
			return
		}
		if parts[1] == "services" && (parts[3] == "rollout" || parts[3] == "promote") {
			w.serveRollout(rw, r, parts[2])
			return
		}
		if parts[1] == "registries" {
			w.serveRegistries(rw, r, parts[2:])
			return
		}
		if parts[1] == "volumes" {
			w.serveVolumes(rw, r, parts[2:])
			return
		}
		if last := parts[len(parts)-1]; last == "check" || last == "trace" {
			w.probe(rw, r, parts[2], last)
			return
		}
		w.explain(rw, strings.Join(parts[1:], "/"))
	default:
		fail(rw, 404, "page not found: %s", path)
	}
}

func answer(rw http.ResponseWriter, v any) {
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(v)
}

func fail(rw http.ResponseWriter, code int, format string, args ...any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(code)
	_ = json.NewEncoder(rw).Encode(map[string]string{"message": fmt.Sprintf(format, args...)})
}

func (w *world) events(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("until") != "" {
		_, _ = io.WriteString(rw, pastEvents)
		return
	}
	c := make(chan struct{})
	w.mu.Lock()
	w.watchers = append(w.watchers, c)
	w.mu.Unlock()
	rw.(http.Flusher).Flush()
	select {
	case <-c:
	case <-r.Context().Done():
	}
}

func (w *world) info(rw http.ResponseWriter) {
	i := system.Info{ServerVersion: "20.10.24", Containers: 3, ContainersRunning: 2, ContainersStopped: 1, NCPU: 2, MemTotal: 4 << 30, Name: "h1"}
	i.Swarm.LocalNodeState = w.state
	if w.state == swarm.LocalNodeStateActive {
		i.Swarm.NodeID, i.Swarm.NodeAddr, i.Swarm.ControlAvailable = w.nodes[0].ID, "10.0.0.1", true
		i.Swarm.RemoteManagers = []swarm.Peer{{NodeID: "other", Addr: "10.0.0.9:2377"}, {NodeID: w.nodes[0].ID, Addr: "10.0.0.1:2377"}}
		i.Swarm.Managers, i.Swarm.Nodes = 1, len(w.nodes)
		i.Swarm.Cluster = &swarm.ClusterInfo{ID: "cluster", DataPathPort: 4789}
		i.Swarm.Cluster.Spec.Dispatcher.HeartbeatPeriod = 5 * time.Second
		i.Swarm.Cluster.TLSInfo = w.cluster.TLSInfo
	}
	answer(rw, i)
}

func (w *world) swarm(rw http.ResponseWriter, r *http.Request, path []string) {
	verb := strings.Join(path, "/")
	switch {
	case (verb == "init" || verb == "join") && w.state == swarm.LocalNodeStateActive:
		fail(rw, 503, `This node is already part of a swarm. Use "swarmctl leave" to leave this swarm and join another one.`)
	case verb == "init":
		var req swarm.InitRequest
		_ = json.NewDecoder(r.Body).Decode(&req)
		w.state, w.cluster.Spec = swarm.LocalNodeStateActive, req.Spec
		w.lock(req.AutoLockManagers, false)
		answer(rw, w.nodes[0].ID)
	case verb == "join":
		var req swarm.JoinRequest
		_ = json.NewDecoder(r.Body).Decode(&req)
		if !strings.HasPrefix(req.JoinToken, "SWMTKN-1-") {
			fail(rw, 400, "invalid join token")
			return
		}
		w.state = swarm.LocalNodeStateActive
	case verb == "unlock":
		w.unlock(rw, r)
	case w.state != swarm.LocalNodeStateActive:
		fail(rw, 503, "This node is not part of a swarm")
	case verb == "leave":
		if r.URL.Query().Get("force") == "" {
			fail(rw, 503, "You are attempting to leave the swarm on a node that is participating as a manager. Use `--force` to suppress this message.")
			return
		}
		w.state = swarm.LocalNodeStateInactive
	case verb == "update":
		if w.refuse(rw) {
			return
		}
		if r.URL.Query().Get("rotateWorkerToken") == "true" {
			w.tokens.Worker += "-new"
		}
		w.updateCluster(r)
	case verb == "unlockkey":
		answer(rw, swarm.UnlockKeyResponse{UnlockKey: w.key})
	default:
		answer(rw, swarm.Swarm{ClusterInfo: w.cluster, JoinTokens: w.tokens})
	}
}

func (w *world) updateCluster(r *http.Request) {
	was := w.cluster.Spec.CAConfig.ForceRotate
	w.cluster.Spec = swarm.Spec{}
	_ = json.NewDecoder(r.Body).Decode(&w.cluster.Spec)
	w.lock(w.cluster.Spec.EncryptionConfig.AutoLockManagers, r.URL.Query().Get("rotateManagerUnlockKey") == "true")
	if w.cluster.Spec.CAConfig.ForceRotate != was || w.cluster.Spec.CAConfig.SigningCACert != "" {
		w.cluster.Spec.CAConfig.SigningCACert = "" // the API does not tell it
		w.cluster.RootRotationInProgress = true
		w.cluster.TLSInfo.CertIssuerPublicKey = []byte("new")
	}
}

// lock gives the cluster the unlock key that it asks for.
func (w *world) lock(on, rotate bool) {
	switch {
	case !on:
		w.key = ""
	case w.key == "":
		w.key = "SWMKEY-1-first"
	case rotate:
		w.key = "SWMKEY-1-next"
	}
}

func (w *world) unlock(rw http.ResponseWriter, r *http.Request) {
	var req swarm.UnlockRequest
	_ = json.NewDecoder(r.Body).Decode(&req)
	if req.UnlockKey != w.key {
		fail(rw, 400, "swarm could not be unlocked: invalid key provided")
		return
	}
	w.state = swarm.LocalNodeStateActive
}

// rotateNext is a step of a rotation of the root: one more node has renewed, or
// all have and the cluster has taken the new root.
func (w *world) rotateNext() {
	for i := range w.nodes {
		if tls := &w.nodes[i].Description.TLSInfo; string(tls.CertIssuerPublicKey) != "new" {
			tls.CertIssuerPublicKey = []byte("new")
			return
		}
	}
	w.cluster.RootRotationInProgress, w.cluster.TLSInfo.TrustRoot = false, "-----NEW ROOT-----\n"
	for i := range w.nodes {
		w.nodes[i].Description.TLSInfo.TrustRoot = w.cluster.TLSInfo.TrustRoot
	}
}

// refuse plays the other client that changed the object first.
func (w *world) refuse(rw http.ResponseWriter) bool {
	if w.outdated == 0 {
		return false
	}
	w.outdated--
	fail(rw, 500, "rpc error: code = Unknown desc = update out of sequence")
	return true
}

func (w *world) serveNodes(rw http.ResponseWriter, r *http.Request, path []string) {
	if len(path) == 0 {
		answer(rw, w.loaded(w.nodes))
		if w.cluster.RootRotationInProgress {
			w.rotateNext()
		}
		return
	}
	at := slices.IndexFunc(w.nodes, func(n swarm.Node) bool { return n.ID == path[0] || n.Description.Hostname == path[0] })
	switch {
	case at < 0:
		fail(rw, 404, "node %s not found", path[0])
	case r.Method == http.MethodDelete && r.URL.Query().Get("force") != "1":
		fail(rw, 400, "rpc error: code = FailedPrecondition desc = node %s is not down and can't be removed", w.nodes[at].ID)
	case r.Method == http.MethodDelete:
		w.nodes = slices.Delete(w.nodes, at, at+1)
	case len(path) == 2:
		if !w.refuse(rw) {
			_ = json.NewDecoder(r.Body).Decode(&w.nodes[at].Spec)
		}
	default:
		answer(rw, w.loaded(w.nodes[at : at+1])[0])
	}
}

// loaded are nodes as the API shows them; the second one has not said how busy it is.
func (w *world) loaded(list []swarm.Node) []loadedNode {
	out := make([]loadedNode, len(list))
	for i, n := range list {
		out[i].Node = n
		if n.ID != w.nodes[1].ID {
			out[i].Load = &api.NodeLoad{CPU: 40, Memory: 25}
		}
	}
	return out
}

func (w *world) serveServices(rw http.ResponseWriter, r *http.Request, path []string) {
	if len(path) == 0 {
		w.listServices(rw, r)
		return
	}
	if path[0] == "create" {
		w.createService(rw, r)
		return
	}
	at := slices.IndexFunc(w.services, func(s swarm.Service) bool { return s.ID == path[0] || s.Spec.Name == path[0] })
	switch {
	case at < 0:
		fail(rw, 404, "service %s not found", path[0])
	case len(path) == 2 && path[1] == "logs":
		w.logs(rw, r, w.services[at])
	case len(path) == 2:
		w.updateService(rw, r, &w.services[at])
	case r.Method == http.MethodDelete:
		w.removeService(at)
	default:
		answer(rw, w.services[at])
	}
}

func filterOf(r *http.Request) filters.Args {
	f, _ := filters.FromJSON(r.URL.Query().Get("filters"))
	return f
}

func (w *world) listServices(rw http.ResponseWriter, r *http.Request) {
	f := filterOf(r)
	for _, k := range f.Keys() {
		if !slices.Contains([]string{"id", "name", "label", "mode", "runtime"}, k) {
			fail(rw, 400, "Invalid filter '%s'", k)
			return
		}
	}
	out := []swarm.Service{}
	prefix := func(key, value string) bool {
		list := f.Get(key)
		return len(list) == 0 || slices.ContainsFunc(list, func(p string) bool { return strings.HasPrefix(value, p) })
	}
	for _, s := range w.services {
		if !prefix("id", s.ID) || !prefix("name", s.Spec.Name) || !f.MatchKVList("label", s.Spec.Labels) {
			continue
		}
		if r.URL.Query().Get("status") == "true" {
			s.ServiceStatus = &swarm.ServiceStatus{}
			for _, t := range w.tasks {
				if t.ServiceID == s.ID && t.Status.State == swarm.TaskStateComplete && inIteration(seen{service: s}, t) {
					s.ServiceStatus.CompletedTasks++
				}
				if t.ServiceID == s.ID && t.DesiredState == swarm.TaskStateRunning {
					s.ServiceStatus.DesiredTasks++
					if t.Status.State == swarm.TaskStateRunning {
						s.ServiceStatus.RunningTasks++
					}
				}
			}
			if m := s.Spec.Mode.ReplicatedJob; m != nil {
				s.ServiceStatus.DesiredTasks = *m.MaxConcurrent
			}
		}
		out = append(out, s)
	}
	answer(rw, out)
}

func (w *world) createService(rw http.ResponseWriter, r *http.Request) {
	var spec swarm.ServiceSpec
	_ = json.NewDecoder(r.Body).Decode(&spec)
	if slices.ContainsFunc(w.services, func(o swarm.Service) bool { return o.Spec.Name == spec.Name }) {
		fail(rw, 409, "name conflicts with an existing object: service %s already exists", spec.Name)
		return
	}
	id := w.addService(spec)
	rw.WriteHeader(201)
	answer(rw, swarm.ServiceCreateResponse{ID: id, Warnings: []string{"this is a warning"}})
}

func (w *world) addService(spec swarm.ServiceSpec) (id string) {
	s := swarm.Service{ID: w.id("service"), Spec: spec}
	s.CreatedAt, s.UpdatedAt = w.now, w.now
	w.version++
	s.Version.Index = w.version
	if m := s.Spec.Mode.Replicated; m != nil && m.Replicas == nil {
		one := uint64(1)
		m.Replicas = &one
	}
	if m := s.Spec.Mode.ReplicatedJob; m != nil && m.MaxConcurrent == nil {
		m.MaxConcurrent, m.TotalCompletions = as(uint64(1)), as(uint64(1))
	}
	if s.Spec.Mode.ReplicatedJob != nil || s.Spec.Mode.GlobalJob != nil {
		s.JobStatus = &swarm.JobStatus{}
	}
	w.writes++
	w.services = append(w.services, s)
	w.reconcile(&w.services[len(w.services)-1])
	return s.ID
}

func (w *world) updateService(rw http.ResponseWriter, r *http.Request, s *swarm.Service) {
	if w.refuse(rw) {
		return
	}
	var spec swarm.ServiceSpec
	_ = json.NewDecoder(r.Body).Decode(&spec)
	if r.URL.Query().Get("rollback") == "previous" {
		old, ok := w.previous[s.ID]
		if !ok {
			fail(rw, 400, "service %s does not have a previous spec", s.Spec.Name)
			return
		}
		spec = old
	}
	w.putSpec(s, spec)
	answer(rw, swarm.ServiceUpdateResponse{})
}

func (w *world) putSpec(s *swarm.Service, spec swarm.ServiceSpec) {
	if s.JobStatus != nil && spec.TaskTemplate.ForceUpdate != s.Spec.TaskTemplate.ForceUpdate {
		s.JobStatus.JobIteration.Index++
	}
	w.writes++
	w.previous[s.ID] = s.Spec
	s.Spec = spec
	w.version++
	s.Version.Index = w.version
	w.reconcile(s)
}

func (w *world) removeService(at int) {
	w.writes++
	w.tasks = slices.DeleteFunc(w.tasks, func(t swarm.Task) bool {
		if gone := t.ServiceID == w.services[at].ID; !gone {
			return false
		}
		w.ending = append(w.ending, t)
		return true
	})
	w.services = slices.Delete(w.services, at, at+1)
}

// reconcile makes the tasks a service asks for; image "broken" fails them.
func (w *world) reconcile(s *swarm.Service) {
	for i := range w.tasks {
		if t := &w.tasks[i]; t.ServiceID == s.ID && t.DesiredState == swarm.TaskStateRunning {
			t.DesiredState, t.Status.State = swarm.TaskStateShutdown, swarm.TaskStateShutdown
		}
	}
	want := 0
	if m := s.Spec.Mode.Replicated; m != nil {
		want = int(*m.Replicas)
	}
	if s.Spec.Mode.Global != nil || s.Spec.Mode.GlobalJob != nil {
		want = len(w.nodes)
	}
	if m := s.Spec.Mode.ReplicatedJob; m != nil {
		want = int(*m.TotalCompletions)
	}
	if s.Spec.Labels[api.LabelStopped] == "true" {
		want = 0
	}
	for i := range want {
		t := swarm.Task{ID: w.id("task"), ServiceID: s.ID, Slot: i + 1, NodeID: w.nodes[i%len(w.nodes)].ID, DesiredState: swarm.TaskStateRunning, Spec: s.Spec.TaskTemplate}
		if s.Spec.Mode.Global != nil || s.Spec.Mode.GlobalJob != nil {
			t.Slot = 0
		}
		if s.Spec.Mode.ReplicatedJob != nil {
			t.Slot = i
		}
		if s.JobStatus != nil && slices.ContainsFunc(w.tasks, func(o swarm.Task) bool {
			return o.ServiceID == s.ID && o.Slot == t.Slot && o.NodeID == t.NodeID && inIteration(seen{service: *s}, o)
		}) {
			continue // it is done
		}
		w.seq++
		t.CreatedAt = w.now.Add(time.Duration(w.seq) * time.Second)
		t.Status = swarm.TaskStatus{State: swarm.TaskStateRunning, Timestamp: w.now.Add(-time.Duration(i+1) * time.Minute), Message: "started"}
		if strings.HasPrefix(t.Spec.ContainerSpec.Image, "broken") {
			t.Status = swarm.TaskStatus{State: swarm.TaskStateRejected, Timestamp: w.now, Err: "No such image: broken:1, and no registry answers"}
		}
		if s.JobStatus != nil {
			t.JobIteration, t.DesiredState = &swarm.Version{Index: s.JobStatus.JobIteration.Index}, swarm.TaskStateComplete
			t.Status.State, t.Status.Message = swarm.TaskStateComplete, "finished"
			if strings.HasPrefix(t.Spec.ContainerSpec.Image, "broken") {
				t.DesiredState, t.Status.State, t.Status.Err = swarm.TaskStateShutdown, swarm.TaskStateFailed, "task: non-zero exit (1)"
			}
		}
		w.tasks = append(w.tasks, t)
	}
}

func (w *world) serveTasks(rw http.ResponseWriter, r *http.Request, path []string) {
	if len(path) == 1 {
		at := slices.IndexFunc(w.tasks, func(t swarm.Task) bool { return t.ID == path[0] })
		if at < 0 {
			fail(rw, 404, "task %s not found", path[0])
			return
		}
		answer(rw, w.tasks[at])
		return
	}
	f := filterOf(r)
	if f.ExactMatch("desired-state", "remove") && f.Contains("desired-state") {
		answer(rw, w.ending)
		w.ending = w.ending[:len(w.ending)/2]
		return
	}
	out := []swarm.Task{}
	for _, t := range w.tasks {
		if f.Contains("label") && !slices.ContainsFunc(w.services, func(s swarm.Service) bool { return s.ID == t.ServiceID && f.MatchKVList("label", s.Spec.Labels) }) {
			continue
		}
		if (f.Len() == 0 || !f.Contains("service") || f.ExactMatch("service", t.ServiceID)) &&
			(!f.Contains("node") || f.ExactMatch("node", t.NodeID)) &&
			(!f.Contains("desired-state") || f.ExactMatch("desired-state", string(t.DesiredState))) &&
			(!f.Contains("_up-to-date") || t.DesiredState == swarm.TaskStateRunning || t.JobIteration != nil) {
			out = append(out, t)
		}
	}
	answer(rw, out)
}

// explain answers for tasks in every situation that people ask about.
func (w *world) explain(rw http.ResponseWriter, path string) {
	x := api.Explanation{State: "pending", Desired: "running", Since: w.now.Add(-5 * time.Minute)}
	ref, _ := strings.CutPrefix(strings.TrimSuffix(path, "/explain"), "tasks/")
	x.ID, x.Name = "abc", ref+".abc"
	switch ref {
	case "web.1":
		x.Err = "no suitable node (insufficient resources on 1 node; ...)"
		x.Nodes = []api.NodeReason{
			{Node: "n1", Hostname: "h1", Reasons: []api.Reason{{Rule: "resources", Text: "needs 1 GiB of memory, 0 B free (reserved: 2 GiB of 2 GiB)"}}},
			{Node: "n10", Hostname: "h10", Reasons: []api.Reason{{Rule: "constraints", Text: `constraint node.labels.zone==a: its label zone is "b"`}, {Rule: "ports", Text: "host port 80/tcp is taken by task db.1.x"}}},
		}
	case "web.2":
		x.State, x.NodeID, x.Node, x.Resources = "running", "n1", "h1", []string{"gpu=GPU-1", "ssd=2"}
	case "web.3":
		x.State, x.NodeID, x.Node, x.Err = "failed", "n1", "h1", "task: non-zero exit (3)"
	case "web.4":
		x.State, x.NodeID, x.Node, x.Desired, x.Note = "ready", "n1", "h1", "ready", "restart in 40s after 5 failures"
	case "web.5":
	case "web.7":
		x.Note, x.Nodes = "waits for service db to be healthy: 0 of 1 running", []api.NodeReason{{Hostname: "h1"}}
	case "web.6":
		x.Desired = "shutdown"
	case "agent.h1":
		x.NodeID, x.Node = "n1", "h1"
		x.Nodes = []api.NodeReason{{Node: "n1", Hostname: "h1", Reasons: []api.Reason{{Rule: "engine", Text: "its container engine does not answer"}}}}
	default:
		fail(rw, 404, "task %s not found", ref)
		return
	}
	answer(rw, x)
}

// logs writes a line of stdout and one of stderr a task.
func (w *world) logs(rw http.ResponseWriter, r *http.Request, s swarm.Service) {
	out, errs := stdcopy.NewStdWriter(rw, stdcopy.Stdout), stdcopy.NewStdWriter(rw, stdcopy.Stderr)
	for _, t := range w.tasks {
		if t.ServiceID != s.ID || t.DesiredState != swarm.TaskStateRunning {
			continue
		}
		head := ""
		if r.URL.Query().Get("timestamps") == "1" {
			head += "2026-03-04T05:06:07.000000000Z "
		}
		if r.URL.Query().Get("details") == "1" {
			head += "com.docker.swarm.node.id=" + t.NodeID + ",com.docker.swarm.service.id=" + s.ID + ",com.docker.swarm.task.id=" + t.ID + ",a=b%2Cc "
		}
		fmt.Fprintf(out, "%shello from %s\n", head, strconv.Itoa(t.Slot))
		fmt.Fprintf(errs, "%scareful\n", head)
	}
}

// change is what a session's "world" lines do: "outdated N", "inactive",
// "input TEXT", "locked KEY", "root", "down", "replaced", "canary PHASE NEW OLD WANTED REPLICAS [FAILED]".
func (w *world) change(words []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch words[0] {
	case "outdated":
		w.outdated, _ = strconv.Atoi(words[1])
	case "inactive":
		w.state = swarm.LocalNodeStateInactive
	case "locked":
		w.state, w.key = swarm.LocalNodeStateLocked, words[1]
	case "root":
		w.cluster.TLSInfo = swarm.TLSInfo{TrustRoot: "-----OLD ROOT-----\n", CertIssuerPublicKey: []byte("old")}
		for i := range w.nodes {
			w.nodes[i].Description.TLSInfo = w.cluster.TLSInfo
		}
	case "canary":
		w.holdCanary(words[1:])
	case "input":
		w.input = strings.Join(words[1:], " ")
	case "down":
		w.nodes[1].Status.State = swarm.NodeStateDown
	case "replaced": // what that node had, it has not heard of it
		for i := range w.tasks {
			if w.tasks[i].NodeID == w.nodes[1].ID {
				w.tasks[i].DesiredState = swarm.TaskStateShutdown
			}
		}
	}
}

func (w *world) context() context.Context { return context.Background() }
