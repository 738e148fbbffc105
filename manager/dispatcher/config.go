package dispatcher

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Store is the replicated state: followed here, written through the leader.
type Store interface {
	Follow() (*state.View, *state.Cursor)
	// Propose returns once the command is committed and applied by the leader.
	Propose(ctx context.Context, cmd state.Command) (state.Result, error)
}

// Config is what a Dispatcher needs.
type Config struct {
	// NodeID is this manager itself.
	NodeID api.NodeID
	Store  Store
	// Peer says who the caller of a method is, from its certificate.
	Peer func(ctx context.Context) (api.NodeID, swarm.NodeRole, error)
	// Images has what nodes lack; nil: they get nothing here.
	Images Images
	Log    *slog.Logger
	// NewID makes the IDs of sessions and tunnels; nil is api.NewID.
	NewID func() string
	// Now is the clock that commands are stamped with; nil is time.Now.
	Now func() time.Time

	// Heartbeat is how often a node says that it is there; each message counts
	// as one. Twice as often costs twice the packets (a node and heartbeat: some
	// 100 bytes each way, and as many wake-ups) and buys a shorter SessionTimeout
	// at equal certainty. 0 is 800 ms.
	//
	// Both times are for clusters that want no other heartbeat period than Docker
	// Swarm's of 5 s; one that wants twice that gets twice of both: see times.
	Heartbeat time.Duration
	// SessionTimeout is for how long a node may be silent before its session
	// counts as lost. Shorter moves the replicas of dead nodes sooner, longer
	// bears longer pauses of network and node: keep it at 3 heartbeats or more.
	// 0 is 2.5 s.
	//
	// Silence is counted in the ticks that this manager really made, 10 to a
	// timeout: a manager that was starved of CPU, and so could not listen,
	// gives every node that much longer.
	SessionTimeout time.Duration
}

const (
	defaultHeartbeat      = 800 * time.Millisecond
	defaultSessionTimeout = 2500 * time.Millisecond
	// ticksPerTimeout is how finely silence is measured.
	ticksPerTimeout = 10
	// proposeTimeout bounds a proposal that nobody waits for; it is tried again.
	proposeTimeout = 5 * time.Second
	// tunnelTimeout is for how long a node may take to dial back.
	tunnelTimeout = 10 * time.Second
	// usualPeriod is the heartbeat period of a cluster that asks for no other.
	usualPeriod = 5 * time.Second
)

// times are Heartbeat and SessionTimeout, longer or shorter in the proportion
// in which the cluster's heartbeat period is longer or shorter than the usual one.
func (c *Config) times(v *state.View) (heartbeat, sessionTimeout time.Duration) {
	cluster := v.Cluster()
	if cluster == nil || cluster.Spec.Dispatcher.HeartbeatPeriod <= 0 {
		return c.Heartbeat, c.SessionTimeout
	}
	ratio := float64(cluster.Spec.Dispatcher.HeartbeatPeriod) / float64(usualPeriod)
	return time.Duration(ratio * float64(c.Heartbeat)), time.Duration(ratio * float64(c.SessionTimeout))
}

func (c *Config) validate() error {
	if c.NewID == nil {
		c.NewID = api.NewID
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = defaultHeartbeat
	}
	if c.SessionTimeout == 0 {
		c.SessionTimeout = defaultSessionTimeout
	}
	switch {
	case c.NodeID == "":
		return errors.New("dispatcher: NodeID is empty")
	case c.Store == nil || c.Peer == nil || c.Log == nil:
		return errors.New("dispatcher: Store, Peer and Log must be set")
	case c.Heartbeat < 0 || c.SessionTimeout < 2*c.Heartbeat:
		return errors.New("dispatcher: SessionTimeout must be at least two heartbeats")
	}
	return nil
}
