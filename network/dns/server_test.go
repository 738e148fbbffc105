package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The networks of these tests are parts of the loopback's, all of whose
// addresses are this host's.
const (
	gateway = "127.1.1.1"
	caller  = "127.1.1.10"
)

func loopback(more ...string) *world {
	w := newWorld(
		"network front 127.1.1.0/24", "network vault 127.1.2.0/24 internal",
		"host n1 front=127.1.1.1 vault=127.1.2.1",
		"service web vip front=127.1.1.2",
		"container caller n1 serving front="+caller,
		"container other n2 serving front=127.1.1.11",
	)
	w.do(more...)
	return w
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// freePort is one that nobody uses at the addresses of these tests.
func freePort(t testing.TB) uint16 {
	for range 100 {
		port := 20000 + rand.IntN(20000)
		c, err := net.ListenPacket("udp", fmt.Sprintf("0.0.0.0:%d", port))
		if err != nil {
			continue
		}
		defer c.Close()
		l, err := net.Listen("tcp", fmt.Sprintf("0.0.0.0:%d", port))
		if err != nil {
			continue
		}
		defer l.Close()
		return uint16(port)
	}
	t.Fatal("no port is free")
	return 0
}

// start is a server of a world that listens at the gateway; the host uses
// the servers at the addresses that are given.
func start(t testing.TB, w *world, servers ...string) *Server {
	s := New(Config{Self: self, ResolvConf: resolv(t, servers...), Port: freePort(t), Log: quiet})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	s.Apply(w.set, w.suspects)
	s.Ready(netip.MustParseAddr(caller))
	if err := s.Listen([]netip.Addr{netip.MustParseAddr(gateway)}); err != nil {
		t.Fatal(err)
	}
	return s
}

func at(s *Server, addr string) string {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), s.cfg.Port).String()
}

func resolv(t testing.TB, servers ...string) string {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	rewrite(t, path, servers...)
	return path
}

func rewrite(t testing.TB, path string, servers ...string) {
	text := "# the host's\nsearch example.com\n"
	for _, s := range servers {
		text += "nameserver " + s + "\n"
	}
	// A new file in its place, as those do it that write resolv.conf.
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o644), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// ask asks the server from an address, over the network given.
func ask(t testing.TB, s *Server, network, from string, q *mdns.Msg) *mdns.Msg {
	m, err := tryAsk(s, network, from, q)
	if err != nil {
		t.Fatalf("%s asks %v: %v", from, q.Question, err)
	}
	return m
}

func tryAsk(s *Server, network, from string, q *mdns.Msg) (*mdns.Msg, error) {
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
	if network == "tcp" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c := mdns.Client{Net: network, Dialer: &d, Timeout: 10 * time.Second}
	m, _, err := c.Exchange(q, at(s, gateway))
	return m, err
}

func TestBothTransportsAnswer(t *testing.T) {
	s := start(t, loopback())
	for _, network := range []string{"udp", "tcp"} {
		q := question("wEb", "A")
		m := ask(t, s, network, caller, q)
		if got := inWords(m); got != "NOERROR 127.1.1.2" || m.Answer[0].Header().Name != "wEb." || m.Answer[0].Header().Ttl != ttl {
			t.Errorf("over %s: %v", network, m)
		}
	}
}

// With 100 tasks the answer does not fit into a small packet: it is marked, and
// complete over TCP and for those who take larger ones.
func TestLargeAnswersAreMarkedAndCompleteOverTCP(t *testing.T) {
	w := loopback()
	for i := range 100 {
		w.do(fmt.Sprintf("task web.%d.id%d n1 serving front=127.1.1.%d", i, i, 100+i))
	}
	s := start(t, w)
	q := question("tasks.web", "A")
	if m := ask(t, s, "udp", caller, q); !m.Truncated || len(m.Answer) == 0 || size(m) > mdns.MinMsgSize {
		t.Errorf("over UDP: truncated %v, %d records", m.Truncated, len(m.Answer))
	}
	if m := ask(t, s, "tcp", caller, q); m.Truncated || len(m.Answer) != 100 {
		t.Errorf("over TCP: truncated %v, %d records", m.Truncated, len(m.Answer))
	}
	q.SetEdns0(4096, false)
	if m := ask(t, s, "udp", caller, q); m.Truncated || len(m.Answer) != 100 || m.IsEdns0() == nil {
		t.Errorf("over UDP with 4096 bytes: truncated %v, %d records", m.Truncated, len(m.Answer))
	}
	q.IsEdns0().SetUDPSize(1232)
	if m := ask(t, s, "udp", caller, q); !m.Truncated || len(m.Answer) < 60 || size(m) > 1232 {
		t.Errorf("over UDP with 1232 bytes: truncated %v, %d records", m.Truncated, len(m.Answer))
	}
}

// size is what a message takes on the wire.
func size(m *mdns.Msg) int {
	m.Compress = true
	return m.Len()
}

func TestAnswersComeInAnotherOrderEachTime(t *testing.T) {
	w := loopback()
	for i := range 8 {
		w.do(fmt.Sprintf("task web.%d.id%d n1 serving front=127.1.1.%d", i, i, 100+i))
	}
	first := map[string]bool{}
	for range 500 {
		m := w.table().answer(networksOf(w, "front"), question("tasks.web", "A"), mdns.MaxMsgSize)
		first[m.Answer[0].String()] = true
	}
	if len(first) != 8 {
		t.Errorf("of 8 addresses %d came first at some time in 500", len(first))
	}
}

// What nobody could use is refused, and what follows is answered.
func TestOddQuestionsAreRefused(t *testing.T) {
	s := start(t, loopback())
	for _, c := range []struct {
		name   string
		change func(*mdns.Msg)
		want   int
	}{
		{"two questions", func(q *mdns.Msg) { q.Question = append(q.Question, q.Question[0]) }, mdns.RcodeFormatError},
		{"no question", func(q *mdns.Msg) { q.Question = nil }, mdns.RcodeFormatError},
		{"a notification", func(q *mdns.Msg) { q.Opcode = mdns.OpcodeNotify }, mdns.RcodeNotImplemented},
		{"an update", func(q *mdns.Msg) { q.Opcode = mdns.OpcodeUpdate }, mdns.RcodeNotImplemented},
		{"another class", func(q *mdns.Msg) { q.Question[0].Qclass = mdns.ClassCHAOS }, mdns.RcodeRefused},
		{"a whole zone", func(q *mdns.Msg) { q.Question[0].Qtype = mdns.TypeAXFR }, mdns.RcodeRefused},
		{"EDNS of the future", func(q *mdns.Msg) { q.SetEdns0(1232, false).IsEdns0().SetVersion(3) }, mdns.RcodeBadVers},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := question("web", "A")
			c.change(q)
			if m := ask(t, s, "udp", caller, q); m.Rcode != c.want {
				t.Errorf("got %s, want %s", mdns.RcodeToString[m.Rcode], mdns.RcodeToString[c.want])
			}
			if got := inWords(ask(t, s, "udp", caller, question("web", "A"))); got != "NOERROR 127.1.1.2" {
				t.Errorf("after it: %s", got)
			}
		})
	}
}

// Random bytes, packets and connections without end leave the server as it was.
func TestGarbageHurtsNobody(t *testing.T) {
	s := start(t, loopback())
	server := at(s, gateway)
	good, _ := question("web", "A").Pack()
	for i := range 3000 {
		garbage := make([]byte, rand.IntN(1500))
		for j := range garbage {
			garbage[j] = byte(rand.Uint32())
		}
		if i%2 == 0 { // a good beginning gets further
			copy(garbage, good[:rand.IntN(len(good)+1)])
		}
		c, err := net.Dial("udp", server)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(garbage)
		c.Close()
	}
	c, err := net.Dial("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Write(append([]byte{0xff, 0xff}, make([]byte, 65535)...))
	if got := inWords(ask(t, s, "tcp", caller, question("web", "A"))); got != "NOERROR 127.1.1.2" {
		t.Error(got)
	}
}

// One asker that opens connections without end leaves room for the others.
func TestConnectionsAreLimited(t *testing.T) {
	s := start(t, loopback())
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.1.1.66")}}
	var ended atomic.Int32
	for range 4 * maxConnectionsEach {
		c, err := d.Dial("tcp", at(s, gateway))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() {
			_, _ = c.Read(make([]byte, 1))
			ended.Add(1)
		}()
	}
	for range 100 {
		if ended.Load() >= 3*maxConnectionsEach {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := ended.Load(); n < 3*maxConnectionsEach {
		t.Errorf("of %d connections from one address %d were refused", 4*maxConnectionsEach, n)
	}
	if got := inWords(ask(t, s, "tcp", caller, question("web", "A"))); got != "NOERROR 127.1.1.2" {
		t.Error(got)
	}
}

// Containers are told names of the cluster once they have their balancers, or
// two seconds later.
func TestAnswersAreWithheldUntilTheBalancersAreThere(t *testing.T) {
	addr := netip.MustParseAddr(caller)
	for _, c := range []struct {
		name  string
		do    func(*Server)
		query query
		after time.Duration
	}{
		{"it never gets them", func(*Server) {}, query{Msg: question("web", "A")}, patience},
		{"it gets them", func(s *Server) { time.AfterFunc(300*time.Millisecond, func() { s.Ready(addr) }) }, query{Msg: question("web", "A")}, 300 * time.Millisecond},
		{"it has them", func(s *Server) { s.Ready(addr) }, query{Msg: question("web", "A")}, 0},
		{"the address had them before", func(s *Server) { s.Ready(addr); s.Unready(addr) }, query{Msg: question("web", "A")}, patience},
		{"it is gone", func(s *Server) { time.AfterFunc(time.Second, func() { s.Unready(addr) }) }, query{Msg: question("web", "A")}, time.Second},
		{"others' names are not withheld", func(*Server) {}, query{Msg: question("example.com", "A")}, 0},
		{"it is on another node", func(*Server) {}, query{Msg: question("web", "A"), from: netip.MustParseAddr("127.1.1.11")}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := resolv(t)
			synctest.Test(t, func(t *testing.T) {
				s, w := New(Config{Self: self, ResolvConf: path, Log: quiet}), loopback()
				s.Apply(w.set, nil)
				c.do(s)
				if c.query.asked = netip.MustParseAddr(gateway); !c.query.from.IsValid() {
					c.query.from = addr
				}
				begun := time.Now()
				m := s.answer(t.Context(), c.query)
				if took := time.Since(begun); took != c.after || m == nil {
					t.Errorf("answered after %v, want %v", took, c.after)
				}
				begun = time.Now()
				if s.answer(t.Context(), c.query); time.Since(begun) != 0 && c.name != "it is gone" {
					t.Errorf("the second answer was withheld as well")
				}
				time.Sleep(patience)
			})
		})
	}
}

// A daemon that has just started does not know yet what there is: it does not
// say that there is nothing.
func TestQuestionsWaitForTheFirstFabric(t *testing.T) {
	path := resolv(t)
	q := query{Msg: question("web", "A"), asked: netip.MustParseAddr(gateway), from: netip.MustParseAddr("127.1.1.11")}
	synctest.Test(t, func(t *testing.T) {
		s, w := New(Config{Self: self, ResolvConf: path, Log: quiet}), loopback()
		if m := s.answer(t.Context(), q); m.Rcode != mdns.RcodeServerFailure {
			t.Errorf("without a fabric: %v", m)
		}
		time.AfterFunc(time.Second, func() { s.Apply(w.set, nil) })
		if got := inWords(s.answer(t.Context(), q)); got != "NOERROR 127.1.1.2" {
			t.Errorf("with a fabric a second later: %s", got)
		}
	})
}

func TestListenOpensAndCloses(t *testing.T) {
	s := start(t, loopback("host n1 front=127.1.1.1 vault=127.1.2.1", "container in n1 serving vault=127.1.2.10"))
	s.Ready(netip.MustParseAddr("127.1.2.10"))
	front, vault := netip.MustParseAddr(gateway), netip.MustParseAddr("127.1.2.1")
	absent := netip.MustParseAddr("192.0.2.7") // no address of this host: its bridge may come
	if err := s.Listen([]netip.Addr{vault, absent, vault}); err != nil {
		t.Fatal(err)
	}
	if _, err := tryAsk(s, "tcp", caller, question("web", "A")); err == nil {
		t.Error("an address that was closed answers")
	}
	second := at(s, "127.1.2.1")
	if m, _, err := (&mdns.Client{Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP("127.1.2.10")}}}).Exchange(question("in", "A"), second); err != nil || inWords(m) != "NOERROR 127.1.2.10" {
		t.Errorf("%v %v", m, err)
	}
	if err := s.Listen([]netip.Addr{front, vault}); err != nil {
		t.Fatal(err)
	}
	ask(t, s, "tcp", caller, question("web", "A"))
}

// An address that another program has is named, the others are listened at,
// and it is tried again.
func TestTakenPortIsReported(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			s := start(t, loopback())
			taken := netip.MustParseAddrPort(at(s, "127.1.2.1"))
			other, err := listenAt(network, taken)
			if err != nil {
				t.Fatal(err)
			}
			both := []netip.Addr{netip.MustParseAddr(gateway), taken.Addr()}
			err = s.Listen(both)
			if !errors.Is(err, api.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), taken.String()+" ("+network+")") {
				t.Errorf("got %v", err)
			}
			ask(t, s, "udp", caller, question("web", "A"))
			other.Close()
			if err := s.Listen(both); err != nil {
				t.Error(err)
			}
		})
	}
}

func listenAt(network string, at netip.AddrPort) (io.Closer, error) {
	if network == "tcp" {
		return net.Listen(network, at.String())
	}
	return net.ListenPacket(network, at.String())
}

// Close does not wait for those who are made to wait.
func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	asked, port := make(chan struct{}), freePort(t)
	outside(t, port, "127.1.9.1", "silent", sync.OnceFunc(func() { close(asked) }))
	s, w := New(Config{Self: self, ResolvConf: resolv(t, "127.1.9.1"), Port: port, Log: quiet}), loopback()
	s.Apply(w.set, nil)
	if err := s.Listen([]netip.Addr{netip.MustParseAddr(gateway)}); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 2)
	for _, name := range []string{"web", "example.com"} { // one waits for its balancers, one for the silent server
		go func() {
			_, err := tryAsk(s, "tcp", caller, question(name, "A"))
			answered <- err
		}()
	}
	<-asked
	begun := time.Now()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("it took %v", took)
	}
	<-answered
	<-answered
	if err := s.Listen([]netip.Addr{netip.MustParseAddr(gateway)}); err != nil || len(s.listeners) != 0 {
		t.Error("a closed server listens")
	}
}

func networksOf(w *world, names ...string) (out []*fabric.Network) {
	for _, n := range names {
		out = append(out, w.set.Networks[api.NetworkID(n)])
	}
	return out
}

// What is asked meanwhile is answered by the one fabric or the other.
func TestAnswersWhileTheFabricChanges(t *testing.T) {
	s, w := start(t, loopback()), loopback()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			w.do(fmt.Sprintf("service web vip front=127.1.1.%d", 2+i%2))
			s.Apply(w.set, nil)
		}
	}()
	for range 200 {
		if got := inWords(ask(t, s, "udp", caller, question("web", "A"))); got != "NOERROR 127.1.1.2" && got != "NOERROR 127.1.1.3" {
			t.Fatal(got)
		}
	}
	cancel()
	<-done
}
