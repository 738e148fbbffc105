package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// managersServer serves wire.Managers, to managers alone.
type managersServer struct {
	wire.UnimplementedManagersServer
	g *manager
}

// caller is the manager that calls.
func caller(ctx context.Context) (nodeID, error) {
	p, err := identity.PeerFromContext(ctx)
	if err != nil {
		return "", err
	}
	if p.Role != identity.Manager {
		return "", api.Errorf(api.CodeForbidden, "node %s is a worker: only managers may ask this", p.NodeID)
	}
	return p.NodeID, nil
}

// Join implements wire.ManagersServer.
func (s *managersServer) Join(ctx context.Context, req *wire.JoinRequest) (*wire.JoinReply, error) {
	if err := s.join(ctx, req.GetAddr()); err != nil {
		return nil, wire.ToStatus(err)
	}
	return &wire.JoinReply{}, nil
}

// dialBackPatience is how long the leader tries to reach a new manager. A
// member that cannot be reached would cost a small group its quorum.
const dialBackPatience = 5 * time.Second

func (s *managersServer) join(ctx context.Context, addr string) error {
	id, err := caller(ctx)
	if err != nil {
		return err
	}
	store := s.g.store
	view, err := store.ReadView(ctx) // the leader only
	if err != nil {
		return err
	}
	if n := view.Node(id); n == nil || n.Spec.Role != swarm.NodeRoleManager {
		return api.Errorf(api.CodeForbidden, "node %s is not to be a manager: promote it first with `swarmctl node promote`", id)
	}
	addr = reachableAddr(ctx, addr)
	if err := s.dialBack(ctx, id, addr); err != nil {
		return err
	}
	s.g.log.Info("manager joins the Raft group", "peer", id, "addr", addr)
	if err := store.AddVoter(ctx, id, addr); err != nil {
		return err
	}
	_, err = store.Propose(ctx, state.Command{At: time.Now(), Ops: []state.Op{
		{ObserveNode: &state.ObserveNode{ID: id, ManagerAddr: &addr}},
	}})
	return err
}

func (s *managersServer) dialBack(ctx context.Context, id nodeID, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, dialBackPatience)
	defer cancel()
	conn, err := dialTLS(ctx, s.g.m.ids, addr, protoRaft)
	if err != nil {
		return api.Errorf(api.CodeInvalid, "the leader cannot reach the new manager at %s (%v): give --advertise-addr an address that the other managers can reach, and let %s through its firewall", addr, err, addr)
	}
	defer func() { _ = conn.Close() }()
	if p, err := identity.PeerFrom(conn.ConnectionState()); err != nil || p.NodeID != id {
		return api.Errorf(api.CodeInvalid, "at %s the leader reaches node %s and not the new manager %s: correct --advertise-addr", addr, p.NodeID, id)
	}
	return nil
}

// reachableAddr replaces an address that names no host by the one that the
// caller calls from.
func reachableAddr(ctx context.Context, addr string) string {
	host, port := splitAddr(addr)
	p, ok := peer.FromContext(ctx)
	if !ok || !isUnspecified(host) {
		return addr
	}
	from, err := netip.ParseAddrPort(p.Addr.String())
	if err != nil {
		return addr
	}
	return net.JoinHostPort(from.Addr().Unmap().String(), port)
}

// Leave implements wire.ManagersServer.
func (s *managersServer) Leave(ctx context.Context, _ *wire.LeaveRequest) (*wire.LeaveReply, error) {
	id, err := caller(ctx)
	if err == nil && !s.g.leads() {
		err = api.Errorf(api.CodeNotLeader, "this manager does not lead")
	}
	if err == nil {
		err = s.g.left(ctx, id)
	}
	return &wire.LeaveReply{}, wire.ToStatus(err)
}

// Propose implements wire.ManagersServer.
func (s *managersServer) Propose(ctx context.Context, req *wire.ProposeRequest) (*wire.ProposeReply, error) {
	if _, err := caller(ctx); err != nil {
		return nil, wire.ToStatus(err)
	}
	result, err := s.g.store.ApplyForwarded(ctx, req.GetCommand())
	if err != nil {
		return nil, wire.ToStatus(err)
	}
	return &wire.ProposeReply{Result: result}, nil
}

// forwardCommand hands a command to the leader.
func (g *manager) forwardCommand(ctx context.Context, _ nodeID, addr string, command []byte) ([]byte, error) {
	conn, err := g.peers.get(addr)
	if err == nil {
		err = connected(ctx, conn)
	}
	if err != nil { // nothing has left this host
		return nil, fmt.Errorf("manager %s: %w: %w", addr, raftstore.ErrNotSent, err)
	}
	reply, err := wire.NewManagersClient(conn).Propose(ctx, &wire.ProposeRequest{Command: command})
	return reply.GetResult(), wire.FromStatus(err)
}

// The metadata of a tunnel: nodeKey names the node, and endKey is there where
// the tunnel is to the node's daemon and not to its engine.
const (
	nodeKey   = "node-id"
	endKey    = "tunnel-end"
	endDaemon = "daemon"
)

// Tunnel implements wire.ManagersServer: it joins the caller's stream with a
// tunnel to the node.
func (s *managersServer) Tunnel(stream wire.Managers_TunnelServer) error {
	ctx := stream.Context()
	if _, err := caller(ctx); err != nil {
		return wire.ToStatus(err)
	}
	md, _ := metadata.FromIncomingContext(ctx)
	ids := md.Get(nodeKey)
	if len(ids) != 1 {
		return wire.ToStatus(api.Errorf(api.CodeInvalid, "a tunnel needs one %s in its metadata", nodeKey))
	}
	open := s.g.gate.openTunnel
	if slices.Contains(md.Get(endKey), endDaemon) {
		open = s.g.gate.openDaemon
	}
	far, err := open(ctx, nodeID(ids[0]))
	if err == nil {
		err = stream.SendHeader(nil) // it is open
	}
	if err != nil {
		return wire.ToStatus(err)
	}
	near := wire.NewConn(stream, ids[0], nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		copyHalf(far, near)
		<-near.Done() // the caller has heard all, or has gone: an engine that says nothing would not find out
		_ = far.Close()
	}()
	copyHalf(near, far)
	<-done
	_ = near.Close()
	return nil
}

func copyHalf(dst, src net.Conn) {
	_, _ = io.Copy(dst, src) // an end that breaks shows to the other as its end
	if half, ok := dst.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	_ = dst.Close()
}

// tunnelTo reaches the engine of a node from this manager: directly when it is
// this one, through its session when that is here, and else through the
// manager that holds the session.
func (g *manager) tunnelTo(ctx context.Context, id nodeID) (net.Conn, error) {
	if id == g.m.id() {
		return g.m.d.engine.Dial(ctx)
	}
	return g.tunnelAcross(ctx, id, "")
}

// daemonOf reaches the daemon of a node in the same way.
func (g *manager) daemonOf(ctx context.Context, id nodeID) (net.Conn, error) {
	if id == g.m.id() {
		return g.m.d.dialSelf(ctx)
	}
	return g.tunnelAcross(ctx, id, endDaemon)
}

func (g *manager) tunnelAcross(ctx context.Context, id nodeID, end string) (net.Conn, error) {
	n := g.store.View().Node(id)
	if n == nil {
		return nil, api.Errorf(api.CodeNotFound, "node %s not found", id)
	}
	holder := n.Status.SessionManager
	if holder == g.m.id() && end == endDaemon {
		return g.gate.openDaemon(ctx, id)
	}
	if holder == g.m.id() {
		return g.gate.openTunnel(ctx, id)
	}
	h := g.store.View().Node(holder)
	if h == nil || h.ManagerAddr == "" {
		return nil, api.Errorf(api.CodeUnavailable, "node %s has no session with a manager", n.Hostname())
	}
	return g.tunnelThrough(ctx, h.ManagerAddr, id, end)
}

// staleSoon is how soon a call fails whose connection has died unnoticed.
const staleSoon = time.Second

// tunnelThrough opens a tunnel by way of another manager. The connection to it
// may be one of before that manager's host lost its power: then a second one
// is made.
func (g *manager) tunnelThrough(ctx context.Context, addr string, id nodeID, end string) (net.Conn, error) {
	start := time.Now()
	conn, err := g.openThrough(ctx, addr, id, end)
	if errors.Is(err, api.ErrUnavailable) && time.Since(start) < staleSoon {
		return g.openThrough(ctx, addr, id, end)
	}
	return conn, err
}

func (g *manager) openThrough(ctx context.Context, addr string, id nodeID, to string) (net.Conn, error) {
	conn, err := g.peers.get(addr)
	if err == nil {
		err = connected(ctx, conn)
	}
	if err != nil {
		return nil, api.Errorf(api.CodeUnavailable, "tunnel to node %s through manager %s: %v", id, addr, err)
	}
	// The stream outlives the call that opens it: the connection ends it.
	sctx, end := context.WithCancel(context.WithoutCancel(ctx))
	giveUp := context.AfterFunc(ctx, end)
	stream, err := wire.NewManagersClient(conn).Tunnel(metadata.AppendToOutgoingContext(sctx, nodeKey, string(id), endKey, to))
	if err == nil {
		err = opened(stream)
	}
	if !giveUp() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		end()
		return nil, fmt.Errorf("tunnel to node %s through manager %s: %w", id, addr, wire.FromStatus(err))
	}
	return wire.NewConn(stream, string(id), end), nil
}

// opened waits until the other end says that the tunnel is open, or why not.
func opened(stream wire.Managers_TunnelClient) error {
	header, err := stream.Header()
	if err == nil && header == nil { // it ended without one
		_, err = stream.Recv()
	}
	return err
}
