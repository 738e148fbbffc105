package raftstore

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/unlock"
)

// Config says how a Store is to run. Fields without a word on it must be set.
type Config struct {
	// Dir holds the log, the snapshots and their key. The Store makes it
	// (mode 0700) and owns all that is in it.
	Dir string
	// NodeID is this node's name in the Raft group.
	NodeID api.NodeID
	// Addr is the host:port at which the other managers reach this one.
	Addr string
	// Listener yields the raft streams that other managers open: connections
	// whose TLS handshake chose the raft protocol and whose peer is known to be
	// a manager. The Store closes it, and what it accepted, when it ends.
	Listener net.Listener
	// Dial opens a raft stream to another manager, TLS handshake included. The
	// context has a deadline.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Forward hands an encoded command to the leader's ApplyForwarded and
	// returns what that returned. An error must keep its api code on the way;
	// an error that wraps ErrNotSent says that the leader never saw the command.
	Forward func(ctx context.Context, leader api.NodeID, addr string, command []byte) ([]byte, error)
	// Reachable says whether a manager is alive. Remove asks those of whom it does.
	// Optional: without it, a manager is alive if it answered this leader's
	// last heartbeats.
	Reachable func(api.NodeID) bool

	// Bootstrap makes this node the first and only member of a new group. It
	// does nothing where Dir already holds the data of a group.
	Bootstrap bool
	// ForceNewCluster makes a new group with this node as its only member out
	// of the data in Dir: the way back when the majority is lost for good. What
	// the log holds beyond the last readable entry is dropped.
	ForceNewCluster bool
	// Key, where set, is the unlock key that seals the data key in Dir; a Store
	// whose data key is sealed does not open without it. Optional.
	Key unlock.Key

	// Timers is DefaultTimers() where it is zero.
	Timers Timers
	// Log is slog.Default() where it is nil.
	Log *slog.Logger

	wrapDisk func(*disk) // for tests that break it
}

// Timers are the times that leadership hangs on.
type Timers struct {
	// Contact is for how long a follower bears a leader's silence before it
	// wants an election, and for how long a leader goes on without hearing a
	// majority. Heartbeats flow every 0.16 to 0.32 times Contact, at random. A
	// leader that loses power is replaced after Contact + 0.1 s or so: followers
	// watch the exact time, where raft alone takes 1 to 3 times as long.
	//
	// Lower: faster failover, more idle CPU, and elections when a starved
	// machine or a slow network stays silent that long. Higher: the opposite.
	Contact time.Duration

	// Dial bounds a connection attempt, and the time that sent data may stay
	// unacknowledged by the peer's kernel before the connection is given up:
	// how soon a powered-off peer is noticed by the streams to it. A peer whose
	// process is slow is not given up, for its kernel still acknowledges.
	//
	// Lower: streams recover sooner after a pulled cable. Higher: they survive
	// longer outages without a new handshake.
	Dial time.Duration

	// RPC bounds one exchange with a peer whose network works: it must cover a
	// write to a slow disk there. Lower values only resend sooner.
	RPC time.Duration

	// Idle is how often the leader, when nothing is written, repeats to
	// followers up to where the log is committed. Commits are announced at once
	// (see DESIGN.md); this is for announcements that were lost. It is also how
	// soon a follower that missed entries is served again. It may take twice as
	// long, at random.
	Idle time.Duration
}

// DefaultTimers suit managers in one data centre, or on one busy machine.
func DefaultTimers() Timers {
	return Timers{
		Contact: time.Second,
		Dial:    time.Second,
		RPC:     5 * time.Second,
		Idle:    500 * time.Millisecond,
	}
}

// Validate names the first field that cannot work.
func (t Timers) Validate() error {
	switch {
	case t.Contact < 50*time.Millisecond:
		return fmt.Errorf("Timers.Contact is %v: it must be at least 50ms", t.Contact)
	case t.Dial < 10*time.Millisecond:
		return fmt.Errorf("Timers.Dial is %v: it must be at least 10ms", t.Dial)
	case t.RPC < t.Dial:
		return fmt.Errorf("Timers.RPC is %v: it must be at least Timers.Dial (%v)", t.RPC, t.Dial)
	case t.Idle < 5*time.Millisecond:
		return fmt.Errorf("Timers.Idle is %v: it must be at least 5ms", t.Idle)
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.Timers == (Timers{}) {
		c.Timers = DefaultTimers()
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
}

// Validate names the first field that is missing or wrong.
func (c Config) Validate() error {
	missing := func(name string) error { return fmt.Errorf("raftstore: Config.%s is not set", name) }
	switch {
	case c.Dir == "":
		return missing("Dir")
	case c.NodeID == "":
		return missing("NodeID")
	case c.Addr == "":
		return missing("Addr")
	case c.Listener == nil:
		return missing("Listener")
	case c.Dial == nil:
		return missing("Dial")
	case c.Forward == nil:
		return missing("Forward")
	}
	if err := c.Timers.Validate(); err != nil {
		return fmt.Errorf("raftstore: %w", err)
	}
	return nil
}
