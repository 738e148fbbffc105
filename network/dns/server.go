package dns

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	mdns "github.com/miekg/dns"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// How much may be under way at once, for all askers and for each.
const (
	maxForwards, maxForwardsEach       = 512, 64
	maxWithheld, maxWithheldEach       = 1024, 64
	maxConnections, maxConnectionsEach = 256, 16
)

// Config is what a Server needs.
type Config struct {
	Self api.NodeID
	// ResolvConf names the servers that the host uses; /etc/resolv.conf where it
	// is empty. One of systemd-resolved's names 127.0.0.53, which the host reaches.
	ResolvConf string
	// Port is the one that is listened at and that other servers are asked at; 53
	// where it is 0.
	Port uint16
	Log  *slog.Logger
}

// Server answers questions for names. It answers nothing until Listen.
type Server struct {
	cfg   Config
	table atomic.Pointer[table] // nil until the first Apply
	known chan struct{}         // closed by the first Apply
	gate  gate

	forwarder   *forwarder
	withheld    *limiter
	connections *limiter

	applying sync.Mutex // guards the next one
	builder  *builder

	listening sync.Mutex // guards the next two
	listeners map[netip.Addr]*listener
	closed    bool
}

// New is a server that knows nothing and listens nowhere. Close ends it.
func New(c Config) *Server {
	c.ResolvConf, c.Port = cmp.Or(c.ResolvConf, "/etc/resolv.conf"), cmp.Or(c.Port, 53)
	s := &Server{
		cfg: c, known: make(chan struct{}), builder: newBuilder(c.Self),
		withheld:    newLimiter(maxWithheld, maxWithheldEach),
		connections: newLimiter(maxConnections, maxConnectionsEach),
		listeners:   map[netip.Addr]*listener{},
	}
	s.forwarder = &forwarder{
		conf: &resolvConf{path: c.ResolvConf, port: c.Port, log: c.Log},
		us:   s.isOurs, room: newLimiter(maxForwards, maxForwardsEach),
	}
	return s
}

// Apply makes the answers those of a fabric. What nodes serve of which suspect
// is true is left out where there is something else. It costs what has changed
// since the last one; questions are answered meanwhile. The set is not kept.
func (s *Server) Apply(set *fabric.Set, suspect func(api.NodeID) bool) {
	s.applying.Lock()
	defer s.applying.Unlock()
	if s.table.Swap(s.builder.apply(set, suspect)) == nil {
		close(s.known)
	}
}

// Ready says that the container with this address has its balancers, so that
// it may be told addresses. Until then its questions for names of the cluster
// wait, for 2 s at most.
func (s *Server) Ready(a netip.Addr) { s.gate.ready(a.Unmap()) }

// Unready says that the container that had this address is gone: the next one
// to have it waits for its own Ready.
func (s *Server) Unready(a netip.Addr) { s.gate.unready(a.Unmap()) }

func (s *Server) isOurs(a netip.Addr) bool {
	t := s.table.Load()
	if t == nil {
		return false
	}
	_, ok := t.gateways[a.Unmap()]
	return ok
}

// query is a question with where it came from.
type query struct {
	*mdns.Msg
	asked, from netip.Addr
	tcp         bool
}

// answer answers a question; ctx ends when nobody listens at its address any more.
func (s *Server) answer(ctx context.Context, q query) *mdns.Msg {
	if m := refusal(q.Msg); m != nil {
		return m
	}
	t := s.first(ctx)
	if t == nil {
		return reply(q.Msg, mdns.RcodeServerFailure)
	}
	who, size := t.asker(q.asked, q.from), sizeFor(q.Msg, q.tcp)
	m := t.answer(who.networks, q.Msg, size)
	if m != nil && who.own && s.withhold(ctx, q.from) {
		t = s.table.Load()
		who = t.asker(q.asked, q.from)
		m = t.answer(who.networks, q.Msg, size)
	}
	switch {
	case m != nil:
	case who.forward:
		m = s.forwarder.forward(ctx, q.from, q.Msg, q.tcp)
	default:
		m = reply(q.Msg, who.refusal)
	}
	fit(m, size, q.tcp)
	return m
}

// first is the table, once there is one. A daemon that starts gets the fabric
// in a moment, and until then knows nobody.
func (s *Server) first(ctx context.Context) *table {
	if t := s.table.Load(); t != nil {
		return t
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-s.known:
	case <-ctx.Done():
	}
	return s.table.Load()
}

// withhold waits until the asker may be answered, and reports whether it had to.
func (s *Server) withhold(ctx context.Context, a netip.Addr) bool {
	open := s.gate.opens(a)
	select {
	case <-open:
		return false
	default:
	}
	if !s.withheld.take(a) {
		return false
	}
	defer s.withheld.give(a)
	select {
	case <-open:
	case <-ctx.Done():
	}
	return true
}

// refusal is the answer to what is no question for an address or a name.
func refusal(q *mdns.Msg) *mdns.Msg {
	switch {
	case len(q.Question) != 1:
		return new(mdns.Msg).SetRcodeFormatError(q)
	case q.Opcode != mdns.OpcodeQuery:
		return reply(q, mdns.RcodeNotImplemented)
	case q.Question[0].Qclass != mdns.ClassINET, q.Question[0].Qtype == mdns.TypeAXFR, q.Question[0].Qtype == mdns.TypeIXFR:
		return reply(q, mdns.RcodeRefused)
	}
	if opt := q.IsEdns0(); opt != nil && opt.Version() != 0 {
		return reply(q, mdns.RcodeBadVers)
	}
	return nil
}

// Close ends everything that the server has begun, and returns when it has.
func (s *Server) Close() error {
	s.listening.Lock()
	s.closed = true
	s.listening.Unlock()
	err := s.Listen(nil)
	s.forwarder.under.Wait()
	return err
}
