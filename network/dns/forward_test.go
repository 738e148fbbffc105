package dns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// outside is a server that the host uses. To questions for an address it says
// so with a record that has its own address; it may be "silent", or answer with
// a code ("SERVFAIL").
func outside(t testing.TB, port uint16, addr, manner string, asked func()) {
	at := netip.AddrPortFrom(netip.MustParseAddr(addr), port).String()
	udp, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	handler := mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		asked()
		if m := mannered(q, addr, manner); m != nil {
			_ = w.WriteMsg(m)
		}
	})
	for _, srv := range []*mdns.Server{{PacketConn: udp, Handler: handler}, {Listener: tcp, Handler: handler}} {
		begun, ended := make(chan struct{}), make(chan struct{})
		srv.NotifyStartedFunc = func() { close(begun) }
		go func() {
			defer close(ended)
			_ = srv.ActivateAndServe()
		}()
		<-begun
		t.Cleanup(func() {
			_ = srv.Shutdown()
			<-ended
		})
	}
}

func mannered(q *mdns.Msg, addr, manner string) *mdns.Msg {
	m := new(mdns.Msg).SetReply(q)
	switch manner {
	case "silent":
		return nil
	case "wrong":
		m.Question[0].Name = "elsewhere.example."
	case "large":
		for i := range 100 {
			m.Answer = append(m.Answer, addressOf(q, fmt.Sprintf("192.0.2.%d", i)))
		}
	case "":
		m.Answer = append(m.Answer, addressOf(q, addr))
	default:
		m.Rcode = mdns.StringToRcode[manner]
	}
	return m
}

func addressOf(q *mdns.Msg, addr string) mdns.RR {
	return &mdns.A{Hdr: mdns.RR_Header{Name: q.Question[0].Name, Rrtype: mdns.TypeA, Class: mdns.ClassINET, Ttl: 60}, A: net.ParseIP(addr).To4()}
}

// Servers of the host, in its order, and what a container is told.
func TestForwarding(t *testing.T) {
	for _, c := range []struct {
		name    string
		servers string // ADDRESS or ADDRESS=MANNER
		want    string
		within  time.Duration
	}{
		{"the first answers", "127.1.9.1 127.1.9.2", "NOERROR 127.1.9.1", nextAfter},
		{"the first says that there is no such name", "127.1.9.1=NXDOMAIN 127.1.9.2", "NXDOMAIN", nextAfter},
		{"the first is silent", "127.1.9.1=silent 127.1.9.2", "NOERROR 127.1.9.2", 2 * nextAfter},
		{"two are silent", "127.1.9.1=silent 127.1.9.2=silent 127.1.9.3", "NOERROR 127.1.9.3", 3 * nextAfter},
		{"the first is not there", "127.1.9.1=absent 127.1.9.2", "NOERROR 127.1.9.2", nextAfter},
		{"the first fails", "127.1.9.1=SERVFAIL 127.1.9.2", "NOERROR 127.1.9.2", nextAfter},
		{"the first refuses", "127.1.9.1=REFUSED 127.1.9.2", "NOERROR 127.1.9.2", nextAfter},
		{"the first answers something else", "127.1.9.1=wrong 127.1.9.2", "NOERROR 127.1.9.2", nextAfter},
		{"all refuse", "127.1.9.1=REFUSED 127.1.9.2=REFUSED", "REFUSED", nextAfter},
		{"all are silent", "127.1.9.1=silent 127.1.9.2=silent", "SERVFAIL", forwardLimit + nextAfter},
		{"none is there", "127.1.9.1=absent", "SERVFAIL", nextAfter},
		{"the host names none", "", "SERVFAIL", nextAfter},
		{"the host names ourselves", gateway + "=absent", "SERVFAIL", nextAfter},
		{"the host names ourselves first", gateway + "=absent 127.1.9.2", "NOERROR 127.1.9.2", nextAfter},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startWithServers(t, c.servers)
			begun := time.Now()
			got := inWords(ask(t, s, "udp", caller, question("example.com", "A")))
			if took := time.Since(begun); got != c.want || took > c.within+time.Second {
				t.Errorf("got %s after %v, want %s within %v", got, took, c.want, c.within)
			}
		})
	}
}

func startWithServers(t *testing.T, servers string) *Server {
	var addrs []string
	for word := range strings.FieldsSeq(servers) {
		addr, _, _ := strings.Cut(word, "=")
		addrs = append(addrs, addr)
	}
	s := start(t, loopback(), addrs...)
	for word := range strings.FieldsSeq(servers) {
		if addr, manner, _ := strings.Cut(word, "="); manner != "absent" {
			outside(t, s.cfg.Port, addr, manner, func() {})
		}
	}
	return s
}

// Names of the cluster are not asked outside, and those outside are not asked
// for by internal networks.
func TestWhatStaysInside(t *testing.T) {
	s := start(t, loopback(), "127.1.9.1")
	var asked atomic.Int32
	outside(t, s.cfg.Port, "127.1.9.1", "", func() { asked.Add(1) })
	for _, name := range []string{"web", "tasks.web", "web.front", "127.1.1.10", "127.1.1.99"} {
		for _, qtype := range []string{"A", "AAAA", "PTR", "MX", "TXT"} {
			ask(t, s, "udp", caller, question(name, qtype))
		}
	}
	ask(t, s, "udp", gateway, question("example.com", "A")) // the host itself
	if n := asked.Load(); n != 0 {
		t.Errorf("%d questions went outside", n)
	}
}

// An answer that is too large for the asker is marked, and whole over TCP, over
// which it is asked for outside as well.
func TestForwardedAnswersFit(t *testing.T) {
	s := startWithServers(t, "127.1.9.1=large")
	if m := ask(t, s, "udp", caller, question("example.com", "A")); !m.Truncated || size(m) > mdns.MinMsgSize {
		t.Errorf("over UDP: truncated %v, %d bytes", m.Truncated, size(m))
	}
	if m := ask(t, s, "tcp", caller, question("example.com", "A")); m.Truncated || len(m.Answer) != 100 {
		t.Errorf("over TCP: truncated %v, %d records", m.Truncated, len(m.Answer))
	}
}

// A server that was silent is not waited for again for a while.
func TestSilentServersAreAskedLast(t *testing.T) {
	s := startWithServers(t, "127.1.9.1=silent 127.1.9.2")
	ask(t, s, "udp", caller, question("example.com", "A"))
	begun := time.Now()
	ask(t, s, "udp", caller, question("example.com", "A"))
	if took := time.Since(begun); took > nextAfter/2 {
		t.Errorf("it was waited for: %v", took)
	}
}

func TestSilentServersGetTheirTurnAgain(t *testing.T) {
	now := time.Now()
	a, b, us := &upstream{addr: netip.MustParseAddrPort("192.0.2.1:53")}, &upstream{addr: netip.MustParseAddrPort("192.0.2.2:53")}, &upstream{addr: netip.MustParseAddrPort("10.0.0.1:53")}
	ours := func(addr netip.Addr) bool { return addr == us.addr.Addr() }
	order := func(at time.Time) []*upstream { return inTurn([]*upstream{us, a, b}, at, ours) }
	a.silent(now)
	if got := order(now.Add(shunned - 1)); !slices.Equal(got, []*upstream{b, a}) {
		t.Error("one that was silent is asked first")
	}
	if got := order(now.Add(shunned)); !slices.Equal(got, []*upstream{a, b}) {
		t.Error("one that was silent is never asked first again")
	}
}

// The host's list is read again when it has changed, and gone when it is gone.
func TestChangedResolvConfIsReadAgain(t *testing.T) {
	s := start(t, loopback(), "127.1.9.1")
	for _, a := range []string{"127.1.9.1", "127.1.9.2", "127.1.9.3"} {
		outside(t, s.cfg.Port, a, "", func() {})
	}
	for _, a := range []string{"127.1.9.2", "127.1.9.3", "127.1.9.1"} {
		rewrite(t, s.cfg.ResolvConf, a)
		if got := inWords(ask(t, s, "udp", caller, question("example.com", "A"))); got != "NOERROR "+a {
			t.Errorf("the host uses %s now: %s", a, got)
		}
	}
	rewrite(t, s.cfg.ResolvConf)
	if got := inWords(ask(t, s, "udp", caller, question("example.com", "A"))); got != "SERVFAIL" {
		t.Errorf("the host uses none now: %s", got)
	}
}

func TestNameserversOfResolvConf(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"nameserver 192.0.2.1\nnameserver 192.0.2.2\n", "[192.0.2.1 192.0.2.2]"},
		{"# nameserver 192.0.2.9\n;nameserver 192.0.2.9\nsearch nameserver\n\toptions ndots:2\n  nameserver\t192.0.2.1 # ours\n", "[192.0.2.1]"},
		{"nameserver 2001:db8::1\nnameserver fe80::1%eth0\nnameserver 127.0.0.53", "[2001:db8::1 fe80::1%eth0 127.0.0.53]"},
		{"nameserver\nnameserver example.com\nnameserver 192.0.2.1\nnameserver 192.0.2.1\n", "[192.0.2.1]"},
		{strings.Repeat("nameserver 192.0.2.1\n", 99) + "nameserver 192.0.2.2", "[192.0.2.1 192.0.2.2]"},
		{"", "[]"},
	} {
		if got := fmt.Sprint(nameservers(strings.NewReader(c.file))); got != c.want {
			t.Errorf("%q: got %s, want %s", c.file, got, c.want)
		}
	}
}

// One that asks for more than there is room for is told of a failure at once,
// and the others are answered.
func TestForwardsAreLimited(t *testing.T) {
	s := start(t, loopback("container flood n1 serving front=127.1.1.66"), "127.1.9.1")
	s.Ready(netip.MustParseAddr("127.1.1.66"))
	outside(t, s.cfg.Port, "127.1.9.1", "silent", func() {})
	var failed, room sync.WaitGroup
	room.Add(maxForwardsEach)
	for range 2 * maxForwardsEach {
		failed.Go(func() {
			begun := time.Now()
			q := query{Msg: question("example.com", "A"), asked: netip.MustParseAddr(gateway), from: netip.MustParseAddr("127.1.1.66")}
			if s.answer(t.Context(), q); time.Since(begun) < forwardLimit/2 {
				room.Done()
			}
		})
	}
	room.Wait() // half of them had no room
	if got := inWords(ask(t, s, "udp", caller, question("web", "A"))); got != "NOERROR 127.1.1.2" {
		t.Error(got)
	}
	failed.Wait()
}
