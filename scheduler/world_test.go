package scheduler

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// world is a real state that tests write to in short lines, and a planner's
// model that follows it.
//
//	node h1 cpu=4 mem=8GiB label.zone=a engine.disk=ssd role=manager availability=drain state=down session=lost (or new)
//	     addr=10.0.0.1 platform=linux/x86_64 gpu=2 has.ssd=3 has.gpu=a,b plugin=Volume/nfs engine-version=20.10 (or none)
//	     load=40 memload=70 (percent in use)
//	rmnode h1
//	service web constraint=node.labels.zone==a cpu=0.5 mem=512MiB gpu=1 wants.ssd=2 port=8080/udp max=2
//	     spread=node.labels.zone platform=linux/amd64 volume=nfs log=fluentd strategy=binpack
//	     replicas=3 (or job=3) depends=db:healthy,cache
//	     mount=db mount=db:ro mount=db:free mount=db-{{.Task.Slot}} pin=false global
//	cluster strategy=capacity
//	volumes h1 db,cache (nothing: none; name:nfs is one of type nfs, name:free one that pins nobody)
//	giveup h1 db
//	forget h1 db
//	move db h1 h2
//	moved db h1 h2 [why it failed]
//	network ov 10.0.1.0/29 (ingress for the ingress network; rmnetwork ov); then service web network=ov publish=80
//	attached c1 h1 ov; rmattached c1
//	service log pod=web; then tasks log 1 pod=web.1
//	tasks web 1-5 on=h1 state=running desired=shutdown id=web.other replaces=web.1
//	report web.1 failed
//	desire web.1 shutdown
//	delete web.1
type world struct {
	t       testing.TB
	state   *state.State
	cursor  *state.Cursor
	cluster *Cluster
	index   uint64
	now     time.Time
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, state: state.New(), now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	v, cursor := w.state.Follow()
	w.cluster, w.cursor = NewCluster(v), cursor
	return w
}

// apply carries operations out and lets the model know.
func (w *world) apply(ops ...state.Op) state.Result {
	w.t.Helper()
	w.index++
	w.now = w.now.Add(time.Second)
	r := w.state.Apply(w.index, []state.Command{{At: w.now, Ops: ops}})[0]
	if r.Err() != nil {
		w.t.Fatalf("apply: %v", r.Err())
	}
	for e, ok := w.cursor.TryNext(); ok; e, ok = w.cursor.TryNext() {
		w.cluster.Apply(e, w.now)
	}
	return r
}

// do carries out lines as described above.
func (w *world) do(lines ...string) {
	w.t.Helper()
	for _, line := range lines {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		w.apply(w.parse(strings.Fields(line))...)
	}
}

// doAll carries out many lines as one command, and the model does not follow.
func (w *world) doAll(lines []string) {
	w.t.Helper()
	var ops []state.Op
	for _, line := range lines {
		ops = append(ops, w.parse(strings.Fields(line))...)
	}
	w.index++
	w.now = w.now.Add(time.Second)
	if err := w.state.Apply(w.index, []state.Command{{At: w.now, Ops: ops}})[0].Err(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) parse(f []string) []state.Op {
	w.t.Helper()
	switch f[0] {
	case "node":
		n := w.node(f[1], f[2:])
		return []state.Op{{PutNode: n}, {ObserveNode: &state.ObserveNode{ID: n.ID, Load: n.Load}}} // load is the node's own to say
	case "volumes":
		list := w.volumes(f[2:])
		return []state.Op{{ObserveNode: &state.ObserveNode{ID: api.NodeID(f[1]), Volumes: &list}}}
	case "giveup":
		return []state.Op{{ForgetVolume: &state.ForgetVolume{Node: api.NodeID(f[1]), Name: f[2], GiveUp: true}}}
	case "move":
		return []state.Op{{BeginMove: &state.BeginMove{ID: f[1], Name: f[1], From: api.NodeID(f[2]), To: api.NodeID(f[3])}}}
	case "moved":
		return []state.Op{{EndMove: &state.EndMove{ID: f[1], Name: f[1], From: api.NodeID(f[2]), To: api.NodeID(f[3]), Err: strings.Join(f[4:], " ")}}}
	case "forget":
		return []state.Op{{ForgetVolume: &state.ForgetVolume{Node: api.NodeID(f[1]), Name: f[2]}}}
	case "rmnode":
		return []state.Op{{DeleteNode: &state.DeleteNode{ID: api.NodeID(f[1])}}}
	case "service":
		s := &api.Service{ID: api.ServiceID(f[1]), Spec: w.spec(f[1], f[2:])}
		if old := w.state.View().Service(s.ID); old != nil {
			s.Meta = old.Meta
		}
		return []state.Op{{PutService: s}}
	case "rmservice":
		return []state.Op{{DeleteService: &state.DeleteService{ID: api.ServiceID(f[1])}}}
	case "cluster":
		c := &api.Cluster{ID: "c"}
		if old := w.state.View().Cluster(); old != nil {
			c.Meta = old.Meta
		}
		c.Spec.Labels = map[string]string{setting.LabelStrategy: strings.TrimPrefix(f[1], "strategy=")}
		return []state.Op{{PutCluster: c}}
	case "network":
		n := &api.Network{ID: api.NetworkID(f[1])}
		n.Spec.Name, n.Spec.Attachable, n.Spec.Ingress = f[1], true, f[1] == "ingress"
		for _, subnet := range f[2:] {
			n.IPAM.Configs = append(n.IPAM.Configs, swarm.IPAMConfig{Subnet: subnet})
		}
		return []state.Op{{CreateNetwork: n}}
	case "rmnetwork":
		return []state.Op{{DeleteNetwork: &state.DeleteNetwork{ID: api.NetworkID(f[1])}}}
	case "attached":
		return []state.Op{{PutAttached: &api.AttachedContainer{ID: f[1], Name: f[1], NodeID: api.NodeID(f[2]), Networks: []api.Attachment{{Network: api.NetworkID(f[3])}}}}}
	case "rmattached":
		return []state.Op{{DeleteAttached: &state.DeleteAttached{ID: f[1]}}}
	case "tasks":
		return []state.Op{{CreateTasks: w.tasks(f[1], f[2], f[3:])}}
	case "report":
		return []state.Op{{ReportTasks: []state.Report{{Task: api.TaskID(f[1]), Status: api.TaskStatus{State: w.taskState(f[2]), At: w.now}}}}}
	case "desire":
		return []state.Op{{DesireTasks: []state.Desire{{Task: api.TaskID(f[1]), State: w.taskState(f[2])}}}}
	case "delete":
		return []state.Op{{DeleteTasks: []api.TaskID{api.TaskID(f[1])}}}
	}
	w.t.Fatalf("what is %q?", f)
	return nil
}

func (w *world) volumes(names []string) []api.Volume {
	list := []api.Volume{}
	for _, name := range names {
		for name := range strings.SplitSeq(name, ",") {
			name, kind, _ := strings.Cut(name, ":")
			v := api.Volume{Name: name, Driver: "local", CreatedAt: "2030-01-01"}
			switch kind {
			case "nfs":
				v.Options = map[string]string{"type": "nfs"}
			case "free":
				v.Labels = map[string]string{setting.LabelVolumePin: "false"}
			case "new":
				v.CreatedAt = "2031-01-01"
			}
			list = append(list, v)
		}
	}
	return list
}

// mount is NAME, NAME:ro, or NAME:free for one whose label lets tasks go.
func (w *world) mount(v string) mount.Mount {
	name, kind, _ := strings.Cut(v, ":")
	m := mount.Mount{Type: mount.TypeVolume, Source: name, Target: "/data", ReadOnly: kind == "ro"}
	if kind == "free" {
		m.VolumeOptions = &mount.VolumeOptions{Labels: map[string]string{setting.LabelVolumePin: "false"}}
	}
	return m
}

func (w *world) taskState(name string) api.TaskState {
	s, err := api.ParseTaskState(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) node(name string, options []string) *api.Node {
	n := &api.Node{ID: api.NodeID(name), Status: api.NodeStatus{State: api.NodeReady}}
	n.Spec.Availability = swarm.NodeAvailabilityActive
	n.Spec.Labels, n.Description.Engine.Labels = map[string]string{}, map[string]string{}
	n.Description.Hostname, n.Description.Engine.EngineVersion = name, "20.10.24"
	n.Description.Platform = swarm.Platform{OS: "linux", Architecture: "x86_64"}
	n.Description.Resources = swarm.Resources{NanoCPUs: 4e9, MemoryBytes: 8 << 30}
	if old := w.state.View().Node(n.ID); old != nil {
		copied := *old
		n = &copied
	}
	for _, o := range options {
		k, v, _ := strings.Cut(o, "=")
		w.nodeOption(n, k, v)
	}
	return n
}

func (w *world) nodeOption(n *api.Node, k, v string) {
	d := &n.Description
	if label, ok := strings.CutPrefix(k, "label."); ok {
		labels := map[string]string{label: v}
		for k, v := range n.Spec.Labels {
			if k != label {
				labels[k] = v
			}
		}
		n.Spec.Labels = labels
		return
	}
	if label, ok := strings.CutPrefix(k, "engine."); ok {
		d.Engine.Labels[label] = v
		return
	}
	if kind, ok := strings.CutPrefix(k, "has."); ok {
		d.Resources.GenericResources = append(slices.Clone(d.Resources.GenericResources), w.generic(kind, v)...)
		return
	}
	switch k {
	case "cpu":
		d.Resources.NanoCPUs = w.nano(v)
	case "mem":
		d.Resources.MemoryBytes = w.bytes(v)
	case "gpu":
		d.Resources.GenericResources = w.gpus(v)
	case "role":
		n.ManagerAddr = map[string]string{"manager": "10.0.0.1:2377"}[v]
	case "availability":
		n.Spec.Availability = swarm.NodeAvailability(v)
	case "state":
		n.Status.State = api.NodeState(v)
	case "load":
		n.Load = &api.NodeLoad{CPU: uint8(w.number(v))}
	case "memload":
		n.Load = &api.NodeLoad{Memory: uint8(w.number(v))}
	case "session":
		n.Status.SessionLost, n.Status.Unsettled = v == "lost", v == "new"
	case "addr":
		n.Status.Addr = v
	case "platform":
		os, arch, _ := strings.Cut(v, "/")
		d.Platform = swarm.Platform{OS: os, Architecture: arch}
	case "engine-version":
		if d.Engine.EngineVersion = v; v == "none" {
			d.Engine.EngineVersion = ""
		}
	case "plugin":
		kind, name, _ := strings.Cut(v, "/")
		d.Engine.Plugins = append(d.Engine.Plugins, swarm.PluginDescription{Type: kind, Name: name})
	default:
		w.t.Fatalf("no option %q of a node", k)
	}
}

func (w *world) spec(name string, options []string) api.ServiceSpec {
	s := api.ServiceSpec{Annotations: swarm.Annotations{Name: name}, EndpointSpec: &swarm.EndpointSpec{}}
	s.TaskTemplate.Placement = &swarm.Placement{}
	s.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "image"}
	s.TaskTemplate.Resources = &swarm.ResourceRequirements{Reservations: &swarm.Resources{}}
	for _, o := range options {
		k, v, _ := strings.Cut(o, "=")
		w.serviceOption(&s, k, v)
	}
	return s
}

func (w *world) serviceOption(s *api.ServiceSpec, k, v string) {
	t := &s.TaskTemplate
	if kind, ok := strings.CutPrefix(k, "wants."); ok {
		t.Resources.Reservations.GenericResources = append(t.Resources.Reservations.GenericResources, w.generic(kind, v)...)
		return
	}
	switch k {
	case "pod":
		s.Labels = map[string]string{setting.LabelPod: v}
	case "mount":
		t.ContainerSpec.Mounts = append(t.ContainerSpec.Mounts, w.mount(v))
	case "pin":
		s.Labels = map[string]string{setting.LabelVolumePin: v}
	case "global":
		s.Mode.Global = &swarm.GlobalService{}
	case "strategy":
		s.Labels = withLabel(s.Labels, setting.LabelStrategy, v)
	case "depends":
		s.Labels = withLabel(s.Labels, setting.LabelDependsOn, v)
	case "replicas":
		n := uint64(w.number(v))
		s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &n}
	case "job":
		n := uint64(w.number(v))
		s.Mode = swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{TotalCompletions: &n}}
	case "image":
		t.ContainerSpec.Image = v
	case "constraint":
		t.Placement.Constraints = append(t.Placement.Constraints, v)
	case "platform":
		os, arch, _ := strings.Cut(v, "/")
		t.Placement.Platforms = append(t.Placement.Platforms, swarm.Platform{OS: os, Architecture: arch})
	case "max":
		t.Placement.MaxReplicas = uint64(w.number(v))
	case "spread":
		t.Placement.Preferences = append(t.Placement.Preferences, swarm.PlacementPreference{Spread: &swarm.SpreadOver{SpreadDescriptor: v}})
	case "cpu":
		t.Resources.Reservations.NanoCPUs = w.nano(v)
	case "mem":
		t.Resources.Reservations.MemoryBytes = w.bytes(v)
	case "gpu":
		t.Resources.Reservations.GenericResources = w.gpus(v)
	case "port":
		port, protocol, _ := strings.Cut(v, "/")
		s.EndpointSpec.Ports = append(s.EndpointSpec.Ports, swarm.PortConfig{
			TargetPort: 80, PublishedPort: uint32(w.number(port)), Protocol: swarm.PortConfigProtocol(protocol), PublishMode: swarm.PortConfigPublishModeHost,
		})
	case "network":
		t.Networks = append(t.Networks, swarm.NetworkAttachmentConfig{Target: v})
	case "mode":
		s.EndpointSpec.Mode = swarm.ResolutionMode(v)
	case "publish":
		s.EndpointSpec.Ports = append(s.EndpointSpec.Ports, swarm.PortConfig{
			TargetPort: 80, PublishedPort: uint32(w.number(v)), PublishMode: swarm.PortConfigPublishModeIngress,
		})
	case "volume":
		t.ContainerSpec.Mounts = append(t.ContainerSpec.Mounts, mount.Mount{
			Type: mount.TypeVolume, VolumeOptions: &mount.VolumeOptions{DriverConfig: &mount.Driver{Name: v}},
		})
	case "log":
		t.LogDriver = &swarm.Driver{Name: v}
	default:
		w.t.Fatalf("no option %q of a service", k)
	}
}

func withLabel(labels map[string]string, name, value string) map[string]string {
	if labels == nil {
		labels = map[string]string{}
	}
	labels[name] = value
	return labels
}

func (w *world) tasks(service, slots string, options []string) []*api.Task {
	first, last, isRange := strings.Cut(slots, "-")
	if !isRange {
		last = first
	}
	s := w.state.View().Service(api.ServiceID(service))
	if s == nil {
		w.t.Fatalf("no service %s", service)
	}
	var list []*api.Task
	for slot := w.number(first); slot <= w.number(last); slot++ {
		t := &api.Task{
			ID: api.TaskID(fmt.Sprintf("%s.%d", service, slot)), ServiceID: s.ID, SpecVersion: s.SpecVersion, Slot: int(slot), JobIteration: s.JobIteration(),
			Desired: api.TaskRunning, Status: api.TaskStatus{State: api.TaskPending},
		}
		for _, o := range options {
			switch k, v, _ := strings.Cut(o, "="); k {
			case "replaces":
				t.Replaces = api.TaskID(v)
			case "id":
				t.ID = api.TaskID(v)
			case "pod": // of a task, whose node and slot it has
				with := w.state.View().Task(api.TaskID(v))
				t.PodOf, t.NodeID, t.Slot = with.ID, with.NodeID, with.Slot
			case "on":
				t.NodeID = api.NodeID(v)
			case "state":
				t.Status.State = w.taskState(v)
			case "desired":
				t.Desired = w.taskState(v)
			default:
				w.t.Fatalf("no option %q of tasks", k)
			}
		}
		list = append(list, t)
	}
	return list
}

func (w *world) number(v string) int64 {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) nano(v string) int64 {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil {
		w.t.Fatal(err)
	}
	return int64(f * 1e9)
}

func (w *world) bytes(v string) int64 {
	for unit, shift := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if n, ok := strings.CutSuffix(v, unit); ok {
			return w.number(n) << shift
		}
	}
	return w.number(v)
}

// generic is a number of a kind, or some by their names: 3, or a,b,c.
func (w *world) generic(kind, v string) (list []swarm.GenericResource) {
	if v[0] >= '0' && v[0] <= '9' {
		return []swarm.GenericResource{{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: kind, Value: w.number(v)}}}
	}
	for name := range strings.SplitSeq(v, ",") {
		list = append(list, swarm.GenericResource{NamedResourceSpec: &swarm.NamedGenericResource{Kind: kind, Value: name}})
	}
	return list
}

// gpus are n of them, the last one by its name.
func (w *world) gpus(v string) []swarm.GenericResource {
	n := w.number(v)
	return []swarm.GenericResource{
		{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: "gpu", Value: n - 1}},
		{NamedResourceSpec: &swarm.NamedGenericResource{Kind: "gpu", Value: "UUID1"}},
	}
}

// carryOut proposes a decision as the loop does and applies it at once.
func (w *world) carryOut(d Decision) {
	w.t.Helper()
	if len(d.Assign) > 0 {
		w.cluster.Withdraw(staleOf(w.apply(state.Op{AssignTasks: d.Assign}))...)
	}
	if len(d.Refuse) > 0 {
		w.apply(state.Op{ReportTasks: reports(d.Refuse, w.now)})
	}
}

func staleOf(r state.Result) []api.TaskID {
	ids := make([]api.TaskID, len(r.Stale))
	for i, id := range r.Stale {
		ids[i] = api.TaskID(id)
	}
	return ids
}
