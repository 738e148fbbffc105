package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// Explain says in sentences what a container in some networks, the one that it
// asks through first, is told about a name, and why.
func Explain(set *fabric.Set, networks []api.NetworkID, name string) []string {
	x := &explanation{set: set, name: canonical(name)}
	for _, id := range networks {
		if n := set.Networks[id]; n != nil {
			x.networks = append(x.networks, n)
		} else {
			x.say("this node does not know of network %s", id)
		}
	}
	if len(x.networks) == 0 {
		x.say("the asker is in no network of the cluster: it is told no names of it")
		return x.lines
	}
	x.networks = inOrder(x.networks, x.networks[0])
	n, r := newBuilder("").apply(set, nil).lookup(x.networks, x.name)
	if r == nil {
		x.unknown()
		return x.lines
	}
	x.say("%q is known in network %s, the first that has it of those of the asker: %s", x.name, n.Name, list(x.networks, nameOf))
	for _, c := range r.claims {
		x.claim(n, r, c)
	}
	x.say("the answer: %s", orNothing(once(append(slices.Clone(r.v4), r.v6...))))
	return x.lines
}

type explanation struct {
	set      *fabric.Set
	networks []*fabric.Network
	name     string
	lines    []string
}

func (x *explanation) say(format string, args ...any) {
	x.lines = append(x.lines, fmt.Sprintf(format, args...))
}

// claim says who is called so.
func (x *explanation) claim(n *fabric.Network, r *record, c claim) {
	if s := x.set.Services[api.ServiceID(c.owner)]; s != nil {
		x.service(n, s)
		return
	}
	e := x.set.Endpoints[c.owner]
	switch best := slices.MinFunc(r.claims, byRank).rank; {
	case c.rank > best && c.rank == byHostname:
		x.say("%s calls its host so, and is left out: others have it as their name", x.endpoint(e))
	case c.rank > best:
		x.say("%s is left out: it does not serve, and another task in its slot does", x.endpoint(e))
	default:
		x.say("%s: %s", x.endpoint(e), orNothing(c.addrs))
	}
}

// service says what a service's name stands for, and which of its tasks are
// behind it.
func (x *explanation) service(n *fabric.Network, s *fabric.Service) {
	from, vip := fabric.Serving, fabric.In(s.VIPs, n.ID)
	virtual := vip != nil && !s.DNSRR && len(vip.Addrs) > 0
	switch {
	case strings.HasPrefix(x.name, "tasks."):
		from, virtual = fabric.Starting, false
		x.say("service %s: its tasks that have begun, healthy or not", s.Name)
	case virtual:
		x.say("service %s: its virtual address %s", s.Name, list(vip.Addrs, netip.Addr.String))
	default:
		x.say("service %s has no virtual address (endpoint mode dnsrr): its tasks that serve", s.Name)
	}
	tasks := x.tasks(s.ID, n.ID)
	behind := addresses(tasks, n.ID, from, x.down())
	for _, e := range tasks {
		if in := fabric.In(e.Networks, n.ID); slices.Contains(behind, in.Addrs[0]) {
			x.say("%s is behind it: %s", x.endpoint(e), list(in.Addrs, netip.Addr.String))
		} else {
			x.say("%s is not behind it: %s", x.endpoint(e), missing(e, from))
		}
	}
	switch {
	case len(tasks) == 0:
		x.say("none of its tasks is in network %s", n.Name)
	case len(behind) == 0 && virtual:
		x.say("nobody is behind it: connections to it are refused")
	}
}

// missing is why a task is not behind a name.
func missing(e *fabric.Endpoint, from fabric.EndpointState) string {
	switch {
	case e.State == fabric.Silent:
		return "its container is not there yet, or is being stopped"
	case e.State < from:
		return "it is starting, not healthy or of a version that gets no connections: only names with tasks. before them have it"
	}
	return "its node is down, and others are left"
}

func (x *explanation) down() map[api.NodeID]bool {
	out := map[api.NodeID]bool{}
	for id, h := range x.set.Hosts {
		out[id] = h.Down
	}
	return out
}

// unknown says what becomes of a name that none of the networks has, and who has
// it elsewhere.
func (x *explanation) unknown() {
	x.say("nobody in the asker's networks is called %q: %s", x.name, list(x.networks, nameOf))
	for _, s := range sorted(x.set.Services, func(s *fabric.Service) string { return s.Name }) {
		if canonical(s.Name) == strings.TrimPrefix(x.name, "tasks.") {
			x.say("service %s is in %s: they need a network that both are in (`docker service update --network-add`)", s.Name, x.networksOf(s.Networks))
		}
	}
	for _, e := range sorted(x.set.Endpoints, func(e *fabric.Endpoint) string { return e.Name }) {
		if canonical(e.Name) == x.name || canonical(slotName(e)) == x.name {
			x.elsewhere(e)
		}
	}
	if wayOut(x.networks) {
		x.say("it is asked of the servers that the host uses (/etc/resolv.conf)")
	} else {
		x.say("the asker is in internal networks alone, so nobody outside is asked: it is told that the lookup failed")
	}
}

func (x *explanation) elsewhere(e *fabric.Endpoint) {
	if e.State == fabric.Silent {
		x.say("%s has no name now: %s", x.endpoint(e), missing(e, fabric.Starting))
		return
	}
	var ids []api.NetworkID
	for _, in := range e.Networks {
		ids = append(ids, in.Network)
	}
	x.say("%s is in %s", x.endpoint(e), x.networksOf(ids))
}

func (x *explanation) endpoint(e *fabric.Endpoint) string {
	kind, node := "task", string(e.Node)
	if e.Service == "" {
		kind = "container"
	}
	if h := x.set.Hosts[e.Node]; h != nil {
		node = h.Hostname
	}
	return fmt.Sprintf("%s %s on node %s", kind, e.Name, node)
}

// tasks are those of a service that have addresses in a network.
func (x *explanation) tasks(id api.ServiceID, network api.NetworkID) []*fabric.Endpoint {
	all := sorted(x.set.Endpoints, func(e *fabric.Endpoint) string { return e.Name })
	return slices.DeleteFunc(all, func(e *fabric.Endpoint) bool {
		in := fabric.In(e.Networks, network)
		return e.Service != id || in == nil || len(in.Addrs) == 0
	})
}

func (x *explanation) networksOf(ids []api.NetworkID) string {
	if len(ids) == 0 {
		return "no network"
	}
	return "network " + list(ids, func(id api.NetworkID) string {
		if n := x.set.Networks[id]; n != nil {
			return n.Name
		}
		return string(id)
	})
}

func nameOf(n *fabric.Network) string { return n.Name }

func orNothing(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return "the name exists and has no address"
	}
	return list(addrs, netip.Addr.String)
}

func list[T any](items []T, text func(T) string) string {
	out := make([]string, 0, len(items))
	for _, i := range items {
		out = append(out, text(i))
	}
	return strings.Join(out, ", ")
}

func sorted[K comparable, V any](m map[K]V, by func(V) string) []V {
	out := make([]V, 0, len(m))
	for _, v := range m {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b V) int { return strings.Compare(by(a), by(b)) })
	return out
}
