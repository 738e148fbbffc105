package balance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/netns/sandbox"
	"github.com/swarmctl/swarmctl/network/nft"
	"github.com/swarmctl/swarmctl/network/nft/world"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m.Run)) }

// lan is a host with containers t1, t2 and so on, all tasks of the service web
// at 10.0.1.2 and fd00:1::2; t1 is the caller.
type lan struct {
	t     *testing.T
	b     *Balancer
	host  *world.Node
	tasks []*world.Node
	set   *fabric.Set
}

const (
	vip  = "10.0.1.2:80"
	vip6 = "[fd00:1::2]:80"
)

func newLAN(t *testing.T, tasks int) *lan {
	t.Helper()
	b, err := New(Config{Self: "n1", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l := &lan{t: t, b: b}
	host := world.New(t, "host")
	l.host = host
	host.Bridge("sw-net", nil, "10.0.1.254/24")
	u := fabric.Update{
		Networks: []*fabric.Network{world.Net("net", "10.0.1.0/24")},
		Services: []*fabric.Service{
			{ID: "web", Name: "web", VIPs: []api.Attachment{world.At("net", "10.0.1.2", "fd00:1::2")}},
			{ID: "idle", Name: "idle", VIPs: []api.Attachment{world.At("net", "10.0.1.3", "fd00:1::3")}},
		},
	}
	for i := range tasks {
		n := world.New(t, fmt.Sprint("t", i+1))
		world.Cable(host, fmt.Sprint("v", i, "@sw-net"), n, "eth0", nil)
		own := l.at(i)
		n.Addresses("eth0", own.Addrs[0].String()+"/24", own.Addrs[1].String()+"/64")
		n.Gateway("10.0.1.254")
		n.Serve(80)
		l.tasks = append(l.tasks, n)
		u.Endpoints = append(u.Endpoints, world.Task(n.Name, "web", "n1", fabric.Serving, own))
	}
	l.set = world.Set(u)
	l.apply()
	for i, n := range l.tasks {
		if err := b.Attach(n.Name, n.PID, []api.Attachment{l.at(i)}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Detach(n.Name) })
	}
	return l
}

func (l *lan) at(i int) api.Attachment {
	return world.At("net", fmt.Sprintf("10.0.1.%d", 11+i), fmt.Sprintf("fd00:1::%d", 11+i))
}

func (l *lan) apply() {
	l.t.Helper()
	if err := l.b.Apply(l.set, nil); err != nil {
		l.t.Fatal(err)
	}
}

// become changes the state of tasks; an absent state is a task that is gone.
func (l *lan) become(state fabric.EndpointState, tasks ...int) {
	l.t.Helper()
	u := &fabric.Update{Index: l.set.Index + 1}
	for _, i := range tasks {
		u.Endpoints = append(u.Endpoints, world.Task(l.tasks[i].Name, "web", "n1", state, l.at(i)))
	}
	l.change(u)
}

func (l *lan) change(u *fabric.Update) {
	l.t.Helper()
	l.set = l.set.Clone()
	l.set.Apply(u)
	l.apply()
}

func (l *lan) gone(tasks ...int) {
	l.t.Helper()
	u := &fabric.Update{Index: l.set.Index + 1}
	for _, i := range tasks {
		u.Removed = append(u.Removed, l.tasks[i].Name)
	}
	l.change(u)
}

func (l *lan) ask(network, addr string) string {
	l.t.Helper()
	server, client, err := l.tasks[0].Ask(network, addr)
	if err != nil {
		l.t.Fatalf("%s of %s: %v", network, addr, err)
	}
	own := l.at(0).Addrs[0].String()
	if strings.Contains(addr, "fd00") {
		own = l.at(0).Addrs[1].String()
	}
	if client != own {
		l.t.Errorf("%s sees the caller as %s, it is %s", server, client, own)
	}
	return server
}

func TestConnectionsAreSpreadEvenlyAndTheCallerIsSeen(t *testing.T) {
	l := newLAN(t, 4)
	for _, c := range []struct{ network, addr string }{{"tcp", vip}, {"udp", vip}, {"tcp", vip6}, {"udp", vip6}} {
		count := map[string]int{}
		for range 1000 {
			count[l.ask(c.network, c.addr)]++
		}
		for _, n := range l.tasks { // t1 too: a service may call itself
			if count[n.Name] < 240 || count[n.Name] > 260 {
				t.Errorf("%s: of 1,000 connections %v, want about 250 each", c.network, count)
				break
			}
		}
	}
}

func TestCallersDoNotAllBeginWithTheSameTask(t *testing.T) {
	l := newLAN(t, 6)
	first := map[string]bool{}
	for _, n := range l.tasks {
		server, _, err := n.Ask("tcp", vip)
		if err != nil {
			t.Fatal(err)
		}
		first[server] = true
	}
	if len(first) < 2 {
		t.Errorf("six callers all began with %v", first)
	}
}

// The addresses of so many tasks are more than fit in one message.
func TestConnectionsAreSpreadOverHundredsOfTasks(t *testing.T) {
	const crowd = 1000
	l := newLAN(t, 2)
	u := &fabric.Update{Index: 2, Services: []*fabric.Service{
		{ID: "crowd", Name: "crowd", VIPs: []api.Attachment{world.At("net", "10.0.1.4", "fd00:1::4")}},
	}}
	l.tasks[0].Addresses("eth0", "10.1.0.1/16")
	var all []string
	for i := range crowd {
		four, six := fmt.Sprintf("10.1.%d.%d", 1+i/200, 1+i%200), fmt.Sprintf("fd00:1::1:%x", 1+i)
		all = append(all, four+"/16", six+"/64")
		u.Endpoints = append(u.Endpoints, world.Task(fmt.Sprint("c", i), "crowd", "n1", fabric.Serving, world.At("net", four, six)))
	}
	l.tasks[1].Addresses("eth0", all...)
	l.change(u)
	for range crowd {
		for _, addr := range []string{"10.0.1.4:80", "[fd00:1::4]:80"} {
			if server, _, err := l.tasks[0].Ask("tcp", addr); err != nil || server != l.tasks[1].Name {
				t.Fatalf("%s: %s, %v", addr, server, err)
			}
		}
	}
}

func TestAServiceWithoutServingTasksRefusesAtOnce(t *testing.T) {
	l := newLAN(t, 1)
	for _, addr := range []string{"10.0.1.3:80", "[fd00:1::3]:80"} {
		start := time.Now()
		if _, _, err := l.tasks[0].Ask("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("tcp %s: %v, want a refusal", addr, err)
		}
		// A datagram that is refused where it is sent fails like one that may not be sent.
		if _, _, err := l.tasks[0].Ask("udp", addr); !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EPERM) {
			t.Errorf("udp %s: %v, want a refusal", addr, err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s: refused after %v", addr, took)
		}
	}
	l.become(fabric.Starting, 0)
	if _, _, err := l.tasks[0].Ask("tcp", vip); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("with a starting task alone: %v, want a refusal", err)
	}
	l.become(fabric.Serving, 0)
	l.ask("tcp", vip)
}

func TestAnIdleConnectionStaysWhereItIs(t *testing.T) {
	l := newLAN(t, 3)
	c, err := l.tasks[0].Dial("tcp", vip)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before, _, err := world.Again(c)
	if err != nil {
		t.Fatal(err)
	}
	at := int(before[1] - '1')
	l.become(fabric.Silent, at) // draining
	for range 10 {
		if s := l.ask("tcp", vip); s == before {
			t.Errorf("%s is draining and got a new connection", s)
		}
	}
	l.become(fabric.Serving, at)
	l.become(fabric.Silent, 0, 1, 2)
	if after, _, err := world.Again(c); err != nil || after != before {
		t.Errorf("it was with %s and is with %s: %v", before, after, err)
	}
}

func TestDatagramsMoveWhenTheirTaskIsGoneAndNotWhenItDrains(t *testing.T) {
	l := newLAN(t, 2)
	c, err := l.tasks[0].Dial("udp", vip)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before, _, err := world.Again(c)
	if err != nil {
		t.Fatal(err)
	}
	at := int(before[1] - '1')
	l.become(fabric.Silent, at)
	if s, _, err := world.Again(c); err != nil || s != before {
		t.Errorf("while %s drains they go to %s: %v", before, s, err)
	}
	l.gone(at)
	if s, _, err := world.Again(c); err != nil || s == before {
		t.Errorf("%s is gone and they still go to %q: %v", before, s, err)
	}
}

// Who calls a task on a host that has just lost its power gets no answer. Once the balancer
// knows, the next packet goes to another task: that of the same call, which TCP sends again
// after a second, and those of later calls that happen to come from the same port.
func TestACallThatNobodyAnsweredGoesToWhoServes(t *testing.T) {
	l := newLAN(t, 3)
	established, err := l.tasks[0].Dial("tcp", vip)
	if err != nil {
		t.Fatal(err)
	}
	defer established.Close()
	const dead = 2
	ports := map[string]int{vip: 40001, vip6: 40002}
	dial := func(patience time.Duration, addr string) error {
		return l.tasks[0].Do(func() error {
			c, err := (&net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{Port: ports[addr]}}).Dial("tcp", addr)
			if err == nil {
				c.Close()
			}
			return err
		})
	}
	for _, own := range []string{"iptables", "ip6tables"} {
		l.tasks[dead].Run(own, "-I", "INPUT", "-p", "tcp", "--syn", "-j", "DROP")
	}
	l.become(fabric.Silent, 0, 1)
	for _, addr := range []string{vip, vip6} {
		if err := dial(100*time.Millisecond, addr); err == nil {
			t.Fatalf("%s answers a call that is dropped", addr)
		}
	}
	again := make(chan error, 1)
	go func() {
		c, err := l.tasks[0].DialIn(10*time.Second, "tcp", vip)
		if err == nil {
			c.Close()
		}
		again <- err
	}()
	for deadline := time.Now().Add(world.Patience); !strings.Contains(l.tasks[dead].Run("iptables", "-S", "INPUT", "1", "-v"), "-c 2 "); {
		if time.Now().After(deadline) {
			t.Fatal("nobody was called")
		}
	}
	l.become(fabric.Serving, 1)
	l.become(fabric.Silent, dead)
	if err := <-again; err != nil {
		t.Errorf("the call that was not answered: %v", err)
	}
	for _, addr := range []string{vip, vip6} {
		if err := dial(world.Patience, addr); err != nil {
			t.Errorf("a later call to %s from the same port: %v", addr, err)
		}
	}
	if _, _, err := world.Again(established); err != nil {
		t.Errorf("what was established: %v", err)
	}
}

// What is called before there are rules is sent on as soon as there are: the
// first lines of a program may be faster than the balancer.
func TestCallsFromBeforeTheRulesAreAnswered(t *testing.T) {
	l := newLAN(t, 2)
	l.change(&fabric.Update{Index: l.set.Index + 1, Removed: []string{"web"}})
	stream := make(chan error, 1)
	go func() {
		_, _, err := l.tasks[0].Ask("tcp", vip)
		stream <- err
	}()
	c, err := l.tasks[0].Dial("udp", vip)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("lost")); err != nil {
		t.Fatal(err)
	}
	// The first packet of the stream has gone when the kernel looks for whoever has the address.
	for deadline := time.Now().Add(world.Patience); !strings.Contains(l.tasks[0].Run("ip", "neigh"), "10.0.1.2 "); {
		if time.Now().After(deadline) {
			t.Fatal("nobody was called")
		}
	}
	l.change(&fabric.Update{Index: l.set.Index + 1, Services: []*fabric.Service{
		{ID: "web", Name: "web", VIPs: []api.Attachment{world.At("net", "10.0.1.2", "fd00:1::2")}},
	}})
	if _, _, err := world.Again(c); err != nil {
		t.Errorf("udp: %v", err)
	}
	if err := <-stream; err != nil {
		t.Errorf("tcp: %v", err)
	}
}

func TestRulesAreSwappedUnderLoadWithoutAnError(t *testing.T) {
	l := newLAN(t, 3)
	ask := func() error {
		_, _, err := l.tasks[0].Ask("tcp", vip)
		return err
	}
	swap := func(i int) {
		l.become(fabric.Silent, i%3)
		l.become(fabric.Serving, i%3)
	}
	if err := world.UnderLoad(ask, swap, 100, 1000); err != nil {
		t.Error(err)
	}
}

func TestAPingOfAVirtualAddressIsAnswered(t *testing.T) {
	l := newLAN(t, 2)
	ping := func(addr string) error {
		return l.tasks[0].Do(func() error {
			c, err := net.Dial("ip4:icmp", addr)
			if err != nil {
				return err
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(world.Patience))
			if _, err := c.Write([]byte{8, 0, 0xf7, 0xfd, 0, 1, 0, 1}); err != nil {
				return err
			}
			_, err = c.Read(make([]byte, 128))
			return err
		})
	}
	if err := ping("10.0.1.2"); err != nil {
		t.Error(err)
	}
}

func TestWhatOthersFlushIsPutBack(t *testing.T) {
	for _, disturbance := range []string{"flush ruleset", "delete table ip swarmctl", "flush table ip swarmctl"} {
		t.Run(disturbance, func(t *testing.T) {
			l := newLAN(t, 2)
			l.tasks[0].Run(append([]string{"nft"}, strings.Fields(disturbance)...)...)
			if _, _, err := l.tasks[0].Ask("tcp", vip); err == nil {
				t.Fatal("the virtual address is answered without rules")
			}
			for range 2 {
				if err := l.b.Restore(); err != nil {
					t.Fatal(err)
				}
				l.ask("tcp", vip)
			}
		})
	}
}

// What is called while the rules are gone is sent on when they are back, even
// where rules of others have the kernel go on tracking connections.
func TestCallsFromWhileTheRulesWereGoneAreAnswered(t *testing.T) {
	l := newLAN(t, 2)
	n := l.tasks[0]
	n.Run("nft", "add table ip theirs; add chain ip theirs out { type nat hook output priority 0; }; add rule ip theirs out ct state new counter; delete table ip swarmctl")
	c, err := n.Dial("udp", vip)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("lost")); err != nil {
		t.Fatal(err)
	}
	if err := l.b.Restore(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := world.Again(c); err != nil {
		t.Error(err)
	}
}

// A container whose routes could not be read at first gets its rule for
// datagrams when they can.
func TestTheRuleForDatagramsComesLateWhereItMust(t *testing.T) {
	n := world.New(t, "c")
	space := nft.Open(n.NS)
	defer space.Close()
	p := newPlan(nil, world.Set(example()), nil, "n1")
	v := p.of([]api.Attachment{world.At("ingress", "10.0.0.5")})
	own := primary{addr: netip.MustParseAddr("10.0.2.5"), ingress: netip.MustParsePrefix("10.0.0.0/24")}
	tb := &table{}
	for _, known := range []primary{{}, own} {
		if err := tb.agree(space, v, 0, known, nil); err != nil {
			t.Fatal(err)
		}
		rules := n.Run("nft", "list", "table", "ip", "swarmctl")
		if there := strings.Contains(rules, "dnat to 10.0.2.5"); there != (known == own) || !strings.Contains(rules, "replies") {
			t.Errorf("with %+v the rules are\n%s", known, rules)
		}
	}
}

// A container that was made elsewhere asks the servers of that place, by another
// interface than the network's.
func TestQuestionsForNamesAreAnsweredByTheHost(t *testing.T) {
	l := newLAN(t, 2)
	host, late := world.New(t, "elsewhere"), l.tasks[0]
	world.Cable(host, "up0", late, "up0", nil)
	host.Addresses("up0", "192.0.2.1/24")
	late.Addresses("up0", "192.0.2.2/24")
	late.Run("ip", "route", "replace", "default", "via", "192.0.2.1")
	host.Addresses("lo", "198.51.100.1/32", "198.51.100.2/32")
	for _, n := range []*world.Node{host, l.host} {
		n.Serve(53)
	}
	asked := func(network, addr string) string {
		t.Helper()
		server, client, err := late.Ask(network, addr)
		if err != nil {
			t.Fatalf("%s of %s: %v", network, addr, err)
		}
		return server + " sees " + client
	}
	server, other := netip.MustParseAddr("198.51.100.1"), "198.51.100.2:53"
	if got := asked("tcp", server.String()+":53"); got != "elsewhere sees 192.0.2.2" {
		t.Errorf("before: %s", got)
	}
	if err := l.b.AskHere("t1", []netip.Addr{server}, netip.MustParseAddr("10.0.1.254"), l.at(0).Addrs[0]); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"udp", "tcp"} {
		if got := asked(network, server.String()+":53"); got != "host sees 10.0.1.11" {
			t.Errorf("%s: %s", network, got)
		}
	}
	if got := asked("tcp", other); got != "elsewhere sees 192.0.2.2" {
		t.Errorf("another server: %s", got)
	}
	late.Run("nft", "flush", "ruleset")
	if err := l.b.Restore(); err != nil {
		t.Fatal(err)
	}
	if got := asked("udp", server.String()+":53"); got != "host sees 10.0.1.11" {
		t.Errorf("after a flush: %s", got)
	}
	l.ask("tcp", vip)
	if err := l.b.AskHere("gone", []netip.Addr{server}, netip.MustParseAddr("10.0.1.254"), l.at(0).Addrs[0]); err != nil {
		t.Errorf("a container that has ended: %v", err)
	}
}

func TestWhatOthersFlushIsHeardOf(t *testing.T) {
	l := newLAN(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	heard, done := make(chan struct{}, 100), make(chan struct{})
	go func() {
		defer close(done)
		_ = l.b.Watch(ctx, func() { heard <- struct{}{} })
	}()
	defer func() {
		cancel()
		<-done
	}()
	waits := func() {
		t.Helper()
		for { // it may not listen yet
			l.tasks[0].Run("nft", "flush", "ruleset")
			if err := l.b.Restore(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-heard:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	waits()
	l.tasks[1].Run("nft", "delete", "table", "ip", "swarmctl")
	<-heard
	if err := l.b.Restore(); err != nil {
		t.Fatal(err)
	}
	for len(heard) > 0 {
		<-heard
	}
	l.become(fabric.Silent, 1) // what we change ourselves is no news
	l.become(fabric.Serving, 1)
	l.gone(1)
	l.tasks[0].Run("nft", "add", "table", "ip", "theirs") // nor is what is not ours
	l.tasks[0].Run("nft", "delete", "table", "ip", "theirs")
	l.tasks[0].Run("nft", "delete", "table", "ip", "swarmctl")
	<-heard
	if n := len(heard); n != 0 {
		t.Errorf("%d times more than somebody deleted something", n)
	}
}

func TestADaemonThatStartsAnewTakesOver(t *testing.T) {
	l := newLAN(t, 2)
	c, err := l.tasks[0].Dial("tcp", vip)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if l.b, err = New(Config{Self: "n1", Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	if err := l.b.Attach("t1", l.tasks[0].PID, []api.Attachment{l.at(0)}); err != nil {
		t.Fatal(err)
	}
	l.ask("tcp", vip) // before anything is known, what was set goes on
	l.apply()
	l.ask("tcp", vip)
	if _, _, err := world.Again(c); err != nil {
		t.Errorf("a connection from before: %v", err)
	}
	if err := l.b.Close(); err != nil {
		t.Fatal(err)
	}
	if left := l.tasks[0].Run("nft", "list", "ruleset"); strings.TrimSpace(left) != "" {
		t.Errorf("left behind: %s", left)
	}
}

func TestAContainerInTheHostsNetworkIsRefused(t *testing.T) {
	b, err := New(Config{Self: "n1", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Attach("c", os.Getpid(), nil); err == nil || !strings.Contains(err.Error(), "host's network") {
		t.Errorf("%v", err)
	}
}

// manyServices is 1,000 services of 10 tasks each.
func manyServices() *fabric.Set {
	u := fabric.Update{Networks: []*fabric.Network{world.Net("net", "10.0.0.0/8")}}
	for s := range 1000 {
		id := fmt.Sprint("s", s)
		u.Services = append(u.Services, &fabric.Service{
			ID: api.ServiceID(id), Name: id, VIPs: []api.Attachment{world.At("net", fmt.Sprintf("10.1.%d.%d", s/250, s%250))},
		})
		for n := range 10 {
			u.Endpoints = append(u.Endpoints, world.Task(fmt.Sprint(id, ".", n), id, fmt.Sprint("n", n), fabric.Serving,
				world.At("net", fmt.Sprintf("10.%d.%d.%d", 10+n, s/250, s%250))))
		}
	}
	return world.Set(u)
}

func BenchmarkLoad1000ServicesOf10(b *testing.B) {
	n, set := world.New(b, "c"), manyServices()
	for b.Loop() {
		l, err := New(Config{Self: "n1", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Apply(set, nil); err != nil {
			b.Fatal(err)
		}
		if err := l.Attach("c", n.PID, []api.Attachment{world.At("net", "10.9.9.9")}); err != nil {
			b.Fatal(err)
		}
		l.Detach("c")
	}
}

func BenchmarkOneEndpointOf10000Changes(b *testing.B) {
	n, set := world.New(b, "c"), manyServices()
	l, err := New(Config{Self: "n1", Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		err = l.Apply(set, nil)
	}
	if err == nil {
		err = l.Attach("c", n.PID, []api.Attachment{world.At("net", "10.9.9.9")})
	}
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		set = set.Clone()
		e := *set.Endpoints["s500.5"]
		e.State = fabric.Serving + fabric.Silent - e.State
		set.Endpoints[e.ID] = &e
		if err := l.Apply(set, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func TestOneEndpointOf10000IsTakenOutOfItsChainAlone(t *testing.T) {
	n, set := world.New(t, "c"), manyServices()
	l, err := New(Config{Self: "n1", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Apply(set, nil); err != nil {
		t.Fatal(err)
	}
	if err := l.Attach("c", n.PID, []api.Attachment{world.At("net", "10.9.9.9")}); err != nil {
		t.Fatal(err)
	}
	defer l.Detach("c")
	before := n.Run("nft", "list", "ruleset")
	set = set.Clone()
	delete(set.Endpoints, "s500.5")
	if err := l.Apply(set, nil); err != nil {
		t.Fatal(err)
	}
	rules := n.Run("nft", "list", "chain", "ip", "swarmctl", "vip-10.1.2.0")
	if strings.Contains(rules, "10.15.2.0") || !strings.Contains(rules, "10.14.2.0") || !strings.Contains(rules, `comment "s500"`) {
		t.Errorf("the chain of s500 is\n%s", rules)
	}
	if d := differing(before, n.Run("nft", "list", "ruleset")); d > 5 {
		t.Errorf("%d lines of the rules are others than before", d)
	}
}

// differing counts the lines of b that are not in a.
func differing(a, b string) (count int) {
	had := map[string]bool{}
	for line := range strings.Lines(a) {
		had[line] = true
	}
	for line := range strings.Lines(b) {
		if !had[line] {
			count++
		}
	}
	return count
}
