package dockerapi

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// serviceTrace says step by step how a connection to a service goes, and where
// it breaks: what the cluster has decided first, then what the node has of it.
func (a *API) serviceTrace(w http.ResponseWriter, r *http.Request) error {
	view, s, err := found(a, r, (*state.View).FindService)
	if err != nil {
		return err
	}
	t := &trace{view: view, service: s}
	if err := t.from(r.URL.Query().Get("from"), a.cfg.Node.ID()); err != nil {
		return err
	}
	if err := t.to(r.URL.Query().Get("port")); err != nil {
		return err
	}
	t.decide()
	for i := range t.looks {
		a.askLook(r, t, &t.looks[i])
	}
	return writeJSON(w, http.StatusOK, t.steps)
}

// trace is the way to a service, as far as it has been gone.
type trace struct {
	view    *state.View
	service *api.Service
	node    *api.Node // where the connection begins
	port    uint32    // 0: any
	steps   []api.TraceStep
	looks   []api.TraceRequest // what the node is to be asked
}

func (t *trace) from(ref string, self api.NodeID) (err error) {
	if ref == "" {
		ref = string(self)
	}
	t.node, err = t.view.FindNode(ref)
	return err
}

func (t *trace) to(port string) error {
	if port == "" {
		return nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return api.Errorf(api.CodeInvalid, "port %q: give a number from 1 to 65535, as in SERVICE:8080", port)
	}
	t.port = uint32(n)
	return nil
}

func (t *trace) step(node *api.Node, what string, ok bool, format string, args ...any) {
	s := api.TraceStep{What: what, OK: ok, Text: fmt.Sprintf(format, args...)}
	if node != nil {
		s.Node = node.Hostname()
	}
	t.steps = append(t.steps, s)
}

// decide is all that follows from the state.
func (t *trace) decide() {
	t.step(t.node, "node", t.node.Status.State == api.NodeReady, "node %s is %s", t.node.Hostname(), cmp.Or(t.node.Status.State, "unknown"))
	networks := t.view.TaskNetworks(&t.service.Spec)
	ports := t.published()
	if len(networks) == 0 {
		t.step(nil, "network", len(ports) == 0, "service %s is on no network of the cluster: nobody reaches it but on the nodes of its tasks, by ports published with mode=host", t.service.Name())
		return
	}
	serving := t.backends()
	for _, id := range networks {
		n := t.view.Network(id)
		switch {
		case n == nil:
			t.step(nil, "network", false, "network %s has been removed", id)
		case n.Spec.Ingress:
			t.throughIngress(n, ports, serving)
		case t.port == 0 || len(ports) == 0:
			t.throughName(n, serving)
		}
	}
}

// published are the ports of the service that every node answers at and that
// the trace is about.
func (t *trace) published() (out []swarm.PortConfig) {
	for _, p := range t.service.Endpoint.Ports {
		if p.PublishMode == swarm.PortConfigPublishModeIngress && (t.port == 0 || t.port == p.PublishedPort) {
			out = append(out, p)
		}
	}
	return out
}

// backends tells of every task that is meant to run, and returns those that
// get connections.
func (t *trace) backends() (serving []*api.Task) {
	tasks := slices.SortedFunc(t.view.ServiceTasks(t.service.ID), func(a, b *api.Task) int {
		return cmp.Compare(t.view.TaskName(a), t.view.TaskName(b))
	})
	for _, task := range tasks {
		node := t.view.Node(task.NodeID)
		switch {
		case !task.Live():
			continue
		case node == nil:
			t.step(nil, "backend", false, "%s has no node: %s: `swarmctl task explain %s` says why", placeOf(t.view, task), task.Status.State, task.ID)
		case task.Status.State != api.TaskRunning:
			t.step(node, "backend", false, "%s is %s: it gets no connections yet", placeOf(t.view, task), task.Status.State)
		case node.Status.State != api.NodeReady:
			t.step(node, "backend", false, "%s runs, and its node is %s", placeOf(t.view, task), node.Status.State)
		case t.service.Hides(task.SpecVersion):
			t.step(node, "backend", true, "%s runs on the side: %s", placeOf(t.view, task), t.service.CanaryNote(task.SpecVersion))
		default:
			t.step(node, "backend", true, "%s runs and is healthy, with %s", placeOf(t.view, task), t.addressesOf(task))
			serving = append(serving, task)
		}
	}
	if len(serving) == 0 {
		t.step(nil, "backend", false, "no task of service %s serves: callers are refused", t.service.Name())
	}
	return serving
}

func (t *trace) addressesOf(task *api.Task) string {
	var out []string
	for _, at := range task.Networks {
		if n := t.view.Network(at.Network); n != nil {
			out = append(out, strings.Join(addresses(n, at.Addrs), ", ")+" in "+n.Spec.Name)
		}
	}
	return strings.Join(out, "; ")
}

// throughName is the way of a container on the same network.
func (t *trace) throughName(n *api.Network, serving []*api.Task) {
	name := t.service.Name()
	if vip := fabric.In(t.service.Endpoint.VIPs, n.ID); vip != nil {
		t.step(nil, "name", true, "containers on network %s find %s at the virtual address %s", n.Spec.Name, name, joined(vip))
	} else if e := t.service.Spec.EndpointSpec; e != nil && e.Mode == swarm.ResolutionModeDNSRR {
		t.step(nil, "name", len(serving) > 0, "containers on network %s find %s at the addresses of its %d serving tasks (endpoint mode dnsrr)", n.Spec.Name, name, len(serving))
	} else {
		t.step(nil, "name", false, "service %s has no virtual address in network %s", name, t.view.AddressSpace(n.ID))
	}
	if !t.onNode(n) {
		t.step(t.node, "network", false, "node %s has no part of network %s, since no task or container of it is there: --from another node", t.node.Hostname(), n.Spec.Name)
		return
	}
	t.step(t.node, "network", true, "node %s has network %s, with the address %s", t.node.Hostname(), n.Spec.Name, joined(fabric.In(t.node.Gateways, n.ID)))
	t.ask(n, serving, nil)
}

// throughIngress is the way of a client of a published port.
func (t *trace) throughIngress(n *api.Network, ports []swarm.PortConfig, serving []*api.Task) {
	if len(ports) == 0 {
		if t.port != 0 {
			t.step(nil, "port", true, "port %d is none that service %s publishes: it is taken for one of its containers", t.port, t.service.Name())
		}
		return
	}
	var texts []string
	for _, p := range ports {
		texts = append(texts, fmt.Sprintf("%d/%s", p.PublishedPort, p.Protocol))
		t.step(nil, "port", true, "every node answers at port %d/%s and hands on to port %d of the tasks", p.PublishedPort, p.Protocol, p.TargetPort)
	}
	if !t.onNode(n) {
		t.step(t.node, "network", false, "node %s has no address in network %s yet", t.node.Hostname(), n.Spec.Name)
		return
	}
	t.ask(n, serving, texts)
}

func (t *trace) onNode(n *api.Network) bool {
	at := fabric.In(t.node.Gateways, n.ID)
	return at != nil && len(at.Addrs) > 0
}

// ask notes what the node is to be asked, for a way that leads to serving tasks.
func (t *trace) ask(n *api.Network, serving []*api.Task, published []string) {
	q := api.TraceRequest{Network: n.ID, Service: t.service.ID, Published: published}
	for _, task := range serving {
		node := t.view.Node(task.NodeID)
		if node.ID == t.node.ID {
			continue
		}
		if at := fabric.In(node.Gateways, n.ID); at == nil || len(at.Addrs) == 0 {
			t.step(node, "network", false, "node %s runs a task and has no address in network %s", node.Hostname(), n.Spec.Name)
			continue
		}
		if to := targetOf(n.ID, node); !slices.Contains(q.Gateways, to) {
			q.Gateways = append(q.Gateways, to)
		}
	}
	t.looks = append(t.looks, q)
}

func joined(at *api.Attachment) string {
	var out []string
	for _, a := range at.Addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}

// askLook has the node go through its own steps.
func (a *API) askLook(r *http.Request, t *trace, q *api.TraceRequest) {
	var steps []api.TraceStep
	if err := a.askNode(r.Context(), t.node.ID, "/look", q, &steps); err != nil {
		t.step(t.node, "node", false, "node %s cannot be asked for what it has of the network: %v", t.node.Hostname(), err)
		return
	}
	for _, s := range steps {
		s.Node = t.node.Hostname()
		t.steps = append(t.steps, s)
	}
}
