package ingress

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/nft"
	"github.com/swarmctl/swarmctl/network/nft/world"
)

// text is a plan as a person would write it down.
func text(p *plan) string {
	if p == nil {
		return "nothing"
	}
	s := fmt.Sprintf("%s on %s: %s\n", p.node, p.bridge, p.gateways[0])
	for _, o := range p.ports {
		s += fmt.Sprintf("%s %s ->", o.place, o.service)
		for _, list := range o.to {
			for _, a := range list {
				s += " " + netip.AddrPortFrom(a, o.target).String()
			}
		}
		s += "\n"
	}
	return s
}

func example() fabric.Update {
	return fabric.Update{
		Networks: []*fabric.Network{
			world.Ingress("ingress0123456789", "10.0.0.0/24", "fd00::/64"),
			world.Net("app", "10.0.1.0/24"),
		},
		Hosts: []*fabric.Host{
			{ID: "n1", Number: 1, Hostname: "h1", Gateways: []api.Attachment{world.At("ingress0123456789", "10.0.0.251", "fd00::251")}},
			{ID: "n2", Number: 2, Hostname: "h2"},
		},
		Services: []*fabric.Service{
			{ID: "s1", Name: "web", Ports: []fabric.Port{
				{Protocol: "tcp", Published: 8080, Target: 80},
				{Protocol: "udp", Published: 53, Target: 53},
				{Protocol: "tcp", Published: 8443, Target: 443, HostIP: netip.MustParseAddr("10.77.0.1")},
			}},
			{ID: "s2", Name: "late", Ports: []fabric.Port{{Protocol: "tcp", Published: 8080, Target: 81}, {Protocol: "tcp", Published: 9000, Target: 9}}},
		},
		Endpoints: []*fabric.Endpoint{
			world.Task("t1", "s1", "n1", fabric.Serving, world.At("app", "10.0.1.5"), world.At("ingress0123456789", "10.0.0.5", "fd00::5")),
			world.Task("t2", "s1", "n2", fabric.Serving, world.At("ingress0123456789", "10.0.0.6")),
			world.Task("t3", "s1", "n2", fabric.Silent, world.At("ingress0123456789", "10.0.0.7")),
		},
	}
}

func TestAPublishedPortStandsForTheServingTasksOfAllNodes(t *testing.T) {
	for _, c := range []struct {
		name    string
		self    api.NodeID
		suspect string
		want    string
	}{
		{"the older service has the port that two publish", "n1", "", `
h1 on sw-ingress012: 10.0.0.251
53/udp web -> 10.0.0.5:53 10.0.0.6:53 [fd00::5]:53
8080/tcp web -> 10.0.0.5:80 10.0.0.6:80 [fd00::5]:80
10.77.0.1:8443/tcp web -> 10.0.0.5:443 10.0.0.6:443 [fd00::5]:443
9000/tcp late ->
`},
		{"a doubted host's are out", "n1", "n1", `
h1 on sw-ingress012: 10.0.0.251
53/udp web -> 10.0.0.6:53
8080/tcp web -> 10.0.0.6:80
10.77.0.1:8443/tcp web -> 10.0.0.6:443
9000/tcp late ->
`},
		{"a host without an address in the ingress network has no part in it", "n2", "", "nothing"},
		{"nor has one that nobody knows", "n3", "", "nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlan(world.Set(example()), func(id api.NodeID) bool { return string(id) == c.suspect }, c.self)
			if d := cmp.Diff(strings.TrimPrefix(c.want, "\n"), text(p)); d != "" {
				t.Errorf("want (-), got (+):\n%s", d)
			}
		})
	}
}

func TestAPortThatIsTakenIsNotAnswered(t *testing.T) {
	p := newPlan(world.Set(example()), nil, "n1")
	taken := map[place]bool{p.ports[1].place: true}
	all, addressed := p.targets(false, taken)
	if names := chains(all); names != "tcp-9000 udp-53" {
		t.Errorf("answered on all addresses are %q", names)
	}
	if names := chains(addressed); names != "tcp-8443-10.77.0.1" {
		t.Errorf("answered on one address are %q", names)
	}
	all, addressed = p.targets(true, nil)
	if chains(all) != "tcp-8080 tcp-9000 udp-53" || len(addressed) != 0 {
		t.Errorf("answered over IPv6 are %q and %q", chains(all), chains(addressed))
	}
}

func chains(targets nft.Targets) string {
	var list []string
	for _, t := range targets {
		list = append(list, t.Chain)
	}
	return strings.Join(slices.Sorted(slices.Values(list)), " ")
}
