package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/manager/ca"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
	"github.com/swarmctl/swarmctl/manager/liveness"
	"github.com/swarmctl/swarmctl/manager/mover"
	"github.com/swarmctl/swarmctl/raftstore"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/scheduler"
	"github.com/swarmctl/swarmctl/services"
)

// manager is the manager's half of a member: the cluster's port and what is
// served on it, the replicated state, and the leader's loops while it leads.
type manager struct {
	m     *member
	log   *slog.Logger
	store *raftstore.Store
	gate  *gate
	mux   *mux
	over  <-chan struct{} // closed when this life of it ends

	// Connections to other managers. They know this node as what its certificate
	// said when they were made, so none outlives a change of the role.
	peers *peers
	api   *http.Transport
}

// runManagerWhileOne runs the manager's half for as long as the certificate
// says manager, and waits while it says worker.
func (m *member) runManagerWhileOne(ctx context.Context) error {
	for {
		id, changed := m.ids.Watch()
		if id.Role != identity.Manager {
			if err := removeRaft(m.d.cfg.StateDir); err != nil { // after a demotion
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-changed:
			}
			continue
		}
		scope, end := context.WithCancel(ctx)
		go m.endWithRole(scope, end)
		err := m.runManager(scope)
		demoted := scope.Err() != nil && ctx.Err() == nil
		end()
		if !demoted {
			return err
		}
		m.log.Info("this node is a worker from now on")
	}
}

func (m *member) endWithRole(ctx context.Context, end func()) {
	for {
		id, changed := m.ids.Watch()
		if id.Role != identity.Manager {
			end()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// runManager is one life of the manager's half.
func (m *member) runManager(ctx context.Context) error {
	listener, err := listenPort(m.settings().ListenAddr)
	if err != nil {
		return err
	}
	mgr := &manager{m: m, log: m.component("manager"), gate: newGate(), mux: newMux(listener, m.ids, m.component("port")), peers: newPeers(m.ids), api: newAPITransport(m.ids)}
	defer mgr.peers.close()
	defer mgr.api.CloseIdleConnections()
	if err := mgr.openStore(); err != nil {
		_ = listener.Close()
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	mgr.over = ctx.Done()
	group.Go(func() error { return mgr.mux.Run(ctx) })
	group.Go(func() error { return mgr.store.Run(ctx) })
	group.Go(func() error { return mgr.serveGRPC(ctx) })
	group.Go(func() error { return mgr.serveAPI(ctx) })
	group.Go(func() error { return mgr.serveNodes(ctx) })
	group.Go(func() error {
		if err := mgr.boot(ctx); err != nil {
			return err
		}
		m.mgr.Store(mgr)
		m.managingOnce.Do(func() { close(m.managing) })
		group.Go(func() error { return mgr.dispatch(ctx) })
		group.Go(func() error { return mgr.stayMember(ctx) })
		group.Go(func() error { return (&clusterFollower{g: mgr}).run(ctx) })
		group.Go(func() error { return m.d.api.RememberEvents(ctx) })
		return mgr.store.LeadTerms(ctx, mgr.lead)
	})
	err = group.Wait()
	m.mgr.Store(nil)
	return err
}

// listenPort takes the cluster's port.
func listenPort(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, api.Errorf(api.CodeConflict, "address %s is in use by another program: stop it, or give --listen-addr another port", addr)
	}
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "listen on %s: %v: give --listen-addr an address of this host", addr, err)
	}
	return l, nil
}

func (g *manager) openStore() error {
	m := g.m
	store, err := raftstore.New(raftstore.Config{
		Dir:             filepath.Join(m.d.cfg.StateDir, raftDir),
		NodeID:          m.id(),
		Addr:            m.settings().AdvertiseAddr,
		Bootstrap:       m.boot.bootstrap(),
		ForceNewCluster: m.boot.force,
		Key:             m.ids.Key(),
		Listener:        g.mux.listen(protoRaft),
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return dialTLS(ctx, m.ids, addr, protoRaft)
		},
		Forward:   g.forwardCommand,
		Reachable: m.reachable,
		Timers:    raftstore.DefaultTimers(),
		Log:       m.component("raft"),
	})
	if err != nil {
		return fmt.Errorf("open the replicated state: %w", err)
	}
	g.store = store
	return nil
}

func (g *manager) leads() bool { return g.store.IsLeader() }

// serveGRPC serves wire.proto.
func (g *manager) serveGRPC(ctx context.Context) error {
	server := newGRPCServer()
	wire.RegisterCAServer(server, ca.NewServer(caStore{g.store}, g.m.component("ca")))
	wire.RegisterDispatcherServer(server, g.gate)
	wire.RegisterManagersServer(server, &managersServer{g: g})
	return serveUntil(ctx, func() error { return server.Serve(g.mux.listen(protoGRPC)) }, server.Stop)
}

// serveAPI serves the Docker API to followers that forward to this manager.
func (g *manager) serveAPI(ctx context.Context) error {
	server := dockerapi.NewServer(ctx, g.m.d.api.Forwarded(), g.m.component("api"))
	return serveUntil(ctx, func() error { return server.Serve(plainListener{g.mux.listen(protoAPI)}) }, func() { _ = server.Close() })
}

// serveUntil serves until the context ends. Streams are cut then: whoever
// holds one turns to another manager.
func serveUntil(ctx context.Context, serve func() error, stop func()) error {
	defer context.AfterFunc(ctx, stop)()
	err := serve()
	if ctx.Err() != nil || errors.Is(err, grpc.ErrServerStopped) {
		return ctx.Err()
	}
	return err
}

// lead is one term as leader. The first of its loops that fails ends the term.
func (g *manager) lead(ctx context.Context) error {
	g.log.Info("this node leads the cluster")
	defer g.log.Info("this node no longer leads the cluster")
	if err := g.unsettle(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for name, run := range g.leaderLoops() {
		group.Go(func() error {
			if err := run(ctx); ctx.Err() == nil {
				return fmt.Errorf("%s ended: %w", name, err)
			}
			return ctx.Err()
		})
	}
	return group.Wait()
}

// unsettle has the nodes' tasks be in doubt, before anybody acts on them, until
// the manager that holds the node's session says that it still does, or a new one
// begins. After a power failure the state is that of before: it says of sessions
// that they are open, and of tasks that they run.
func (g *manager) unsettle(ctx context.Context) error {
	view, _ := g.store.Follow()
	cmd := state.Command{At: time.Now(), Ops: inDoubt(view)}
	if len(cmd.Ops) == 0 {
		return nil
	}
	result, err := g.store.Propose(ctx, cmd)
	return cmp.Or(err, result.Err())
}

// inDoubt puts every node's tasks in doubt, where a service asks for them: one
// that depends on another. NB: the first such service that is created right after
// an election takes the nodes' tasks for what the state says of them.
func inDoubt(v *state.View) (ops []state.Op) {
	for s := range v.Services() {
		if len(setting.DependenciesOf(s.Spec.Labels)) == 0 {
			continue
		}
		settled := false
		for n := range v.Nodes() {
			ops = append(ops, state.Op{ObserveNode: &state.ObserveNode{ID: n.ID, Settled: &settled}})
		}
		break
	}
	return ops
}

func (g *manager) leaderLoops() map[string]func(context.Context) error {
	m := g.m
	svc, err1 := services.New(services.Config{Store: g.store, NewID: api.NewID, Log: m.component("services")})
	sched, err2 := scheduler.New(scheduler.Config{Store: g.store, Log: m.component("scheduler")})
	live, err3 := liveness.New(liveness.Config{Store: g.store, Gossip: gossipView{m}, Log: m.component("liveness")})
	if err := errors.Join(err1, err2, err3); err != nil {
		panic(err) // all of their fields are set
	}
	roles := &roleKeeper{self: m.id(), store: g.store, log: m.component("roles")}
	keys := &keyKeeper{store: g.store, log: m.component("keys")}
	ingress := &ingressKeeper{store: g.store, routes: m.d.routes, log: m.component("ingress")}
	moves := mover.NewKeeper(mover.Config{Store: g.store, Dial: g.daemonOf, Progress: m.d.moves, Log: m.component("volumes")})
	roots := &rootKeeper{store: g.store, log: m.component("roots")}
	return map[string]func(context.Context) error{
		"services": svc.Run, "scheduler": sched.Run, "liveness": live.Run, "roles": roles.Run, "keys": keys.Run, "roots": roots.Run,
		"ingress": ingress.Run, "volumes": moves.Run,
	}
}
