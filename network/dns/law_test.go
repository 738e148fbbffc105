package dns

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	mdns "github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// A fabric of few names in few networks, so that they meet.
var (
	drawNetwork = rapid.SampledFrom([]string{"n0", "n1", "n2", "ingress"})
	drawName    = rapid.SampledFrom([]string{"a", "b", "A", "a.1", "tasks.a", "n1", "a.n1"})
	drawNode    = rapid.SampledFrom([]string{self, "m", "o"})
)

// drawAttachments gives the owner with a number its address in some networks: no
// two have the same.
func drawAttachments(t *rapid.T, host int) (out []api.Attachment, aliases map[api.NetworkID][]string) {
	aliases = map[api.NetworkID][]string{}
	for _, n := range rapid.SliceOfNDistinct(drawNetwork, 0, 3, rapid.ID[string]).Draw(t, "networks") {
		third := slices.Index([]string{"n0", "n1", "n2", "ingress"}, n)
		a := api.Attachment{Network: api.NetworkID(n), Addrs: []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.0.%d.%d", third, host))}}
		if rapid.Bool().Draw(t, "v6") {
			a.Addrs = append(a.Addrs, netip.MustParseAddr(fmt.Sprintf("fd00:%d::%d", third, host)))
		}
		out = append(out, a)
		aliases[a.Network] = rapid.SliceOfN(drawName, 0, 2).Draw(t, "aliases")
	}
	return out, aliases
}

// change does something to a world.
func change(t *rapid.T, w *world) {
	number := rapid.IntRange(0, 4).Draw(t, "id")
	id := fmt.Sprintf("i%d", number)
	switch rapid.IntRange(0, 5).Draw(t, "change") {
	case 0:
		s := &fabric.Service{ID: api.ServiceID(id), Name: drawName.Draw(t, "name"), DNSRR: rapid.Bool().Draw(t, "dnsrr")}
		s.VIPs, s.Aliases = drawAttachments(t, 1+number)
		for _, v := range s.VIPs {
			s.Networks = append(s.Networks, v.Network)
		}
		w.set.Services[s.ID] = s
	case 1, 2:
		e := &fabric.Endpoint{
			ID: "e" + id, Name: drawName.Draw(t, "name"), Node: api.NodeID(drawNode.Draw(t, "node")),
			State: fabric.EndpointState(rapid.IntRange(0, 2).Draw(t, "state")), Hostname: drawName.Draw(t, "hostname"),
		}
		var aliases map[api.NetworkID][]string
		if e.Networks, aliases = drawAttachments(t, 11+number); rapid.Bool().Draw(t, "task") {
			e.Service, e.Name = api.ServiceID(fmt.Sprintf("i%d", rapid.IntRange(0, 4).Draw(t, "service"))), e.Name+".1."+e.ID
		} else {
			e.Aliases = aliases
		}
		w.set.Endpoints[e.ID] = e
	case 3:
		w.do("remove " + id)
	case 4:
		w.do("remove e" + id)
	case 5:
		w.do("suspect " + drawNode.Draw(t, "suspect"))
	}
}

func drawnWorld() *world {
	return newWorld(
		"network n0 10.0.0.0/24 fd00:0::/32", "network n1 10.0.1.0/24 fd00:1::/32 internal",
		"network n2 10.0.2.0/24 fd00:2::/32", "network ingress 10.0.3.0/24 fd00:3::/32 ingress",
		"host "+self+" n0=10.0.0.254 n1=10.0.1.254 n2=10.0.2.254 ingress=10.0.3.254", "host m", "host o down",
	)
}

var names4law = []string{"a", "b", "tasks.a", "tasks.b", "a.1", "a.1.ei1", "a.n1", "tasks.a.n2", "tasks.tasks.a", "n1", "c"}

// Whatever the fabric and whoever asks: an address that is answered is in a
// network of the asker, and the name is one that somebody in that network has.
func TestNamesNeverResolveAcrossNetworks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawnWorld()
		for range rapid.IntRange(1, 25).Draw(t, "changes") {
			change(t, w)
		}
		table := w.table()
		for _, e := range w.set.Endpoints {
			for _, in := range e.Networks {
				for _, name := range names4law {
					checkScope(t, w, table, e, w.gateway(string(in.Network)), in.Addrs[0], name)
				}
			}
		}
	})
}

func checkScope(t *rapid.T, w *world, table *table, e *fabric.Endpoint, gateway, from netip.Addr, name string) {
	for _, qtype := range []string{"A", "AAAA"} {
		m := table.answer(table.asker(gateway, from).networks, question(name, qtype), mdns.MaxMsgSize)
		if m == nil {
			continue
		}
		for _, rr := range m.Answer {
			a := addrIn(rr)
			if !slices.ContainsFunc(e.Networks, func(in api.Attachment) bool {
				return w.set.Networks[in.Network].Contains(a) && has(w.set, in.Network, a)
			}) {
				t.Fatalf("%s, which is in %v, is told that %s is %s", from, e.Networks, name, a)
			}
		}
	}
}

func addrIn(rr mdns.RR) netip.Addr {
	var a netip.Addr
	switch rr := rr.(type) {
	case *mdns.A:
		a, _ = netip.AddrFromSlice(rr.A)
	case *mdns.AAAA:
		a, _ = netip.AddrFromSlice(rr.AAAA)
	}
	return a.Unmap()
}

// has reports whether somebody in a network has an address.
func has(set *fabric.Set, network api.NetworkID, a netip.Addr) bool {
	in := func(list []api.Attachment) bool {
		at := fabric.In(list, network)
		return at != nil && slices.Contains(at.Addrs, a)
	}
	for _, s := range set.Services {
		if in(s.VIPs) {
			return true
		}
	}
	for _, e := range set.Endpoints {
		if e.State != fabric.Silent && in(e.Networks) {
			return true
		}
	}
	return false
}

// However a fabric came about, change by change or all at once: the answers are
// those of what it is.
func TestChangesMakeWhatTheWholeMakes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawnWorld()
		for range rapid.IntRange(1, 40).Draw(t, "changes") {
			change(t, w)
			if rapid.Bool().Draw(t, "apply") {
				w.table()
			}
		}
		changed := w.table()
		whole := newBuilder(self).apply(w.set, w.suspects)
		sameNames(t, flat(changed.names), flat(whole.names))
		byOwner := func(a, b holder) bool { return a.owner == b.owner && a.name == b.name }
		if a, b := flat(changed.holders), flat(whole.holders); !maps.EqualFunc(a, b, byOwner) {
			t.Fatalf("addresses are held by %v, where the whole says %v", a, b)
		}
	})
}

func flat[K comparable, V any](b *book[K, V]) map[K]V {
	out := map[K]V{}
	for _, p := range b.pages {
		maps.Copy(out, p)
	}
	if len(out) != b.size {
		panic("a book miscounts")
	}
	return out
}

func sameNames(t *rapid.T, got, want map[key]*record) {
	for k, r := range got {
		if want[k] == nil {
			t.Fatalf("%v is %v, where the whole says nothing", k, r)
		}
	}
	for k, r := range want {
		g := got[k]
		if g == nil {
			t.Fatalf("%v is unknown, where the whole says %v", k, r)
		}
		if !slices.Equal(once(slices.Clone(g.v4)), once(slices.Clone(r.v4))) || !slices.Equal(once(slices.Clone(g.v6)), once(slices.Clone(r.v6))) || len(g.claims) != len(r.claims) {
			t.Fatalf("%v is %v, where the whole says %v", k, g, r)
		}
	}
}

// A book is a map that an edit leaves alone.
func TestBooksAreMapsThatNeverChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, model := newBook[int, int](), map[int]int{}
		for range rapid.IntRange(1, 5).Draw(t, "edits") {
			before, e := flat(b), b.edit()
			for range rapid.IntRange(0, 200).Draw(t, "writes") {
				k := rapid.IntRange(0, 300).Draw(t, "key")
				if rapid.IntRange(0, 3).Draw(t, "drop") == 0 {
					e.drop(k)
					delete(model, k)
					continue
				}
				v := rapid.Int().Draw(t, "value")
				e.set(k, v)
				model[k] = v
			}
			if !maps.Equal(flat(b), before) {
				t.Fatal("an edit changed the book that it began with")
			}
			if b = e.done(); !maps.Equal(flat(b), model) {
				t.Fatalf("got %v, want %v", flat(b), model)
			}
		}
	})
}

func TestReverseNamesAreParsed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes")
		a, _ := netip.AddrFromSlice(b[:rapid.SampledFrom([]int{4, 16}).Draw(t, "size")])
		name, err := mdns.ReverseAddr(a.String())
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := parseReverse(canonical(name)); !ok || got.Unmap() != a.Unmap() {
			t.Fatalf("%s is parsed as %v", name, got)
		}
	})
}
