package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/unlock"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
)

// unlockPatience is how long an unlock waits for the node to be ready. It is
// unlocked before that: the first managers of a cluster that was down as a whole
// have no leader until more of them are unlocked.
const unlockPatience = 5 * time.Second

// Unlock implements dockerapi.Node: it starts the membership that the unlock key opens.
func (d *Daemon) Unlock(ctx context.Context, text string) error {
	ctx = context.WithoutCancel(ctx) // as Init
	d.ops.Lock()
	defer d.ops.Unlock()
	if !d.isLocked() {
		return api.Errorf(api.CodeConflict, "swarm is not locked")
	}
	key, err := unlock.Parse(text)
	if err != nil {
		return err
	}
	m, err := d.load(key)
	if errors.Is(err, identity.ErrWrongKey) {
		return api.Errorf(api.CodeWrongKey, "swarm could not be unlocked: invalid key provided")
	}
	if err != nil {
		return err
	}
	d.start(m)
	d.setLocked(false)
	d.cfg.Log.Info("this manager is unlocked")
	ready, cancel := context.WithTimeout(ctx, unlockPatience)
	defer cancel()
	if err := m.ready(ready); err != nil && ready.Err() == nil {
		return err
	}
	return nil
}

// lockedInfo is what a locked manager says of itself in GET /info.
func (d *Daemon) lockedInfo() swarm.Info {
	info := swarm.Info{LocalNodeState: swarm.LocalNodeStateLocked, Error: dockerapi.ErrLocked.Error()}
	if set, err := loadSettings(d.cfg.StateDir); err == nil {
		info.NodeAddr = hostOf(set.AdvertiseAddr)
	}
	return info
}

func (d *Daemon) isLocked() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.locked
}

func (d *Daemon) setLocked(locked bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.locked = locked
}
