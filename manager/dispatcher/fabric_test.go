package dispatcher

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// overlay is a network of the cluster; number tells it from the others.
func overlay(id string, number int) *api.Network {
	n := &api.Network{ID: api.NetworkID(id), VXLAN: []uint32{uint32(4096 + number)}}
	n.Spec.Name, n.Spec.Ingress = id, id == api.IngressNetwork
	n.Spec.Attachable = !n.Spec.Ingress
	n.IPAM.Configs = []swarm.IPAMConfig{{Subnet: fmt.Sprintf("10.0.%d.0/24", number), Gateway: fmt.Sprintf("10.0.%d.1", number)}}
	return n
}

// onNetworks is a service on networks, which may publish a port on every node.
func onNetworks(id string, published uint32, networks ...string) *api.Service {
	svc := &api.Service{ID: api.ServiceID(id)}
	svc.Spec.Name = id
	for _, n := range networks {
		svc.Spec.TaskTemplate.Networks = append(svc.Spec.TaskTemplate.Networks, swarm.NetworkAttachmentConfig{Target: n, Aliases: []string{id + "-alias"}})
	}
	if published > 0 {
		svc.Spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{
			{Protocol: "tcp", TargetPort: 80, PublishedPort: published, PublishMode: swarm.PortConfigPublishModeIngress},
			{Protocol: "tcp", TargetPort: 81, PublishedPort: published, PublishMode: swarm.PortConfigPublishModeHost},
		}}
	}
	return svc
}

// networked is a cluster of some nodes, which are up, with two networks.
func networked(nodes ...api.NodeID) *fakeStore {
	s := newFakeStore(nodes...)
	for i, id := range nodes {
		s.put(state.Op{ObserveNode: &state.ObserveNode{ID: id, Status: &api.NodeStatus{State: api.NodeReady, Addr: fmt.Sprintf("192.168.0.%d", i+1)}}})
	}
	s.put(state.Op{CreateNetwork: overlay(api.IngressNetwork, 0)})
	s.put(state.Op{CreateNetwork: overlay("front", 1)})
	return s
}

func (s *fakeStore) report(id api.TaskID, to api.TaskState) {
	s.put(state.Op{ReportTasks: []state.Report{{Task: id, Status: api.TaskStatus{State: to}}}})
}

func (s *fakeStore) desire(id api.TaskID, to api.TaskState) {
	s.put(state.Op{DesireTasks: []state.Desire{{Task: id, State: to}}})
}

func (s *fakeStore) verdict(id api.NodeID, to api.NodeState) {
	s.put(state.Op{ObserveNode: &state.ObserveNode{ID: id, Verdict: &state.Verdict{State: to}}})
}

func TestWhoMayUseATask(t *testing.T) {
	const unset api.NodeState = ""
	for _, c := range []struct {
		status, desired api.TaskState
		node            api.NodeState
		want, hidden    fabric.EndpointState // also of a version that is to get no connections
	}{
		{api.TaskAssigned, api.TaskRunning, api.NodeReady, fabric.Silent, fabric.Silent},
		{api.TaskPreparing, api.TaskRunning, api.NodeReady, fabric.Silent, fabric.Silent},
		{api.TaskReady, api.TaskReady, api.NodeReady, fabric.Silent, fabric.Silent}, // waits for its restart delay
		{api.TaskReady, api.TaskRunning, api.NodeReady, fabric.Silent, fabric.Silent},
		{api.TaskStarting, api.TaskRunning, api.NodeReady, fabric.Starting, fabric.Starting},
		{api.TaskStarting, api.TaskComplete, api.NodeReady, fabric.Starting, fabric.Starting},
		{api.TaskStarting, api.TaskShutdown, api.NodeReady, fabric.Silent, fabric.Silent},
		{api.TaskRunning, api.TaskRunning, api.NodeReady, fabric.Serving, fabric.Starting},
		{api.TaskRunning, api.TaskRunning, api.NodeUnknown, fabric.Serving, fabric.Starting}, // only its daemon may be gone
		{api.TaskRunning, api.TaskRunning, unset, fabric.Serving, fabric.Starting},
		{api.TaskRunning, api.TaskComplete, api.NodeReady, fabric.Starting, fabric.Starting}, // a job serves nobody
		{api.TaskRunning, api.TaskShutdown, api.NodeReady, fabric.Silent, fabric.Silent},
		{api.TaskRunning, api.TaskRemove, api.NodeReady, fabric.Silent, fabric.Silent},
		{api.TaskRunning, api.TaskRunning, api.NodeDown, fabric.Silent, fabric.Silent},
		{api.TaskRunning, api.TaskRunning, api.NodeDisconnected, fabric.Silent, fabric.Silent},
		{api.TaskStarting, api.TaskRunning, api.NodeDown, fabric.Silent, fabric.Silent},
	} {
		task := &api.Task{Desired: c.desired, Status: api.TaskStatus{State: c.status}}
		for hidden, want := range map[bool]fabric.EndpointState{false: c.want, true: c.hidden} {
			if got := endpointState(task, &api.Node{Status: api.NodeStatus{State: c.node}}, hidden); got != want {
				t.Errorf("%s, desired %s, on a node that is %q, hidden %t: %d, want %d", c.status, c.desired, c.node, hidden, got, want)
			}
		}
	}
	if got := endpointState(&api.Task{Desired: api.TaskRunning, Status: api.TaskStatus{State: api.TaskRunning}}, nil, false); got != fabric.Silent {
		t.Errorf("on a node that is gone: %d", got)
	}
}

func TestTheFabricIsWhatTheStateSays(t *testing.T) {
	s := networked("n1", "n2")
	bound := onNetworks("web", 8080, "front")
	bound.Spec.Labels = map[string]string{setting.LabelHostIP: "8080/tcp=127.0.0.1"}
	s.put(state.Op{PutService: bound})
	s.put(state.Op{PutService: onNetworks("alone", 0)})
	s.put(state.Op{PutService: onNetworks("local", 0, "host")})
	rr := onNetworks("rr", 0, "front")
	rr.Spec.EndpointSpec = &swarm.EndpointSpec{Mode: swarm.ResolutionModeDNSRR}
	rr.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Hostname: "db"}
	s.put(state.Op{PutService: rr})
	s.tasks("web", "n1", "t1", "t2")
	s.tasks("rr", "n2", "t3")
	s.tasks("alone", "n2", "t4")
	s.report("t1", api.TaskRunning)
	s.report("t2", api.TaskFailed)
	s.put(state.Op{PutAttached: &api.AttachedContainer{ID: "c1", NodeID: "n2", Name: "shell", Networks: []api.Attachment{{Network: "front"}}, Aliases: map[api.NetworkID][]string{"front": {"sh"}}}})
	s.verdict("n2", api.NodeDown)
	v := s.View()
	set := fabric.NewSet()
	set.Apply(fabricOf(v))

	if n := set.Networks["front"]; len(set.Networks) != 2 || n.Name != "front" || !n.Attachable || n.Ingress || !reflect.DeepEqual(n.Subnets, []fabric.Subnet{{Prefix: netip.MustParsePrefix("10.0.1.0/24"), VXLAN: 4097}}) || !set.Networks["ingress"].Ingress {
		t.Errorf("networks %+v", n)
	}
	// The manager of the rig has not said where it is.
	if h := set.Hosts["n1"]; len(set.Hosts) != 2 || h.Addr != netip.MustParseAddr("192.168.0.1") || h.Number == 0 || h.Down || !reflect.DeepEqual(h.Gateways, v.Node("n1").Gateways) || len(h.Gateways) != 2 || !set.Hosts["n2"].Down {
		t.Errorf("hosts %+v, %+v", set.Hosts, h)
	}
	web := set.Services["web"]
	if len(set.Services) != 2 || web.DNSRR || len(web.VIPs) != 2 || !slices.Equal(web.Networks, []api.NetworkID{"front"}) || !slices.Equal(web.Aliases["front"], []string{"web-alias"}) ||
		!slices.Equal(web.Ports, []fabric.Port{{Protocol: "tcp", Target: 80, Published: 8080, HostIP: netip.MustParseAddr("127.0.0.1")}}) || !set.Services["rr"].DNSRR {
		t.Errorf("services %+v, %+v", set.Services, web)
	}
	want := map[string]fabric.EndpointState{"t1": fabric.Serving, "t3": fabric.Silent, "c1": fabric.Silent}
	for id, state := range want {
		if e := set.Endpoints[id]; e == nil || e.State != state {
			t.Errorf("endpoint %s: %+v", id, e)
		}
	}
	if e := set.Endpoints["t1"]; len(set.Endpoints) != len(want) || e.Service != "web" || e.Node != "n1" || e.Name != "web.1.t1" || e.Slot != 1 || !reflect.DeepEqual(e.Networks, v.Task("t1").Networks) || len(e.Networks) != 2 || set.Endpoints["t3"].Hostname != "db" {
		t.Errorf("endpoints %+v, %+v", set.Endpoints, e)
	}
	if e := set.Endpoints["c1"]; e.Service != "" || e.Name != "shell" || e.Node != "n2" || len(e.Networks[0].Addrs) != 1 || e.Aliases["front"][0] != "sh" {
		t.Errorf("attached %+v", e)
	}
}

// A blue-green update hides one version from connections and changes sides at
// once: one update of the fabric has all endpoints, and it is a drain.
func TestTheOtherVersionGetsTheConnectionsInOneStep(t *testing.T) {
	s := networked("n1", "n2")
	s.put(state.Op{PutService: onNetworks("web", 8080, "front")})
	s.tasks("web", "n1", "old1", "old2")
	next := onNetworks("web", 8080, "front")
	next.Meta, next.Spec.TaskTemplate.ForceUpdate = s.View().Service("web").Meta, 1
	s.put(state.Op{PutService: next})
	s.tasks("web", "n2", "new1", "new2")
	for _, id := range []api.TaskID{"old1", "old2", "new1", "new2"} {
		s.report(id, api.TaskRunning)
	}
	web := s.View().Service("web")
	view, cursor := s.Follow()
	l := newLoom(view)
	for _, step := range []struct {
		hidden        uint64
		before, after fabric.EndpointState // of the old and the new tasks
		told          int
		drains        bool
	}{
		{web.SpecVersion, fabric.Serving, fabric.Starting, 2, true},
		{web.PreviousSpecVersion, fabric.Starting, fabric.Serving, 4, true},
		{0, fabric.Serving, fabric.Serving, 2, false},
	} {
		change := &state.CanaryChange{SpecVersion: web.SpecVersion, Phase: api.CanaryHeld}
		if step.hidden > 0 {
			change.Hidden = []uint64{step.hidden}
		}
		s.put(state.Op{SetUpdateStatus: &state.SetUpdateStatus{ID: "web", Canary: change}})
		e, ok := cursor.TryNext()
		if !ok {
			t.Fatal("the change made no event")
		}
		c := l.follow(e)
		if c == nil || len(c.update.Endpoints) != step.told || c.drains != step.drains {
			t.Fatalf("version %d hidden: %+v", step.hidden, c)
		}
		for id, want := range map[string]fabric.EndpointState{"old1": step.before, "old2": step.before, "new1": step.after, "new2": step.after} {
			if got := l.set.Endpoints[id].State; got != want {
				t.Errorf("version %d hidden: endpoint %s is %d, want %d", step.hidden, id, got, want)
			}
		}
	}
}

// What a node says of itself reaches all others: it must not spoil the fabric.
func TestANodeCannotSpoilTheFabric(t *testing.T) {
	for _, addr := range []string{"", "here", "0.0.0.0", "::", "224.0.0.1", "10.0.0.300"} {
		if h := hostOf(&api.Node{ID: "n", Status: api.NodeStatus{Addr: addr}}); h != nil {
			t.Errorf("%q is where a host is: %+v", addr, h)
		}
	}
	for _, addr := range []string{"10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "fd00::1"} {
		n := &api.Node{ID: "n", Status: api.NodeStatus{Addr: addr}}
		n.Description.Hostname = "a\x00\n" + strings.Repeat("b", 5000)
		u := &fabric.Update{Hosts: []*fabric.Host{hostOf(n)}}
		if _, err := wire.DecodeFabric(wire.EncodeFabric(u)); err != nil {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

// receiver is a node's end of what a loom has.
type receiver struct {
	seq   uint64
	begun bool
	set   *fabric.Set
}

func (r *receiver) take(t *rapid.T, l *loom) {
	list := l.since(r.seq)
	if !r.begun {
		list = l.all()
	}
	r.begun, r.seq = true, l.seq
	for _, p := range list {
		r.set.Apply(travelled(t, p))
	}
}

// travelled is an update after its journey.
func travelled(t rapid.TB, p *parcel) *fabric.Update {
	var parts []*wire.Fabric
	for _, m := range p.messages() {
		data, err := proto.Marshal(m)
		arrived := &wire.FromManager{}
		if err = cmp.Or(err, proto.Unmarshal(data, arrived)); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, arrived.GetFabric())
	}
	u, err := wire.DecodeFabric(parts)
	if err != nil {
		t.Fatal(err)
	}
	if u.Index != p.index {
		t.Fatalf("an update of index %d says %d", p.index, u.Index)
	}
	return u
}

// world is what happens to the state of a cluster with networks.
type world struct {
	*state.State
	index uint64
	made  int
}

// try makes a change, if it can be made.
func (w *world) try(ops ...state.Op) {
	w.index++
	w.Apply(w.index, []state.Command{{Ops: ops}})
}

func (w *world) name(kind string) string {
	w.made++
	return fmt.Sprint(kind, w.made)
}

func draw[T any](t *rapid.T, what string, from []T) (one T, ok bool) {
	if len(from) == 0 {
		return one, false
	}
	return rapid.SampledFrom(from).Draw(t, what), true
}

func (w *world) anyTask(t *rapid.T, f func(*api.Task)) {
	if task, ok := draw(t, "task", slices.Collect(w.View().Tasks())); ok {
		f(task)
	}
}

func (w *world) anyNode(t *rapid.T, f func(*api.Node)) {
	if n, ok := draw(t, "node", slices.Collect(w.View().Nodes())); ok {
		f(n)
	}
}

func (w *world) anyService(t *rapid.T, f func(*api.Service)) {
	if s, ok := draw(t, "service", slices.Collect(w.View().Services())); ok {
		f(s)
	}
}

func (w *world) networks(t *rapid.T) []string {
	var ids []string
	for n := range w.View().Networks() {
		if rapid.Bool().Draw(t, "on "+n.Spec.Name) {
			ids = append(ids, string(n.ID))
		}
	}
	return ids
}

// happenings are the changes that a cluster sees.
func (w *world) happenings() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"network": func(t *rapid.T) {
			n := rapid.IntRange(0, 3).Draw(t, "number")
			w.try(state.Op{CreateNetwork: overlay([]string{api.IngressNetwork, "a", "b", "c"}[n], n)})
		},
		"no network": func(t *rapid.T) {
			if n, ok := draw(t, "network", slices.Collect(w.View().Networks())); ok {
				w.try(state.Op{DeleteNetwork: &state.DeleteNetwork{ID: n.ID}})
			}
		},
		"node": func(*rapid.T) { w.try(state.Op{PutNode: &api.Node{ID: api.NodeID(w.name("n"))}}) },
		"node gone": func(t *rapid.T) {
			w.anyNode(t, func(n *api.Node) { w.try(state.Op{DeleteNode: &state.DeleteNode{ID: n.ID}}) })
		},
		"observe": func(t *rapid.T) {
			w.anyNode(t, func(n *api.Node) {
				w.try(state.Op{ObserveNode: &state.ObserveNode{ID: n.ID, Status: &api.NodeStatus{
					State: rapid.SampledFrom([]api.NodeState{api.NodeReady, api.NodeDown, api.NodeUnknown, api.NodeDisconnected}).Draw(t, "state"),
					Addr:  rapid.SampledFrom([]string{"", "192.168.0.1", "192.168.0.2"}).Draw(t, "addr"),
				}}})
			})
		},
		"service": func(t *rapid.T) {
			w.try(state.Op{PutService: onNetworks(w.name("s"), uint32(rapid.IntRange(0, 2).Draw(t, "port")), w.networks(t)...)})
		},
		"update": func(t *rapid.T) {
			w.anyService(t, func(old *api.Service) {
				next := onNetworks(string(old.ID), uint32(rapid.IntRange(0, 2).Draw(t, "port")), w.networks(t)...)
				next.Meta = old.Meta
				w.try(state.Op{PutService: next})
			})
		},
		"hide": func(t *rapid.T) {
			w.anyService(t, func(s *api.Service) {
				var hidden []uint64
				for _, version := range []uint64{s.SpecVersion, s.PreviousSpecVersion} {
					if rapid.Bool().Draw(t, "hidden") {
						hidden = append(hidden, version)
					}
				}
				w.try(state.Op{SetUpdateStatus: &state.SetUpdateStatus{ID: s.ID, Canary: &state.CanaryChange{SpecVersion: s.SpecVersion, Phase: api.CanaryHeld, Hidden: hidden}}})
			})
		},
		"no service": func(t *rapid.T) {
			w.anyService(t, func(s *api.Service) { w.try(state.Op{DeleteService: &state.DeleteService{ID: s.ID}}) })
		},
		"task": func(t *rapid.T) {
			w.anyService(t, func(s *api.Service) {
				w.anyNode(t, func(n *api.Node) {
					id := api.TaskID(w.name("t"))
					w.try(state.Op{CreateTasks: []*api.Task{{ID: id, ServiceID: s.ID, Slot: 1, SpecVersion: s.SpecVersion, Desired: api.TaskRunning, Status: api.TaskStatus{State: api.TaskPending}}}},
						state.Op{AssignTasks: []state.Assign{{Task: id, Node: n.ID}}})
				})
			})
		},
		"report": func(t *rapid.T) {
			w.anyTask(t, func(task *api.Task) {
				to := rapid.SampledFrom([]api.TaskState{api.TaskStarting, api.TaskRunning, api.TaskFailed}).Draw(t, "state")
				w.try(state.Op{ReportTasks: []state.Report{{Task: task.ID, Status: api.TaskStatus{State: to}}}})
			})
		},
		"stop": func(t *rapid.T) {
			w.anyTask(t, func(task *api.Task) {
				w.try(state.Op{DesireTasks: []state.Desire{{Task: task.ID, State: api.TaskShutdown}}})
			})
		},
		"forget": func(t *rapid.T) {
			w.anyTask(t, func(task *api.Task) { w.try(state.Op{DeleteTasks: []api.TaskID{task.ID}}) })
		},
		"attach": func(t *rapid.T) {
			w.anyNode(t, func(n *api.Node) {
				c := &api.AttachedContainer{ID: w.name("c"), NodeID: n.ID}
				c.Name = rapid.SampledFrom([]string{"c", "", "a\nb", strings.Repeat("x", 2000)}).Draw(t, "name")
				for _, id := range w.networks(t) {
					c.Networks = append(c.Networks, api.Attachment{Network: api.NetworkID(id)})
				}
				w.try(state.Op{PutAttached: c})
			})
		},
		"detach": func(t *rapid.T) {
			if c, ok := draw(t, "container", slices.Collect(w.View().AttachedContainers())); ok {
				w.try(state.Op{DeleteAttached: &state.DeleteAttached{ID: c.ID}})
			}
		},
		"snapshot": func(t *rapid.T) {
			var b bytes.Buffer
			if _, err := w.View().WriteTo(&b); err != nil {
				t.Fatal(err)
			}
			if err := w.Restore(&b); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// Whatever happens and however far nodes are behind, a node that has taken what
// it lacks has the fabric as the state has it, and was told no object twice.
func TestNodesKnowTheFabricAsTheStateHasIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{State: state.New()}
		w.try(state.Op{PutCluster: &api.Cluster{ID: "c"}})
		view, cursor := w.Follow()
		l := newLoom(view)
		nodes := []*receiver{{set: fabric.NewSet()}, {set: fabric.NewSet()}, {set: fabric.NewSet()}}
		actions := w.happenings()
		for i, r := range nodes {
			actions[fmt.Sprint("node takes ", i)] = func(t *rapid.T) { r.take(t, l) }
		}
		actions["node comes back"] = func(t *rapid.T) { rapid.SampledFrom(nodes).Draw(t, "node").begun = false }
		actions[""] = func(t *rapid.T) {
			for e, ok := cursor.TryNext(); ok; e, ok = cursor.TryNext() {
				before := l.set.Clone()
				if c := l.follow(e); c != nil {
					checkNews(t, before, c.update)
				}
			}
		}
		t.Repeat(actions)
		actions[""](t)
		want := fabric.NewSet()
		want.Apply(travelled(t, newParcel(w.View().Index(), func() *fabric.Update { return fabricOf(w.View()) })))
		for i, r := range nodes {
			r.take(t, l)
			for _, c := range []struct{ got, want any }{{r.set.Networks, want.Networks}, {r.set.Hosts, want.Hosts}, {r.set.Services, want.Services}, {r.set.Endpoints, want.Endpoints}} {
				if !reflect.DeepEqual(c.got, c.want) {
					t.Fatalf("node %d has %+v, the state %+v", i, c.got, c.want)
				}
			}
		}
	})
}

// checkNews fails where an update says what is known.
func checkNews(t *rapid.T, known *fabric.Set, u *fabric.Update) {
	for _, n := range u.Networks {
		if reflect.DeepEqual(n, known.Networks[n.ID]) {
			t.Fatalf("told again: %+v", n)
		}
	}
	for _, h := range u.Hosts {
		if reflect.DeepEqual(h, known.Hosts[h.ID]) {
			t.Fatalf("told again: %+v", h)
		}
	}
	for _, s := range u.Services {
		if reflect.DeepEqual(s, known.Services[s.ID]) {
			t.Fatalf("told again: %+v", s)
		}
	}
	for _, e := range u.Endpoints {
		if reflect.DeepEqual(e, known.Endpoints[e.ID]) {
			t.Fatalf("told again: %+v", e)
		}
	}
	for _, id := range u.Removed {
		if known.Networks[api.NetworkID(id)] == nil && known.Hosts[api.NodeID(id)] == nil && known.Services[api.ServiceID(id)] == nil && known.Endpoints[id] == nil {
			t.Fatalf("%s is told to be gone, and was not known", id)
		}
	}
}

// A session that is as far behind as changes are kept gets those in one message,
// one that is further behind gets everything; the messages are the same for all.
func TestASlowNodeIsToldWhatIsSoNow(t *testing.T) {
	s := networked("n1")
	s.put(state.Op{PutService: onNetworks("web", 0, "front")})
	s.tasks("web", "n1", "t1")
	view, cursor := s.Follow()
	l := newLoom(view)
	for i := range keptChanges + 1 {
		n := *s.View().Node("n1")
		n.Status.Addr = fmt.Sprintf("172.16.%d.%d", i/100, i%100+1)
		s.put(state.Op{PutNode: &n})
		e, _ := cursor.TryNext()
		if l.follow(e) == nil {
			t.Fatal("no change")
		}
		if i == 0 {
			s.report("t1", api.TaskRunning)
			e, _ := cursor.TryNext()
			l.follow(e)
		}
	}
	count := func(seq uint64) (hosts, endpoints, networks int, full bool) {
		list := l.since(seq)
		if len(list) != 1 || len(list[0].messages()) != 1 || l.since(seq)[0].messages()[0] != list[0].messages()[0] {
			t.Errorf("from %d: %d updates, or others for the next", seq, len(list))
		}
		u := travelled(t, list[0])
		return len(u.Hosts), len(u.Endpoints), len(u.Networks), u.Full
	}
	if h, e, n, full := count(2); h != 1 || e != 0 || n != 0 || full {
		t.Errorf("behind by what is kept: %d hosts, %d endpoints, %d networks, full %v", h, e, n, full)
	}
	if h, e, n, full := count(1); h != 1 || e != 1 || n != 2 || !full {
		t.Errorf("behind by more: %d hosts, %d endpoints, %d networks, full %v", h, e, n, full)
	}
	if l.since(l.seq) != nil {
		t.Error("a node that lacks nothing is told something")
	}
	// The whole serves for a while, with what has changed since.
	whole := l.all()[0]
	for i := range wholeLasts + 1 {
		if list := l.all(); list[0] != whole || len(list) != min(i, 1)+1 {
			t.Fatalf("%d changes later a new node gets %d updates, or another whole", i, len(list))
		}
		s.tasks("web", "n1", api.TaskID(fmt.Sprint("x", i)))
		for e, ok := cursor.TryNext(); ok; e, ok = cursor.TryNext() {
			l.follow(e)
		}
	}
	if list := l.all(); list[0] == whole || len(list) != 1 {
		t.Errorf("the whole is made anew too late: %d updates", len(list))
	}
}

// A snapshot stands for changes that nobody was told of one by one: whoever
// lacks it may lack the first of them.
func TestASnapshotReachesNoFurtherThanWhatCameBefore(t *testing.T) {
	s := networked("n1")
	view, cursor := s.Follow()
	l := newLoom(view)
	follow := func(reset bool) {
		e, ok := cursor.TryNext()
		if !ok {
			t.Fatal("no event")
		}
		e.Reset = reset
		l.follow(e)
	}
	change := func() {
		s.put(state.Op{PutService: onNetworks(fmt.Sprint("s", s.index), 0, "front")})
	}
	change()
	follow(false)
	at := l.set.Index
	s.put(state.Op{PutCluster: &api.Cluster{ID: "c", Meta: s.View().Cluster().Meta}}) // nothing of the fabric
	cursor.TryNext()
	change()
	follow(false)
	if got := l.reaches(at, 99); got != at+1 {
		t.Errorf("before a change at %d: up to %d", at+2, got)
	}
	at = l.set.Index
	for range 3 {
		change()
		cursor.TryNext()
	}
	change()
	follow(true)
	if got := l.reaches(at, 99); got != at {
		t.Errorf("before a snapshot up to %d: up to %d, want %d", l.set.Index, got, at)
	}
}
