package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/worker"
)

// leavePatience bounds the farewells: a node leaves even if nobody hears it.
const leavePatience = 10 * time.Second

// Leave implements dockerapi.Node. The node's containers are removed and its
// state is forgotten. A manager leaves only by force, as it does in Docker
// Swarm, and still says farewell first: it stops its part in the Raft group so
// that the others keep their quorum.
func (d *Daemon) Leave(ctx context.Context, force bool) error {
	d.ops.Lock()
	defer d.ops.Unlock()
	if d.isLocked() {
		return d.leaveLocked(ctx, force)
	}
	m := d.current()
	if m == nil {
		return api.Errorf(api.CodeUnavailable, "This node is not part of a swarm")
	}
	if m.manager() != nil && !force {
		return m.refuseLeave()
	}
	// The caller may go away now, the leave does not stop half-way.
	ctx = context.WithoutCancel(ctx)
	m.farewell(ctx)
	w := m.worker.Load()
	m.stop()
	var err error
	if w != nil {
		err = removeContainers(ctx, w)
	} else if m.network != nil { // the worker rests after a failure
		err = m.network.Close(ctx)
	}
	d.mu.Lock()
	d.member = nil
	d.mu.Unlock()
	return errors.Join(removeMembership(d.cfg.StateDir, true), err)
}

// releaseContainers takes the containers of users off networks that end here.
func (d *Daemon) releaseContainers(ctx context.Context) error {
	if err := d.api.ReleaseContainers(ctx); err != nil {
		return fmt.Errorf("left the cluster, but containers remain in its networks (see `docker network ls --filter label=%s`): %w", api.LabelNetworkID, err)
	}
	return nil
}

func removeContainers(ctx context.Context, w *worker.Worker) error {
	if err := w.RemoveAll(ctx); err != nil {
		return fmt.Errorf("left the cluster, but containers remain (see `docker ps --filter label=%s`): %w", api.LabelCluster, err)
	}
	return nil
}

// leaveLocked forgets a membership that nobody unlocks. The cluster cannot be
// told: the node stays in its list, down, until it is removed there.
func (d *Daemon) leaveLocked(ctx context.Context, force bool) error {
	if !force {
		return api.Errorf(api.CodeUnavailable, "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message.")
	}
	ctx = context.WithoutCancel(ctx)
	peer, err := identity.PeerOn(d.cfg.StateDir)
	if err == nil {
		var w *worker.Worker
		if w, err = d.idleWorker(peer); err == nil {
			err = removeContainers(ctx, w)
		}
	}
	err = errors.Join(removeMembership(d.cfg.StateDir, true), err)
	d.setLocked(false)
	return err
}

// idleWorker is one that can only be told to remove what is there.
func (d *Daemon) idleWorker(p identity.Peer) (*worker.Worker, error) {
	n, err := d.newNetwork(p.NodeID, p.ClusterID, nil, d.cfg.Log.With("component", "network"))
	if err != nil {
		return nil, err
	}
	return worker.New(worker.Config{
		Network: n,
		Files:   d.files,
		NodeID:  p.NodeID, ClusterID: p.ClusterID, Engine: d.engine, Log: d.cfg.Log.With("component", "worker"),
		Dial:     func(context.Context, string) (*grpc.ClientConn, error) { return nil, errNoManager },
		Managers: func() []*wire.Peer { return nil },
	})
}

// refuseLeave says what Docker says to a manager that would leave.
func (m *member) refuseLeave() error {
	const text = "You are attempting to leave the swarm on a node that is participating as a manager. "
	switch len(m.manager().store.Members()) {
	case 1:
		return api.Errorf(api.CodeUnavailable, text+"Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message.")
	case 2:
		return api.Errorf(api.CodeUnavailable, text+"Removing this node leaves 1 manager out of 2. Without a Raft quorum your swarm will be inaccessible. Use `--force` to leave all the same: the other manager is told first and stays usable.")
	}
	return api.Errorf(api.CodeUnavailable, text+"The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message, or `swarmctl node demote` this node first.")
}

// farewell tells the cluster, as far as it can be told.
func (m *member) farewell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leavePatience)
	defer cancel()
	if w := m.worker.Load(); w != nil {
		if err := w.Leave(ctx); err != nil {
			m.log.Warn("left without a farewell", "err", err)
		}
	}
	if g := m.manager(); g != nil {
		if err := g.leaveRaft(ctx); err != nil {
			m.log.Warn("left the Raft group without a farewell", "err", err)
		}
	}
	if g, _ := m.watchGossip(); g != nil {
		if err := g.Leave(); err != nil {
			m.log.Warn("left the gossip without a farewell", "err", err)
		}
	}
}

// leaveRaft takes this manager out of the Raft group, if it is not all of it.
func (g *manager) leaveRaft(ctx context.Context) error {
	if len(g.store.Members()) <= 1 {
		return nil
	}
	if g.leads() {
		if err := g.store.TransferLeadership(ctx, ""); err != nil {
			return err
		}
	}
	for {
		leader, changed := g.store.WatchLeader()
		if leader.ID != "" && leader.ID != g.m.id() {
			err := g.callManager(leader.Addr, func(c wire.ManagersClient) error {
				_, err := c.Leave(ctx, &wire.LeaveRequest{})
				return err
			})
			if !errors.Is(err, api.ErrNotLeader) {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// left is the leader's side: the node's record no longer says manager, so that
// it can be removed like any other, and the Raft group lets it go.
func (g *manager) left(ctx context.Context, id nodeID) error {
	old := g.store.View().Node(id)
	if old == nil {
		return api.Errorf(api.CodeNotFound, "node %s is not a member", id)
	}
	next := *old
	next.Spec.Role, next.ManagerAddr = "worker", ""
	if _, err := g.store.Propose(ctx, state.Command{At: time.Now(), Ops: []state.Op{{PutNode: &next}}}); err != nil {
		return err
	}
	return g.store.Remove(ctx, id)
}
