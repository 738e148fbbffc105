package balance

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/nft"
	"github.com/swarmctl/swarmctl/network/nft/world"
)

// text is a plan as a person would write it down.
func text(p *plan) string {
	var lines []string
	for id, n := range p.networks {
		for _, targets := range []nft.Targets{n.v4, n.v6} {
			for key, t := range targets {
				vip, _ := netip.AddrFromSlice([]byte(key))
				lines = append(lines, fmt.Sprintf("%s %s %s -> %s", id, vip, t.Comment, join(t.To)))
			}
		}
	}
	if p.ways != nil {
		for _, h := range p.ways.hosts {
			lines = append(lines, fmt.Sprintf("%s host %d %x by %s", p.ways.network, h.number, h.mac, h.gateways[0]))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func join(list []netip.Addr) string {
	if len(list) == 0 {
		return "refused"
	}
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

func example() fabric.Update {
	return fabric.Update{
		Networks: []*fabric.Network{world.Net("front", "10.0.1.0/24"), world.Net("back", "10.0.2.0/24"), world.Ingress("ingress", "10.0.0.0/24")},
		Hosts: []*fabric.Host{
			{ID: "n1", Number: 1, Gateways: []api.Attachment{world.At("ingress", "10.0.0.11")}},
			{ID: "n2", Number: 2, Gateways: []api.Attachment{world.At("ingress", "10.0.0.12"), world.At("front", "10.0.1.12")}},
			{ID: "n3", Number: 3},
		},
		Services: []*fabric.Service{
			{ID: "s1", Name: "web", VIPs: []api.Attachment{world.At("front", "10.0.1.2", "fd00:1::2"), world.At("back", "10.0.2.2"), world.At("ingress", "10.0.0.2")}},
			{ID: "s2", Name: "db", VIPs: []api.Attachment{world.At("back", "10.0.2.3")}},
		},
		Endpoints: []*fabric.Endpoint{
			world.Task("t1", "s1", "n1", fabric.Serving, world.At("front", "10.0.1.5", "fd00:1::5"), world.At("back", "10.0.2.5"), world.At("ingress", "10.0.0.5")),
			world.Task("t2", "s1", "n2", fabric.Serving, world.At("front", "10.0.1.6"), world.At("back", "10.0.2.6")),
			world.Task("t3", "s1", "n2", fabric.Starting, world.At("front", "10.0.1.7"), world.At("back", "10.0.2.7")),
			world.Task("t4", "s1", "n1", fabric.Silent, world.At("front", "10.0.1.8"), world.At("back", "10.0.2.8")),
			world.Task("t5", "s2", "n1", fabric.Silent, world.At("back", "10.0.2.9")),
			world.Task("c1", "", "n1", fabric.Serving, world.At("back", "10.0.2.10")),
		},
	}
}

func TestAVirtualAddressStandsForTheServingTasksOfItsNetwork(t *testing.T) {
	nobody := func(api.NodeID) bool { return false }
	hosts := `
ingress host 1 02420a00000b by 10.0.0.11
ingress host 2 02420a00000c by 10.0.0.12`
	for _, c := range []struct {
		name    string
		change  func(*fabric.Update)
		suspect func(api.NodeID) bool
		want    string
	}{
		{"healthy tasks alone, each by its address in that network", func(*fabric.Update) {}, nobody, `
back 10.0.2.2 web -> 10.0.2.5 10.0.2.6
back 10.0.2.3 db -> refused
front 10.0.1.2 web -> 10.0.1.5 10.0.1.6
front fd00:1::2 web -> fd00:1::5` + hosts},
		{"a doubted host's are out", func(*fabric.Update) {}, func(id api.NodeID) bool { return id == "n1" }, `
back 10.0.2.2 web -> 10.0.2.6
back 10.0.2.3 db -> refused
front 10.0.1.2 web -> 10.0.1.6
front fd00:1::2 web -> refused` + hosts},
		{"unless nobody would be left", func(*fabric.Update) {}, func(api.NodeID) bool { return true }, `
back 10.0.2.2 web -> 10.0.2.5 10.0.2.6
back 10.0.2.3 db -> refused
front 10.0.1.2 web -> 10.0.1.5 10.0.1.6
front fd00:1::2 web -> fd00:1::5` + hosts},
		{"a host that is down is doubted", func(u *fabric.Update) { u.Hosts[1].Down = true }, nobody, `
back 10.0.2.2 web -> 10.0.2.5
back 10.0.2.3 db -> refused
front 10.0.1.2 web -> 10.0.1.5
front fd00:1::2 web -> fd00:1::5` + hosts},
		{"without an ingress network there are no ways back", func(u *fabric.Update) {
			u.Networks = u.Networks[:2]
			u.Services = u.Services[1:]
		}, nobody, `
back 10.0.2.3 db -> refused`},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := example()
			c.change(&u)
			got := text(newPlan(nil, world.Set(u), c.suspect, "n1"))
			if d := cmp.Diff(strings.TrimSpace(c.want), got); d != "" {
				t.Errorf("want (-), got (+):\n%s", d)
			}
		})
	}
}

func TestWhatIsTheSameInTwoPlansIsNotTouched(t *testing.T) {
	u := example()
	first := newPlan(nil, world.Set(u), nil, "n1")
	u.Endpoints[4] = world.Task("t5", "s2", "n1", fabric.Serving, world.At("back", "10.0.2.9"))
	second := newPlan(first, world.Set(u), nil, "n1")
	if first.networks["front"] != second.networks["front"] || first.ways != second.ways {
		t.Error("a network without a change, or the ways, are others")
	}
	change := nft.Diff(first.networks["back"].v4, second.networks["back"].v4)
	if len(change.Added)+len(change.Removed) != 0 || len(change.Changed) != 1 || change.Changed[0].New.Comment != "db" {
		t.Errorf("the change is %+v, want db alone", change)
	}
}

func TestAContainerSeesItsOwnNetworksAlone(t *testing.T) {
	p := newPlan(nil, world.Set(example()), nil, "n1")
	v := p.of([]api.Attachment{world.At("front", "10.0.1.6")})
	if len(v.networks) != 1 || v.networks[0] != p.networks["front"] || v.ways != nil {
		t.Errorf("on front it sees %+v", v)
	}
	if v := p.of([]api.Attachment{world.At("back", "10.0.2.5"), world.At("ingress", "10.0.0.5")}); v.ways == nil || v.networks[1] != nil {
		t.Errorf("on back and ingress it sees %+v", v)
	}
}

// model is a table that does what it is told.
type model map[string]*nft.Target

func (m model) apply(t *rapid.T, c nft.Change) {
	for _, n := range c.Added {
		if m[n.Key] != nil {
			t.Fatalf("%s is added and was there", n.Chain)
		}
		m[n.Key] = n
	}
	for _, o := range c.Removed {
		if m[o.Key] == nil {
			t.Fatalf("%s is removed and was not there", o.Chain)
		}
		delete(m, o.Key)
	}
	for _, p := range c.Changed {
		if m[p.Old.Key] != p.Old {
			t.Fatalf("%s is swapped for what was not there", p.Old.Chain)
		}
		m[p.New.Key] = p.New
	}
}

func TestEveryBalancerConvergesToTheHealthyTasks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set, table := fabric.NewSet(), model{}
		var last *plan
		var doubted api.NodeID
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			set = set.Clone()
			set.Apply(drawUpdate(t, set.Index+1))
			doubted = api.NodeID(rapid.SampledFrom([]string{"", "n0", "n1", "n2"}).Draw(t, "doubted"))
			next := newPlan(last, set, func(id api.NodeID) bool { return id == doubted }, "n0")
			var old *network
			if last != nil {
				old = last.networks["net"]
			}
			table.apply(t, nft.Diff(old.of(false), next.networks["net"].of(false)))
			last = next
		}
		for _, s := range set.Services {
			vip := s.VIPs[0].Addrs[0]
			if got, want := table[string(vip.AsSlice())], healthy(set, s.ID, doubted); got == nil || !slices.Equal(got.To, want) {
				t.Fatalf("%s goes to %+v, want %v", s.Name, got, want)
			}
		}
		if len(table) != len(set.Services) {
			t.Fatalf("%d services are answered of %d", len(table), len(set.Services))
		}
	})
}

// healthy says the same as the planner in another way.
func healthy(set *fabric.Set, id api.ServiceID, doubted api.NodeID) []netip.Addr {
	var all, sure []netip.Addr
	for _, e := range set.Endpoints {
		if e.Service == id && e.State == fabric.Serving {
			all = append(all, e.Networks[0].Addrs[0])
			if e.Node != doubted {
				sure = append(sure, e.Networks[0].Addrs[0])
			}
		}
	}
	if len(sure) == 0 {
		sure = all
	}
	slices.SortFunc(sure, netip.Addr.Compare)
	return sure
}

func drawUpdate(t *rapid.T, index uint64) *fabric.Update {
	u := &fabric.Update{Index: index, Networks: []*fabric.Network{world.Net("net", "10.0.0.0/16")}}
	for range rapid.IntRange(0, 3).Draw(t, "services") {
		n := rapid.IntRange(0, 3).Draw(t, "service")
		if rapid.Bool().Draw(t, "removed") {
			u.Removed = append(u.Removed, fmt.Sprint("s", n))
			continue
		}
		u.Services = append(u.Services, &fabric.Service{
			ID: api.ServiceID(fmt.Sprint("s", n)), Name: fmt.Sprint("name", n), VIPs: []api.Attachment{world.At("net", fmt.Sprintf("10.0.1.%d", n))},
		})
	}
	for range rapid.IntRange(0, 6).Draw(t, "tasks") {
		n := rapid.IntRange(0, 9).Draw(t, "task")
		if rapid.IntRange(0, 3).Draw(t, "gone") == 0 {
			u.Removed = append(u.Removed, fmt.Sprint("t", n))
			continue
		}
		state := rapid.SampledFrom([]fabric.EndpointState{fabric.Silent, fabric.Starting, fabric.Serving, fabric.Serving}).Draw(t, "state")
		service := rapid.IntRange(0, 3).Draw(t, "of")
		u.Endpoints = append(u.Endpoints, world.Task(fmt.Sprint("t", n), fmt.Sprint("s", service), fmt.Sprint("n", n%3), state, world.At("net", fmt.Sprintf("10.0.2.%d", n))))
	}
	return u
}

// What was tracked of connections to a task that has left is dropped in every
// container, also in one that could not be worked on when it left.
func TestAContainerThatIsBehindKnowsWhoHasLeft(t *testing.T) {
	u := example()
	first := world.Set(u)
	second := first.Clone()
	second.Apply(&fabric.Update{Index: 1, Removed: []string{"t1"}})
	third := second.Clone()
	third.Apply(&fabric.Update{Index: 2, Removed: []string{"t2"}})
	tcp := uint8(unix.IPPROTO_TCP)
	t1, t2 := netip.MustParseAddr("10.0.1.5"), netip.MustParseAddr("10.0.1.6")
	d := departure{old: second, left: nft.Gone(second, third)}
	for _, c := range []struct {
		name     string
		set      *fabric.Set
		one, two bool
	}{
		{"one that agreed with the last set", second, false, true},
		{"one that agreed with the set before", first, true, true},
	} {
		left := (&container{set: c.set, networks: []api.Attachment{world.At("front", "10.0.1.9")}}).left(d, third)
		if left.Has(t1, tcp) != c.one || left.Has(t2, tcp) != c.two {
			t.Errorf("%s: t1 has left: %v, t2: %v", c.name, left.Has(t1, tcp), left.Has(t2, tcp))
		}
	}
	if left := (&container{set: second, networks: []api.Attachment{world.At("other", "10.0.9.9")}}).left(d, third); left != nil {
		t.Error("connections are looked at where nobody can have called who has left")
	}
	if left := (&container{set: third}).left(d, third); left != nil {
		t.Error("one that agrees already has somebody leave")
	}
	if left := (&container{}).left(d, third); left.Has(t1, tcp) || !left.Has(t1, unix.IPPROTO_UDP) {
		t.Error("of what an earlier daemon has left, streams of datagrams alone are dropped")
	}
}
