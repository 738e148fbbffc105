package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	joiner "github.com/swarmctl/swarmctl/api/identity/join"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/network/gossip"
	"github.com/swarmctl/swarmctl/worker"
)

type nodeID = api.NodeID

// member is this node's membership of a cluster: a worker, the gossip, the
// renewal of the certificate, and the manager's half while the certificate
// says manager.
type member struct {
	d     *Daemon
	log   *slog.Logger
	ids   *identity.Source
	renew *joiner.Renewer

	// boot is how the manager's half starts the first time: see boot.go.
	boot boot

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned

	mgr    atomic.Pointer[manager]
	worker atomic.Pointer[worker.Worker]
	// network is the node's part of the cluster's networks. It is set before
	// networking is closed, and not changed then.
	network     *nodeNetwork
	networking  chan struct{}
	networkOnce sync.Once
	// containers is what puts users' containers into the cluster's networks; nil
	// while the network agent does not run.
	containers atomic.Pointer[containerNetworks]

	mu      sync.Mutex
	set     settings
	cluster *wire.ClusterInfo
	// heard is closed when the first ClusterInfo has come: the node is part of
	// the cluster then. updated is closed, and replaced, with each one.
	heard chan struct{}
	once  sync.Once
	// managing is closed when the manager's half has started the first time.
	managing     chan struct{}
	managingOnce sync.Once
	updated      chan struct{}
	gossip       *gossip.Gossip // nil while it does not run
	gossiping    chan struct{}  // closed, and replaced, when gossip changes
	doubted      map[nodeID]bool
	doubting     chan struct{} // closed, and replaced, when doubted changes

	failure error         // why a part does not run; nil when all do
	failed  chan struct{} // closed, and replaced, when failure changes
}

func newMember(d *Daemon, ids *identity.Source, set settings) *member {
	m := &member{
		d:          d,
		log:        d.cfg.Log.With("node", ids.Current().NodeID),
		ids:        ids,
		set:        set,
		cluster:    set.clusterInfo(),
		heard:      make(chan struct{}),
		managing:   make(chan struct{}),
		updated:    make(chan struct{}),
		failed:     make(chan struct{}),
		gossiping:  make(chan struct{}),
		networking: make(chan struct{}),
		doubting:   make(chan struct{}),
		done:       make(chan struct{}),
	}
	m.ctx, m.cancel = context.WithCancel(d.scope)
	return m
}

func (m *member) id() nodeID                      { return m.ids.Current().NodeID }
func (m *member) manager() *manager               { return m.mgr.Load() }
func (m *member) component(c string) *slog.Logger { return m.log.With("component", c) }

// retryAfter is how long a part that failed (the port is taken, the engine is
// a member of a Docker swarm) rests before it is tried again.
const retryAfter = 2 * time.Second

// run is the membership until the node leaves or the daemon ends.
func (m *member) run(context.Context) {
	defer close(m.done)
	group, ctx := errgroup.WithContext(m.ctx)
	renewer, err := joiner.NewRenewer(joiner.RenewerConfig{
		Source: m.ids, Managers: m.managerAddrs, Log: m.component("renewal"),
	})
	if err != nil {
		panic(err) // all of its fields are set
	}
	m.renew = renewer
	group.Go(func() error { return renewer.Run(ctx) })
	group.Go(func() error { return m.followCertificate(ctx) })
	group.Go(func() error { m.keep(ctx, "manager", m.runManagerWhileOne); return nil })
	group.Go(func() error { m.keep(ctx, "gossip", m.runGossip); return nil })
	group.Go(func() error { m.keep(ctx, "network", m.runNetwork); return nil })
	group.Go(func() error { m.keep(ctx, "worker", m.runWorker); return nil })
	_ = group.Wait() // every part ends with the context alone
}

// keep runs a part for as long as the context lives, again after a rest when
// it fails, and keeps the reason for `swarmctl info`.
func (m *member) keep(ctx context.Context, name string, part func(context.Context) error) {
	for ctx.Err() == nil {
		err := part(ctx)
		if ctx.Err() != nil {
			return
		}
		m.fail(err)
		m.log.Error("part of the node ended; it is started again", "component", name, "err", err, "after", retryAfter)
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
		m.fail(nil)
	}
}

func (m *member) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failure = err
	close(m.failed)
	m.failed = make(chan struct{})
}

// runWorker connects the node's worker to the cluster.
func (m *member) runWorker(ctx context.Context) error {
	n, err := m.awaitNetwork(ctx)
	if err != nil {
		return err
	}
	w, err := worker.New(worker.Config{
		Network:    n,
		Files:      m.d.files,
		NodeID:     m.id(),
		ClusterID:  m.ids.Current().ClusterID,
		Engine:     m.d.engine,
		DialDaemon: m.d.dialSelf,
		Dial: func(_ context.Context, addr string) (*grpc.ClientConn, error) {
			return dialGRPC(m.ids, addr)
		},
		Managers:  m.managerPeers,
		OnCluster: m.onCluster,
		Suspect:   m.suspect,
		TLS: func() (swarm.TLSInfo, <-chan struct{}) {
			id, changed := m.ids.Watch()
			return id.TLSInfo(), changed
		},
		Advertise: m.advertiseHost(),
		Version:   m.d.cfg.Version,
		Routes:    m.d.routes,
		Starts:    m.d.cfg.Starts,
		Log:       m.component("worker"),
	})
	if err != nil {
		return err
	}
	m.worker.Store(w)
	defer m.worker.Store(nil)
	err = w.Run(ctx)
	if errors.Is(err, api.ErrForbidden) {
		// The cluster has removed this node: what it ran runs elsewhere now.
		m.fail(err)
		if rerr := w.RemoveAll(ctx); rerr != nil {
			m.log.Warn("containers of the cluster remain", "err", rerr)
		}
		<-ctx.Done()
	}
	return err
}

// info is this node's part of GET /info.
func (m *member) info() swarm.Info {
	m.mu.Lock()
	failure, cluster := m.failure, m.cluster
	m.mu.Unlock()
	info := swarm.Info{
		NodeID:           string(m.id()),
		NodeAddr:         m.advertiseHost(),
		LocalNodeState:   swarm.LocalNodeStateActive,
		ControlAvailable: m.manager() != nil,
	}
	select {
	case <-m.heard:
	default:
		info.LocalNodeState = swarm.LocalNodeStatePending
	}
	if failure != nil {
		info.LocalNodeState, info.Error = swarm.LocalNodeStateError, failure.Error()
	}
	for _, p := range cluster.GetManagers() {
		info.RemoteManagers = append(info.RemoteManagers, swarm.Peer{NodeID: p.GetNodeId(), Addr: p.GetAddr()})
	}
	return info
}

// stop ends the membership and waits for it; containers stay.
func (m *member) stop() {
	m.cancel()
	<-m.done
}

func removeRaft(dir string) error { return os.RemoveAll(filepath.Join(dir, raftDir)) }
