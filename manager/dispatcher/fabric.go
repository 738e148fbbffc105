package dispatcher

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// fabricOf is the whole fabric as the state has it.
func fabricOf(v *state.View) *fabric.Update {
	known := fabric.NewSet()
	u := fabricChange(known, v, everything(known, v))
	u.Full = true
	return u
}

// touched names what of the fabric may have changed.
type touched struct {
	networks  map[api.NetworkID]struct{}
	hosts     map[api.NodeID]struct{}
	services  map[api.ServiceID]struct{}
	endpoints map[string]struct{} // of tasks and of attached containers
}

func newTouched() touched {
	return touched{map[api.NetworkID]struct{}{}, map[api.NodeID]struct{}{}, map[api.ServiceID]struct{}{}, map[string]struct{}{}}
}

// touchedBy is what an event may have changed of the fabric that is known:
// what it names, and what is made from that.
func touchedBy(known *fabric.Set, e *state.Event) touched {
	if e.Reset {
		return everything(known, e.View)
	}
	t := newTouched()
	for _, p := range e.Networks {
		t.networks[either(p).ID] = struct{}{}
		if p.Before == nil || p.After == nil { // services may be on it
			t.allServices(known, e.View)
		}
	}
	for _, p := range e.Nodes {
		id := either(p).ID
		t.hosts[id] = struct{}{}
		if there(p.Before) != there(p.After) {
			t.addEndpoints(e.View.NodeTasks(id), e.View.NodeAttached(id))
		}
	}
	for _, p := range e.Services {
		id := either(p).ID
		t.services[id] = struct{}{}
		if p.Before != nil && p.After != nil && !slices.Equal(p.Before.Hidden, p.After.Hidden) {
			t.addTasks(e.View.ServiceTasks(id))
		}
	}
	for _, p := range e.Tasks {
		if task := either(p); len(task.Networks) > 0 || p.Before != nil && len(p.Before.Networks) > 0 {
			t.endpoints[string(task.ID)] = struct{}{}
		}
	}
	for _, p := range e.Attached {
		t.endpoints[either(p).ID] = struct{}{}
	}
	return t
}

func either[T any](p state.Pair[T]) *T {
	if p.After != nil {
		return p.After
	}
	return p.Before
}

// everything is all that is known and all that the state has.
func everything(known *fabric.Set, v *state.View) touched {
	t := newTouched()
	for id := range known.Networks {
		t.networks[id] = struct{}{}
	}
	for n := range v.Networks() {
		t.networks[n.ID] = struct{}{}
	}
	for id := range known.Hosts {
		t.hosts[id] = struct{}{}
	}
	for n := range v.Nodes() {
		t.hosts[n.ID] = struct{}{}
	}
	t.allServices(known, v)
	for id := range known.Endpoints {
		t.endpoints[id] = struct{}{}
	}
	t.addEndpoints(v.Tasks(), v.AttachedContainers())
	return t
}

func (t *touched) allServices(known *fabric.Set, v *state.View) {
	for id := range known.Services {
		t.services[id] = struct{}{}
	}
	for s := range v.Services() {
		t.services[s.ID] = struct{}{}
	}
}

func (t *touched) addEndpoints(tasks iter.Seq[*api.Task], attached iter.Seq[*api.AttachedContainer]) {
	t.addTasks(tasks)
	for c := range attached {
		t.endpoints[c.ID] = struct{}{}
	}
}

func (t *touched) addTasks(tasks iter.Seq[*api.Task]) {
	for task := range tasks {
		if len(task.Networks) > 0 {
			t.endpoints[string(task.ID)] = struct{}{}
		}
	}
}

// fabricChange is what the state has otherwise than it is known, of what was touched.
func fabricChange(known *fabric.Set, v *state.View, t touched) *fabric.Update {
	u := &fabric.Update{Index: v.Index()}
	for id := range t.networks {
		compare(u, &u.Networks, string(id), known.Networks[id], networkOf(v.Network(id)))
	}
	for id := range t.hosts {
		compare(u, &u.Hosts, string(id), known.Hosts[id], hostOf(v.Node(id)))
	}
	for id := range t.services {
		compare(u, &u.Services, string(id), known.Services[id], serviceOf(v, v.Service(id)))
	}
	for id := range t.endpoints {
		compare(u, &u.Endpoints, id, known.Endpoints[id], endpointOf(v, id))
	}
	return u
}

func isEmpty(u *fabric.Update) bool {
	return len(u.Networks)+len(u.Hosts)+len(u.Services)+len(u.Endpoints)+len(u.Removed) == 0
}

func networkOf(n *api.Network) *fabric.Network {
	if n == nil {
		return nil
	}
	f := &fabric.Network{ID: n.ID, Name: n.Spec.Name, Internal: n.Spec.Internal, Attachable: n.Spec.Attachable, Ingress: n.Spec.Ingress}
	for i, c := range n.IPAM.Configs {
		prefix, err := netip.ParsePrefix(c.Subnet)
		if err != nil || i >= len(n.VXLAN) {
			continue // none such gets in
		}
		f.Subnets = append(f.Subnets, fabric.Subnet{Prefix: prefix.Masked(), VXLAN: n.VXLAN[i]})
	}
	if d := n.Spec.DriverConfiguration; d != nil {
		if mtu, err := strconv.ParseUint(d.Options[api.OptionMTU], 10, 16); err == nil {
			f.MTU = int(mtu)
		}
	}
	return f
}

// hostOf is nil for a node that has not said yet where it is. NB: what a node
// says of itself goes to all others here, who must be able to take it.
func hostOf(n *api.Node) *fabric.Host {
	if n == nil {
		return nil
	}
	addr, err := netip.ParseAddr(n.Status.Addr)
	if addr = addr.Unmap().WithZone(""); err != nil || addr.IsUnspecified() || addr.IsMulticast() {
		return nil
	}
	return &fabric.Host{ID: n.ID, Number: n.Number, Hostname: n.Hostname(), Addr: addr, Gateways: n.Gateways, Down: !there(n)}
}

// there says that a node may have containers that answer.
func there(n *api.Node) bool {
	return n != nil && n.Status.State != api.NodeDown && n.Status.State != api.NodeDisconnected
}

// serviceOf is nil for a service that is on no network of the cluster and
// publishes nothing on all nodes.
func serviceOf(v *state.View, s *api.Service) *fabric.Service {
	if s == nil {
		return nil
	}
	f := &fabric.Service{ID: s.ID, Name: s.Spec.Name, VIPs: s.Endpoint.VIPs, Ports: portsOf(s)}
	f.DNSRR = s.Spec.EndpointSpec != nil && s.Spec.EndpointSpec.Mode == swarm.ResolutionModeDNSRR
	// Nobody has a name in the ingress network: there, services do not see each other.
	f.Networks = slices.DeleteFunc(v.TaskNetworks(&s.Spec), func(id api.NetworkID) bool { return v.Network(id).Spec.Ingress })
	if len(f.Networks)+len(f.Ports) == 0 {
		return nil
	}
	f.Aliases = aliasesOf(&s.Spec, f.Networks)
	return f
}

// aliasesOf are the further names that a spec gives a service in those networks.
func aliasesOf(spec *api.ServiceSpec, networks []api.NetworkID) map[api.NetworkID][]string {
	var aliases map[api.NetworkID][]string
	for _, a := range slices.Concat(spec.TaskTemplate.Networks, spec.Networks) { //nolint:staticcheck // Networks is deprecated and still sent
		if id := api.NetworkID(a.Target); len(a.Aliases) > 0 && slices.Contains(networks, id) {
			if aliases == nil {
				aliases = map[api.NetworkID][]string{}
			}
			aliases[id] = append(aliases[id], a.Aliases...)
		}
	}
	return aliases
}

// portsOf are those that every node publishes for a service.
func portsOf(s *api.Service) []fabric.Port {
	var list []fabric.Port
	ips := setting.HostIPsOf(s.Spec.Labels)
	for _, p := range s.Endpoint.Ports {
		if p.PublishMode != swarm.PortConfigPublishModeIngress || !isPort(p.PublishedPort) || !isPort(p.TargetPort) {
			continue
		}
		protocol := cmp.Or(p.Protocol, swarm.PortConfigProtocolTCP)
		p.Protocol = protocol
		list = append(list, fabric.Port{Protocol: string(protocol), Target: uint16(p.TargetPort), Published: uint16(p.PublishedPort), HostIP: ips.Of(p)}) //nolint:gosec // checked above
	}
	return list
}

func isPort(n uint32) bool { return n > 0 && n < 1<<16 }

// endpointOf is what of that ID has addresses, or nil.
func endpointOf(v *state.View, id string) *fabric.Endpoint {
	if t := v.Task(api.TaskID(id)); t != nil {
		return endpointOfTask(v, t)
	}
	c := v.Attached(id)
	if c == nil || len(c.Networks) == 0 {
		return nil
	}
	e := &fabric.Endpoint{ID: id, Node: c.NodeID, Name: c.Name, Networks: c.Networks, Aliases: c.Aliases}
	if there(v.Node(c.NodeID)) {
		e.State = fabric.Serving
	}
	return e
}

func endpointOfTask(v *state.View, t *api.Task) *fabric.Endpoint {
	if len(t.Networks) == 0 || t.NodeID == "" || t.Status.State.Terminal() {
		return nil
	}
	spec := &v.SpecOf(t).Spec
	s := v.Service(t.ServiceID)
	hidden := s != nil && s.Hides(t.SpecVersion)
	e := &fabric.Endpoint{
		ID: string(t.ID), Service: t.ServiceID, Node: t.NodeID, Name: api.TaskName(spec, t), Slot: t.Slot,
		Networks: t.Networks, State: endpointState(t, v.Node(t.NodeID), hidden),
	}
	// One that is a template is filled in on its node.
	if c := spec.TaskTemplate.ContainerSpec; c != nil && !strings.Contains(c.Hostname, "{{") {
		e.Hostname = c.Hostname
	}
	return e
}

// endpointState says who may use a task. What is being stopped may be used by
// nobody new, and neither may what is on a node that does not answer. One of a
// hidden version can be tried by its own name, and gets no connections.
func endpointState(t *api.Task, n *api.Node, hidden bool) fabric.EndpointState {
	switch s := t.Status.State; {
	case !there(n):
		return fabric.Silent
	case s == api.TaskRunning && t.Desired <= api.TaskRunning && !hidden:
		return fabric.Serving
	case (s == api.TaskStarting || s == api.TaskRunning) && t.Wanted():
		return fabric.Starting
	}
	return fabric.Silent
}
