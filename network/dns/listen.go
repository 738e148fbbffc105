package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api"
)

const (
	// idle is how long a connection may ask nothing.
	idle = 5 * time.Second
	// drain is how long a connection has to take an answer.
	drain = 2 * time.Second
	// forever is the time for a question over UDP to come; the library wants one.
	forever = 30 * 24 * time.Hour
)

// listener answers at one address, over UDP and TCP.
type listener struct {
	addr     netip.Addr
	server   *Server
	ctx      context.Context // ends as it is closed, and what is under way with it
	cancel   context.CancelFunc
	udp, tcp *mdns.Server
	broken   atomic.Bool // one of them has ended by itself
	ends     sync.WaitGroup
}

// Listen answers at these addresses and no others. An address need not be
// there yet. What cannot be listened at is in the error, and tried again the
// next time; the others are.
func (s *Server) Listen(addrs []netip.Addr) error {
	s.listening.Lock()
	defer s.listening.Unlock()
	want := map[netip.Addr]bool{}
	for _, a := range addrs {
		want[a.Unmap()] = true
	}
	for a, l := range s.listeners {
		if s.closed || !want[a] || l.broken.Load() {
			delete(s.listeners, a)
			l.close()
		}
	}
	if s.closed {
		return nil
	}
	var errs []error
	for a := range want {
		if s.listeners[a] == nil {
			errs = append(errs, s.open(a))
		}
	}
	return errors.Join(errs...)
}

// open listens at an address.
func (s *Server) open(a netip.Addr) error {
	at := netip.AddrPortFrom(a, s.cfg.Port).String()
	lc := net.ListenConfig{Control: freebind}
	udp, err := lc.ListenPacket(context.Background(), "udp", at)
	if err != nil {
		return explain(err, "udp", at)
	}
	tcp, err := lc.Listen(context.Background(), "tcp", at)
	if err != nil {
		udp.Close()
		return explain(err, "tcp", at)
	}
	l := &listener{addr: a, server: s}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.udp = &mdns.Server{PacketConn: udp, Handler: l, UDPSize: maxUDP, ReadTimeout: forever}
	l.tcp = &mdns.Server{
		Listener: &doorman{tcp, s.connections}, Handler: l,
		ReadTimeout: idle, IdleTimeout: func() time.Duration { return idle },
	}
	l.run(l.udp)
	l.run(l.tcp)
	s.listeners[a] = l
	return nil
}

// freebind lets an address be listened at that is not there: the bridge that
// has it may be made in a moment, and made anew when the engine restarts.
func freebind(network, _ string, c syscall.RawConn) error {
	level, option := unix.SOL_IP, unix.IP_FREEBIND
	if network == "udp6" || network == "tcp6" {
		level, option = unix.SOL_IPV6, unix.IPV6_FREEBIND
	}
	var err error
	if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, 1) }); e != nil {
		return e
	}
	return err
}

// explain says what to do where an address cannot be listened at.
func explain(err error, network, at string) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return api.Errorf(api.CodeUnavailable, "names: %s (%s), at which containers ask, is taken by another program: find it with `ss -lntup 'sport = :53'` and let it listen at its own addresses alone (dnsmasq: bind-dynamic and except-interface=sw-*; named: listen-on; a container: -p ADDRESS:53:53)", at, network)
	case errors.Is(err, unix.EACCES):
		return api.Errorf(api.CodeUnavailable, "names: %s (%s), at which containers ask, may not be listened at: run the daemon as root", at, network)
	}
	return fmt.Errorf("names: listen at %s (%s): %w", at, network, err)
}

// run serves until the listener is closed; it returns once it has begun.
func (l *listener) run(srv *mdns.Server) {
	begun, ended := make(chan struct{}), make(chan struct{})
	srv.NotifyStartedFunc = func() { close(begun) }
	l.ends.Go(func() {
		defer close(ended)
		if err := srv.ActivateAndServe(); l.ctx.Err() == nil {
			l.broken.Store(true)
			l.server.cfg.Log.Error("names are not answered at an address any more", "addr", l.addr, "err", err)
		}
	})
	select {
	case <-begun:
	case <-ended:
	}
}

// close ends it, questions under way included.
func (l *listener) close() {
	l.cancel()
	for _, srv := range []*mdns.Server{l.udp, l.tcp} {
		// The error is that it has ended already.
		_ = srv.Shutdown()
	}
	l.ends.Wait()
}

// ServeDNS answers one question.
func (l *listener) ServeDNS(w mdns.ResponseWriter, m *mdns.Msg) {
	_, tcp := w.RemoteAddr().(*net.TCPAddr)
	answer := l.server.answer(l.ctx, query{Msg: m, asked: l.addr, from: addrOf(w.RemoteAddr()), tcp: tcp})
	if err := w.WriteMsg(answer); err != nil {
		l.server.cfg.Log.Debug("an answer was not sent", "to", w.RemoteAddr(), "err", err)
	}
}

// addrOf is the address of a peer over UDP or TCP.
func addrOf(a net.Addr) netip.Addr {
	if a, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// doorman lets in as many connections as there is room for.
type doorman struct {
	net.Listener
	room *limiter
}

// Accept closes those that there is no room for.
func (d *doorman) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if from := addrOf(c.RemoteAddr()); d.room.take(from) {
			return &guest{Conn: c, leave: sync.OnceFunc(func() { d.room.give(from) })}, nil
		}
		c.Close()
	}
}

// guest is a connection that makes room as it is closed, and has to take its
// answers.
type guest struct {
	net.Conn
	leave func()
}

func (g *guest) Write(b []byte) (int, error) {
	if err := g.SetWriteDeadline(time.Now().Add(drain)); err != nil {
		return 0, err
	}
	return g.Conn.Write(b)
}

func (g *guest) Close() error {
	defer g.leave()
	return g.Conn.Close()
}
