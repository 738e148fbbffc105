package daemon

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// boot is what the manager's half does once before it counts as started.
type boot struct {
	// cluster, node and ingress, where set, are the first objects of a new cluster.
	cluster *api.Cluster
	node    *api.Node
	ingress *api.Network
	// force makes this node the only manager of the cluster whose state it holds.
	force bool
}

func (b boot) bootstrap() bool { return b.cluster != nil }

// boot makes the node a manager of its cluster: of a new one, of one that it
// was told to take over, or of one that it joins. A manager that was one
// before has nothing to do.
func (g *manager) boot(ctx context.Context) error {
	m := g.m
	switch {
	case m.boot.bootstrap():
		return g.create(ctx)
	case m.boot.force:
		return g.takeOver(ctx)
	case len(g.store.Members()) == 0:
		return g.joinRaft(ctx)
	}
	return nil
}

func (g *manager) create(ctx context.Context) error {
	if err := g.awaitLeader(ctx); err != nil {
		return err
	}
	b := g.m.boot
	_, err := g.store.Propose(ctx, state.Command{At: time.Now(), Ops: []state.Op{{PutCluster: b.cluster}, {PutNode: b.node}, {CreateNetwork: b.ingress}}})
	if err != nil {
		return fmt.Errorf("create the cluster: %w", err)
	}
	g.m.boot = boot{}
	return nil
}

// takeOver mends the nodes' records after --force-new-cluster: the managers
// that are gone are managers no more.
func (g *manager) takeOver(ctx context.Context) error {
	if err := g.awaitLeader(ctx); err != nil {
		return err
	}
	var ops []state.Op
	for n := range g.store.View().Nodes() {
		if n.ID == g.m.id() || n.Spec.Role != swarm.NodeRoleManager {
			continue
		}
		next := *n
		next.Spec.Role, next.ManagerAddr = swarm.NodeRoleWorker, ""
		ops = append(ops, state.Op{PutNode: &next})
	}
	if len(ops) > 0 {
		if _, err := g.store.Propose(ctx, state.Command{At: time.Now(), Ops: ops}); err != nil {
			return fmt.Errorf("take the cluster over: %w", err)
		}
	}
	g.m.boot = boot{}
	return nil
}

// joinPatience bounds how long a new manager asks the managers it knows to
// take it in: a few elections.
const joinPatience = 30 * time.Second

// joinRaft asks the leader, wherever it is, to be taken into the Raft group,
// and waits until the state has arrived here.
func (g *manager) joinRaft(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	_, cursor := g.store.Follow()
	if err := g.askToJoin(ctx); err != nil {
		return err
	}
	for g.store.View().Node(g.m.id()) == nil {
		if _, err := cursor.Next(ctx); err != nil {
			return api.Errorf(api.CodeUnavailable, "the managers took this node in but their state has not arrived: can the leader reach %s?", g.m.settings().AdvertiseAddr)
		}
	}
	return nil
}

// stayMember asks to be taken in again when the cluster, which wants this node
// as a manager, does not count it as one: a node that is promoted before it
// has carried out its demotion keeps its certificate and its state, and would
// wait for ever for a leader that does not know it. Asking is idempotent.
func (g *manager) stayMember(ctx context.Context) error {
	for {
		info, changed := g.m.watchCluster()
		var retry <-chan time.Time
		if g.m.leftOut(info) {
			if err := g.rejoin(ctx); err != nil {
				g.log.Warn("this node is to be a manager and is not in the Raft group yet", "err", err)
				retry = time.After(retryAfter)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-retry:
		}
	}
}

func (g *manager) rejoin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	return g.askToJoin(ctx)
}

func (g *manager) askToJoin(ctx context.Context) error {
	self := g.m.settings().AdvertiseAddr
	for {
		last := api.Errorf(api.CodeUnavailable, "no manager's address is known")
		for _, p := range g.m.managerPeers() {
			if p.GetNodeId() == string(g.m.id()) {
				continue
			}
			err := g.callManager(p.GetAddr(), func(c wire.ManagersClient) error {
				_, err := c.Join(ctx, &wire.JoinRequest{Addr: self})
				return err
			})
			if err == nil {
				return nil
			}
			if code := api.CodeOf(err); code == api.CodeInvalid || code == api.CodeForbidden || code == api.CodeConflict {
				return err
			}
			if api.CodeOf(err) != api.CodeNotLeader {
				last = err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("join the managers: %w", last)
		case <-time.After(200 * time.Millisecond): // an election is under way
		}
	}
}

// callManager makes one call to another manager and brings its error home.
func (g *manager) callManager(addr string, call func(wire.ManagersClient) error) error {
	conn, err := g.peers.get(addr)
	if err != nil {
		return err
	}
	return wire.FromStatus(call(wire.NewManagersClient(conn)))
}

// newGossipKey is a key for AES-256.
func newGossipKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return key
}
