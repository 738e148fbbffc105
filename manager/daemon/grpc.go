package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/swarmctl/swarmctl/api/identity"
)

// shaken are the credentials of a gRPC server behind the mux: the handshake is
// over, only its outcome is still to be told.
type shaken struct {
	credentials.TransportCredentials
}

func newShaken() shaken { return shaken{credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13})} }

// ServerHandshake implements credentials.TransportCredentials.
func (shaken) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, ok := c.(*tls.Conn)
	if !ok {
		return nil, nil, errors.New("connection did not come through the mux")
	}
	return conn, credentials.TLSInfo{
		State:          conn.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// Clone implements credentials.TransportCredentials.
func (s shaken) Clone() credentials.TransportCredentials { return s }

// window is how much a sender may have under way. With a size of its own gRPC
// does not measure the line: it would send a ping with every heartbeat.
const window = 4 << 20

// maxMessage bounds one message: a full set of assignments of a large node.
const maxMessage = 64 << 20

// newGRPCServer also notices by itself that a client has lost its power: what is read
// through a node's tunnel would be waited for otherwise, as nothing is sent to it.
func newGRPCServer() *grpc.Server {
	return grpc.NewServer(
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.Creds(newShaken()),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)
}

// peers keeps one gRPC connection a manager.
type peers struct {
	ids *identity.Source

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

func newPeers(ids *identity.Source) *peers {
	return &peers{ids: ids, conns: map[string]*grpc.ClientConn{}}
}

// dialOptions: a peer that lost power answers nothing, not even a reset, so
// connecting is given up soon and tried again soon.
func dialOptions(ids *identity.Source) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(ids.ClientCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
		grpc.WithNoProxy(),
	}
}

// get returns the connection to a manager; it is shared and stays open.
func (p *peers) get(addr string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.conns[addr]; c != nil {
		return c, nil
	}
	c, err := dialGRPC(p.ids, addr)
	if err == nil {
		p.conns[addr] = c
	}
	return c, err
}

// dialGRPC makes a connection of the caller's own. It connects when first used.
func dialGRPC(ids *identity.Source, addr string) (*grpc.ClientConn, error) {
	c, err := grpc.NewClient("passthrough:///"+addr, dialOptions(ids)...)
	if err != nil {
		return nil, fmt.Errorf("manager %s: %w", addr, err)
	}
	return c, nil
}

func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for addr, c := range p.conns {
		_ = c.Close()
		delete(p.conns, addr)
	}
}

// dialTLS connects to a manager's port in one of the other protocols.
func dialTLS(ctx context.Context, ids *identity.Source, addr, proto string) (*tls.Conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, ids.ClientConfig(proto))
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("manager %s: %w", addr, err)
	}
	return conn, nil
}

// connected waits until a connection stands, so that a failure up to here is
// known to have sent nothing.
func connected(ctx context.Context, c *grpc.ClientConn) error {
	c.Connect()
	for {
		switch s := c.GetState(); {
		case s == connectivity.Ready:
			return nil
		case s == connectivity.TransientFailure || s == connectivity.Shutdown:
			return errors.New("no connection")
		case !c.WaitForStateChange(ctx, s):
			return ctx.Err()
		}
	}
}
