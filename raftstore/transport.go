package raftstore

import (
	"bytes"
	"context"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	poolSize      = 5                      // connections kept to each peer
	askAgain      = 100 * time.Millisecond // between two requests for a refused pre-vote
	goFirst       = 60 * time.Millisecond  // what a rival of lower ID gets to win its election
	mostAsks      = poolSize + 1           // one connection more than may be stale
	hedge         = 100 * time.Millisecond // without an answer, a question goes out once more
	heartbeatsDue = 2                      // contacts without an answer after which a peer is gone
	fullFor       = 10                     // contacts for which a disk that was full is held against a candidate
)

// transport is raft's network transport with three things added: elections
// that do not wait out whole timeouts, questions that survive stale pooled
// connections, and a memory of who answers.
type transport struct {
	*raft.NetworkTransport
	streams *streams
	self    raft.ServerID
	addr    string
	contact time.Duration
	guard   *guard
	closing <-chan struct{}

	mu    sync.Mutex
	asked map[raft.ServerID]time.Time // who asked for our pre-vote, and when
	heard map[raft.ServerID]time.Time // who answered us, and when
}

func newTransport(cfg *Config, log *raftLog, g *guard) *transport {
	st := &streams{Listener: cfg.Listener, addr: cfg.Addr, dial: cfg.Dial, timeout: cfg.Timers.Dial, open: map[*stream]struct{}{}}
	st.ctx, st.cancel = context.WithCancel(context.Background())
	return &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: st, Logger: log, MaxPool: poolSize, Timeout: cfg.Timers.RPC, MsgpackUseNewTimeFormat: true,
		}),
		streams: st,
		self:    raft.ServerID(cfg.NodeID),
		addr:    cfg.Addr,
		contact: cfg.Timers.Contact,
		guard:   g,
		closing: g.closing,
		asked:   map[raft.ServerID]time.Time{},
		heard:   map[raft.ServerID]time.Time{},
	}
}

// RequestPreVote asks again while the answer is no. A follower refuses as long
// as it believes in a leader, and all stop believing within a heartbeat or two
// of one another; raft itself would wait a whole election timeout, at random
// once or twice over, before it asked again. Asking costs the peer nothing and
// binds it to nothing.
func (t *transport) RequestPreVote(id raft.ServerID, addr raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	deadline := time.Now().Add(t.contact - askAgain)
	if t.guard.fullWithin(fullFor * t.contact) {
		t.pause(t.contact / 2) // small writes may succeed again: let others win
	}
	for {
		err := firstAnswer(resp, func(resp *raft.RequestPreVoteResponse) error {
			return t.NetworkTransport.RequestPreVote(id, addr, req, resp)
		})
		switch {
		case err == nil && resp.Granted:
			t.letRivalGoFirst()
			return nil
		case err == nil && resp.Term > req.Term, time.Now().After(deadline):
			return err
		}
		if !t.pause(askAgain) {
			return err
		}
	}
}

// letRivalGoFirst breaks ties: two candidates that grant each other's pre-vote
// would split the vote and lose an election timeout. The one of higher ID that
// was asked meanwhile waits until the other has had time to win.
func (t *transport) letRivalGoFirst() {
	t.mu.Lock()
	rival := false
	for id, at := range t.asked {
		rival = rival || id < t.self && time.Since(at) < goFirst
	}
	t.mu.Unlock()
	if rival {
		t.pause(goFirst)
	}
}

func (t *transport) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-t.closing:
		return false
	}
}

// RequestVote asks for a vote, which may be asked for twice.
func (t *transport) RequestVote(id raft.ServerID, addr raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return firstAnswer(resp, func(resp *raft.RequestVoteResponse) error {
		return t.NetworkTransport.RequestVote(id, addr, req, resp)
	})
}

// ask is a heartbeat in the name of the leader of a term, and reports whether
// the peer takes it.
func (t *transport) ask(p raft.Server, term uint64) bool {
	var resp raft.AppendEntriesResponse
	err := firstAnswer(&resp, func(resp *raft.AppendEntriesResponse) error {
		return t.AppendEntries(p.ID, p.Address, t.request(term), resp)
	})
	return err == nil && resp.Success && resp.Term == term
}

// firstAnswer puts a question that may be repeated, again whenever it failed or
// was not answered for a moment, and takes the first answer. A connection from
// the pool may be stale: its other end has restarted, which fails at once, or
// was cut off meanwhile, which shows only after a whole time-out. A question
// under way holds its connection, so that the next one goes over another.
func firstAnswer[R any](resp *R, call func(*R) error) error {
	type answer struct {
		resp R
		err  error
	}
	answers := make(chan answer, mostAsks)
	asked, failed := 0, 0
	for {
		if asked < mostAsks {
			asked++
			go func() { // ends with the RPC, which has a timeout
				var a answer
				a.err = call(&a.resp)
				answers <- a
			}()
		}
		select {
		case a := <-answers:
			if a.err == nil {
				*resp = a.resp
				return nil
			}
			if failed++; failed == mostAsks {
				return a.err
			}
		case <-time.After(hedge):
		}
	}
}

// AppendEntries notes that the peer answered; heartbeats come this way.
func (t *transport) AppendEntries(id raft.ServerID, addr raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	err := t.NetworkTransport.AppendEntries(id, addr, req, resp)
	if err == nil {
		t.mu.Lock()
		t.heard[id] = time.Now()
		t.mu.Unlock()
	}
	return err
}

// answers reports whether the peer answered within the last heartbeats.
func (t *transport) answers(id raft.ServerID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.heard[id]
	return ok && time.Since(at) < heartbeatsDue*t.contact
}

// observe is called by raft for every request for a vote that comes in.
func (t *transport) observe(req raft.RequestPreVoteRequest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked[raft.ServerID(bytes.Clone(req.ID))] = time.Now()
}

// request is an AppendEntries request without entries in the name of this
// node as the leader of a term.
func (t *transport) request(term uint64) *raft.AppendEntriesRequest {
	return &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(t.self), Addr: []byte(t.addr)},
		Term:      term,
		Leader:    []byte(t.addr),
	}
}

// streams is raft's StreamLayer: connections from the node's TLS port.
type streams struct {
	net.Listener
	addr    string
	dial    func(ctx context.Context, addr string) (net.Conn, error)
	timeout time.Duration
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc

	mu     sync.Mutex
	closed bool
	open   map[*stream]struct{}
}

// stream is a connection that is closed with the Store.
type stream struct {
	net.Conn
	of *streams
}

// Accept implements net.Listener.
func (s *streams) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return s.track(conn)
}

// Dial implements raft.StreamLayer.
func (s *streams) Dial(addr raft.ServerAddress, _ time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.timeout)
	defer cancel()
	conn, err := s.dial(ctx, string(addr))
	if err != nil {
		return nil, err
	}
	return s.track(conn)
}

func (s *streams) track(conn net.Conn) (net.Conn, error) {
	noticeDeadPeer(conn, s.timeout)
	c := &stream{conn, s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	s.open[c] = struct{}{}
	return c, nil
}

// Close closes the connection.
func (c *stream) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// Close implements net.Listener. It closes all connections too: raft's
// transport would leave those it serves waiting for their next request. Calls
// after the first do nothing.
func (s *streams) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	open := make([]*stream, 0, len(s.open))
	for c := range s.open {
		open = append(open, c)
	}
	s.mu.Unlock()
	s.cancel()
	err := s.Listener.Close()
	for _, c := range open {
		_ = c.Close()
	}
	return err
}

// Addr implements net.Listener: the address that peers know this node by.
func (s *streams) Addr() net.Addr { return address(s.addr) }

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
