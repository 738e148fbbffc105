package dns

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// builder makes tables. It remembers what the last one was made from, so that a
// change costs what it touches and not the size of the cluster.
type builder struct {
	table     *table
	services  map[api.ServiceID]*fabric.Service
	endpoints map[string]*fabric.Endpoint
	tasks     map[api.ServiceID]map[string]*fabric.Endpoint
	doubted   map[api.NodeID]bool
	claimed   map[string][]key   // by owner
	held      map[string][]place // by owner
}

func newBuilder(self api.NodeID) *builder {
	return &builder{
		table:    &table{self: self, names: newBook[key, *record](), holders: newBook[place, holder]()},
		services: map[api.ServiceID]*fabric.Service{}, endpoints: map[string]*fabric.Endpoint{},
		tasks:   map[api.ServiceID]map[string]*fabric.Endpoint{},
		claimed: map[string][]key{}, held: map[string][]place{},
	}
}

// apply makes the table of a fabric. Nodes that suspect is true of are doubted.
func (b *builder) apply(set *fabric.Set, suspect func(api.NodeID) bool) *table {
	d := dirty{services: map[api.ServiceID]bool{}, endpoints: map[string]bool{}}
	b.doubt(set, suspect, d)
	b.takeServices(set, d)
	b.takeEndpoints(set, d)
	next := *b.table
	next.networks = maps.Clone(set.Networks)
	next.gateways = gateways(set.Hosts[b.table.self])
	if len(d.services)+len(d.endpoints) > 0 {
		next.names, next.holders = b.claimNames(d), b.hold(d)
	}
	b.table = &next
	return b.table
}

// dirty is what has to be looked at again.
type dirty struct {
	services  map[api.ServiceID]bool
	endpoints map[string]bool
}

// doubt notes which nodes are doubted or down, and whose tasks' services have
// to be looked at for it.
func (b *builder) doubt(set *fabric.Set, suspect func(api.NodeID) bool, d dirty) {
	doubted := map[api.NodeID]bool{}
	for id, h := range set.Hosts {
		if h.Down || suspect != nil && suspect(id) {
			doubted[id] = true
		}
	}
	if !maps.Equal(doubted, b.doubted) {
		for _, e := range b.endpoints {
			if doubted[e.Node] != b.doubted[e.Node] {
				d.services[e.Service] = true
			}
		}
	}
	b.doubted = doubted
}

func (b *builder) takeServices(set *fabric.Set, d dirty) {
	for id, s := range set.Services {
		if old := b.services[id]; old != s {
			b.services[id] = s
			// A full set from another manager is mostly what is known already.
			if old == nil || !reflect.DeepEqual(old, s) {
				d.services[id] = true
			}
		}
	}
	if len(b.services) > len(set.Services) {
		for id := range b.services {
			if set.Services[id] == nil {
				delete(b.services, id)
				d.services[id] = true
			}
		}
	}
}

func (b *builder) takeEndpoints(set *fabric.Set, d dirty) {
	for id, e := range set.Endpoints {
		if old := b.endpoints[id]; old != e {
			b.replace(id, e)
			if old == nil || !reflect.DeepEqual(old, e) {
				d.changed(id, old, e)
			}
		}
	}
	if len(b.endpoints) > len(set.Endpoints) {
		for id, old := range b.endpoints {
			if set.Endpoints[id] == nil {
				b.replace(id, nil)
				d.changed(id, old, nil)
			}
		}
	}
}

func (d dirty) changed(id string, versions ...*fabric.Endpoint) {
	d.endpoints[id] = true
	for _, e := range versions {
		if e != nil && e.Service != "" {
			d.services[e.Service] = true
		}
	}
}

// replace keeps endpoints by ID and by service; nil takes one away.
func (b *builder) replace(id string, e *fabric.Endpoint) {
	if old := b.endpoints[id]; old != nil {
		delete(b.endpoints, id)
		delete(b.tasks[old.Service], id)
		if len(b.tasks[old.Service]) == 0 {
			delete(b.tasks, old.Service)
		}
	}
	if e == nil {
		return
	}
	b.endpoints[id] = e
	if b.tasks[e.Service] == nil {
		b.tasks[e.Service] = map[string]*fabric.Endpoint{}
	}
	b.tasks[e.Service][id] = e
}

// claimNames makes the claims of what is dirty anew. All claims to a name are
// collected first, so that one which thousands share is made once.
func (b *builder) claimNames(d dirty) *book[key, *record] {
	e := b.table.names.edit()
	touched := map[key][]claim{}
	current := func(k key) []claim {
		list, ok := touched[k]
		if r, _ := e.get(k); !ok && r != nil {
			list = slices.Clone(r.claims)
		}
		return list
	}
	withdraw := func(owner string) {
		for _, k := range b.claimed[owner] {
			touched[k] = slices.DeleteFunc(current(k), func(c claim) bool { return c.owner == owner })
		}
		delete(b.claimed, owner)
	}
	add := claims(func(k key, c claim) {
		touched[k] = append(current(k), c)
		b.claimed[c.owner] = append(b.claimed[c.owner], k)
	})
	for id := range d.services {
		withdraw(string(id))
		if s := b.services[id]; s != nil {
			add.service(s, slices.Collect(maps.Values(b.tasks[id])), b.doubted)
		}
	}
	for id := range d.endpoints {
		withdraw(id)
		if ep := b.endpoints[id]; ep != nil {
			add.endpoint(ep)
		}
	}
	for k, list := range touched {
		if r := newRecord(list); r != nil {
			e.set(k, r)
		} else {
			e.drop(k)
		}
	}
	return e.done()
}

// hold says anew which addresses those that are dirty have. All are taken away
// first: an address may go from one to another in a single change.
func (b *builder) hold(d dirty) *book[place, holder] {
	e := b.table.holders.edit()
	for id := range d.services {
		b.release(e, string(id))
	}
	for id := range d.endpoints {
		b.release(e, id)
	}
	for id := range d.services {
		if s := b.services[id]; s != nil {
			b.take(e, s.VIPs, holder{owner: string(id), name: s.Name})
		}
	}
	for id := range d.endpoints {
		if ep := b.endpoints[id]; ep != nil {
			b.take(e, ep.Networks, holder{owner: id, name: ep.Name, endpoint: ep})
		}
	}
	return e.done()
}

func (b *builder) release(e *edit[place, holder], owner string) {
	for _, p := range b.held[owner] {
		if h, _ := e.get(p); h.owner == owner {
			e.drop(p)
		}
	}
	delete(b.held, owner)
}

func (b *builder) take(e *edit[place, holder], networks []api.Attachment, h holder) {
	for _, in := range networks {
		for _, a := range in.Addrs {
			p := place{in.Network, a}
			e.set(p, h)
			b.held[h.owner] = append(b.held[h.owner], p)
		}
	}
}

func gateways(self *fabric.Host) map[netip.Addr]api.NetworkID {
	out := map[netip.Addr]api.NetworkID{}
	if self == nil {
		return out
	}
	for _, in := range self.Gateways {
		for _, a := range in.Addrs {
			out[a] = in.Network
		}
	}
	return out
}
