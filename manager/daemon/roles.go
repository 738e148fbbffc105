package daemon

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// step is one thing to do so that the Raft group is what the nodes' specs say.
type step struct {
	node   api.NodeID
	remove bool   // from the Raft group
	yield  bool   // this node itself must go: another one has to lead first
	addr   string // else: what the node's record must say of its manager address
}

// membershipSteps compares the members of the Raft group with the nodes. A
// member whose spec says worker, or whose node is gone, leaves the group; a
// record that disagrees with the group is mended. New members come in by
// Managers.Join alone. The leader itself goes last.
func membershipSteps(self api.NodeID, members map[api.NodeID]string, nodes []*api.Node) []step {
	var steps []step
	known := map[api.NodeID]*api.Node{}
	for _, n := range nodes {
		known[n.ID] = n
		if addr, member := members[n.ID]; !member && n.ManagerAddr != "" {
			steps = append(steps, step{node: n.ID})
		} else if member && n.Spec.Role == swarm.NodeRoleManager && n.ManagerAddr != addr {
			steps = append(steps, step{node: n.ID, addr: addr})
		}
	}
	var yield []step
	for id := range members {
		n := known[id]
		switch {
		case n != nil && n.Spec.Role == swarm.NodeRoleManager:
		case id == self:
			yield = append(yield, step{node: id, yield: true})
		default:
			steps = append(steps, step{node: id, remove: true})
		}
	}
	slices.SortFunc(steps, func(a, b step) int { return cmp.Compare(a.node, b.node) })
	return append(steps, yield...)
}

// roleKeeper is the leader's loop around membershipSteps.
type roleKeeper struct {
	self  api.NodeID
	store *raftstore.Store
	log   *slog.Logger
}

// roleRetry is how long a step that failed is left alone.
const roleRetry = time.Second

func (k *roleKeeper) Run(ctx context.Context) error {
	view, cursor := k.store.Follow()
	for {
		var retry <-chan time.Time
		if err := k.pass(ctx, view); err != nil {
			k.log.Warn("membership of the managers is not as specified yet", "err", err)
			retry = time.After(roleRetry)
		}
		for changed := false; !changed; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-retry:
				changed = true
			case <-cursor.Ready():
				e, err := cursor.Next(ctx)
				if err != nil {
					return err
				}
				changed = e.Reset || len(e.Nodes) > 0
				view = e.View
			}
		}
	}
}

func (k *roleKeeper) pass(ctx context.Context, view *state.View) error {
	addrs := map[api.NodeID]string{}
	for _, m := range k.store.Members() {
		addrs[m.ID] = m.Addr
	}
	for _, s := range membershipSteps(k.self, addrs, slices.Collect(view.Nodes())) {
		if err := k.take(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (k *roleKeeper) take(ctx context.Context, s step) error {
	switch {
	case s.yield:
		k.log.Info("handing the lead over: this node is to be a worker")
		return k.store.TransferLeadership(ctx, "")
	case s.remove:
		k.log.Info("manager leaves the Raft group", "node", s.node)
		// The record first: while the node is in the group, the change reaches it.
		if err := k.observe(ctx, s.node, ""); err != nil {
			return err
		}
		return k.store.Remove(ctx, s.node)
	default:
		return k.observe(ctx, s.node, s.addr)
	}
}

func (k *roleKeeper) observe(ctx context.Context, id api.NodeID, addr string) error {
	_, err := k.store.Propose(ctx, state.Command{At: time.Now(), Ops: []state.Op{
		{ObserveNode: &state.ObserveNode{ID: id, ManagerAddr: &addr}},
	}})
	return err
}
