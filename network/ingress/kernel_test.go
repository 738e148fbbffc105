package ingress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/balance"
	"github.com/swarmctl/swarmctl/network/netns/sandbox"
	"github.com/swarmctl/swarmctl/network/nft/world"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m.Run)) }

// The lab has two hosts, h1 at 10.77.0.1 and h2 at 10.77.0.2, and a client at
// 10.77.0.254. The service web publishes 8080; its tasks b1 and b2 are on h2 and c1
// is on h1, where it serves only when a test says so. Every task is on a network of
// its host too, by which it reaches the world.
type lab struct {
	t      *testing.T
	client *world.Node
	hosts  [2]*world.Node
	sides  [2]side
	tasks  map[string]*world.Node
	set    *fabric.Set
}

type side struct {
	g *Ingress
	b *balance.Balancer
}

const bridgeName = "sw-ingress"

// trunk is what leads to the other host: a cable in place of the VXLAN device.
const trunk = "swx-ingress"

func gatewayOf(host int) string { return fmt.Sprintf("10.0.0.25%d", host+1) }

func hw(addr string) net.HardwareAddr {
	m := fabric.MAC(netip.MustParseAddr(addr))
	return m[:]
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, tasks: map[string]*world.Node{}}
	lan := world.New(t, "lan")
	lan.Bridge("lan", nil)
	l.client = world.New(t, "client")
	world.Cable(lan, "client@lan", l.client, "eth0", nil)
	l.client.Addresses("eth0", "10.77.0.254/24", "fd77::254/64")
	for i := range l.hosts {
		l.hosts[i] = l.host(lan, i)
	}
	world.Cable(l.hosts[0], trunk+"@"+bridgeName, l.hosts[1], trunk+"@"+bridgeName, nil)
	l.set = world.Set(fabric.Update{
		Networks: []*fabric.Network{
			world.Ingress("ingress", "10.0.0.0/24", "fd00::/64"),
			world.Net("app", "10.0.1.0/24", "fd01::/64"),
		},
		Hosts: []*fabric.Host{
			{ID: "n1", Number: 1, Hostname: "h1", Gateways: []api.Attachment{world.At("ingress", gatewayOf(0), "fd00::251")}},
			{ID: "n2", Number: 2, Hostname: "h2", Gateways: []api.Attachment{world.At("ingress", gatewayOf(1), "fd00::252")}},
		},
		Services: []*fabric.Service{
			{ID: "web", Name: "web", Ports: []fabric.Port{
				{Protocol: "tcp", Published: 8080, Target: 80}, {Protocol: "udp", Published: 8080, Target: 80},
				{Protocol: "tcp", Published: 8081, Target: 80, HostIP: netip.MustParseAddr("10.77.0.1")},
			}},
			{ID: "idle", Name: "idle", Ports: []fabric.Port{{Protocol: "tcp", Published: 9000, Target: 80}, {Protocol: "udp", Published: 9000, Target: 80}}},
		},
	})
	l.task("c1", 0, fabric.Silent)
	l.task("b1", 1, fabric.Serving)
	l.task("b2", 1, fabric.Serving)
	l.settle()
	return l
}

// settle waits until every link has carried something: new ones lose what is
// first sent on them, and who looks for a neighbour asks once in a second.
func (l *lab) settle() {
	l.t.Helper()
	for _, addr := range []string{"10.77.0.1:8080", "10.77.0.2:8080", "[fd77::1]:8080", "[fd77::2]:8080"} {
		answered := map[string]bool{}
		for start := time.Now(); len(answered) < 2; {
			server, _, err := l.client.Ask("tcp", addr)
			if err == nil {
				answered[server] = true
			} else if time.Since(start) > 15*time.Second {
				l.t.Fatalf("%s: %v", addr, err)
			}
		}
	}
}

// host is one with an engine's rules, and strict about where packets come from.
func (l *lab) host(lan *world.Node, i int) *world.Node {
	l.t.Helper()
	name := fmt.Sprint("h", i+1)
	h := world.New(l.t, name)
	for path, value := range map[string]string{
		"ipv4/ip_forward": "1", "ipv4/conf/all/rp_filter": "1", "ipv4/conf/default/rp_filter": "1", "ipv6/conf/all/forwarding": "1",
	} {
		h.Set(path, value)
	}
	world.Cable(lan, name+"@lan", h, "eth0", nil)
	h.Addresses("eth0", fmt.Sprintf("10.77.0.%d/24", i+1), fmt.Sprintf("fd77::%d/64", i+1))
	h.Bridge(bridgeName, hw(gatewayOf(i)), gatewayOf(i)+"/24", fmt.Sprintf("fd00::25%d/64", i+1))
	h.Bridge("sw-app", nil, "10.0.1.254/24", "fd01::254/64")
	h.Run("iptables", "-P", "FORWARD", "DROP")
	h.Run("ip6tables", "-P", "FORWARD", "DROP")
	engineRules(h, "iptables")
	engineRules(h, "ip6tables")
	h.Run("iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "10.0.1.0/24", "!", "-o", "sw-app", "-j", "MASQUERADE")
	h.Run("iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "10.0.0.0/24", "!", "-o", bridgeName, "-j", "MASQUERADE")
	g, err := New(Config{Self: api.NodeID(fmt.Sprint("n", i+1)), Log: slog.New(slog.DiscardHandler), Host: h.NS})
	if err != nil {
		l.t.Fatal(err)
	}
	b, err := balance.New(balance.Config{Self: api.NodeID(fmt.Sprint("n", i+1)), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = g.Close() })
	l.sides[i] = side{g, b}
	return h
}

// engineRules are those of an engine for its bridges.
func engineRules(h *world.Node, iptables string) {
	h.Run(iptables, "-N", "DOCKER-USER")
	h.Run(iptables, "-A", "FORWARD", "-j", "DOCKER-USER")
	for _, b := range []string{bridgeName, "sw-app"} {
		h.Run(iptables, "-A", "FORWARD", "-o", b, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT")
		h.Run(iptables, "-A", "FORWARD", "-i", b, "-j", "ACCEPT")
	}
}

func (l *lab) task(name string, host int, state fabric.EndpointState) {
	l.t.Helper()
	n, i := world.New(l.t, name), len(l.tasks)+11
	own := world.At("ingress", fmt.Sprintf("10.0.0.%d", i), fmt.Sprintf("fd00::%d", i))
	world.Cable(l.hosts[host], name+"-a@sw-app", n, "eth0", nil)
	world.Cable(l.hosts[host], name+"-i@"+bridgeName, n, "eth1", hw(own.Addrs[0].String()))
	n.Set("ipv4/conf/all/rp_filter", "1")
	n.Addresses("eth0", fmt.Sprintf("10.0.1.%d/24", i), fmt.Sprintf("fd01::%d/64", i))
	n.Addresses("eth1", own.Addrs[0].String()+"/24", own.Addrs[1].String()+"/64")
	n.Gateway("10.0.1.254")
	n.Gateway("fd01::254")
	n.Serve(80)
	l.tasks[name] = n
	l.change(world.Task(name, "web", fmt.Sprint("n", host+1), state, own))
	if err := l.sides[host].b.Attach(name, n.PID, []api.Attachment{own}); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { l.sides[host].b.Detach(name) })
}

func (l *lab) change(tasks ...*fabric.Endpoint) {
	l.t.Helper()
	l.set = l.set.Clone()
	l.set.Apply(&fabric.Update{Index: l.set.Index + 1, Endpoints: tasks})
	l.apply()
}

func (l *lab) become(state fabric.EndpointState, names ...string) {
	l.t.Helper()
	var list []*fabric.Endpoint
	for _, name := range names {
		e := *l.set.Endpoints[name]
		e.State = state
		list = append(list, &e)
	}
	l.change(list...)
}

func (l *lab) gone(name string) {
	l.t.Helper()
	l.set = l.set.Clone()
	l.set.Apply(&fabric.Update{Index: l.set.Index + 1, Removed: []string{name}})
	l.apply()
}

func (l *lab) apply() {
	l.t.Helper()
	for _, s := range l.sides {
		if err := errors.Join(s.g.Apply(l.set, nil), s.b.Apply(l.set, nil)); err != nil {
			l.t.Fatal(err)
		}
	}
}

// ask asks and reports who answered; the client must have been seen as one of these.
func (l *lab) ask(from *world.Node, network, addr string, seen ...string) string {
	l.t.Helper()
	server, client, err := from.Ask(network, addr)
	if err != nil {
		l.t.Errorf("%s asks %s of %s: %v", from.Name, network, addr, err)
		return ""
	}
	for _, s := range seen {
		if client == s {
			return server
		}
	}
	l.t.Errorf("%s asks %s of %s: %s sees %s, want %v", from.Name, network, addr, server, client, seen)
	return server
}

func (l *lab) refused(from *world.Node, network, addr string) {
	l.t.Helper()
	if _, _, err := from.Ask(network, addr); !errors.Is(err, syscall.ECONNREFUSED) {
		l.t.Errorf("%s asks %s of %s: %v, want a refusal", from.Name, network, addr, err)
	}
}

// filterBridges has the hosts' packet filters see what only passes their bridges,
// or not.
func (l *lab) filterBridges(filtered string) {
	for _, h := range l.hosts {
		h.Set("bridge/bridge-nf-call-iptables", filtered)
		h.Set("bridge/bridge-nf-call-ip6tables", filtered)
	}
}

func TestTheClientsAddressArrivesFromAnyNode(t *testing.T) {
	for _, filtered := range []string{"0", "1"} {
		t.Run("bridges are filtered: "+filtered, func(t *testing.T) {
			l := newLab(t)
			l.filterBridges(filtered)
			for _, c := range []struct{ network, addr, client string }{
				{"tcp", "10.77.0.1:8080", "10.77.0.254"},
				{"tcp", "10.77.0.2:8080", "10.77.0.254"},
				{"udp", "10.77.0.1:8080", "10.77.0.254"},
				{"udp", "10.77.0.2:8080", "10.77.0.254"},
				{"tcp", "10.77.0.1:8081", "10.77.0.254"},
				{"tcp", "[fd77::1]:8080", "fd77::254"},
				{"tcp", "[fd77::2]:8080", "fd77::254"},
				{"udp", "[fd77::1]:8080", "fd77::254"},
			} {
				servers := map[string]int{}
				for range 10 {
					servers[l.ask(l.client, c.network, c.addr, c.client)]++
				}
				if servers["b1"] != 5 || servers["b2"] != 5 {
					t.Errorf("%s of %s: answered by %v", c.network, c.addr, servers)
				}
			}
			l.refused(l.client, "tcp", "10.77.0.2:8081") // published on the other host's address
		})
	}
}

// dialFrom connects from a port of the client's own, which others may use too.
func (l *lab) dialFrom(port int, network, addr string) net.Conn {
	l.t.Helper()
	local := net.Addr(&net.TCPAddr{Port: port})
	if network == "udp" {
		local = &net.UDPAddr{Port: port}
	}
	reuse := func(_, _ string, raw syscall.RawConn) error {
		var refused error
		err := raw.Control(func(fd uintptr) {
			refused = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
		})
		return errors.Join(err, refused)
	}
	var c net.Conn
	err := l.client.Do(func() (err error) {
		c, err = (&net.Dialer{Timeout: world.Patience, LocalAddr: local, Control: reuse}).Dial(network, addr)
		return err
	})
	if err != nil {
		l.t.Fatalf("from port %d to %s: %v", port, addr, err)
	}
	l.t.Cleanup(func() { _ = c.Close() })
	return c
}

// A client's port is its own for each host that it calls: all that the hosts send to
// one task from there must be told apart.
func TestAPortOfTheClientIsUsedThroughBothHosts(t *testing.T) {
	for _, filtered := range []string{"0", "1"} {
		t.Run("bridges are filtered: "+filtered, func(t *testing.T) {
			l := newLab(t)
			l.filterBridges(filtered)
			l.become(fabric.Silent, "b2")
			conns := map[string]net.Conn{}
			for i, network := range []string{"tcp", "udp"} {
				for j, addr := range []string{"10.77.0.1:8080", "10.77.0.2:8080", "[fd77::1]:8080", "[fd77::2]:8080"} {
					conns[network+" "+addr] = l.dialFrom(40000+10*i+j/2, network, addr)
				}
			}
			l.answeredByOne(conns)
			for i := range l.sides {
				l.anew(i)
				l.balanceAnew(i)
			}
			l.answeredByOne(conns) // though the daemons have started anew
			l.tasks["b1"].Run("nft", "flush", "ruleset")
			if err := l.sides[1].b.Restore(); err != nil {
				t.Fatal(err)
			}
			l.answeredByOne(conns)
		})
	}
}

// answeredByOne asks twice on each connection.
func (l *lab) answeredByOne(conns map[string]net.Conn) {
	l.t.Helper()
	for range 2 {
		for at, c := range conns {
			seen := "10.77.0.254"
			if strings.Contains(at, "fd77") {
				seen = "fd77::254"
			}
			if server, client, err := world.Again(c); err != nil || server != "b1" || client != seen {
				l.t.Errorf("%s: %s sees %s: %v", at, server, client, err)
			}
		}
	}
}

func TestAPublishedPortAnswersOnItsOwnHostAndInItsContainers(t *testing.T) {
	l := newLab(t)
	l.become(fabric.Serving, "c1")
	for i, h := range l.hosts {
		own, other := fmt.Sprintf("10.77.0.%d:8080", i+1), fmt.Sprintf("10.77.0.%d:8080", 2-i)
		for range 6 { // by every task
			for _, network := range []string{"tcp", "udp"} {
				l.ask(h, network, "127.0.0.1:8080", gatewayOf(i))
				l.ask(h, network, own, gatewayOf(i))
				l.ask(h, network, other, fmt.Sprintf("10.77.0.%d", i+1))
				l.ask(h, network, fmt.Sprintf("[fd77::%d]:8080", i+1), fmt.Sprintf("fd00::25%d", i+1))
			}
		}
	}
	for _, name := range []string{"c1", "b1"} { // a task that may meet itself
		for range 6 {
			l.ask(l.tasks[name], "tcp", "10.77.0.1:8080", map[string]string{"c1": "10.0.0.251", "b1": "10.77.0.2"}[name])
			l.ask(l.tasks[name], "udp", "10.77.0.2:8080", map[string]string{"c1": "10.77.0.1", "b1": "10.0.0.252"}[name])
		}
	}
}

func TestAPortThatNobodyServesIsRefusedAtOnce(t *testing.T) {
	l := newLab(t)
	start := time.Now()
	for _, network := range []string{"tcp", "udp"} {
		l.refused(l.client, network, "10.77.0.1:9000")
		l.refused(l.client, network, "[fd77::1]:9000")
		l.refused(l.hosts[0], network, "127.0.0.1:9000")
		l.refused(l.hosts[0], network, "[::1]:8080") // not to be had, but known at once
		l.refused(l.tasks["c1"], network, "10.77.0.1:9000")
	}
	if took := time.Since(start); took > world.Patience {
		t.Errorf("that took %v", took)
	}
	l.become(fabric.Silent, "b1", "b2")
	l.refused(l.client, "tcp", "10.77.0.1:8080")
	l.become(fabric.Serving, "b2")
	l.ask(l.client, "tcp", "10.77.0.1:8080", "10.77.0.254")
}

// asRoot is for what a kernel lets only the machine's root do: load the
// gate's program, and lock the old tables.
func asRoot(t *testing.T) {
	t.Helper()
	users, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(users), "4294967295") {
		t.Fatal("the kernel lets nobody but the machine's root do what this tests: run the tests as root (sudo -E env PATH=$PATH make unit)")
	}
}

func TestADenyRuleOfTheHostBlocksAPublishedPort(t *testing.T) {
	asRoot(t)
	for _, rule := range []string{
		"iptables -I INPUT -p tcp --dport 8080 -j DROP",
		"iptables -I INPUT -i eth0 -p tcp --dport 8080 -j REJECT",
		"iptables -P INPUT DROP",
		"iptables -I DOCKER-USER -i eth0 -p tcp -m conntrack --ctorigdstport 8080 -j DROP",
		"iptables -I DOCKER-USER -i eth0 ! -s 10.77.0.7 -j DROP",
		"iptables-legacy -I INPUT -p tcp --dport 8080 -j DROP",
		"iptables -t raw -I PREROUTING -p tcp --dport 8080 -j DROP",
		"nft add table inet admin; nft add chain inet admin in { type filter hook input priority 0; }; nft add rule inet admin in tcp dport 8080 reject",
		"nft add table inet admin; nft add chain inet admin in { type filter hook input priority 0; policy drop; }",
	} {
		t.Run(rule, func(t *testing.T) {
			l := newLab(t)
			l.ask(l.client, "tcp", "10.77.0.1:8080", "10.77.0.254")
			l.guard(0)
			for part := range strings.SplitSeq(rule, "; nft") {
				l.hosts[0].Run("sh", "-c", strings.TrimSpace(nftAgain(part, rule)))
			}
			l.until("nobody answers", func() bool { return l.client.Silent("10.77.0.1:8080") })
			if strings.Contains(rule, "-I INPUT -p") {
				l.ask(l.client, "udp", "10.77.0.1:8080", "10.77.0.254")
			}
			l.ask(l.client, "tcp", "10.77.0.2:8080", "10.77.0.254") // the other host has no such rule
		})
	}
}

// nftAgain gives a part of a list of nft commands its program back, and keeps
// the shell from reading what is nft's.
func nftAgain(part, all string) string {
	args, found := strings.CutPrefix(part, "nft ")
	if !found && !strings.HasPrefix(all, "nft ") {
		return part
	}
	return "nft '" + strings.TrimSpace(args) + "'"
}

func TestADefaultOfDroppingLetsInWhatIsAllowed(t *testing.T) {
	l := newLab(t)
	for _, rule := range []string{
		"-A INPUT -i eth0 -p tcp --dport 8080 -m conntrack --ctstate NEW -j ACCEPT", "-P INPUT DROP",
		"-A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT", "-P OUTPUT DROP",
	} {
		l.hosts[0].Run(append([]string{"iptables"}, strings.Fields(rule)...)...)
	}
	if err := l.sides[0].g.Restore(); err != nil {
		t.Fatal(err)
	}
	l.ask(l.client, "tcp", "10.77.0.1:8080", "10.77.0.254")
}

func TestWorksBesideTheOldTables(t *testing.T) {
	asRoot(t)
	l := newLab(t)
	h := l.hosts[0]
	for _, rule := range []string{"-P FORWARD ACCEPT", "-F", "-X"} { // the engine uses the old ones
		h.Run(append([]string{"iptables-nft"}, strings.Fields(rule)...)...)
	}
	h.Run("iptables-legacy", "-P", "FORWARD", "DROP")
	engineRules(h, "iptables-legacy")
	if !l.client.Silent("10.77.0.1:8080") {
		t.Fatal("the old tables do not drop")
	}
	back := watch(l, 0)
	if err := l.sides[0].g.Restore(); err != nil {
		t.Fatal(err)
	}
	l.ask(l.client, "tcp", "10.77.0.1:8080", "10.77.0.254")
	h.Run("iptables-legacy", "-F", "SWARMCTL-FORWARD")
	back()
	l.ask(l.client, "tcp", "10.77.0.1:8080", "10.77.0.254")
}

// listen calls changed as Watch does, until the test ends.
func (l *lab) listen(host int, changed func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.sides[host].g.Watch(ctx, changed) })
	l.t.Cleanup(func() { cancel(); wg.Wait() })
}

// guard looks at the host whenever others may have changed something, until the test ends.
func (l *lab) guard(host int) {
	l.t.Helper()
	heard, ended := make(chan struct{}, 1), make(chan struct{})
	var wg sync.WaitGroup
	l.t.Cleanup(func() { close(ended); wg.Wait() })
	there := make(chan struct{})
	var once sync.Once
	l.listen(host, func() {
		once.Do(func() { close(there) })
		select {
		case heard <- struct{}{}:
		default:
		}
	})
	wg.Go(func() {
		for {
			select {
			case <-ended:
				return
			case <-heard:
				_ = l.sides[host].g.Restore() // what is wrong is seen by who asks
			}
		}
	})
	for range 100 {
		l.hosts[host].Run("sh", "-c", "nft add table inet there; nft add chain inet there in; nft delete table inet there")
		select {
		case <-there:
			return
		case <-time.After(10 * time.Millisecond): // the listener may not be there yet
		}
	}
	l.t.Fatal("nobody listens")
}

// watch puts back what is disturbed; the function it returns waits until that
// has happened once more.
func watch(l *lab, host int) func() {
	disturbed := make(chan struct{}, 1)
	l.listen(host, func() {
		select {
		case disturbed <- struct{}{}:
		default:
		}
	})
	return func() {
		l.t.Helper()
		select {
		case <-disturbed:
		case <-time.After(10 * time.Second):
			l.t.Error("nobody noticed for 10 s")
		}
		if err := l.sides[host].g.Restore(); err != nil {
			l.t.Error(err)
		}
	}
}

func TestWhatOthersFlushIsPutBack(t *testing.T) {
	for _, disturbance := range []string{
		"nft flush ruleset",
		"nft delete table ip swarmctl",
		"nft flush table ip swarmctl",
		"iptables -F FORWARD",
		"iptables -F SWARMCTL-FORWARD",
		"ip link del swarmctl0",
	} {
		t.Run(disturbance, func(t *testing.T) {
			l := newLab(t)
			h := l.hosts[0]
			if strings.Contains(disturbance, gateName) { // it is for hosts with rules for who comes in
				asRoot(t)
				h.Run("iptables", "-A", "INPUT", "-s", "192.0.2.7", "-j", "DROP")
				l.restore(0)
			}
			h.Run(strings.Fields(disturbance)...)
			if strings.Contains(disturbance, "ruleset") || strings.Contains(disturbance, "FORWARD") {
				h.Run("iptables", "-P", "FORWARD", "DROP")
			}
			if !l.client.Silent("10.77.0.1:8080") {
				t.Fatal("it is answered all the same")
			}
			for range 2 {
				if err := l.sides[0].g.Restore(); err != nil {
					t.Fatal(err)
				}
				l.ask(l.client, "tcp", "10.77.0.1:8080", "10.77.0.254")
			}
		})
	}
}

func TestAFlushIsNoticed(t *testing.T) {
	l := newLab(t)
	var heard atomic.Int64
	l.listen(0, func() { heard.Add(1) })
	wait := func(what string) {
		t.Helper()
		for range 100 {
			l.hosts[0].Run("sh", "-c", what)
			if heard.Swap(0) > 0 {
				return
			}
			time.Sleep(10 * time.Millisecond) // the listener may not be there yet
		}
		t.Errorf("%q was not heard", what)
	}
	wait("iptables -N OTHER; iptables -F OTHER; iptables -X OTHER")
	wait("nft flush ruleset")
}

func TestAnIdleConnectionStaysAndDatagramsMove(t *testing.T) {
	l := newLab(t)
	tcp, err := l.client.Dial("tcp", "10.77.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := l.client.Dial("udp", "10.77.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	stream, _, err := world.Again(tcp)
	if err != nil {
		t.Fatal(err)
	}
	datagrams, _, err := world.Again(udp)
	if err != nil {
		t.Fatal(err)
	}
	l.become(fabric.Serving, "c1")
	l.become(fabric.Silent, "b1", "b2")
	if s, _, err := world.Again(tcp); err != nil || s != stream {
		t.Errorf("the stream was with %s and is with %s: %v", stream, s, err)
	}
	if s, _, err := world.Again(udp); err != nil || s != datagrams {
		t.Errorf("the datagrams went to %s and go to %s: %v", datagrams, s, err)
	}
	l.gone(datagrams)
	if s, _, err := world.Again(udp); err != nil || s != "c1" {
		t.Errorf("%s is gone and the datagrams go to %q: %v", datagrams, s, err)
	}
}

// A host without the time for its packets loses some. TCP sends the first packet of
// a connection again after a second: by then the task that it was meant for may have
// been told to stop, and refuse it.
func TestAConnectionWhoseFirstPacketWasLostGoesToWhoServes(t *testing.T) {
	l := newLab(t)
	for _, name := range []string{"b1", "b2"} {
		l.tasks[name].Run("iptables", "-I", "INPUT", "-p", "tcp", "-j", "DROP")
	}
	type result struct {
		server string
		err    error
	}
	asked := make(chan result, 1)
	go func() {
		var r result
		c, err := l.client.DialIn(10*time.Second, "tcp", "10.77.0.1:8080")
		if r.err = err; err == nil {
			defer c.Close()
			r.server, _, r.err = world.Again(c)
		}
		asked <- r
	}()
	dropped := func(name string) bool {
		rule := strings.Fields(l.tasks[name].Run("iptables", "-S", "INPUT", "1", "-v"))
		i := slices.Index(rule, "-c")
		return rule[i+1] != "0"
	}
	for !dropped("b1") && !dropped("b2") {
		time.Sleep(5 * time.Millisecond) // it has not got there yet
	}
	l.become(fabric.Serving, "c1")
	l.become(fabric.Silent, "b1", "b2")
	for _, name := range []string{"b1", "b2"} { // they have ended
		l.tasks[name].Run("iptables", "-R", "INPUT", "1", "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")
	}
	if r := <-asked; r.err != nil || r.server != "c1" {
		t.Errorf("answered by %q: %v", r.server, r.err)
	}
}

func TestAFragmentedDatagramArrives(t *testing.T) {
	l := newLab(t)
	c, err := l.client.Dial("udp", "10.77.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(world.Patience))
	if _, err := c.Write(make([]byte, 5000)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 100)); err != nil {
		t.Error(err)
	}
}

func TestRulesAreSwappedUnderLoadWithoutAnError(t *testing.T) {
	l := newLab(t)
	ask := func() error {
		_, _, err := l.client.Ask("tcp", "10.77.0.1:8080")
		return err
	}
	swap := func(i int) {
		l.become(fabric.Serving, "b1", "b2", "c1")
		l.become(fabric.Silent, []string{"b1", "b2", "c1"}[i%3])
	}
	if err := world.UnderLoad(ask, swap, 50, 500); err != nil {
		t.Error(err)
	}
}

func TestAPortIsHeldAndOneThatIsTakenIsReported(t *testing.T) {
	l := newLab(t)
	for _, network := range []string{"tcp", "udp"} {
		err := l.hosts[0].Do(func() error {
			if network == "udp" {
				_, err := net.ListenPacket("udp", ":8080")
				return err
			}
			_, err := net.Listen("tcp", ":8080")
			return err
		})
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("another process gets port 8080/%s: %v", network, err)
		}
	}
	var other net.Listener
	err := l.hosts[0].Do(func() (err error) {
		other, err = net.Listen("tcp", ":9100")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	l.set.Services["late"] = &fabric.Service{ID: "late", Name: "late", Ports: []fabric.Port{{Protocol: "tcp", Published: 9100, Target: 80}}}
	e := *l.set.Endpoints["b1"]
	e.ID, e.Service = "late1", "late"
	l.change(&e)
	if why := l.sides[0].g.Problems()["9100/tcp"]; !strings.HasPrefix(why, "port 9100/tcp of node h1 is held by another process") {
		t.Errorf("the problems are %v", l.sides[0].g.Problems())
	}
	if why := l.sides[1].g.Problems(); len(why) > 0 {
		t.Errorf("the other node has the problems %v", why)
	}
	go func() {
		if c, err := other.Accept(); err == nil {
			_, _ = io.WriteString(c, "other x\n")
			_ = c.Close()
		}
	}()
	if s, _, err := l.client.Ask("tcp", "10.77.0.1:9100"); err != nil || s != "other" {
		t.Errorf("the process that has the port is not reached: %q %v", s, err)
	}
	l.ask(l.client, "tcp", "10.77.0.2:9100", "10.77.0.254")
	_ = other.Close()
	if err := l.sides[0].g.Restore(); err != nil {
		t.Fatal(err)
	}
	if p := l.sides[0].g.Problems(); len(p) > 0 {
		t.Errorf("the process has ended and the problems are %v", p)
	}
	l.ask(l.client, "tcp", "10.77.0.1:9100", "10.77.0.254")
}

func TestATaskCannotReachTheHostsLoopback(t *testing.T) {
	l := newLab(t)
	h, c := l.hosts[0], l.tasks["c1"]
	err := h.Do(func() error {
		s, err := net.Listen("tcp", "127.0.0.1:7000")
		if err == nil {
			t.Cleanup(func() { _ = s.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Set("ipv4/conf/all/route_localnet", "1")
	c.Run("ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
	c.Run("ip", "route", "add", "127.0.0.1/32", "via", "10.0.0.251", "dev", "eth1", "src", "10.0.0.11")
	if !c.Silent("127.0.0.1:7000") {
		t.Error("it does")
	}
}

func TestNamesAreAnsweredAtGatewaysThoughTheirPortIsPublished(t *testing.T) {
	l := newLab(t)
	server := func(addr string) {
		t.Helper()
		err := l.hosts[0].Do(func() error {
			s, err := net.Listen("tcp", addr)
			if err == nil {
				t.Cleanup(func() { _ = s.Close() })
				go func() {
					for c, err := s.Accept(); err == nil; c, err = s.Accept() {
						_, _ = io.WriteString(c, "names x\n")
						_ = c.Close()
					}
				}()
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	server("10.0.0.251:53")
	l.set.Services["resolver"] = &fabric.Service{ID: "resolver", Name: "resolver", Ports: []fabric.Port{{Protocol: "tcp", Published: 53, Target: 80}}}
	e := *l.set.Endpoints["b1"]
	e.ID, e.Service = "resolver1", "resolver"
	l.change(&e)
	if p := l.sides[0].g.Problems(); len(p) > 0 {
		t.Errorf("the problems are %v", p)
	}
	l.ask(l.client, "tcp", "10.77.0.1:53", "10.77.0.254")
	if s, _, err := l.tasks["c1"].Ask("tcp", "10.0.0.251:53"); err != nil || s != "names" {
		t.Errorf("at the gateway %q answers: %v", s, err)
	}
	if s, _, err := l.hosts[0].Ask("tcp", "10.0.0.251:53"); err != nil || s != "names" {
		t.Errorf("at the gateway %q answers the host: %v", s, err)
	}
}

func TestAnIngressNetworkThatIsRemovedLeavesNothing(t *testing.T) {
	l := newLab(t)
	l.set = l.set.Clone()
	l.set.Apply(&fabric.Update{Index: l.set.Index + 1, Removed: []string{"ingress"}})
	l.apply()
	if rules := l.hosts[0].Run("nft", "list", "ruleset"); strings.Contains(strings.ToLower(rules), "swarmctl") {
		t.Errorf("left behind:\n%s", rules)
	}
	if !l.client.Silent("10.77.0.1:8080") {
		t.Error("its ports are answered")
	}
}

// anew has a host's ingress start again, as in a daemon that is restarted.
func (l *lab) anew(host int) {
	l.t.Helper()
	g, err := New(Config{Self: api.NodeID(fmt.Sprint("n", host+1)), Log: slog.New(slog.DiscardHandler), Host: l.hosts[host].NS})
	if err != nil {
		l.t.Fatal(err)
	}
	old := l.sides[host].g
	_ = old.work(func() error { // its process has ended: no sockets, and nothing that it had yet to do
		old.release(nil)
		old.express.close()
		old.space.Close()
		old.plan = nil
		return nil
	})
	l.sides[host].g = g
	l.t.Cleanup(func() { _ = g.Close() })
}

// balanceAnew has a host's balancer start again, and take over its tasks.
func (l *lab) balanceAnew(host int) {
	l.t.Helper()
	b, err := balance.New(balance.Config{Self: api.NodeID(fmt.Sprint("n", host+1)), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		l.t.Fatal(err)
	}
	old := l.sides[host].b
	l.sides[host].b = b
	l.apply()
	for id, e := range l.set.Endpoints {
		if e.Node != api.NodeID(fmt.Sprint("n", host+1)) {
			continue
		}
		old.Detach(id)
		if err := b.Attach(id, l.tasks[id].PID, e.Networks); err != nil {
			l.t.Fatal(err)
		}
		l.t.Cleanup(func() { b.Detach(id) })
	}
}

func TestWhatWasRemovedWhileTheDaemonWasAwayIsNotAnswered(t *testing.T) {
	for _, c := range []struct {
		name, removed string
		rules         bool // there still are some
	}{
		{"the services", "web idle", true},
		{"the ingress network", "ingress", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.anew(0)
			l.set = l.set.Clone()
			l.set.Apply(&fabric.Update{Index: l.set.Index + 1, Removed: strings.Fields(c.removed)})
			l.apply()
			l.refused(l.client, "tcp", "10.77.0.1:8080")
			rules := l.hosts[0].Run("nft", "list", "ruleset")
			if strings.Contains(rules, "tcp-8080") || strings.Contains(strings.ToLower(rules), "swarmctl") != c.rules {
				t.Errorf("the rules are\n%s", rules)
			}
		})
	}
}

func TestAnIngressNetworkWithoutPortsLeavesNothingEither(t *testing.T) {
	l := newLab(t)
	if err := l.sides[0].g.Close(); err != nil {
		t.Fatal(err)
	}
	l.anew(0)
	listed := func() bool { return strings.Contains(l.hosts[0].Run("iptables", "-S"), chain) }
	for _, step := range []struct {
		removed []string
		there   bool
	}{{[]string{"web", "idle"}, true}, {[]string{"ingress"}, false}} {
		l.set = l.set.Clone()
		l.set.Apply(&fabric.Update{Index: l.set.Index + 1, Removed: step.removed})
		l.apply()
		if listed() != step.there {
			t.Errorf("without %v our chain in iptables is there: %v, want %v", step.removed, listed(), step.there)
		}
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	l := newLab(t)
	for i, s := range l.sides {
		if err := errors.Join(s.g.Close(), s.b.Close()); err != nil {
			t.Fatal(err)
		}
		rules, links := l.hosts[i].Run("nft", "list", "ruleset"), l.hosts[i].Run("ip", "link")
		if strings.Contains(strings.ToLower(rules), "swarmctl") || strings.Contains(links, gateName) {
			t.Errorf("left behind on h%d:\n%s%s", i+1, rules, links)
		}
	}
	for name, n := range l.tasks {
		if rules := n.Run("nft", "list", "ruleset") + n.Run("ip", "rule"); strings.Contains(rules, "swarmctl") || strings.Contains(rules, "0x5357") {
			t.Errorf("left behind in %s:\n%s", name, rules)
		}
	}
}

func TestTheListingIsReadable(t *testing.T) {
	l := newLab(t)
	rules := l.hosts[0].Run("nft", "list", "table", "ip", "swarmctl")
	for _, want := range []string{
		`tcp . 8080 : goto tcp-8080`,
		`dnat to numgen inc mod 2 map { 0 : 10.0.0.1`,
		`, 1 : 10.0.0.1`, `}:80 comment "web"`,
		`10.77.0.1 . tcp . 8081 : goto tcp-8081-10.77.0.1`,
	} {
		if !strings.Contains(rules, want) {
			t.Errorf("the rules do not show %q:\n%s", want, rules)
		}
	}
}
