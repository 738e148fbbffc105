package state

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
)

// checkAddresses checks what holds of addresses, numbers and ports in every state.
func checkAddresses(t fataler, v *View) {
	held := map[api.NetworkID]map[netip.Addr]string{}
	hold := func(who string, list []api.Attachment) {
		for _, a := range list {
			if held[a.Network] == nil {
				held[a.Network] = map[netip.Addr]string{}
			}
			for _, addr := range a.Addrs {
				if other := held[a.Network][addr]; other != "" {
					t.Fatal(addr, "is held by", other, "and by", who)
				}
				held[a.Network][addr] = who
			}
		}
	}
	checkTasks(t, v, hold)
	for c := range v.AttachedContainers() {
		hold("container "+c.ID, c.Networks)
	}
	checkNodes(t, v, hold)
	for s := range v.Services() {
		hold("service "+string(s.ID), s.Endpoint.VIPs)
	}
	for n := range v.Networks() {
		checkLeases(t, v, n, held[n.ID])
		delete(held, n.ID)
	}
	if len(held) > 0 {
		t.Fatal("addresses of networks that are gone:", held)
	}
	checkPorts(t, v)
}

func checkTasks(t fataler, v *View, hold func(string, []api.Attachment)) {
	for task := range v.Tasks() {
		hold("task "+string(task.ID), task.Networks)
		if task.Networks != nil && (task.Status.State.Terminal() || task.NodeID == "") {
			t.Fatal("task", task.ID, "is", task.Status.State, "and has addresses", task.Networks)
		}
		for _, a := range task.Networks {
			if !has(v.Node(task.NodeID).Gateways, a.Network) {
				t.Fatal("node", task.NodeID, "has no address of its own beside task", task.ID)
			}
		}
	}
}

func checkNodes(t fataler, v *View, hold func(string, []api.Attachment)) {
	numbers := map[uint32]bool{}
	for n := range v.Nodes() {
		if n.Number == 0 || numbers[n.Number] {
			t.Fatal("node", n.ID, "has number", n.Number)
		}
		numbers[n.Number] = true
		hold("node "+string(n.ID), n.Gateways)
		for _, g := range n.Gateways {
			onIt := func(list []api.Attachment) bool { return has(list, g.Network) }
			used := v.Network(g.Network).Spec.Ingress
			for task := range v.NodeTasks(n.ID) {
				used = used || onIt(task.Networks)
			}
			for c := range v.NodeAttached(n.ID) {
				used = used || onIt(c.Networks)
			}
			if !used {
				t.Fatal("node", n.ID, "has an address in", g.Network, "and nothing there")
			}
		}
	}
}

// checkLeases compares what is derived with what the holders say.
func checkLeases(t fataler, v *View, n *api.Network, held map[netip.Addr]string) {
	s := v.space(n.ID)
	leases := 0
	for l := range v.leases(n.ID) {
		i := s.spanOf(l.addr)
		if held[l.addr] == "" || i < 0 || !s.spans[i].has(l.addr) {
			t.Fatal("lease of", l.addr, "by", l.holder, "held by", held[l.addr])
		}
		leases++
	}
	used := 0
	for _, n := range s.used {
		used += n
	}
	if leases != len(held) || used != leases {
		t.Fatal("network", n.ID, "has", leases, "leases,", used, "counted,", len(held), "held")
	}
}

func checkPorts(t fataler, v *View) {
	ingress := map[string]api.ServiceID{}
	rows := map[string]bool{}
	for s := range v.Services() {
		for _, p := range s.Endpoint.Ports {
			k := fmt.Sprint(protocolOf(p), p.PublishedPort)
			if other := ingress[k]; other != "" && other != s.ID {
				t.Fatal("port", k, "is that of", other, "and of", s.ID)
			}
			if isIngress(p) {
				ingress[k] = s.ID
			}
			if p.PublishedPort != 0 {
				rows[fmt.Sprint(k, s.ID, isIngress(p))] = true
			}
		}
	}
	got := 0
	for p := range all[published](v, tablePorts, byID) {
		if got++; !rows[fmt.Sprint(fmt.Sprint(p.protocol, p.port), p.service, p.ingress)] {
			t.Fatal("nobody publishes", *p)
		}
	}
	if got != len(rows) {
		t.Fatal(got, "ports are noted,", len(rows), "published")
	}
}

// checkNothingHeld checks that every address is free.
func checkNothingHeld(t fataler, v *View) {
	for n := range v.Networks() {
		size := 0
		for _, sp := range spansOf(n) {
			size += sp.size()
		}
		if got := v.FreeAddrs(n.ID); got != size && len(spansOf(n)) == 1 || len(slices.Collect(v.leases(n.ID))) > 0 {
			t.Fatal("network", n.ID, "has", got, "of", size, "left")
		}
	}
}

// fleet makes random changes to two states; the second is now and then
// restored from a snapshot, as a manager is that was away.
type fleet struct {
	t        *rapid.T
	one, two *State
	index    uint64
	made     int
}

func (f *fleet) apply(ops ...Op) Result {
	f.index++
	entry := []Command{{At: t0, Ops: ops}}
	data, err := EncodeBatch(entry)
	if err != nil {
		f.t.Fatal(err)
	}
	a, _ := DecodeBatch(data)
	b, _ := DecodeBatch(data)
	ra, rb := f.one.Apply(f.index, a), f.two.Apply(f.index, b)
	if !reflect.DeepEqual(ra, rb) {
		f.t.Fatalf("results differ: %+v, %+v", ra, rb)
	}
	return ra[0]
}

func (f *fleet) number(n int, what string) int { return rapid.IntRange(0, n-1).Draw(f.t, what) }

func (f *fleet) node() api.NodeID { return api.NodeID(fmt.Sprint("n", f.number(3, "node"))) }

func (f *fleet) step() {
	v := f.one.View()
	switch f.number(12, "step") {
	case 0:
		f.putNode()
	case 1:
		if f.number(3, "really") == 0 {
			f.apply(Op{DeleteNode: &DeleteNode{ID: f.node()}})
		}
	case 2:
		f.network()
	case 3:
		f.apply(Op{DeleteNetwork: &DeleteNetwork{ID: api.NetworkID(fmt.Sprint("w", f.number(4, "network")))}})
	case 4, 5:
		f.service()
	case 6:
		if f.number(3, "really") == 0 {
			f.apply(Op{DeleteService: &DeleteService{ID: api.ServiceID(fmt.Sprint("s", f.number(3, "service")))}})
		}
	case 7, 8:
		f.tasks()
	case 9:
		f.end(slices.Collect(v.Tasks()))
	case 10:
		f.attached()
	case 11:
		f.two = restoredCopy(f.t, f.two)
	}
}

func (f *fleet) putNode() {
	n := &api.Node{ID: f.node()}
	if old := f.one.View().Node(n.ID); old != nil {
		n.Meta = old.Meta
	}
	f.apply(Op{PutNode: n})
}

func (f *fleet) network() {
	i := f.number(4, "network")
	n := &api.Network{ID: api.NetworkID(fmt.Sprint("w", i)), VXLAN: []uint32{uint32(i + 1)}}
	n.Spec.Name, n.Spec.Attachable, n.Spec.Ingress = string(n.ID), i != 1, i == 0
	config := []swarm.IPAMConfig{
		{Subnet: "10.0.0.0/29", Gateway: "10.0.0.1"}, {Subnet: "10.0.1.0/28", Range: "10.0.1.8/29", Gateway: "10.0.1.9"},
		{Subnet: "10.0.2.0/28"}, {Subnet: "10.0.3.0/30"},
	}
	n.IPAM.Configs = config[i : i+1]
	if i == 2 {
		n.IPAM.Configs = append(slices.Clone(n.IPAM.Configs), swarm.IPAMConfig{Subnet: "fd00::/125", Gateway: "fd00::1"})
	}
	f.apply(Op{CreateNetwork: n})
}

func (f *fleet) service() {
	s := &api.Service{ID: api.ServiceID(fmt.Sprint("s", f.number(3, "service")))}
	if old := f.one.View().Service(s.ID); old != nil {
		copied := *old
		s = &copied
		s.PreviousSpec = &old.Spec
		if f.number(4, "roll back") == 0 {
			f.apply(Op{SetUpdateStatus: &SetUpdateStatus{ID: s.ID, RollBackFrom: old.SpecVersion, Status: &swarm.UpdateStatus{}}})
			return
		}
	}
	s.Spec = api.ServiceSpec{}
	s.Spec.Name = string(s.ID)
	for i := range 4 {
		if f.number(3, "on a network") == 0 {
			s.Spec.TaskTemplate.Networks = append(s.Spec.TaskTemplate.Networks, swarm.NetworkAttachmentConfig{Target: fmt.Sprint("w", i)})
		}
	}
	s.Spec.EndpointSpec = &swarm.EndpointSpec{Mode: rapid.SampledFrom([]swarm.ResolutionMode{"vip", "vip", "dnsrr"}).Draw(f.t, "mode")}
	for range f.number(3, "ports") {
		s.Spec.EndpointSpec.Ports = append(s.Spec.EndpointSpec.Ports, swarm.PortConfig{
			TargetPort: uint32(80 + f.number(2, "target")), PublishedPort: rapid.SampledFrom([]uint32{0, 80, 81, 30000}).Draw(f.t, "port"),
			PublishMode: rapid.SampledFrom([]swarm.PortConfigPublishMode{"ingress", "ingress", "host"}).Draw(f.t, "publish mode"),
		})
	}
	f.apply(Op{PutService: s})
}

// tasks makes some for a service and assigns them, all in one batch.
func (f *fleet) tasks() {
	s := f.one.View().Service(api.ServiceID(fmt.Sprint("s", f.number(3, "service"))))
	if s == nil {
		return
	}
	var create []*api.Task
	var assign []Assign
	for range f.number(8, "tasks") {
		f.made++
		id := api.TaskID(fmt.Sprint("t", f.made))
		create = append(create, &api.Task{ID: id, ServiceID: s.ID, SpecVersion: s.SpecVersion, Desired: api.TaskRunning, Status: api.TaskStatus{State: api.TaskPending}})
		assign = append(assign, Assign{Task: id, Node: f.node()})
	}
	f.apply(Op{CreateTasks: create}, Op{AssignTasks: assign})
}

// end lets some tasks end, or be forgotten.
func (f *fleet) end(tasks []*api.Task) {
	for _, task := range tasks {
		switch f.number(4, "end") {
		case 0:
			f.apply(Op{ReportTasks: []Report{{Task: task.ID, Status: api.TaskStatus{State: api.TaskFailed, At: t0}}}})
		case 1:
			f.apply(Op{DeleteTasks: []api.TaskID{task.ID}})
		case 2:
			f.apply(Op{DesireTasks: []Desire{{task.ID, api.TaskShutdown}}})
		}
	}
}

func (f *fleet) attached() {
	c := &api.AttachedContainer{ID: fmt.Sprint("c", f.number(3, "container")), NodeID: f.node()}
	if old := f.one.View().Attached(c.ID); old != nil {
		if f.number(2, "detach") == 0 {
			f.apply(Op{DeleteAttached: &DeleteAttached{ID: c.ID}})
			return
		}
		c.Meta, c.NodeID = old.Meta, old.NodeID
	}
	for i := range 4 {
		if f.number(2, "on a network") == 0 {
			a := api.Attachment{Network: api.NetworkID(fmt.Sprint("w", i))}
			if f.number(3, "wish") == 0 {
				a.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i), byte(f.number(16, "address"))})}
			}
			c.Networks = append(c.Networks, a)
		}
	}
	f.apply(Op{PutAttached: c})
}

// clear removes all but the networks.
func (f *fleet) clear() {
	v := f.one.View()
	for s := range v.Services() {
		f.apply(Op{DeleteService: &DeleteService{ID: s.ID}})
	}
	for n := range v.Nodes() {
		f.apply(Op{DeleteNode: &DeleteNode{ID: n.ID}})
	}
}

// An address is one holder's at a time and never lost, and a manager that was
// restored from a snapshot hands out the same as one that never was.
func TestAnAddressIsHeldByOneAtATime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &fleet{t: t, one: New(), two: New()}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			f.step()
			checkAddresses(t, f.one.View())
		}
		if !bytes.Equal(snapshotOf(t, f.one), snapshotOf(t, f.two)) {
			t.Fatal("states differ")
		}
		checkAddresses(t, f.two.View())
		f.clear()
		checkAddresses(t, f.one.View())
		checkNothingHeld(t, f.one.View())
	})
}

// network makes a State with one node and one network.
func withNetwork(t *testing.T, subnets ...string) *State {
	s := New()
	n := &api.Network{ID: "ov"}
	n.Spec.Name = "ov"
	for _, subnet := range subnets {
		n.IPAM.Configs = append(n.IPAM.Configs, swarm.IPAMConfig{Subnet: subnet})
	}
	web := webService()
	web.Spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "ov"}}
	mustApply(t, s, 1, Op{CreateNetwork: n}, Op{PutNode: &api.Node{ID: "n1"}}, Op{PutService: web})
	return s
}

func startTasks(from, to int) (create, assign Op) {
	for i := from; i < to; i++ {
		id := api.TaskID(fmt.Sprint("t", i))
		create.CreateTasks = append(create.CreateTasks, &api.Task{ID: id, ServiceID: "svc", SpecVersion: 1, Status: api.TaskStatus{State: api.TaskPending}})
		assign.AssignTasks = append(assign.AssignTasks, Assign{Task: id, Node: "n1"})
	}
	return create, assign
}

// 2,000 tasks come and go in a network of 254 addresses, 100 at a time.
func TestTwoThousandTasksComeAndGo(t *testing.T) {
	s := withNetwork(t, "10.0.1.0/24")
	free := s.View().FreeAddrs("ov")
	index := uint64(1)
	apply := func(ops ...Op) {
		index++
		if r := mustApply(t, s, index, ops...); len(r.Stale) > 0 {
			t.Fatal(r.Stale)
		}
		checkAddresses(t, s.View())
	}
	last := map[netip.Addr]int{}
	for i := 0; i < 2000; i += 100 {
		create, assign := startTasks(i, i+100)
		apply(create, assign)
		for task := range s.View().NetworkTasks("ov") {
			a := task.Networks[0].Addrs[0]
			if at, ok := last[a]; ok && i-at <= 100 {
				t.Fatalf("%s goes to %s at once again", a, task.ID)
			}
			last[a] = i
		}
		var gone Op
		for _, c := range create.CreateTasks {
			gone.DeleteTasks = append(gone.DeleteTasks, c.ID)
		}
		apply(gone)
		if got := s.View().FreeAddrs("ov"); got != free {
			t.Fatalf("%d addresses are left after %d tasks, there were %d", got, i+100, free)
		}
	}
}

func TestFullToTheLastAddress(t *testing.T) {
	for _, tt := range []struct {
		subnets []string
		tasks   int
	}{
		{[]string{"10.0.1.0/29"}, 4},                   // 6, less the service's and the node's
		{[]string{"10.0.1.0/30", "10.0.2.0/29"}, 6},    // the second when the first is full
		{[]string{"10.0.1.0/29", "fd00::/64"}, 4},      // one of each family
		{[]string{"10.0.1.0/24", "fd00::/126"}, 1},     // 3 addresses
		{[]string{"fd00::/125"}, 5},                    // 7
		{[]string{"255.255.255.248/29"}, 4},            // to the end of all addresses
		{[]string{"ffff:ffff:ffff:ffff::fff8/125"}, 5}, // likewise
		{[]string{"10.0.1.0/30", "10.0.2.0/30"}, 2},    // 4
		{[]string{"10.0.1.0/22"}, 300},                 // over the bytes' ends
		{nil, 300},                                     // a network that says nothing of addresses
	} {
		s := withNetwork(t, tt.subnets...)
		create, assign := startTasks(0, 300)
		r := mustApply(t, s, 2, create, assign)
		if got := 300 - len(r.Stale); got != tt.tasks {
			t.Errorf("%v has room for %d tasks, want %d", tt.subnets, got, tt.tasks)
		}
		checkAddresses(t, s.View())
	}
}

// What is handed out of a subnet.
func TestSpans(t *testing.T) {
	for _, tt := range []struct{ subnet, within, gateway, want string }{
		{"10.0.1.0/24", "", "", "10.0.1.1-10.0.1.254 254"},
		{"10.0.1.0/24", "", "10.0.1.1", "10.0.1.1-10.0.1.254 253"},
		{"10.0.1.0/24", "", "10.0.2.1", "10.0.1.1-10.0.1.254 254"},
		{"10.0.1.0/24", "10.0.1.128/25", "10.0.1.1", "10.0.1.128-10.0.1.254 127"},
		{"10.0.1.0/24", "10.0.1.128/25", "10.0.1.129", "10.0.1.128-10.0.1.254 126"},
		{"10.0.1.0/24", "10.0.1.64/26", "", "10.0.1.64-10.0.1.127 64"},
		{"10.0.1.0/24", "10.0.0.0/16", "", "10.0.1.1-10.0.1.254 254"},
		{"10.0.1.7/24", "", "", "10.0.1.1-10.0.1.254 254"},
		{"fd00::/120", "", "fd00::1", "fd00::1-fd00::ff 254"},
		{"fd00::/64", "", "", "fd00::1-fd00::ffff:ffff:ffff:ffff 9223372036854775807"},
		{"fd00::/64", "", "fd00::1", "fd00::1-fd00::ffff:ffff:ffff:ffff 9223372036854775807"},
		{"10.0.1.0/30", "", "10.0.1.1", "10.0.1.1-10.0.1.2 1"},
		{"10.0.1.0/31", "", "", "10.0.1.1-10.0.1.0 0"},
		{"255.255.255.255/32", "", "", "invalid IP-255.255.255.254 0"},
	} {
		s, ok := spanOf(swarm.IPAMConfig{Subnet: tt.subnet, Range: tt.within, Gateway: tt.gateway})
		if got := fmt.Sprintf("%s-%s %d", s.first, s.last, s.size()); !ok || got != tt.want {
			t.Errorf("%s %s %s: %s, want %s", tt.subnet, tt.within, tt.gateway, got, tt.want)
		}
	}
}

// withOpenNetwork has a network that single containers may be on too.
func withOpenNetwork(t *testing.T, subnets ...string) *State {
	s := withNetwork(t, "10.0.1.0/24")
	open := &api.Network{ID: "open", VXLAN: []uint32{7}}
	open.Spec.Name, open.Spec.Attachable = "open", true
	for _, subnet := range subnets {
		open.IPAM.Configs = append(open.IPAM.Configs, swarm.IPAMConfig{Subnet: subnet})
	}
	mustApply(t, s, 2, Op{CreateNetwork: open})
	return s
}

// Nodes refuse a fabric with a name in it that is none, and take away what is
// gone by its ID, whatever it was: a container must not spoil that.
func TestAContainerCannotSpoilTheFabric(t *testing.T) {
	s := withOpenNetwork(t, "10.0.2.0/24", "fd00::/64")
	create, assign := startTasks(0, 1)
	mustApply(t, s, 3, create, assign)
	put := func(id, name, addr string) Result {
		c := &api.AttachedContainer{ID: id, NodeID: "n1", Name: name, Networks: []api.Attachment{{Network: "open"}}}
		if addr != "" {
			c.Networks[0].Addrs = []netip.Addr{netip.MustParseAddr(addr)}
		}
		return s.Apply(s.View().Index()+1, []Command{{At: t0, Ops: []Op{{PutAttached: c}}}})[0]
	}
	var task api.TaskID
	for t := range s.View().Tasks() {
		task = t.ID
	}
	for name, r := range map[string]Result{
		"a long name":          put("c1", strings.Repeat("x", 2000), ""),
		"a name with a break":  put("c1", "a\nb", ""),
		"no ID":                put("", "box", ""),
		"a task's ID":          put(string(task), "box", ""),
		"a service's ID":       put("svc", "box", ""),
		"a node's ID":          put("n1", "box", ""),
		"a network's ID":       put("open", "box", ""),
		"a host's own address": put("c1", "box", "fd00::5%eth0"),
	} {
		if r.Err() == nil {
			t.Error(name, "is let in")
		}
	}
	if err := put("c1", "", "").Err(); err != nil {
		t.Error("one that the engine is to name:", err)
	}
	checkAddresses(t, s.View())
}

// A container that asks for one of the addresses that it has keeps them all.
func TestAContainerKeepsItsAddresses(t *testing.T) {
	s := withOpenNetwork(t, "10.0.2.0/24", "fd00::/64")
	put := func(addrs ...netip.Addr) []netip.Addr {
		c := &api.AttachedContainer{ID: "c", NodeID: "n1", Name: "box", Networks: []api.Attachment{{Network: "open", Addrs: addrs}}}
		if old := s.View().Attached("c"); old != nil {
			c.Meta = old.Meta
		}
		mustApply(t, s, s.View().Index()+1, Op{PutAttached: c})
		return s.View().Attached("c").Networks[0].Addrs
	}
	had := put()
	for _, asked := range [][]netip.Addr{nil, had[:1], had[1:], had} {
		if got := put(asked...); !slices.Equal(got, had) {
			t.Errorf("asked for %v, has %v, had %v", asked, got, had)
		}
	}
	other := netip.MustParseAddr("10.0.2.77")
	if got := put(other); got[0] != other || len(got) != 2 {
		t.Errorf("asked for %s, has %v", other, got)
	}
	checkAddresses(t, s.View())
}

// Attached containers survive the log and a snapshot.
func TestAttachedContainersSurviveASnapshot(t *testing.T) {
	s := withOpenNetwork(t, "10.0.2.0/24")
	c := &api.AttachedContainer{ID: "c", NodeID: "n1", Name: "box", Aliases: map[api.NetworkID][]string{"open": {"db"}}, Networks: []api.Attachment{{Network: "open"}}}
	data, err := EncodeBatch([]Command{{At: t0, Ops: []Op{{PutAttached: c}}}})
	if err != nil {
		t.Fatal(err)
	}
	commands, err := DecodeBatch(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(3, commands)[0].Err(); err != nil {
		t.Fatal(err)
	}
	want, got := s.View().Attached("c"), restoredCopy(t, s).View().Attached("c")
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || len(want.Networks[0].Addrs) != 1 || want.Aliases["open"][0] != "db" {
		t.Errorf("%+v (-want +got):\n%s", want, diff)
	}
}

// With all behind the last one taken, the search begins anew.
func TestTheSearchGoesOnAtTheBeginning(t *testing.T) {
	s := withNetwork(t, "10.0.1.0/29")
	create, assign := startTasks(0, 4)
	mustApply(t, s, 2, create, assign)
	for i, want := range []string{"10.0.1.4", "10.0.1.3", "10.0.1.5"} { // the last was 10.0.1.6
		gone := map[string]api.TaskID{"10.0.1.3": "t0", "10.0.1.4": "t1", "10.0.1.5": "t2"}[want]
		again, place := startTasks(10+i, 11+i)
		mustApply(t, s, uint64(3+i), Op{DeleteTasks: []api.TaskID{gone}}, again, place)
		if got := s.View().Task(again.CreateTasks[0].ID).Networks[0].Addrs[0].String(); got != want {
			t.Errorf("step %d: %s, want %s", i, got, want)
		}
		checkAddresses(t, s.View())
	}
}

// A service that wants more ports chosen than there are is refused as a whole.
func TestPortsRunOut(t *testing.T) {
	s := New()
	ingress := &api.Network{ID: "in"}
	ingress.Spec.Name, ingress.Spec.Ingress = "ingress", true
	ingress.IPAM.Configs = []swarm.IPAMConfig{{Subnet: "10.0.0.0/24"}}
	web := webService()
	web.Spec.EndpointSpec = &swarm.EndpointSpec{}
	for i := range lastAutoPort - firstAutoPort + 2 {
		web.Spec.EndpointSpec.Ports = append(web.Spec.EndpointSpec.Ports, swarm.PortConfig{TargetPort: uint32(i + 1), PublishMode: swarm.PortConfigPublishModeIngress})
	}
	mustApply(t, s, 1, Op{CreateNetwork: ingress})
	const want = "no tcp port is left between 30000 and 32767 for target port 2769: say which one to publish (--publish published=PORT,target=2769)"
	if err := s.Apply(2, []Command{{Ops: []Op{{PutService: web}}}})[0].Err(); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	checkAddresses(t, s.View())
	web.Spec.EndpointSpec.Ports = web.Spec.EndpointSpec.Ports[1:]
	mustApply(t, s, 3, Op{PutService: web})
	checkAddresses(t, s.View())
}
