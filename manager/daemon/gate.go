package daemon

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/manager/dispatcher"
)

// gate lets nodes in to the dispatcher while this manager has a leader. A
// manager that is cut off from the leader sends its nodes to the others: it
// could neither hear of new tasks nor pass on what becomes of the old ones.
type gate struct {
	wire.UnimplementedDispatcherServer
	open atomic.Pointer[dispatcher.Dispatcher]
}

func newGate() *gate { return &gate{} }

var errClosed = api.Errorf(api.CodeUnavailable, "this manager has no leader at the moment: try another one")

// Session implements wire.DispatcherServer.
func (g *gate) Session(s wire.Dispatcher_SessionServer) error {
	if d := g.open.Load(); d != nil {
		return d.Session(s)
	}
	return wire.ToStatus(errClosed)
}

// Tunnel implements wire.DispatcherServer.
func (g *gate) Tunnel(s wire.Dispatcher_TunnelServer) error {
	if d := g.open.Load(); d != nil {
		return d.Tunnel(s)
	}
	return wire.ToStatus(errClosed)
}

// Image implements wire.DispatcherServer.
func (g *gate) Image(req *wire.ImageRequest, s wire.Dispatcher_ImageServer) error {
	if d := g.open.Load(); d != nil {
		return d.Image(req, s)
	}
	return wire.ToStatus(errClosed)
}

// Credentials implements wire.DispatcherServer.
func (g *gate) Credentials(ctx context.Context, req *wire.CredentialsRequest) (*wire.CredentialsReply, error) {
	if d := g.open.Load(); d != nil {
		return d.Credentials(ctx, req)
	}
	return nil, wire.ToStatus(errClosed)
}

// openTunnel reaches the engine of a node whose session is here.
func (g *gate) openTunnel(ctx context.Context, id nodeID) (net.Conn, error) {
	if d := g.open.Load(); d != nil {
		return d.OpenTunnel(ctx, id)
	}
	return nil, errClosed
}

// openDaemon reaches the daemon of a node whose session is here.
func (g *gate) openDaemon(ctx context.Context, id nodeID) (net.Conn, error) {
	if d := g.open.Load(); d != nil {
		return d.OpenDaemon(ctx, id)
	}
	return nil, errClosed
}

// leaderlessPatience is how long nodes stay with a manager that has lost its
// leader: an election is over by then and nobody has had to move. Longer also has
// nodes that are cut off with it believe for longer that they are not: tasks that
// stop themselves are waited for by it (services/slot/selfstop.go).
const leaderlessPatience = 3 * time.Second

// dispatch opens the gate when there is a leader and shuts it when there has
// been none for a while.
func (g *manager) dispatch(ctx context.Context) error {
	for {
		if err := g.awaitLeader(ctx); err != nil {
			return err
		}
		scope, shut := context.WithCancel(ctx)
		go g.shutWithoutLeader(scope, shut)
		err := g.runDispatcher(scope)
		shut()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		g.log.Warn("no leader: the nodes of this manager turn to the others", "err", err)
	}
}

func (g *manager) awaitLeader(ctx context.Context) error {
	for {
		leader, changed := g.store.WatchLeader()
		if leader.ID != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

func (g *manager) shutWithoutLeader(ctx context.Context, shut func()) {
	for {
		leader, changed := g.store.WatchLeader()
		var patience <-chan time.Time
		if leader.ID == "" {
			patience = time.After(leaderlessPatience)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-patience:
			shut()
			return
		}
	}
}

func (g *manager) runDispatcher(ctx context.Context) error {
	d, err := dispatcher.New(dispatcher.Config{
		NodeID: g.m.id(),
		Store:  g.store,
		Peer: func(ctx context.Context) (nodeID, identity.Role, error) {
			p, err := identity.PeerFromContext(ctx)
			return p.NodeID, p.Role, err
		},
		Images: g,
		Log:    g.m.component("dispatcher"),
	})
	if err != nil {
		return err
	}
	g.gate.open.Store(d)
	defer g.gate.open.Store(nil)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.Run(ctx) })
	group.Go(func() error { return g.clearDrains(ctx, d) })
	return group.Wait()
}
