package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/manager/dispatcher"
	"github.com/swarmctl/swarmctl/raftstore"
)

// clearanceRetry is how long a stream to the leader rests that has failed. Workers
// wait for what it carries for two seconds at most.
const clearanceRetry = 200 * time.Millisecond

// clearDrains has the managers agree on how far all nodes have applied the
// fabric: the leader hears the others, the others are heard by it.
func (g *manager) clearDrains(ctx context.Context, d *dispatcher.Dispatcher) error {
	for ctx.Err() == nil {
		leader, changed := g.store.WatchLeader()
		scope, end := context.WithCancel(ctx)
		go func() { // ends with the scope
			select {
			case <-changed:
				end()
			case <-scope.Done():
			}
		}()
		if err := g.clearUnder(scope, d, leader); err != nil && scope.Err() == nil {
			g.log.Debug("the leader is not told how far the nodes have applied the network; trying again", "leader", leader.ID, "err", err)
			select {
			case <-time.After(clearanceRetry):
			case <-scope.Done():
			}
		}
		end()
	}
	return ctx.Err()
}

// clearUnder does this manager's part under one leader.
func (g *manager) clearUnder(ctx context.Context, d *dispatcher.Dispatcher, leader raftstore.Leader) error {
	switch leader.ID {
	case "":
		<-ctx.Done()
		return ctx.Err()
	case g.m.id():
		return d.LeadClearance(ctx)
	}
	conn, err := g.peers.get(leader.Addr)
	if err == nil {
		err = connected(ctx, conn)
	}
	if err != nil {
		return fmt.Errorf("manager %s: %w", leader.Addr, err)
	}
	stream, err := wire.NewManagersClient(conn).Applied(ctx)
	if err != nil {
		return wire.FromStatus(err)
	}
	return d.FollowClearance(stream)
}

// Applied implements wire.ManagersServer.
func (s *managersServer) Applied(stream wire.Managers_AppliedServer) error {
	id, err := caller(stream.Context())
	if err != nil {
		return wire.ToStatus(err)
	}
	d := s.g.gate.open.Load()
	if d == nil {
		return wire.ToStatus(errClosed)
	}
	return wire.ToStatus(d.ServeClearance(id, stream))
}
