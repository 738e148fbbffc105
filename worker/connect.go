package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
)

const (
	// connectTimeout is how long a manager has to accept a connection. One
	// that lost power answers nothing at all: there are others to be asked.
	connectTimeout = 3 * time.Second
	// welcomeTimeout is how long it has to open a session, which costs it a
	// write to the cluster's state and may have to wait for an election.
	welcomeTimeout = 10 * time.Second
	// engineGrace is how long the first session waits for the engine's first word.
	engineGrace = 2 * time.Second
	// forbiddenTimes is how often in a row managers must say that the node is
	// no member before it is believed: the answer costs it all its containers.
	forbiddenTimes = 3
)

var (
	errLeft    = errors.New("the node has left the cluster")
	errSuspect = errors.New("the gossip doubts this manager")
	errSilent  = errors.New("the manager has fallen silent")
)

// connector keeps a session with some manager.
type connector struct {
	cfg    *Config
	log    *slog.Logger
	outbox *outbox
	runner *runner
	desc   *description
	load   *load

	volumes *volumes

	born     time.Time      // what the stamps of heartbeats count from
	failures map[string]int // by address, in a row
	refusals int            // in a row: not a member

	// cluster has room for one: the latest ClusterInfo that is not handed on.
	cluster chan *wire.ClusterInfo

	leaveOnce sync.Once
	leaving   chan struct{} // closed by leave
	left      chan struct{} // closed once a manager has heard it
}

func newConnector(cfg *Config, out *outbox, run *runner) *connector {
	return &connector{
		cfg: cfg, log: cfg.Log, outbox: out, runner: run, desc: newDescription(cfg.TLS), load: newLoad(os.DirFS("/proc")),
		born:     time.Now(),
		volumes:  run.volumes,
		failures: map[string]int{}, leaving: make(chan struct{}), left: make(chan struct{}),
		cluster: make(chan *wire.ClusterInfo, 1),
	}
}

func (c *connector) leave(ctx context.Context) error {
	c.leaveOnce.Do(func() { close(c.leaving) })
	select {
	case <-c.left:
		return nil
	case <-ctx.Done():
		return api.Errorf(api.CodeUnavailable, "no manager has heard that this node leaves: %v", context.Cause(ctx))
	}
}

// run returns nil once the node has left, an error of code forbidden once it is
// no member any more, and the context's otherwise.
func (c *connector) run(ctx context.Context) error {
	select {
	case <-c.desc.known:
	case <-time.After(engineGrace):
	case <-ctx.Done():
	}
	var announcer sync.WaitGroup
	defer announcer.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	announcer.Go(func() { c.announce(ctx) })
	_, changed := c.desc.tls() // before anything is told
	announcer.Go(func() { c.desc.followTLS(ctx, changed) })
	wait := firstRetry
	for ctx.Err() == nil {
		peer := c.choose()
		if peer == nil {
			c.log.Warn("no manager is known", "retry", wait)
			pause(ctx, wait)
			wait = min(2*wait, lastRetry)
			continue
		}
		welcomed, err := c.attempt(ctx, peer)
		switch {
		case errors.Is(err, errLeft):
			close(c.left)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case c.refusals >= forbiddenTimes:
			return err
		case welcomed:
			wait = firstRetry
		}
		c.log.Warn("no session with a manager", "manager", peer.GetNodeId(), "addr", peer.GetAddr(), "err", err)
		pause(ctx, wait/2+rand.N(wait/2))
		wait = min(2*wait, lastRetry)
	}
	return ctx.Err()
}

// heard keeps the latest that a manager said of the cluster for announce.
func (c *connector) heard(info *wire.ClusterInfo) {
	select {
	case <-c.cluster:
	default:
	}
	c.cluster <- info
}

// announce hands it on beside the session: whoever is told writes it to a disk,
// and one that is slow must not look like a node that is silent.
func (c *connector) announce(ctx context.Context) {
	for {
		select {
		case info := <-c.cluster:
			c.cfg.OnCluster(info)
		case <-ctx.Done():
			return
		}
	}
}

// choose prefers managers that nobody doubts, then those that failed least
// often, then the order of the list.
func (c *connector) choose() *wire.Peer {
	peers := slices.Clone(c.cfg.Managers())
	if len(peers) == 0 {
		return nil
	}
	rank := func(p *wire.Peer) int {
		n := c.failures[p.GetAddr()]
		if c.cfg.Suspect(api.NodeID(p.GetNodeId())) {
			n += 1 << 20
		}
		return n
	}
	return slices.MinFunc(peers, func(a, b *wire.Peer) int { return cmp.Compare(rank(a), rank(b)) })
}

// suspected reports whether the gossip doubts a manager and there is a better one.
func (c *connector) suspected(p *wire.Peer) bool {
	return c.cfg.Suspect(api.NodeID(p.GetNodeId())) && slices.ContainsFunc(c.cfg.Managers(), func(o *wire.Peer) bool {
		return o.GetNodeId() != p.GetNodeId() && !c.cfg.Suspect(api.NodeID(o.GetNodeId()))
	})
}

// attempt is one session, from the connection to its end.
func (c *connector) attempt(ctx context.Context, peer *wire.Peer) (welcomed bool, err error) {
	defer func() {
		switch {
		case welcomed:
			clear(c.failures)
			c.refusals = 0
		case errors.Is(err, api.ErrForbidden):
			c.refusals++
		}
		c.failures[peer.GetAddr()]++ // the next attempt prefers another one
	}()
	conn, err := c.cfg.Dial(ctx, peer.GetAddr())
	if err != nil {
		return false, fmt.Errorf("connect to %s: %w", peer.GetAddr(), err)
	}
	defer conn.Close()
	if err := c.connected(ctx, conn, peer); err != nil {
		return false, err
	}
	s := &session{connector: c, peer: peer, client: wire.NewDispatcherClient(conn)}
	err = s.run(ctx)
	return s.welcomed, err
}

// connected waits until the connection stands.
func (c *connector) connected(ctx context.Context, conn *grpc.ClientConn, peer *wire.Peer) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	for conn.Connect(); ; {
		state := conn.GetState()
		switch state {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			// gRPC keeps the cause to itself until a call asks for it: the
			// session that is opened next fails at once and tells.
			return nil
		}
		if c.suspected(peer) {
			return errSuspect
		}
		if !conn.WaitForStateChange(ctx, state) {
			return fmt.Errorf("connect to %s: no answer within %s", peer.GetAddr(), connectTimeout)
		}
	}
}
