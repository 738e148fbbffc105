package daemon

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

const (
	// keyLife is for how long a gossip key is used. Shorter leaves less traffic
	// to whoever gets hold of one; it is counted anew by each leader.
	keyLife = 12 * time.Hour
	// keyRest is between the steps of a change. A node that hears nothing from
	// a manager for longer gets the keys with its next session, and is out of
	// the gossip until then: its session alone speaks for it.
	keyRest = 10 * time.Minute
)

// nextKeys is the cluster one step further in the change of its gossip key,
// and how long it should have been in the step that it is in.
func nextKeys(c *api.Cluster, fresh func() []byte) (next *api.Cluster, after time.Duration) {
	n := *c
	switch c.GossipStep {
	case api.GossipSpread:
		n.GossipStep, n.GossipKeys = api.GossipSwitch, [][]byte{c.GossipKeys[1], c.GossipKeys[0]}
	case api.GossipSwitch:
		n.GossipStep, n.GossipKeys = api.GossipSettled, c.GossipKeys[:1]
	default:
		n.GossipStep, n.GossipKeys = api.GossipSpread, [][]byte{c.GossipKeys[0], fresh()}
		return &n, keyLife
	}
	return &n, keyRest
}

// keyKeeper is the leader's loop around nextKeys.
type keyKeeper struct {
	store *raftstore.Store
	log   *slog.Logger
}

func (k *keyKeeper) Run(ctx context.Context) error {
	for {
		c := k.store.View().Cluster()
		_, after := nextKeys(c, newGossipKey)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(after):
		}
		next, _ := nextKeys(k.store.View().Cluster(), newGossipKey)
		_, err := k.store.Propose(ctx, state.Command{At: time.Now(), Ops: []state.Op{{PutCluster: next}}})
		switch {
		case errors.Is(err, api.ErrOutdated): // somebody changed the cluster's spec: look again
		case err != nil:
			return err
		default:
			k.log.Info("gossip key changes", "step", next.GossipStep)
		}
	}
}
