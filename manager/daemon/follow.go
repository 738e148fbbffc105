package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/unlock"
	"github.com/swarmctl/swarmctl/raftstore"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// followRetry is how long what failed (the disk is full, no leader) rests.
const followRetry = 2 * time.Second

// clusterFollower does, on every manager, what the cluster object asks of each:
// it seals the disk with the cluster's unlock key and keeps as many snapshots as
// the spec wants.
type clusterFollower struct {
	g       *manager
	current bool // the state here has been as new as the leader's
}

func (f *clusterFollower) run(ctx context.Context) error {
	_, cursor := f.g.store.Follow()
	for {
		var retry <-chan time.Time
		if err := f.obey(ctx); err != nil && ctx.Err() == nil {
			f.g.log.Warn("what the cluster asks of its managers is not done yet; trying again", "err", err, "after", followRetry)
			retry = time.After(followRetry)
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
				changed = e.Reset || e.Cluster
			}
		}
	}
}

// obey is one look at the cluster. The state on a disk that was away is an old
// one, whose key must not seal anything again: so at first a command without
// operations makes sure that the state here is as new as the leader's.
func (f *clusterFollower) obey(ctx context.Context) error {
	store := f.g.store
	if !f.current {
		if _, err := store.Propose(ctx, state.Command{At: time.Now()}); err != nil {
			return fmt.Errorf("catch up with the leader: %w", err)
		}
		f.current = true
	}
	c := store.View().Cluster()
	if c == nil || f.g.m.ids.Current().Role != identity.Manager { // it is on its way to be a worker
		return nil
	}
	return errors.Join(reseal(f.g.m.ids, store, c.UnlockKey), store.KeepSnapshots(snapshotsOf(c)))
}

func snapshotsOf(c *api.Cluster) raftstore.Snapshots {
	spec := c.Spec.Raft
	s := raftstore.Snapshots{Every: spec.SnapshotInterval, Trailing: spec.LogEntriesForSlowFollowers}
	if n := spec.KeepOldSnapshots; n != nil {
		s.Old = *n
	}
	return s
}

// sealer is what a store's data key is sealed through.
type sealer interface {
	Seal(keys ...unlock.Key) error
}

// reseal has the disk open with the key alone; a nil key is none. There are two
// files, and a kill may come between any two writes. It is the identity that
// says what the node is locked with: so before it changes, the data key opens
// with the old key and with the new one, and afterwards with the new one alone.
func reseal(ids *identity.Source, store sealer, key unlock.Key) error {
	if len(key) == 0 {
		key = nil
	}
	if old := ids.Key(); !old.Equal(key) {
		if err := store.Seal(old, key); err != nil {
			return err
		}
		if err := ids.Seal(key); err != nil {
			return err
		}
	}
	return store.Seal(key)
}
