package nft_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/nft"
	"github.com/swarmctl/swarmctl/network/nft/world"
)

func TestRangesEndBehindTheirLastAddress(t *testing.T) {
	for prefix, want := range map[string]string{
		"10.0.1.7/24":        "10.0.1.0 -10.0.2.0",
		"10.0.0.0/15":        "10.0.0.0 -10.2.0.0",
		"10.0.0.5/32":        "10.0.0.5 -10.0.0.6",
		"255.255.255.0/24":   "255.255.255.0", // nothing is behind it
		"fd00:0:0:ff00::/56": "fd00:0:0:ff00:: -fd00:0:1::",
	} {
		var got []string
		for _, e := range nft.Ranges([]netip.Prefix{netip.MustParsePrefix(prefix)}) {
			a, _ := netip.AddrFromSlice(e.Key)
			got = append(got, map[bool]string{true: "-"}[e.IntervalEnd]+a.String())
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s is %q, want %q", prefix, s, want)
		}
	}
}

func tasks() *fabric.Set {
	return world.Set(fabric.Update{
		Networks: []*fabric.Network{world.Net("net", "10.0.1.0/24", "fd00:1::/64")},
		Hosts:    []*fabric.Host{{ID: "n1"}, {ID: "n2", Down: true}},
		Endpoints: []*fabric.Endpoint{
			world.Task("t1", "web", "n1", fabric.Serving, world.At("net", "10.0.1.5", "fd00:1::5")),
			world.Task("t2", "web", "n2", fabric.Serving, world.At("net", "10.0.1.6")),
			world.Task("t3", "db", "n2", fabric.Serving, world.At("net", "10.0.1.7")),
			world.Task("t4", "db", "n1", fabric.Starting, world.At("net", "10.0.1.8")),
			world.Task("c1", "", "n1", fabric.Serving, world.At("net", "10.0.1.9")),
		},
	})
}

func TestWhoServesIsOnAHostThatIsUpUnlessNoneIs(t *testing.T) {
	for doubted, want := range map[api.NodeID]string{"": "db: t3, web: t1", "n1": "db: t3, web: t1 t2"} {
		var got []string
		for service, list := range nft.Serving(tasks(), func(id api.NodeID) bool { return id == doubted }) {
			var ids []string
			for _, e := range list {
				ids = append(ids, e.ID)
			}
			slices.Sort(ids)
			got = append(got, fmt.Sprintf("%s: %s", service, strings.Join(ids, " ")))
		}
		slices.Sort(got)
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("with %q in doubt %q serve, want %q", doubted, s, want)
		}
	}
}

func TestWhatIsTrackedIsDroppedWithWhoeverHasLeft(t *testing.T) {
	old := tasks()
	now := old.Clone()
	now.Apply(&fabric.Update{Index: 1, Removed: []string{"t1"}, Endpoints: []*fabric.Endpoint{
		world.Task("t5", "web", "n1", fabric.Serving, world.At("net", "10.0.1.5")), // has the address of t1 now
	}})
	if nft.Gone(old, old) != nil {
		t.Error("nobody has left, and connections are looked at")
	}
	gone, strays := nft.Gone(old, now), nft.Strays(now)
	elsewhere := func(id api.NetworkID) bool { return id != "net" }
	if gone.In(elsewhere) != nil || strays.In(elsewhere) != strays {
		t.Error("whoever has left was in no other network, and a stray may have been")
	}
	for _, c := range []struct {
		addr          string
		protocol      uint8
		gone, strayed bool
	}{
		{"10.0.1.5", unix.IPPROTO_TCP, true, false},
		{"fd00:1::5", unix.IPPROTO_UDP, true, true},
		{"fd00:1::5", unix.IPPROTO_TCP, true, false},
		{"10.0.1.6", unix.IPPROTO_UDP, false, false},
		{"10.0.1.99", unix.IPPROTO_UDP, false, true},
		{"10.0.9.99", unix.IPPROTO_UDP, false, false}, // of no network of the cluster
	} {
		a := netip.MustParseAddr(c.addr)
		if gone.Has(a, c.protocol) != c.gone || strays.Has(a, c.protocol) != c.strayed {
			t.Errorf("%s, protocol %d: gone %v, a stray %v", c.addr, c.protocol, gone.Has(a, c.protocol), strays.Has(a, c.protocol))
		}
	}
}

func TestConnectionsThatWereNotAnsweredAreThoseOfWhoGetsNoMore(t *testing.T) {
	at := func(list ...string) map[netip.Addr]api.NetworkID {
		out := map[netip.Addr]api.NetworkID{}
		for _, a := range list {
			out[netip.MustParseAddr(a)] = "net"
		}
		return out
	}
	if nft.Unheard(at("10.0.1.5"), at("10.0.1.5", "10.0.1.6")) != nil || nft.Unheard(nil, at("10.0.1.5")) != nil {
		t.Error("nobody gets less, and connections are looked at")
	}
	l := nft.Unheard(at("10.0.1.5", "10.0.1.6"), at("10.0.1.5"))
	if l.Has(netip.MustParseAddr("10.0.1.5"), unix.IPPROTO_TCP) || !l.Has(netip.MustParseAddr("10.0.1.6"), unix.IPPROTO_TCP) {
		t.Error("want those of 10.0.1.6 alone")
	}
	if l.In(func(id api.NetworkID) bool { return id == "net" }) == nil || l.In(func(id api.NetworkID) bool { return id != "net" }) != nil {
		t.Error("want those of the network alone")
	}
}
