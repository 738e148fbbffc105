package wire_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/api/wire"
)

var (
	v4 = netip.MustParseAddr("10.0.1.5")
	v6 = netip.MustParseAddr("fd00::5")
	on = []api.Attachment{{Network: "net1", Addrs: []netip.Addr{v4, v6}}, {Network: "net2"}}
)

func someFabric() *fabric.Update {
	return &fabric.Update{
		Index: 12, Full: true,
		Networks: []*fabric.Network{{
			ID: "net1", Name: "front", Internal: true, Attachable: true, Ingress: true, MTU: 1400,
			Subnets: []fabric.Subnet{{Prefix: netip.MustParsePrefix("10.0.1.0/24"), VXLAN: 4097}, {Prefix: netip.MustParsePrefix("fd00::/64"), VXLAN: 4098}},
		}},
		Hosts: []*fabric.Host{{ID: "n1", Number: 3, Hostname: "a", Addr: netip.MustParseAddr("192.168.0.1"), Gateways: on, Down: true}},
		Services: []*fabric.Service{{
			ID: "s1", Name: "web", DNSRR: true, Networks: []api.NetworkID{"net1"}, VIPs: on,
			Aliases: map[api.NetworkID][]string{"net1": {"www", "w"}, "net2": {"x"}},
			Ports:   []fabric.Port{{Protocol: "tcp", Target: 80, Published: 8080}, {Protocol: "udp", Target: 53, Published: 53, HostIP: v6}},
		}},
		Endpoints: []*fabric.Endpoint{{
			ID: "t1", Service: "s1", Node: "n1", Name: "web.1.t1", Slot: 1, Hostname: "h", Networks: on, State: fabric.Serving,
			Aliases: map[api.NetworkID][]string{"net1": {"db"}},
		}},
		Removed: []string{"gone"},
	}
}

func TestFabricComesBackAsItWas(t *testing.T) {
	for name, u := range map[string]*fabric.Update{"of everything": someFabric(), "of nothing": {Index: 3}} {
		parts := wire.EncodeFabric(u)
		if len(parts) != 1 {
			t.Errorf("%s: %d messages", name, len(parts))
		}
		if got, err := wire.DecodeFabric(parts); err != nil || !reflect.DeepEqual(got, u) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// A container that its user has not named is on its networks before the engine
// names it.
func TestAnEndpointMayHaveNoNameYet(t *testing.T) {
	u := &fabric.Update{Index: 3, Endpoints: []*fabric.Endpoint{{ID: "c1", Node: "n1", Networks: on}}}
	if got, err := wire.DecodeFabric(wire.EncodeFabric(u)); err != nil || !reflect.DeepEqual(got, u) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestALargeFabricTravelsInPieces(t *testing.T) {
	u := &fabric.Update{Index: 9, Full: true}
	for i := range 30_000 {
		id := fmt.Sprintf("%025d", i)
		u.Endpoints = append(u.Endpoints, &fabric.Endpoint{ID: id, Service: "s1", Node: "n1", Name: "web." + id, Networks: on})
		u.Removed = append(u.Removed, "r"+id)
	}
	u.Removed = append(u.Removed, strings.Repeat("x", 2<<20)) // larger than a message should be: alone in one
	parts := wire.EncodeFabric(u)
	for i, m := range parts {
		if size := proto.Size(m); size > 1<<20+100 && i < len(parts)-1 {
			t.Errorf("message %d has %d bytes", i, size)
		}
		if m.More != (i < len(parts)-1) {
			t.Errorf("message %d of %d says more: %v", i, len(parts), m.More)
		}
	}
	got, err := wire.DecodeFabric(parts)
	if err != nil || !reflect.DeepEqual(got, u) {
		t.Errorf("%d endpoints came back, %v", len(got.Endpoints), err)
	}
	for name, some := range map[string][]*wire.Fabric{
		"none": nil, "without the last": parts[:len(parts)-1], "of two": append(parts[:1:1], &wire.Fabric{Index: 10, Full: true}), "too many": append(parts[len(parts)-1:], parts...),
	} {
		if _, err := wire.DecodeFabric(some); api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Whatever is wrong is told with the object that it is wrong with.
func TestFabricThatMakesNoSenseIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*wire.Fabric)
		want  string
	}{
		"network without ID":   {func(f *wire.Fabric) { f.Networks[0].Id = "" }, `fabric 12: network "": it has no ID`},
		"network without name": {func(f *wire.Fabric) { f.Networks[0].Name = "" }, `network "net1": a name of 0 bytes`},
		"subnet":               {func(f *wire.Fabric) { f.Networks[0].Subnets[0].Prefix = "10.0.0.1/8" }, `network "net1": subnet "10.0.0.1/8": not a range of addresses`},
		"identifier":           {func(f *wire.Fabric) { f.Networks[0].Subnets[0].Vxlan = 1 << 24 }, `network "net1": subnet 10.0.1.0/24: VXLAN identifier 16777216`},
		"MTU":                  {func(f *wire.Fabric) { f.Networks[0].Mtu = 70_000 }, `network "net1": MTU 70000`},
		"host's address":       {func(f *wire.Fabric) { f.Hosts[0].Addr = []byte{1, 2} }, `node "n1": address 0102: not the address of a host`},
		"no host's address":    {func(f *wire.Fabric) { f.Hosts[0].Addr = nil }, `node "n1": address`},
		"gateway's network":    {func(f *wire.Fabric) { f.Hosts[0].Gateways[0].Network = "" }, `node "n1": it is on a network without an ID`},
		"two of a family":      {func(f *wire.Fabric) { f.Hosts[0].Gateways[0].Addrs[1] = []byte{10, 0, 0, 1} }, `node "n1": network "net1": address 10.0.0.1 is the second of its family`},
		"mapped address":       {func(f *wire.Fabric) { a := netip.AddrFrom16(v4.As16()).As16(); f.Services[0].Vips[0].Addrs[1] = a[:] }, `service "s1": network "net1": address`},
		"multicast":            {func(f *wire.Fabric) { f.Services[0].Vips[0].Addrs[0] = []byte{224, 0, 0, 1} }, `service "s1": network "net1": address e0000001`},
		"alias":                {func(f *wire.Fabric) { f.Services[0].Aliases[0].Names[0] = "a\x00b" }, `service "s1": alias on network "net1": name "a\x00b" has characters`},
		"alias's network":      {func(f *wire.Fabric) { f.Services[0].Aliases[0].Network = "" }, `service "s1": it is on a network without an ID`},
		"service's network":    {func(f *wire.Fabric) { f.Services[0].Networks[0] = "" }, `service "s1": it is on a network without an ID`},
		"protocol":             {func(f *wire.Fabric) { f.Services[0].Ports[0].Protocol = "icmp" }, `service "s1": port 8080 has protocol "icmp"`},
		"port":                 {func(f *wire.Fabric) { f.Services[0].Ports[0].Published = 70_000 }, `service "s1": port 70000: ports are from 1 to 65535`},
		"port 0":               {func(f *wire.Fabric) { f.Services[0].Ports[0].Target = 0 }, `service "s1": port 0`},
		"port's address":       {func(f *wire.Fabric) { f.Services[0].Ports[1].HostIp = []byte{0, 0, 0, 0} }, `service "s1": address 00000000`},
		"state":                {func(f *wire.Fabric) { f.Endpoints[0].State = 3 }, `endpoint "t1": state 3 is unknown: upgrade this node`},
		"node":                 {func(f *wire.Fabric) { f.Endpoints[0].Node = "" }, `endpoint "t1": it is on no node`},
		"endpoint's name":      {func(f *wire.Fabric) { f.Endpoints[0].Name = strings.Repeat("x", 2000) }, `endpoint "t1": a name of 2000 bytes`},
		"removed":              {func(f *wire.Fabric) { f.Removed[0] = "" }, `something without an ID`},
	} {
		parts := wire.EncodeFabric(someFabric())
		c.spoil(parts[0])
		if _, err := wire.DecodeFabric(parts); api.CodeOf(err) != api.CodeInvalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}
