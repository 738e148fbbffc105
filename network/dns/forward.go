package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	// forwardLimit is how long a question may take outside. The engine's resolver
	// waits for 3 s and more, and is told of a failure before it gives up.
	forwardLimit = 2900 * time.Millisecond
	// nextAfter is how long a server has before the next one is asked as well. A
	// lookup that the server must do itself takes a few hundred milliseconds.
	nextAfter = 700 * time.Millisecond
)

// forwarder asks the host's servers what the cluster does not know.
type forwarder struct {
	conf  *resolvConf
	us    func(netip.Addr) bool // an address that we answer at
	room  *limiter
	under sync.WaitGroup
}

// forward answers a question of an asker with what a server says; with a
// failure if none says anything.
func (f *forwarder) forward(ctx context.Context, asker netip.Addr, q *mdns.Msg, tcp bool) *mdns.Msg {
	if !f.room.take(asker) {
		return reply(q, mdns.RcodeServerFailure)
	}
	defer f.room.give(asker)
	ctx, cancel := context.WithTimeout(ctx, forwardLimit)
	defer cancel()
	m := f.ask(ctx, q, tcp)
	if m == nil {
		return reply(q, mdns.RcodeServerFailure)
	}
	m.Id = q.Id
	return m
}

// said is what came of asking one server.
type said struct {
	server *upstream
	answer *mdns.Msg
	err    error
}

// ask asks one server after the other, each twice: the next one as soon as the
// last has failed or was silent for a while. The first answer that says
// something is taken; where there is none, the last that came.
func (f *forwarder) ask(ctx context.Context, q *mdns.Msg, tcp bool) *mdns.Msg {
	turns := inTurn(f.conf.servers(), time.Now(), f.us)
	turns = append(turns, turns...)
	heard := make(chan said, len(turns))
	var next, failed int
	start := func() {
		if next < len(turns) {
			u := turns[next]
			f.under.Go(func() { heard <- exchange(ctx, u, q, tcp) })
			next++
		}
	}
	var worst *mdns.Msg
	for start(); failed < len(turns); {
		select {
		case s := <-heard:
			if s.err == nil && conclusive(s.answer) {
				s.server.until.Store(0)
				return s.answer
			}
			if s.err == nil {
				worst = s.answer
			}
			failed++
			start()
		case <-time.After(nextAfter):
			turns[next-1].silent(time.Now())
			start()
		case <-ctx.Done():
			return worst
		}
	}
	return worst
}

// conclusive reports whether another server need not be asked.
func conclusive(m *mdns.Msg) bool {
	return m.Rcode == mdns.RcodeSuccess || m.Rcode == mdns.RcodeNameError
}

var errAnswer = errors.New("the answer is to another question")

// exchange asks one server. It ends with the context.
func exchange(ctx context.Context, u *upstream, q *mdns.Msg, tcp bool) said {
	network := "udp"
	if tcp {
		network = "tcp"
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, u.addr.String())
	if err != nil {
		return said{server: u, err: err}
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()

	ours := q.Copy()
	ours.Id = mdns.Id()
	// Without EDNS some servers send more than 512 bytes all the same.
	client := mdns.Client{Net: network, Timeout: forwardLimit, UDPSize: maxUDP}
	m, _, err := client.ExchangeWithConnContext(ctx, ours, &mdns.Conn{Conn: c})
	if err == nil && !answers(m, ours) {
		err = errAnswer
	}
	return said{server: u, answer: m, err: err}
}

func answers(m, q *mdns.Msg) bool {
	return m.Response && len(m.Question) == 1 &&
		m.Question[0].Qtype == q.Question[0].Qtype && m.Question[0].Qclass == q.Question[0].Qclass &&
		strings.EqualFold(m.Question[0].Name, q.Question[0].Name)
}
