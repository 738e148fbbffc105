package liveness

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/network/gossip"
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
	// restarts such containers, and updates that must stop one wait. Counted from the death in gossip, so a new
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

// Change is a new state of a node, and why.
type Change struct {
	NodeID  api.NodeID
	State   api.NodeState
	Message string
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
		state, msg := j.judge(now, n, byID, heard)
		if state == api.NodeDown && n.Status.State != api.NodeDown && now.Before(j.pardon) {
			continue
		}
		// Why a node is unknown says what to do about it, and may change.
		if state != n.Status.State || state == api.NodeUnknown && msg != n.Status.Message {
			changes = append(changes, Change{n.ID, state, msg, n.Status})
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
func (j *Judge) judge(now time.Time, n *api.Node, nodes map[api.NodeID]*api.Node, heard map[api.NodeID]gossip.Member) (api.NodeState, string) {
	g, known := heard[n.ID]
	if known && g.State == gossip.Left {
		return api.NodeDown, "left the cluster"
	}
	why := lostSession(n, nodes, heard)
	if why == "" {
		delete(j.since, n.ID)
		if known && g.State == gossip.Dead {
			return api.NodeReady, "has a session, but gossip does not hear it: is port 7946 open, tcp and udp?"
		}
		return api.NodeReady, ""
	}
	since, ok := j.since[n.ID]
	if !ok {
		since, j.since[n.ID] = now, now
	}
	switch {
	case known && g.State == gossip.Dead:
		return judgeDead(now, n, g, why)
	case n.Status.State == api.NodeDown || n.Status.State == api.NodeDisconnected: // only a session brings it back
		return n.Status.State, n.Status.Message
	case known && now.Sub(since) < SessionGrace && n.Status.State == api.NodeReady:
		return api.NodeReady, n.Status.Message
	case known:
		return api.NodeUnknown, "gossip hears it, but " + why + ": see its daemon's log, and that it reaches the managers on 2377/tcp"
	case now.Sub(since) < FirstGrace:
		return api.NodeUnknown, "not heard of yet, and " + why
	}
	return api.NodeDown, fmt.Sprintf("not heard of for %v, and %s", FirstGrace, why)
}

// judgeDead tells a daemon that is gone from a host that is.
func judgeDead(now time.Time, n *api.Node, g gossip.Member, why string) (api.NodeState, string) {
	gone := now.Sub(g.Since)
	buried := n.Status.State == api.NodeDown || n.Status.State == api.NodeDisconnected // only a session brings it back
	switch {
	case !buried && g.Host == gossip.HostRefuses && gone < DaemonGrace:
		return api.NodeUnknown, fmt.Sprintf("its host answers but its daemon does not run: containers go on, and are replaced unless it is back within %v", DaemonGrace)
	case !buried && g.Host == gossip.HostUnasked && gone < AskGrace:
		return n.Status.State, n.Status.Message
	case g.Host == gossip.HostRefuses:
		return api.NodeDown, fmt.Sprintf("its host answers but its daemon has not run for %v, and %s", DaemonGrace, why)
	}
	return api.NodeDown, "gossip does not hear it, and " + why
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
	if g, ok := heard[s.SessionManager]; ok && (g.State == gossip.Dead || g.State == gossip.Left) {
		return fmt.Sprintf("manager %s, which held its session, is gone", holder.Hostname())
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
