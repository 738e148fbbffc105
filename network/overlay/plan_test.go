package overlay

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

const nid = api.NetworkID("n123456789abcdefghijklmno")

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func at(network api.NetworkID, addrs ...string) api.Attachment {
	a := api.Attachment{Network: network}
	for _, s := range addrs {
		a.Addrs = append(a.Addrs, addr(s))
	}
	return a
}

func subnets(list ...string) (out []fabric.Subnet) {
	for i, s := range list {
		out = append(out, fabric.Subnet{Prefix: netip.MustParsePrefix(s), VXLAN: uint32(4097 + i)})
	}
	return out
}

// threeHosts have one network, dual-stack.
func threeHosts() *fabric.Set {
	set := fabric.NewSet()
	u := &fabric.Update{Index: 1, Full: true, Networks: []*fabric.Network{{ID: nid, Name: "web", Subnets: subnets("10.1.0.0/24", "fd00:1::/64")}}}
	for i := 1; i <= 3; i++ {
		u.Hosts = append(u.Hosts, &fabric.Host{
			ID: api.NodeID(fmt.Sprint("h", i)), Number: uint32(i), Addr: addr(fmt.Sprint("192.0.2.", i)),
			Gateways: []api.Attachment{at(nid, fmt.Sprint("10.1.0.25", i), fmt.Sprint("fd00:1::25", i))},
		})
	}
	set.Apply(u)
	return set
}

func TestNamesOfInterfacesFitTheKernel(t *testing.T) {
	if b, v := fabric.BridgeName(nid), fabric.VXLANName(nid); b != "sw-n123456789" || v != "swx-n123456789" || len(v) > 15 {
		t.Errorf("%s and %s", b, v)
	}
	if fabric.BridgeName("n") != "sw-n" {
		t.Error("a short ID has no name")
	}
}

func TestTheOtherHostsAndTheirEndpointsAreStations(t *testing.T) {
	set := threeHosts()
	set.Apply(&fabric.Update{Index: 2, Endpoints: []*fabric.Endpoint{
		{ID: "here", Node: "h1", Networks: []api.Attachment{at(nid, "10.1.0.5")}},
		{ID: "there", Node: "h2", Networks: []api.Attachment{at(nid, "10.1.0.6", "fd00:1::6")}},
		{ID: "nowhere", Node: "gone", Networks: []api.Attachment{at(nid, "10.1.0.7")}},
		{ID: "elsewhere", Node: "h2", Networks: []api.Attachment{at("other", "10.2.0.6")}},
	}})
	got := plan(set, map[api.NetworkID]bool{nid: true}, "h1", 1500)[nid]
	if got.hardware != fabric.MAC(addr("10.1.0.251")) || got.vni != 4097 || got.mtu != 1450 || got.local != addr("192.0.2.1") {
		t.Errorf("%+v", got)
	}
	stations := map[mac]netip.Addr{
		fabric.MAC(addr("10.1.0.252")): addr("192.0.2.2"),
		fabric.MAC(addr("10.1.0.253")): addr("192.0.2.3"),
		fabric.MAC(addr("10.1.0.6")):   addr("192.0.2.2"),
	}
	if !maps.Equal(got.stations, stations) {
		t.Errorf("stations %v, want %v", got.stations, stations)
	}
	neighbours := map[netip.Addr]mac{}
	for four, six := range map[string]string{"10.1.0.252": "fd00:1::252", "10.1.0.253": "fd00:1::253", "10.1.0.6": "fd00:1::6"} {
		neighbours[addr(four)], neighbours[addr(six)] = fabric.MAC(addr(four)), fabric.MAC(addr(four))
	}
	if !maps.Equal(got.neighbours, neighbours) {
		t.Errorf("neighbours %v, want %v", got.neighbours, neighbours)
	}
}

func TestWhatIsNotNeededOrNotKnownIsNotPlanned(t *testing.T) {
	set := threeHosts()
	if got := plan(set, map[api.NetworkID]bool{"other": true}, "h1", 1500); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if got := plan(set, map[api.NetworkID]bool{nid: true}, "h9", 1500); len(got) != 0 {
		t.Errorf("a host that no manager knows: %v", got)
	}
	set.Hosts["h2"] = &fabric.Host{ID: "h2", Gateways: set.Hosts["h2"].Gateways}
	set.Hosts["h3"] = &fabric.Host{ID: "h3", Gateways: set.Hosts["h3"].Gateways, Addr: addr("2001:db8::3")}
	if got := plan(set, map[api.NetworkID]bool{nid: true}, "h1", 1500)[nid]; len(got.stations) != 0 {
		t.Errorf("hosts that cannot be reached are stations: %v", got.stations)
	}
}

func TestRoomForPackets(t *testing.T) {
	four, six := &fabric.Network{Subnets: subnets("10.1.0.0/24")}, &fabric.Network{Subnets: subnets("10.1.0.0/24", "fd00::/64")}
	for _, c := range []struct {
		story    string
		n        *fabric.Network
		option   int
		underlay string
		room     int
		want     int
	}{
		{"Ethernet", four, 0, "192.0.2.1", 1500, 1450},
		{"hosts that speak IPv6", four, 0, "2001:db8::1", 1500, 1430},
		{"jumbo frames", four, 0, "192.0.2.1", 9000, 8950},
		{"a tunnel below", four, 0, "192.0.2.1", 1400, 1350},
		{"the option lowers it", four, 1200, "192.0.2.1", 1500, 1200},
		{"and cannot raise it", four, 9000, "192.0.2.1", 1500, 1450},
		{"less than IPv6 can do with", six, 900, "192.0.2.1", 1500, 1280},
		{"less than IPv4 can do with", four, 10, "192.0.2.1", 1500, 576},
	} {
		n := *c.n
		n.MTU = c.option
		if got := mtu(&n, addr(c.underlay), c.room); got != c.want {
			t.Errorf("%s: %d, want %d", c.story, got, c.want)
		}
	}
}

// TestStationsAreExactlyTheRemoteEndpoints is the law of the plan.
func TestStationsAreExactlyTheRemoteEndpoints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set, nets := fabric.NewSet(), rapid.IntRange(1, 3).Draw(t, "networks")
		var u fabric.Update
		for n := range nets {
			u.Networks = append(u.Networks, &fabric.Network{ID: api.NetworkID(fmt.Sprint("n", n)), Subnets: subnets(fmt.Sprintf("10.%d.0.0/16", n))})
		}
		hosts, next := rapid.IntRange(1, 4).Draw(t, "hosts"), 0
		draw := func(label string) (list []api.Attachment) {
			for n := range nets {
				if rapid.Bool().Draw(t, label) {
					next++
					list = append(list, at(api.NetworkID(fmt.Sprint("n", n)), fmt.Sprintf("10.%d.1.%d", n, next)))
				}
			}
			return list
		}
		for h := range hosts {
			u.Hosts = append(u.Hosts, &fabric.Host{ID: api.NodeID(fmt.Sprint("h", h)), Addr: addr(fmt.Sprintf("192.0.2.%d", h+1)), Gateways: draw("gateway")})
		}
		for e := range rapid.IntRange(0, 12).Draw(t, "endpoints") {
			node := fmt.Sprint("h", rapid.IntRange(0, hosts).Draw(t, "node")) // the last one is not known
			u.Endpoints = append(u.Endpoints, &fabric.Endpoint{ID: fmt.Sprint("e", e), Node: api.NodeID(node), Networks: draw("at")})
		}
		set.Apply(&u)
		need := map[api.NetworkID]bool{}
		for n := range nets {
			if rapid.Bool().Draw(t, "need") {
				need[api.NetworkID(fmt.Sprint("n", n))] = true
			}
		}
		got := plan(set, need, "h0", 1500)
		if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(need))) {
			t.Fatalf("planned %v, needed %v", got, need)
		}
		for id, s := range got {
			want := map[mac]netip.Addr{}
			add := func(node api.NodeID, list []api.Attachment) {
				if a := fabric.In(list, id); a != nil && node != "h0" && set.Hosts[node] != nil {
					want[fabric.MAC(a.Addrs[0])] = set.Hosts[node].Addr
				}
			}
			for _, h := range u.Hosts {
				add(h.ID, h.Gateways)
			}
			for _, e := range u.Endpoints {
				add(e.Node, e.Networks)
			}
			if !maps.Equal(s.stations, want) || len(s.neighbours) != len(want) {
				t.Fatalf("network %s: stations %v, neighbours %v, want %v", id, s.stations, s.neighbours, want)
			}
		}
	})
}

func TestStepsOfTheEngine(t *testing.T) {
	b := func(id, name, gateway string) fabric.Bridge {
		return fabric.Bridge{ID: "e-" + id, Network: api.NetworkID(id), Name: name, Interface: fabric.BridgeName(api.NetworkID(id)), MTU: 1450,
			Subnets: []fabric.BridgeSubnet{{Prefix: netip.MustParsePrefix("10.1.0.0/24"), Gateway: addr(gateway)}}}
	}
	small := b("n1", "web", "10.1.0.251")
	small.MTU = 1400
	type bridges = map[api.NetworkID]fabric.Bridge
	for _, c := range []struct {
		story         string
		known, wanted bridges
		need          map[api.NetworkID]bool
		want          string
	}{
		{"a network comes", nil, bridges{"n1": b("n1", "web", "10.1.0.251")}, nil, "+n1"},
		{"it is there", bridges{"n1": b("n1", "web", "10.1.0.251")}, bridges{"n1": b("n1", "web", "10.1.0.251")}, nil, ""},
		{"another MTU is no other bridge", bridges{"n1": small}, bridges{"n1": b("n1", "web", "10.1.0.251")}, nil, ""},
		{"it is needed no more", bridges{"n1": b("n1", "web", "10.1.0.251")}, nil, nil, "-n1"},
		{"needed, but not known yet", bridges{"n1": b("n1", "web", "10.1.0.251")}, nil, map[api.NetworkID]bool{"n1": true}, ""},
		{"another address of this host", bridges{"n1": b("n1", "web", "10.1.0.251")}, bridges{"n1": b("n1", "web", "10.1.0.7")}, nil, "-n1+n1"},
		{"made anew under the same name", bridges{"n1": b("n1", "web", "10.1.0.251")}, bridges{"n2": b("n2", "web", "10.1.0.251")}, nil, "-n1 +n2"},
	} {
		got := ""
		for _, s := range steps(c.known, c.wanted, c.need) {
			if got != "" {
				got += " "
			}
			if s.old != nil {
				got += "-" + string(s.network)
			}
			if s.now != nil {
				got += "+" + string(s.network)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.story, got, c.want)
		}
	}
}
