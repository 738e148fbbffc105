package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/swarmctl/swarmctl/api/identity"
)

// The protocols on the cluster's port, told apart by ALPN.
const (
	protoGRPC = "h2"              // wire.proto
	protoRaft = "swarmctl-raft/1" // raftstore's transport
	protoAPI  = "swarmctl-api/1"  // the Docker API, forwarded by followers
	protoNode = "swarmctl-node/1" // what nodes ask for their own containers
)

// handshakeTimeout bounds how long a stranger may hold a connection open
// without saying who it is.
const handshakeTimeout = 10 * time.Second

// mux shares the cluster's port between protocols: it shakes hands, then gives
// each connection to the listener of its protocol.
type mux struct {
	inner  net.Listener
	config *tls.Config
	log    *slog.Logger
	protos map[string]*protoListener
}

// newMux takes over the listener.
func newMux(inner net.Listener, ids *identity.Source, log *slog.Logger) *mux {
	m := &mux{
		inner:  inner,
		config: ids.ServerConfig(protoGRPC, protoRaft, protoAPI, protoNode),
		log:    log,
		protos: map[string]*protoListener{},
	}
	for _, p := range m.config.NextProtos {
		m.protos[p] = newProtoListener(inner.Addr())
	}
	return m
}

// listen returns the listener of one protocol. Its connections are *tls.Conn
// whose handshake is done.
func (m *mux) listen(proto string) net.Listener { return m.protos[proto] }

// Run accepts until the context ends, and closes the port and every protocol's
// listener then.
func (m *mux) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = m.inner.Close() })
	defer stop()
	defer func() {
		for _, l := range m.protos {
			_ = l.Close()
		}
	}()
	for {
		conn, err := m.inner.Accept()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // out of file descriptors, a peer that went away: not the end
			m.log.Warn("accept failed", "err", err)
			time.Sleep(50 * time.Millisecond) // NB: the one way not to spin while accept fails at once
			continue
		}
		go m.serve(ctx, conn)
	}
}

func (m *mux) serve(ctx context.Context, raw net.Conn) {
	conn := tls.Server(raw, m.config)
	hctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(hctx); err != nil {
		m.log.Debug("handshake failed", "peer", raw.RemoteAddr().String(), "err", err)
		_ = raw.Close()
		return
	}
	proto := conn.ConnectionState().NegotiatedProtocol
	l := m.protos[proto]
	if l == nil || !allowed(conn, proto) || !l.give(conn) {
		_ = conn.Close()
	}
}

// allowed keeps everybody but managers away from Raft and from the API, and
// strangers from what is for nodes. gRPC has methods for strangers and looks at
// the caller method by method.
func allowed(conn *tls.Conn, proto string) bool {
	if proto == protoGRPC {
		return true
	}
	peer, err := identity.PeerFrom(conn.ConnectionState())
	return err == nil && (peer.Role == identity.Manager || proto == protoNode)
}

// protoListener is the net.Listener of one protocol.
type protoListener struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newProtoListener(addr net.Addr) *protoListener {
	return &protoListener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *protoListener) give(c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	case <-l.closed:
		return false
	}
}

// Accept implements net.Listener.
func (l *protoListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *protoListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *protoListener) Addr() net.Addr { return l.addr }

// plainListener hides from net/http that its connections are TLS: it would
// close those whose ALPN is not its own.
type plainListener struct{ net.Listener }

// Accept implements net.Listener.
func (l plainListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return plainConn{c}, nil
}

// plainConn is a connection that does not show that it is TLS.
type plainConn struct{ net.Conn }

// peer is who is at the other end.
func (c plainConn) peer() (identity.Peer, error) {
	conn, ok := c.Conn.(*tls.Conn)
	if !ok {
		return identity.Peer{}, errors.New("the connection did not come through the mux")
	}
	return identity.PeerFrom(conn.ConnectionState())
}
