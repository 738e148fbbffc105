package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/network"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/integration/cluster"
)

// engineMade are words in what engines make of a host's network by themselves,
// sooner or later: the state of their own bridge, the routes of a host that
// passes IPv6 on, the chain that iptables makes with the first rule.
var engineMade = []string{"docker0", "fe80:", "route anycast", "hook output priority filter; policy accept"}

// plumbing is what a host's network is made of, one thing a line, sorted, but
// for what engines make and for what tells one host from another.
func (l *lab) plumbing(ctx context.Context, n *cluster.Node) ([]string, error) {
	out, err := n.Run(ctx, "sh", "-c", `
		ip -br link | sed 's/ .*//; s/^/link /'
		for f in -4 -6; do ip $f rule | sed 's/^/rule /'; ip $f route show table all | sed 's/^/route /'; done
		nft -s list ruleset | sed 's/^[ \t]*/nft /'
		grep -H . /proc/sys/net/ipv4/conf/*/route_localnet
		docker -H unix:///run/docker.sock network ls --format 'network {{.Name}} {{.Driver}}'
		docker -H unix:///run/docker.sock ps -a --format 'container {{.Names}} {{.Status}}'`)
	own := regexp.MustCompile(`\b(` + regexp.QuoteMeta(n.Addr) + `|` + regexp.QuoteMeta(n.Addr6) + `)\b|@if\d+`)
	lines := slices.DeleteFunc(strings.Split(own.ReplaceAllString(out, "own"), "\n"), func(line string) bool {
		return slices.ContainsFunc(engineMade, func(word string) bool { return strings.Contains(line, word) })
	})
	slices.Sort(lines)
	return slices.Compact(lines), err
}

// leavesNothing lets a node leave, and compares what its network is made of
// with what it was before it joined.
func (l *lab) leavesNothing(n *cluster.Node, before []string, leave ...string) {
	l.t.Helper()
	l.cli(n, append([]string{"leave"}, leave...)...)
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		after, err := l.plumbing(ctx, n)
		if err == nil && !slices.Equal(before, after) {
			err = fmt.Errorf("%s is not as it was:\nmore: %s\nless: %s", n.Name, strings.Join(without(after, before), "\n"), strings.Join(without(before, after), "\n"))
		}
		return err
	}))
}

func without(list, those []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(those, s) })
}

// A node that leaves has no bridge, device, rule, route, table or container of
// the cluster any more, nor has the last one.
func TestNetLeaveLeavesNothing(t *testing.T) {
	l := ownLab(t, "10.91.8", 1, 0)
	manager := l.Nodes[0]
	l.must(l.Add(t.Context(), 1))
	worker := l.Nodes[1]
	l.w = l.Watch(t.Context())
	before, err := l.plumbing(l.ctx, worker)
	l.must(err)
	l.must(worker.Join(l.ctx, manager, false))
	l.must(l.AwaitReady(l.ctx, 2))
	l.network("front", "--attachable")
	l.network("six", "--ipv6", "--subnet", "fd00:6::/64")
	web := l.run("web", 4, "--network", "front", "--network", "six", "-p", "8080:8080")
	l.on(worker, "docker", "-H", "unix:///run/swarmctl/swarmctl.sock", "run", "-d", "--name", "guest", "--network", "front", cluster.Image)
	for _, n := range l.Nodes {
		l.reached(l.Outside(), url(n.Addr), web)
	}
	during, err := l.plumbing(l.ctx, worker)
	l.must(err)
	if more := strings.Join(without(during, before), "\n"); !strings.Contains(more, "link sw-") || !strings.Contains(more, "link swx-") {
		t.Errorf("the comparison sees no bridge or device while the node is a member:\n%s", more)
	}
	l.on(worker, "docker", "-H", "unix:///run/docker.sock", "rm", "-f", "guest")
	l.leavesNothing(worker, before)
	l.leavesNothing(manager, before, "--force")
}

// A host that uses what the pool would give is asked before anything is given.
func TestNetAddressesThatTheHostUsesAreNotGiven(t *testing.T) {
	rack := ownRack(t, "10.91.9", 1)
	n := rack.Nodes[0]
	const used = "10.0.0.0/24"
	rack.on(n, "sh", "-c", "ip link add office type bridge && ip addr add 10.0.0.1/24 dev office && ip link set office up")
	rack.cli(n, "init", "--advertise-addr", n.Addr)
	rack.network("front")
	for _, name := range []string{api.IngressNetwork, "front"} {
		made, err := n.API.NetworkInspect(rack.ctx, name, network.InspectOptions{Scope: "swarm"})
		rack.must(err)
		for _, c := range made.IPAM.Config {
			if got, err := netip.ParsePrefix(c.Subnet); err != nil || got.Overlaps(netip.MustParsePrefix(used)) {
				t.Errorf("network %s has %s, though the host uses %s", name, c.Subnet, used)
			}
		}
	}
	rack.refused(n, []string{"network", "create", "-d", "overlay", "--subnet", used, "office"}, used, "office", n.Name)
}
