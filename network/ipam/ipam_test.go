package ipam_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"
	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/network/ipam"
)

func pool(t interface{ Fatal(...any) }, ranges string, bits uint32) ipam.Pool {
	p, err := ipam.NewPool(strings.Fields(ranges), bits)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// create allots a network and adds it to those there are.
func create(p ipam.Pool, networks *[]*api.Network, n *api.Network) error {
	err := p.Allot(n, ipam.TakenBy(slices.Values(*networks)))
	if err == nil {
		*networks = append(*networks, n)
	}
	return err
}

func subnetOf(n *api.Network) netip.Prefix { return netip.MustParsePrefix(n.IPAM.Configs[0].Subnet) }

// No two networks ever share an address or an identifier, whatever comes and
// goes; what was freed is taken up again; and only a full pool says that it is.
func TestNoAddressIsGivenTwice(t *testing.T) {
	const subnets = 4 + 2 - 1 // of the pool below; the first one is ingress's
	rapid.Check(t, func(t *rapid.T) {
		p := pool(t, "10.1.0.0/26 10.2.0.64/27 10.2.0.64/28", 28)
		var networks []*api.Network
		fromPool := func(n *api.Network) bool { return n.Spec.IPAMOptions == nil }
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			n := &api.Network{}
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0: // remove one
				if len(networks) > 0 {
					i := rapid.IntRange(0, len(networks)-1).Draw(t, "which")
					networks = slices.Delete(networks, i, i+1)
				}
				continue
			case 1: // somebody asks for a part of the pool
				from := rapid.SampledFrom([]string{"10.1.0.0", "10.1.0.16", "10.1.0.32", "10.1.0.40", "10.2.0.80", "10.3.0.0"}).Draw(t, "address")
				subnet := netip.PrefixFrom(netip.MustParseAddr(from), rapid.IntRange(26, 30).Draw(t, "bits")).Masked()
				if slices.ContainsFunc(networks, func(n *api.Network) bool { return subnetOf(n).Overlaps(subnet) }) {
					continue // the state refuses it
				}
				n.Spec.IPAMOptions = &swarm.IPAMOptions{Configs: []swarm.IPAMConfig{{Subnet: subnet.String()}}}
			}
			err := create(p, &networks, n)
			if err != nil {
				if !errors.Is(err, api.ErrUnavailable) || !fromPool(n) {
					t.Fatal(err)
				}
				if free := freeOf(networks); len(free) > 0 {
					t.Fatalf("%v, but %v are free", err, free)
				}
			}
			checkApart(t, networks)
		}
		if used := slices.IndexFunc(networks, func(n *api.Network) bool { return fromPool(n) && subnetOf(n).Addr() == netip.MustParseAddr("10.1.0.0") }); used >= 0 {
			t.Fatal("the ingress network's subnet was given away")
		}
		networks = nil
		for range subnets { // all of it comes back
			if err := create(p, &networks, &api.Network{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := create(p, &networks, &api.Network{}); !errors.Is(err, api.ErrUnavailable) {
			t.Fatalf("a full pool says %v", err)
		}
	})
}

// freeOf lists the pool's subnets that overlap with no network, one by one.
func freeOf(networks []*api.Network) (free []string) {
	for _, s := range []string{"10.1.0.16/28", "10.1.0.32/28", "10.1.0.48/28", "10.2.0.64/28", "10.2.0.80/28"} {
		if !slices.ContainsFunc(networks, func(n *api.Network) bool { return subnetOf(n).Overlaps(netip.MustParsePrefix(s)) }) {
			free = append(free, s)
		}
	}
	return free
}

func checkApart(t *rapid.T, networks []*api.Network) {
	for i, a := range networks {
		if g := netip.MustParseAddr(a.IPAM.Configs[0].Gateway); !subnetOf(a).Contains(g) || g == subnetOf(a).Addr() {
			t.Fatalf("gateway %s of %s", g, subnetOf(a))
		}
		for _, b := range networks[:i] {
			if subnetOf(a).Overlaps(subnetOf(b)) || a.VXLAN[0] == b.VXLAN[0] {
				t.Fatalf("%v and %v share something", a, b)
			}
		}
	}
}

func TestTheDefaultPoolIsDockerSwarms(t *testing.T) {
	p := pool(t, "10.0.0.0/8", 24)
	var networks []*api.Network
	for i := 1; i <= 300; i++ {
		n := &api.Network{}
		if err := create(p, &networks, n); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("10.%d.%d.0/24 10.%[1]d.%[2]d.1 %[3]d", i/256, i%256, 4096+i)
		if got := fmt.Sprint(n.IPAM.Configs[0].Subnet, " ", n.IPAM.Configs[0].Gateway, " ", n.VXLAN[0]); got != want {
			t.Fatalf("network %d has %s, want %s", i, got, want)
		}
	}
}

func TestWhatIsAskedFor(t *testing.T) {
	for _, tt := range []struct{ asked, vxlan, want string }{
		{"10.9.0.0/24", "", "10.9.0.0/24 10.9.0.1 [4097]"},
		{"10.9.0.0/24,,10.9.0.7", "", "10.9.0.0/24 10.9.0.7 [4097]"},
		{"10.9.0.0/24,10.9.0.128/25", "", "10.9.0.0/24 10.9.0.128 [4097]"},
		{"10.9.0.0/24,10.9.0.0/25", "", "10.9.0.0/24 10.9.0.1 [4097]"},
		{"10.9.0.0/24 10.8.0.0/24", "", "10.9.0.0/24 10.9.0.1 10.8.0.0/24 10.8.0.1 [4097 4098]"},
		{"10.9.0.0/24 10.8.0.0/24", "5000,7", "10.9.0.0/24 10.9.0.1 10.8.0.0/24 10.8.0.1 [5000 7]"},
		{"", "5000", "10.0.1.0/24 10.0.1.1 [5000]"},

		{"nonsense", "", `Invalid subnet nonsense : invalid CIDR address: nonsense`},
		{",,10.9.0.1", "", `ipam configuration: a range or a gateway is of no use without the subnet that it is in`},
		{"10.9.0.0/24,,10.8.0.1", "", `ipam configuration: invalid gateway 10.8.0.1: it is no address of a host in subnet 10.9.0.0/24`},
		{"10.9.0.0/24,,10.9.0.0", "", `ipam configuration: invalid gateway 10.9.0.0: it is no address of a host in subnet 10.9.0.0/24`},
		{"10.9.0.0/24,,10.9.0.255", "", `ipam configuration: invalid gateway 10.9.0.255: it is no address of a host in subnet 10.9.0.0/24`},
		{"10.9.0.0/24,10.8.0.0/25", "", `ipam configuration: invalid range 10.8.0.0/25: it is no part of subnet 10.9.0.0/24`},
		{"10.9.0.0/24,10.9.0.0/16", "", `ipam configuration: invalid range 10.9.0.0/16: it is no part of subnet 10.9.0.0/24`},
		{"10.9.0.0/31", "", `ipam configuration: subnet 10.9.0.0/31 has no room for a gateway and a container: use /30 or larger`},
		{"fd00::/64", "", `network  has an IPv6 subnet, and IPv6 is not enabled: give --ipv6 too`},
		{"fd00::/127", "", `ipam configuration: subnet fd00::/127 has no room for a gateway and a container: use /126 or larger`},
		{"224.1.0.0/24", "", `ipam configuration: no host can have the addresses 224.0.0.0/4 of 224.1.0.0/24: use a private range, as in 10.0.0.0/8`},
		{"128.0.0.0/1", "", `ipam configuration: no host can have the addresses 224.0.0.0/4 of 128.0.0.0/1: use a private range, as in 10.0.0.0/8`},
		{"127.0.0.0/16", "", `ipam configuration: no host can have the addresses 127.0.0.0/8 of 127.0.0.0/16: use a private range, as in 10.0.0.0/8`},
		{"ff02::/64", "", `ipam configuration: no host can have the addresses ff00::/8 of ff02::/64: use a private range, as in fd00::/8`},
		{"::ffff:10.9.0.0/120", "", `ipam configuration: subnet ::ffff:10.9.0.0/120 is IPv4 in the clothes of IPv6: give it as IPv4`},
		{"", "x", `invalid vxlan id value "x" passed: give a number from 1 to 16777215`},
		{"", "16777216", `invalid vxlan id value "16777216" passed: give a number from 1 to 16777215`},
		{"", "5,5", `VXLAN id 5 is given twice: every subnet needs its own`},
		{"", "5,6", `2 VXLAN ids are given for 1 subnets: give one each`},
	} {
		n := &api.Network{}
		for _, c := range strings.Fields(tt.asked) {
			f := append(strings.Split(c, ","), "", "")
			if n.Spec.IPAMOptions == nil {
				n.Spec.IPAMOptions = &swarm.IPAMOptions{}
			}
			n.Spec.IPAMOptions.Configs = append(n.Spec.IPAMOptions.Configs, swarm.IPAMConfig{Subnet: f[0], Range: f[1], Gateway: f[2]})
		}
		if tt.vxlan != "" {
			n.Spec.DriverConfiguration = &swarm.Driver{Options: map[string]string{api.OptionVXLAN: tt.vxlan}}
		}
		got := ""
		if err := pool(t, "10.0.0.0/8", 24).Allot(n, ipam.Taken{}); err != nil {
			got = err.Error()
		} else {
			for _, c := range n.IPAM.Configs {
				got += c.Subnet + " " + c.Gateway + " "
			}
			got += fmt.Sprint(n.VXLAN)
		}
		if got != tt.want {
			t.Errorf("%s %s:\n got %s\nwant %s", tt.asked, tt.vxlan, got, tt.want)
		}
	}
}

func TestPoolsThatMakeNoSense(t *testing.T) {
	for _, tt := range []struct {
		ranges string
		bits   uint32
		want   string
	}{
		{"10.0.0.0/24", 30, "subnet size is out of range: 30: use 29 or less"},
		{"10.0.0.0/24", 16, `invalid CIDR: "10.0.0.0/24". Subnet size is too small for pool: 16: give a larger pool or a longer mask`},
		{"fd00::/8", 24, "invalid base pool fd00::/8: give IPv4 addresses in CIDR notation, as in 10.0.0.0/8"},
		{"ten", 24, "invalid base pool ten: give IPv4 addresses in CIDR notation, as in 10.0.0.0/8"},
	} {
		if _, err := ipam.NewPool(strings.Fields(tt.ranges), tt.bits); err == nil || err.Error() != tt.want {
			t.Errorf("%s by %d: %v", tt.ranges, tt.bits, err)
		}
	}
}

// The last addresses there are must not overflow.
func TestThePoolAtTheEndOfAllAddresses(t *testing.T) {
	p := pool(t, "255.255.255.0/24", 26)
	var networks []*api.Network
	for range 3 {
		if err := create(p, &networks, &api.Network{}); err != nil {
			t.Fatal(err)
		}
	}
	err := create(p, &networks, &api.Network{})
	const want = "no address space is left for a network: every subnet of /26 in 255.255.255.0/24 is taken; give one with --subnet, or remove networks that nobody uses"
	if err == nil || err.Error() != want {
		t.Error(err)
	}
}

// The ingress network has the first subnet and identifier, which others leave
// to it, or the next that are free.
func TestTheIngressNetworkComesFirst(t *testing.T) {
	taken := ipam.Taken{}
	for _, want := range []string{"10.0.0.0/24 [4096]", "10.0.1.0/24 [4097]"} {
		n := &api.Network{Spec: api.NetworkSpec{Ingress: true}}
		if err := pool(t, "10.0.0.0/8", 24).Allot(n, taken); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(n.IPAM.Configs[0].Subnet, " ", n.VXLAN); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		taken = ipam.TakenBy(slices.Values([]*api.Network{n}))
	}
}

// What hosts use is in no order, and overlaps with itself.
func TestSubnetsOfHostsAreLeftOut(t *testing.T) {
	taken := ipam.Taken{}
	for _, p := range []string{"10.0.1.128/25", "10.0.0.0/23", "fd00::/64", "10.0.1.0/24", "10.0.3.7/32"} {
		taken.Subnets = append(taken.Subnets, netip.MustParsePrefix(p))
	}
	var networks []*api.Network
	for _, want := range []string{"10.0.2.0/24", "10.0.4.0/24"} {
		n := &api.Network{}
		all := taken
		all.Subnets = append(slices.Clone(taken.Subnets), ipam.TakenBy(slices.Values(networks)).Subnets...)
		if err := pool(t, "10.0.0.0/8", 24).Allot(n, all); err != nil {
			t.Fatal(err)
		}
		if got := n.IPAM.Configs[0].Subnet; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		networks = append(networks, n)
	}
}

func TestANetworkWithIPv6HasBothFamilies(t *testing.T) {
	p := pool(t, "10.0.0.0/8", 24)
	subnets := func(id api.NetworkID, taken ipam.Taken, asked ...swarm.IPAMConfig) (out []string) {
		n := &api.Network{ID: id}
		n.Spec.IPv6Enabled = true
		n.Spec.IPAMOptions = &swarm.IPAMOptions{Configs: asked}
		if err := p.Allot(n, taken); err != nil {
			t.Fatal(err)
		}
		for _, c := range n.IPAM.Configs {
			out = append(out, c.Subnet+" "+c.Gateway)
		}
		if len(n.VXLAN) != len(out) {
			t.Errorf("%d identifiers for %d subnets", len(n.VXLAN), len(out))
		}
		return out
	}
	if got, want := subnets("n1", ipam.Taken{}, swarm.IPAMConfig{Subnet: "fd00:1::/64"}), []string{"fd00:1::/64 fd00:1::1", "10.0.1.0/24 10.0.1.1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := subnets("n1", ipam.Taken{}, swarm.IPAMConfig{Subnet: "10.9.0.0/24"}, swarm.IPAMConfig{Subnet: "fd00:1::/64", Gateway: "fd00:1::7"}), []string{"10.9.0.0/24 10.9.0.1", "fd00:1::/64 fd00:1::7"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	own := func(id api.NetworkID, taken ...netip.Prefix) netip.Prefix {
		text, _, _ := strings.Cut(subnets(id, ipam.Taken{Subnets: taken})[1], " ")
		return netip.MustParsePrefix(text)
	}
	a, b := own("n1"), own("n2")
	if a != own("n1") || a == b || a.Bits() != 64 || !netip.MustParsePrefix("fd00::/8").Contains(a.Addr()) {
		t.Errorf("networks got %s and %s", a, b)
	}
	if c := own("n1", a); c.Overlaps(a) {
		t.Errorf("%s is taken and was given again", c)
	}
}

// Whoever has taken all unique local addresses leaves none to choose from.
func TestNoIPv6SubnetIsLeft(t *testing.T) {
	n := &api.Network{ID: "n1"}
	n.Spec.Name, n.Spec.IPv6Enabled = "ov", true
	err := pool(t, "10.0.0.0/8", 24).Allot(n, ipam.Taken{Subnets: []netip.Prefix{netip.MustParsePrefix("fc00::/7")}})
	if want := "no IPv6 address space is left for network ov: what is taken covers nearly all of fd00::/8: give a subnet with --subnet"; !errors.Is(err, api.ErrUnavailable) || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
