package dns

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// key is a name in a network, in lower case and without the dot at its end.
type key struct {
	network api.NetworkID
	name    string
}

// rank says how good a claim to a name is. Of those that claim a name the ones
// with the best claim are answered with, all of them.
type rank uint8

const (
	byName     rank = iota // services and containers by names and aliases
	byNext                 // web.1 while it is starting: what serves in the slot goes first
	byHostname             // nobody checks what users call their hosts
)

// claim is what a service, a task or an attached container wants a name to
// stand for. One with no addresses says that there is such a name.
type claim struct {
	owner string // the ID of the service or endpoint
	rank  rank
	addrs []netip.Addr
}

// claims takes them up.
type claims func(k key, c claim)

// put claims a name as it is in specs.
func (add claims) put(network api.NetworkID, name string, c claim) {
	if name = canonical(name); name != "" {
		add(key{network, name}, c)
	}
}

func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// service claims the names of a service in all of its networks: its own and
// its aliases for its virtual addresses or, where it has none, for the tasks
// that serve; the same after "tasks." for all that have begun.
func (add claims) service(s *fabric.Service, tasks []*fabric.Endpoint, doubted map[api.NodeID]bool) {
	for _, network := range s.Networks {
		all := addresses(tasks, network, fabric.Starting, doubted)
		main := all
		switch vip := fabric.In(s.VIPs, network); {
		case vip != nil && !s.DNSRR && len(vip.Addrs) > 0:
			main = vip.Addrs
		default:
			main = addresses(tasks, network, fabric.Serving, doubted)
		}
		for _, name := range names(s.Name, s.Aliases[network]) {
			add.put(network, name, claim{owner: string(s.ID), addrs: main})
			add.put(network, "tasks."+name, claim{owner: string(s.ID), addrs: all})
		}
	}
}

// endpoint claims the names of one task or attached container.
func (add claims) endpoint(e *fabric.Endpoint) {
	if e.State == fabric.Silent {
		return
	}
	for _, in := range e.Networks {
		c := claim{owner: e.ID, addrs: in.Addrs}
		own := names(e.Name, e.Aliases[in.Network])
		for _, name := range own {
			add.put(in.Network, name, c)
		}
		if slot := slotName(e); slot != "" {
			if e.State == fabric.Starting {
				c.rank = byNext
			}
			add.put(in.Network, slot, c)
			own = append(own, slot)
		}
		if !containsFold(own, e.Hostname) {
			c.rank = byHostname
			add.put(in.Network, e.Hostname, c)
		}
	}
}

// slotName is web.1 for the task web.1.<id>, and web.<node> for one of a
// global service; empty for attached containers.
func slotName(e *fabric.Endpoint) string {
	name, ok := strings.CutSuffix(e.Name, "."+e.ID)
	if !ok || e.Service == "" {
		return ""
	}
	return name
}

// names is a name with its aliases, each once.
func names(name string, aliases []string) []string {
	out := []string{name}
	for _, a := range aliases {
		if !containsFold(out, a) {
			out = append(out, a)
		}
	}
	return out
}

func containsFold(list []string, name string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, name) })
}

// addresses are those in a network of the tasks that have come as far as a
// state. Those on hosts that are doubted are left out, unless none would be
// left: a doubt is more often wrong than all tasks are gone.
func addresses(tasks []*fabric.Endpoint, network api.NetworkID, from fabric.EndpointState, doubted map[api.NodeID]bool) []netip.Addr {
	var sure, all []netip.Addr
	for _, e := range tasks {
		in := fabric.In(e.Networks, network)
		if e.State < from || in == nil {
			continue
		}
		all = append(all, in.Addrs...)
		if !doubted[e.Node] {
			sure = append(sure, in.Addrs...)
		}
	}
	if len(sure) == 0 {
		return all
	}
	return sure
}

// record is what a name stands for.
type record struct {
	claims []claim // by owner, for the next change
	v4, v6 []netip.Addr
}

// newRecord is what is left of claims to one name, nil if nobody claims it.
func newRecord(list []claim) *record {
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, func(a, b claim) int { return cmp.Compare(a.owner, b.owner) })
	r := &record{claims: list}
	best := slices.MinFunc(list, byRank).rank
	for _, c := range list {
		if c.rank == best {
			r.add(c.addrs)
		}
	}
	if len(list) > 1 {
		r.v4, r.v6 = once(r.v4), once(r.v6)
	}
	return r
}

func byRank(a, b claim) int { return cmp.Compare(a.rank, b.rank) }

func (r *record) add(addrs []netip.Addr) {
	for _, a := range addrs {
		if a.Is4() {
			r.v4 = append(r.v4, a)
		} else {
			r.v6 = append(r.v6, a)
		}
	}
}

func once(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}
