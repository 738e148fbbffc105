package dispatcher

import (
	"context"
	"encoding/json"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// session is what this manager knows of one node's session. It outlives its
// stream by the session's timeout: the node may come back.
type session struct {
	id   string
	node api.NodeID

	streaming atomic.Bool // a stream carries it
	settled   atomic.Bool // its node has said so in it, or never does
	heard     atomic.Bool // since the last tick; see watchSilence

	mu      sync.Mutex
	pending pending
	wake    chan struct{} // has room for one
	over    bool
	ended   chan struct{} // closed by end
	err     error         // why it ended; nil where its node wanted it so
	// observed is what was last written, or is to be, of the node.
	observed observed

	// applied is what the node has last said that it has applied of the fabric,
	// and spoke when, or when the session began. Guarded by Dispatcher.mu.
	applied uint64
	spoke   time.Time

	reports reportQueue // guarded by the reporter
	silent  int         // ticks without a word; belongs to watchSilence
}

// pending is what the stream is yet to send; everything in it can wait and
// coalesce for as long as the stream is busy.
type pending struct {
	tasks   map[api.TaskID]struct{}
	resync  bool            // any task may have changed
	node    bool            // look at the node itself
	info    bool            // what all nodes are told has changed
	beat    *wire.Heartbeat // the latest, if it is to be answered
	acked   uint64
	cleared uint64
	tunnels []string
}

func newSession(node api.NodeID, status api.NodeStatus) *session {
	s := &session{
		id: status.Session, node: node,
		pending: pending{tasks: map[api.TaskID]struct{}{}},
		wake:    make(chan struct{}, 1), ended: make(chan struct{}),
		spoke: time.Now(),
	}
	s.observed.status = status
	return s
}

// mark notes something to send and wakes the sender.
func (s *session) mark(f func(*pending)) {
	s.mu.Lock()
	f(&s.pending)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *session) take() pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pending
	s.pending = pending{tasks: map[api.TaskID]struct{}{}}
	return p
}

// end ends the session's stream; err is what its node is told. The first one counts.
func (s *session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.over, s.err = true, err
		close(s.ended)
	}
}

// Session implements wire.DispatcherServer.
func (d *Dispatcher) Session(stream wire.Dispatcher_SessionServer) error {
	ctx := stream.Context()
	node, _, err := d.caller(ctx)
	if err != nil {
		return wire.ToStatus(err)
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetHello() == nil {
		return wire.ToStatus(api.Errorf(api.CodeInvalid, "a session begins with Hello, not with %T", first.GetMessage()))
	}
	s, err := d.open(ctx, node, first.GetHello())
	if err != nil {
		return wire.ToStatus(err)
	}
	d.cfg.Log.Info("session opened", "node", node, "session", s.id)
	err = d.serve(s, stream)
	d.cfg.Log.Info("session closed", "node", node, "session", s.id, "cause", err)
	return wire.ToStatus(err)
}

func (d *Dispatcher) caller(ctx context.Context) (api.NodeID, string, error) {
	select {
	case <-d.started:
	case <-ctx.Done():
		return "", "", ctx.Err()
	}
	node, role, err := d.cfg.Peer(ctx)
	return node, string(role), err
}

// open writes the session to the store, waits until this manager's own state
// is as new as that (or else a manager that lags could tell the node to remove
// tasks that it has only just been given), and registers the session.
func (d *Dispatcher) open(ctx context.Context, node api.NodeID, hello *wire.Hello) (*session, error) {
	var desc api.NodeDescription
	if err := json.Unmarshal(hello.GetDescriptionJson(), &desc); err != nil {
		return nil, api.Errorf(api.CodeInvalid, "description of node %s: %v", node, err)
	}
	status := api.NodeStatus{State: api.NodeReady, Addr: addrOf(ctx, hello), Session: d.cfg.NewID(), SessionManager: d.cfg.NodeID, Unsettled: hello.GetSettles()}
	routes, problems := wire.Prefixes(hello.GetRoutes()), portProblems(hello.GetPortProblems())
	observed := &state.ObserveNode{ID: node, Status: &status, Description: &desc, Routes: &routes, PortProblems: &problems}
	if hello.GetVolumes() != nil {
		volumes := wire.DecodeVolumes(hello.GetVolumes())
		observed.Volumes = &volumes
	}
	result, err := d.cfg.Store.Propose(ctx, d.command(state.Op{ObserveNode: observed}))
	if err == nil {
		err = result.Err()
	}
	if err != nil {
		return nil, err
	}
	if len(result.Stale) > 0 {
		return nil, notMember(node)
	}
	if err := d.reached(ctx, result.Index); err != nil {
		return nil, err
	}
	s := newSession(node, status)
	s.streaming.Store(true)
	s.heard.Store(true)
	s.settled.Store(!hello.GetSettles())
	if err := d.register(s); err != nil {
		return nil, err
	}
	return s, nil
}

// register makes s the session of its node, unless the node has a newer one.
func (d *Dispatcher) register(s *session) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := standing(d.view, s); err != nil {
		return err
	}
	if old := d.sessions[s.node]; old != nil {
		old.end(replaced(s.node))
	}
	d.sessions[s.node] = s
	return nil
}

// drop forgets a session, if it still is its node's.
func (d *Dispatcher) drop(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sessions[s.node] == s {
		delete(d.sessions, s.node)
		d.drains.look()
	}
}

// standing returns why a session must end, or nil.
func standing(v *state.View, s *session) error {
	switch n := v.Node(s.node); {
	case n == nil:
		return notMember(s.node)
	case n.Status.Session != s.id:
		return replaced(s.node)
	}
	return nil
}

func notMember(node api.NodeID) error {
	return api.Errorf(api.CodeForbidden, "node %s is not a member: it was removed; join again", node)
}

func replaced(node api.NodeID) error {
	return api.Errorf(api.CodeOutdated, "node %s has opened another session, which replaces this one", node)
}

// addrOf is the address that the node gives, or the one it calls from.
func addrOf(ctx context.Context, hello *wire.Hello) string {
	if a := hello.GetAdvertiseAddr(); a != "" {
		return a
	}
	if p, ok := peer.FromContext(ctx); ok {
		if host, _, err := net.SplitHostPort(p.Addr.String()); err == nil {
			return host
		}
	}
	return ""
}

func (d *Dispatcher) welcome(s *session, n *api.Node, shared *sharedInfo) (*wire.FromManager, error) {
	info, err := shared.forNode(n)
	if err != nil {
		return nil, err
	}
	return &wire.FromManager{Message: &wire.FromManager_Welcome{Welcome: &wire.Welcome{
		SessionId: s.id, Heartbeat: info.Heartbeat, Cluster: info,
	}}}, nil
}
