package gossip

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/swarmctl/swarmctl/api/identity"
)

// Host is what the host of a member that does not gossip says when somebody
// knocks at the member's gossip port over TCP. A host whose daemon is gone refuses at
// once, by its kernel; one without power or cable says nothing.
type Host uint8

// What a host says.
const (
	HostUnasked Host = iota // the member is not doubted, this node does not knock, or there is no answer yet
	HostSilent              // nothing
	HostRefuses             // it is up, and no daemon listens; or one has only just begun to
	HostListens             // it is up and something listens that does not gossip: a daemon that hangs
)

// String returns the answer's name.
func (h Host) String() string { return [...]string{"unasked", "silent", "refuses", "listens"}[h] }

// maxKnocks is how many knocks are under way at once. A refusal takes a round
// trip, so thousands are asked in a second; a node that is itself cut off from
// thousands asks fewer and learns nothing from it anyway.
const maxKnocks = 64

// door is what is remembered of knocking at a member's host.
type door struct {
	knocked time.Time // when last
	waiting bool      // for the answer
	misses  int       // silences in a row
}

// hear returns what to believe after an answer. A daemon that starts listens
// a moment before it gossips, and one packet may get lost: neither takes the
// refusal back, or a restart could look like a host that loses power.
func (d *door) hear(was, answer Host) Host {
	switch answer {
	case HostUnasked:
		return was
	case HostSilent:
		d.misses++
		if was == HostRefuses && d.misses < 2 {
			return was
		}
	case HostListens:
		d.misses = 0
		if was == HostRefuses {
			return was
		}
	case HostRefuses:
		d.misses = 0
	}
	return answer
}

// knock asks the hosts of the suspects and of the dead.
func (g *Gossip) knock(ctx context.Context, now time.Time, gone []Member) {
	if len(gone) == 0 || !g.knocks() {
		return
	}
	for _, m := range gone {
		select {
		case g.knocking <- struct{}{}:
		default:
			return // they come in another order the next time
		}
		if !g.dueAtDoor(now, m) {
			<-g.knocking
			continue
		}
		go func() {
			defer func() { <-g.knocking }()
			g.answered(m, knockAt(ctx, m.Addr, g.cfg.Timing.KnockTimeout))
		}()
	}
}

// endKnocks waits for those under way, whose context has ended.
func (g *Gossip) endKnocks() {
	for range cap(g.knocking) {
		g.knocking <- struct{}{}
	}
}

// knocks reports whether this node is one that asks.
func (g *Gossip) knocks() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.meta.Role == identity.Manager || len(g.members) <= g.cfg.Timing.NudgeFanout
}

// dueAtDoor reports whether the member's host should be asked, and notes that it is.
func (g *Gossip) dueAtDoor(now time.Time, m Member) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.members[m.NodeID]
	if e == nil || !e.doubted() || e.door.waiting || now.Sub(e.door.knocked) < g.cfg.Timing.recall(now.Sub(e.Since)) {
		return false
	}
	e.door.knocked, e.door.waiting = now, true
	return true
}

// answered notes what the host of m said.
func (g *Gossip) answered(m Member, answer Host) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.members[m.NodeID]
	if e == nil {
		return
	}
	e.door.waiting = false
	if !e.doubted() || e.Addr != m.Addr {
		return
	}
	now := e.door.hear(e.Host, answer)
	if now == e.Host {
		return
	}
	if now == HostRefuses || e.Host == HostRefuses {
		g.cfg.Log.Info("host of a member answers anew", "node", m.NodeID, "addr", m.Addr, "state", e.State, "host", now, "was", e.Host)
	}
	e.Host = now
	g.announce()
}

// knockAt opens a TCP connection and closes it again.
func knockAt(ctx context.Context, addr string, patience time.Duration) Host {
	d := net.Dialer{Timeout: patience}
	conn, err := d.DialContext(ctx, "tcp", addr)
	var slow net.Error
	switch {
	case err == nil:
		_ = conn.Close()
		return HostListens
	case errors.Is(err, syscall.ECONNREFUSED):
		return HostRefuses
	case ctx.Err() != nil:
		return HostUnasked
	case errors.As(err, &slow) && slow.Timeout(), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return HostSilent
	}
	return HostUnasked // this machine could not even ask: out of files, of ports
}
