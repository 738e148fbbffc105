package dispatcher

import (
	"context"
	"net"
	"sync"

	"google.golang.org/grpc/metadata"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
)

// tunnels pairs those who asked for a tunnel with the nodes that dial back.
type tunnels struct {
	mu      sync.Mutex
	waiting map[string]*dialBack
}

type dialBack struct {
	node api.NodeID
	conn chan net.Conn // has room for one
}

func (t *tunnels) expect(id string, node api.NodeID) *dialBack {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := &dialBack{node: node, conn: make(chan net.Conn, 1)}
	t.waiting[id] = w
	return w
}

// hand gives a connection, once, to whoever waits for it, provided that it
// comes from the node that was asked. It reports whether somebody does.
func (t *tunnels) hand(id string, node api.NodeID, open func() net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	w, ok := t.waiting[id]
	if !ok || w.node != node {
		return false
	}
	delete(t.waiting, id)
	w.conn <- open()
	return true
}

// giveUp ends a wait: whoever dials later finds nobody, and a connection that
// came in the last moment is closed.
func (t *tunnels) giveUp(id string, w *dialBack) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.waiting, id)
	select {
	case c := <-w.conn:
		_ = c.Close()
	default:
	}
}

// OpenTunnel returns a connection to the container engine of a node that has
// its session here. Whoever gets it closes it. It waits 10 s at most. Errors:
// unavailable, where the node has no session here, or does not dial back.
func (d *Dispatcher) OpenTunnel(ctx context.Context, node api.NodeID) (net.Conn, error) {
	return d.openTunnel(ctx, node, d.cfg.NewID())
}

// OpenDaemon is OpenTunnel to the node's daemon.
func (d *Dispatcher) OpenDaemon(ctx context.Context, node api.NodeID) (net.Conn, error) {
	return d.openTunnel(ctx, node, wire.ToDaemon(d.cfg.NewID()))
}

func (d *Dispatcher) openTunnel(ctx context.Context, node api.NodeID, id string) (net.Conn, error) {
	d.mu.Lock()
	s := d.sessions[node]
	d.mu.Unlock()
	if s == nil || !s.streaming.Load() {
		return nil, api.Errorf(api.CodeUnavailable, "node %s has no session with manager %s", node, d.cfg.NodeID)
	}
	ctx, cancel := context.WithTimeout(ctx, tunnelTimeout)
	defer cancel()
	w := d.tunnels.expect(id, node)
	s.mark(func(p *pending) { p.tunnels = append(p.tunnels, id) })
	select {
	case c := <-w.conn:
		return c, nil
	case <-ctx.Done():
		d.tunnels.giveUp(id, w)
		return nil, api.Errorf(api.CodeUnavailable, "node %s did not open a tunnel: %v", node, context.Cause(ctx))
	case <-s.ended:
	case <-d.stopped:
	}
	d.tunnels.giveUp(id, w)
	return nil, api.Errorf(api.CodeUnavailable, "the session of node %s ended before it opened a tunnel: retry", node)
}

// Tunnel implements wire.DispatcherServer: a node dials back.
func (d *Dispatcher) Tunnel(stream wire.Dispatcher_TunnelServer) error {
	ctx := stream.Context()
	node, _, err := d.caller(ctx)
	if err != nil {
		return wire.ToStatus(err)
	}
	var id string
	if ids := metadata.ValueFromIncomingContext(ctx, "tunnel-id"); len(ids) == 1 {
		id = ids[0]
	}
	var conn *wire.Conn
	if !d.tunnels.hand(id, node, func() net.Conn {
		conn = wire.NewConn(stream, "tunnel "+id+" to node "+string(node), nil)
		return conn
	}) {
		return wire.ToStatus(api.Errorf(api.CodeNotFound, "nobody waits for tunnel %q of node %s", id, node))
	}
	select {
	case <-conn.Done():
	case <-ctx.Done():
	case <-d.stopped:
	}
	return nil
}
