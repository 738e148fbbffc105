package gossip

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/swarmctl/swarmctl/api"
)

// forgetLeft is how long a member that left is remembered, so that everybody
// who watches has seen it.
const forgetLeft = time.Hour

// watch scans memberlist's list whenever something in it has changed, and at
// intervals while somebody must be called. Not event by event, as the events
// carry less than the list does. A quiet cluster costs no timer of ours.
func (g *Gossip) watch(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
		case <-t.C:
		}
		now := time.Now()
		gone := g.scan(now)
		g.nudge(now, gone)
		g.knock(ctx, now, gone)
		t.Reset(g.pause(now, gone))
	}
}

// pause is how long nobody needs to be called.
func (g *Gossip) pause(now time.Time, gone []Member) time.Duration {
	t := g.cfg.Timing
	wait := forgetLeft
	for _, m := range gone {
		switch {
		case m.State == Suspect:
			wait = min(wait, t.NudgeInterval)
		default:
			wait = min(wait, t.recall(now.Sub(m.Since)))
		}
	}
	return wait
}

// glance asks for a scan when somebody has become suspect, or has refuted.
// memberlist tells nobody; but it asks for user broadcasts in each of its gossip
// rounds and with every packet that it sends, so this is as good as being told.
func (g *Gossip) glance() {
	p := g.peek.Load()
	if p == nil || !g.glancing.TryLock() {
		return
	}
	defer g.glancing.Unlock()
	now := time.Now()
	if now.Sub(g.glanced) < g.cfg.Timing.NudgeInterval/2 {
		return
	}
	g.glanced = now
	var sum uint64 // of the incarnations, which only grow, and of the states
	p.each(func(n *peeked) { sum += uint64(n.Incarnation)<<2 + uint64(n.State) })
	if sum != g.sum {
		g.sum = sum
		poke(g.wake)
	}
}

// greetings is how often one that is back is greeted: packets get lost.
const greetings = 3

// scan takes over what memberlist has. It returns the members to be called: the
// suspects, the dead, and those that have just come back.
func (g *Gossip) scan(now time.Time) (gone []Member) {
	g.mu.Lock() // before memberlist's lock; whoever holds that one takes this one never
	defer g.mu.Unlock()
	changed := false
	g.peek.Load().each(func(p *peeked) { changed = g.see(p) || changed })
	for id, e := range g.members {
		age := now.Sub(e.Since)
		if e.State == Left && age > forgetLeft || e.State == Dead && age > g.cfg.Timing.RecallGiveUp {
			delete(g.members, id)
			changed = true
		} else if e.State == Suspect || e.State == Dead || e.greet > 0 {
			gone = append(gone, e.Member)
		}
	}
	if changed {
		g.announce()
	}
	return gone
}

// see records one member and reports whether it is news.
func (g *Gossip) see(p *peeked) bool {
	e := g.members[api.NodeID(p.Node.Name)]
	if e == nil {
		m := member(p)
		g.members[m.NodeID] = &entry{Member: m, incarnation: p.Incarnation}
		g.cfg.Log.Info("member found", "node", m.NodeID, "addr", m.Addr, "state", m.State)
		return true
	}
	state := stateOf(p.State)
	if e.State == Left && state == Dead { // Forget
		state = Left
	}
	if e.State == state && e.incarnation == p.Incarnation {
		return false
	}
	m := member(p)
	m.State = state
	if state == Suspect || state == Dead {
		m.Host = e.Host
	} else {
		e.door.knocked, e.door.misses = time.Time{}, 0
	}
	if e.State == state {
		m.Since = e.Since
	} else {
		log := g.cfg.Log.Info
		if state == Suspect || e.State == Suspect && state == Alive {
			log = g.cfg.Log.Debug // comes and goes on a busy machine
		}
		log("member is "+state.String(), "node", m.NodeID, "addr", m.Addr, "was", e.State, "for", m.Since.Sub(e.Since).Round(time.Millisecond))
	}
	if e.State == Dead && state == Alive {
		e.greet, e.recalled = greetings, time.Time{}
	}
	news := e.Member != m
	e.Member, e.incarnation = m, p.Incarnation
	return news
}

// nudge tells suspects, and from time to time the dead, what is said of them.
func (g *Gossip) nudge(now time.Time, gone []Member) {
	if len(gone) == 0 {
		return
	}
	t := g.cfg.Timing
	// All nodes suspect the same one at the same time: about NudgeFanout of them
	// speak. And one that has lost its cable suspects all: it speaks to NudgeFanout of them.
	chance := min(1, float64(t.NudgeFanout)/float64(g.count()), float64(t.NudgeFanout)/float64(len(gone)))
	for _, m := range gone {
		if rand.Float64() >= chance {
			continue
		}
		switch {
		case m.State == Suspect:
			g.call(callSuspect, m)
		case !g.due(now, m.NodeID):
		case m.State == Dead:
			g.call(callDead, m)
		case m.State == Alive:
			g.call(callGreet, m)
		}
	}
}

// due reports whether one that is dead, or just back, should be called, and
// notes that it is.
func (g *Gossip) due(now time.Time, id api.NodeID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	t, e := g.cfg.Timing, g.members[id]
	if e == nil {
		return false
	}
	if now.Sub(e.recalled) < t.recall(now.Sub(e.Since)) {
		return false
	}
	e.recalled = now
	e.greet = max(0, e.greet-1)
	return true
}

func (g *Gossip) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.members)
}

// events hears from memberlist. It is called under memberlist's lock, by one
// goroutine at a time, and must call nothing of memberlist.
type events Gossip

func (e *events) NotifyJoin(*memberlist.Node)   { e.note() }
func (e *events) NotifyLeave(*memberlist.Node)  { e.note() }
func (e *events) NotifyUpdate(*memberlist.Node) { e.note() }

func (e *events) note() {
	poke(e.wake)
	// memberlist reads SuspicionMult under the lock that is held here, and
	// nowhere else: so it may be set here, and nowhere else.
	if p := e.peek.Load(); p != nil {
		e.mlc.SuspicionMult = e.cfg.Timing.multiplier(len(*p.nodes))
	}
}
