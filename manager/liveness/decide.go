package liveness

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/network/gossip"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

const (
	// SessionGrace is how long a node that gossip hears may be without a session
	// before it gets no new tasks. Its daemon hangs, or cannot reach port 2377.
	SessionGrace = 10 * time.Second
	// FirstGrace is how long a new leader, or a node that has just joined, is
	// given for the first sign of life before the node is called down.
	FirstGrace = 15 * time.Second
	// DaemonGrace is how long a host that answers may be without its daemon before its
	// tasks are replaced. Higher buys time for an upgrade, or for whoever must
	// start the daemon by hand: all that while containers run on untouched and are taken
	// up again. It costs the same time wherever containers died with the daemon, their
	// engine say, and wherever something refuses connections in place of a host without
	// power: a router's firewall, or another host that was given its address. Nobody
	// restarts such containers, and updates that must stop one wait. Those that must never
	// run twice are not replaced then either: NodeStatus.DaemonGone says so. Counted from the death in gossip, so a new
	// leader does not start anew. Zero would make a daemon's absence a host's death.
	DaemonGrace = time.Minute
	// AskGrace is how long after the death in gossip the host may still owe
	// the answer that tells the two apart. Gossip asks while it suspects, so this is
	// only waited for by a leader that learned of the death without having suspected.
	AskGrace = time.Second

	// Tick is how often the loop looks at its own clock, and lateBound how much
	// later than promised it may wake before it takes itself for starved. While
	// it was, the packets and heartbeats that prove that others live may be
	// waiting unread in this very process, behind the timers that call them dead.
	// So nobody is called down until the time lost, at least pardonMin and at
	// most pardonMax, has passed again, and all graces end later by what was lost.
	Tick      = 500 * time.Millisecond
	lateBound = 250 * time.Millisecond
	pardonMin = 500 * time.Millisecond
	pardonMax = 5 * time.Second
)

// Change is a new verdict on a node.
type Change struct {
	NodeID api.NodeID
	state.Verdict
	// Seen is the status that the decision was made on. Whoever writes the
	// change must drop it if the node has got another session since.
	Seen api.NodeStatus
}

// Judge decides. It has no clock and does nothing by itself; the zero value is
// ready for the first Step of a term.
type Judge struct {
	promised time.Time     // when the next Step is due at the latest
	pardon   time.Time     // nobody is called down before
	starved  time.Duration // how late the last Step was, where that matters
	// since holds, for every node that has no session, when that began.
	since map[api.NodeID]time.Time
}

// Step decides what changes at now. nodes are all nodes in the store, members
// what gossip knows. It must be called again when one of them changes, and
// Tick later at the latest.
func (j *Judge) Step(now time.Time, nodes []*api.Node, members []gossip.Member) []Change {
	j.noticeStarvation(now)
	heard := make(map[api.NodeID]gossip.Member, len(members))
	for _, m := range members {
		heard[m.NodeID] = m
	}
	if j.since == nil {
		j.since = map[api.NodeID]time.Time{}
	}
	byID := make(map[api.NodeID]*api.Node, len(nodes))
	for _, n := range nodes {
		byID[n.ID] = n
	}
	maps.DeleteFunc(j.since, func(id api.NodeID, _ time.Time) bool { return byID[id] == nil })

	var changes []Change
	for _, n := range nodes {
		v := j.judge(now, n, byID, heard)
		if v.State == api.NodeDown && n.Status.State != api.NodeDown && now.Before(j.pardon) {
			continue
		}
		// Why a node is unknown says what to do about it, and may change.
		if v.State != n.Status.State || v.DaemonGone != n.Status.DaemonGone || v.State == api.NodeUnknown && v.Message != n.Status.Message {
			changes = append(changes, Change{n.ID, v, n.Status})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return order(a) - order(b) })
	return changes
}

// order puts the deaths first: they are urgent.
func order(c Change) int {
	if c.State == api.NodeDown {
		return 0
	}
	return 1
}

// judge is the table of the package's comment.
func (j *Judge) judge(now time.Time, n *api.Node, nodes map[api.NodeID]*api.Node, heard map[api.NodeID]gossip.Member) state.Verdict {
	g, known := heard[n.ID]
	if known && g.State == gossip.Left {
		return state.Verdict{State: api.NodeDown, Message: "left the cluster"}
	}
	why := lostSession(n, nodes, heard)
	if why == "" {
		delete(j.since, n.ID)
		if known && g.State == gossip.Dead {
			return state.Verdict{State: api.NodeReady, Message: "has a session, but gossip does not hear it: is port 7946 open, tcp and udp?"}
		}
		return state.Verdict{State: api.NodeReady}
	}
	since, ok := j.since[n.ID]
	if !ok {
		since, j.since[n.ID] = now, now
	}
	switch {
	case known && g.State == gossip.Dead:
		return judgeDead(now, n, g, why)
	case buried(n):
		return asItIs(n)
	case known && now.Sub(since) < SessionGrace && n.Status.State == api.NodeReady:
		return state.Verdict{State: api.NodeReady, Message: n.Status.Message}
	case known:
		return state.Verdict{State: api.NodeUnknown, Message: "gossip hears it, but " + why + ": see its daemon's log, and that it reaches the managers on 2377/tcp"}
	case now.Sub(since) < FirstGrace:
		return state.Verdict{State: api.NodeUnknown, Message: "not heard of yet, and " + why, DaemonGone: n.Status.DaemonGone}
	}
	return state.Verdict{State: api.NodeDown, Message: fmt.Sprintf("not heard of for %v, and %s", FirstGrace, why), DaemonGone: n.Status.DaemonGone}
}

// judgeDead tells a daemon that is gone from a host that is. That it was gone
// stays true when the host falls silent after it: whether the host has lost its
// power or its cable nobody knows, and nobody is there to stop its containers.
// Only a session, or the gossip of a node that is not down yet, says that it is back.
func judgeDead(now time.Time, n *api.Node, g gossip.Member, why string) state.Verdict {
	gone := now.Sub(g.Since)
	switch {
	case !buried(n) && g.Host == gossip.HostRefuses && gone < DaemonGrace:
		return state.Verdict{State: api.NodeUnknown, Message: fmt.Sprintf("its host answers but its daemon does not run: containers go on, and are replaced unless it is back within %v", DaemonGrace), DaemonGone: true}
	case !buried(n) && g.Host == gossip.HostUnasked && gone < AskGrace:
		return asItIs(n)
	case g.Host == gossip.HostRefuses:
		return state.Verdict{State: api.NodeDown, Message: fmt.Sprintf("its host answers but its daemon has not run for %v, and %s", DaemonGrace, why), DaemonGone: true}
	case g.Host == gossip.HostListens:
		return state.Verdict{State: api.NodeDown, Message: "its host answers but its daemon does not, as one that hangs, and " + why, DaemonGone: true}
	case n.Status.DaemonGone:
		return state.Verdict{State: api.NodeDown, Message: "its host has fallen silent after its daemon, and " + why, DaemonGone: true}
	}
	return state.Verdict{State: api.NodeDown, Message: "gossip does not hear it, and " + why}
}

// buried reports whether only a session brings the node back.
func buried(n *api.Node) bool {
	return n.Status.State == api.NodeDown || n.Status.State == api.NodeDisconnected
}

func asItIs(n *api.Node) state.Verdict {
	return state.Verdict{State: n.Status.State, Message: n.Status.Message, DaemonGone: n.Status.DaemonGone}
}

// lostSession says why the node has no session; "" means that it has one.
func lostSession(n *api.Node, nodes map[api.NodeID]*api.Node, heard map[api.NodeID]gossip.Member) string {
	s := n.Status
	if s.Session == "" {
		return "it has had no session"
	}
	if s.SessionLost {
		return "its session has ended"
	}
	holder := nodes[s.SessionManager]
	if holder == nil || !holder.IsManager() {
		return fmt.Sprintf("manager %s, which held its session, is no manager any more", s.SessionManager)
	}
	g, ok := heard[s.SessionManager]
	switch {
	case ok && (g.State == gossip.Dead || g.State == gossip.Left):
		return fmt.Sprintf("manager %s, which held its session, is gone", holder.Hostname())
	case buried(n) && (!ok || g.State != gossip.Alive):
		// The leader before knew that this manager is gone; a new one may not have
		// heard of it yet, and must not take a node for ready on its word.
		return fmt.Sprintf("manager %s, which held its session, is not heard of", holder.Hostname())
	}
	return ""
}

// noticeStarvation pardons everybody for the time in which this loop itself
// could not run.
func (j *Judge) noticeStarvation(now time.Time) {
	j.starved = 0
	if late := now.Sub(j.promised); !j.promised.IsZero() && late > lateBound {
		j.starved = min(max(late, pardonMin), pardonMax)
		j.pardon = now.Add(j.starved)
		for id, t := range j.since {
			j.since[id] = t.Add(j.starved)
		}
	}
	j.promised = now.Add(Tick)
}
