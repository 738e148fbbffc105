package gossip

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/swarmctl/swarmctl/api"
)

// call is a message to a member that is suspected or taken for dead: speak up.
type call struct {
	kind byte
	from api.NodeID // the caller
	to   api.NodeID // who is called; whoever else gets it passes it on
	addr string     // of the caller's gossip
}

const (
	callSuspect = 's' // refute
	callDead    = 'd' // refute, and exchange the whole state with the caller
	callGreet   = 'g' // to one that is back: exchange the state if you do not know me
)

// encode writes the kind and the three names, with zero bytes between.
func (c call) encode() []byte {
	return []byte(string(c.kind) + string(c.from) + "\x00" + string(c.to) + "\x00" + c.addr)
}

func decodeCall(b []byte) (call, bool) {
	if len(b) == 0 || !strings.ContainsRune("sdg", rune(b[0])) {
		return call{}, false
	}
	f := strings.Split(string(b[1:]), "\x00")
	if len(f) != 3 {
		return call{}, false
	}
	return call{kind: b[0], from: api.NodeID(f[0]), to: api.NodeID(f[1]), addr: f[2]}, true
}

// relays is how many others are asked to pass on the call to a suspect. A host
// whose cable is back may wait up to a second until its kernel asks anew for the
// hardware address of one peer, while it reaches another at once.
const relays = 2

// call calls a member.
func (g *Gossip) call(kind byte, m Member) {
	c := call{kind: kind, from: g.cfg.NodeID, to: m.NodeID, addr: g.list.LocalNode().Address()}
	g.send(m, c)
	if kind == callSuspect {
		for _, via := range g.some(relays, m.NodeID) {
			g.send(via, c)
		}
	}
}

// send sends a call in one UDP packet. It may get lost; the next one follows.
func (g *Gossip) send(to Member, c call) {
	if err := g.list.SendToAddress(memberlist.Address{Addr: to.Addr, Name: string(to.NodeID)}, c.encode()); err != nil {
		g.cfg.Log.Debug("call not sent", "node", to.NodeID, "err", err)
	}
}

// some returns up to n random members that may be alive, this node and one more excepted.
func (g *Gossip) some(n int, except api.NodeID) []Member {
	list := slices.DeleteFunc(g.Members(), func(m Member) bool {
		return m.NodeID == g.cfg.NodeID || m.NodeID == except || m.State == Dead || m.State == Left
	})
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:min(n, len(list))]
}

// passOn hands a call for somebody else over to it.
func (g *Gossip) passOn(c call) {
	g.mu.Lock()
	var to Member
	if e := g.members[c.to]; e != nil {
		to = e.Member
	}
	g.mu.Unlock()
	if to.NodeID != "" {
		g.send(to, c)
	}
}

// quiet is how long one refutation answers all calls: it goes to everybody.
const quiet = 50 * time.Millisecond

// answer answers the calls to this node.
func (g *Gossip) answer(ctx context.Context) {
	var refuted time.Time
	busy := make(chan struct{}, 8) // as many conversations at once; further callers call again
	for {
		var c call
		select {
		case <-ctx.Done():
			for range cap(busy) { // wait for those under way
				busy <- struct{}{}
			}
			return
		case c = <-g.calls:
		}
		if c.to != g.cfg.NodeID {
			g.passOn(c)
			continue
		}
		if c.kind == callGreet && g.knows(c.from) {
			continue
		}
		if now := time.Now(); now.Sub(refuted) > quiet {
			refuted = now
			g.cfg.Log.Debug("refuting", "caller", c.from, "dead", c.kind == callDead)
			g.refute()
		}
		select {
		case busy <- struct{}{}:
			go func() {
				defer func() { <-busy }()
				g.speakTo(c)
			}()
		default:
		}
	}
}

// knows reports whether the member is alive for this node.
func (g *Gossip) knows(id api.NodeID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.members[id]
	return e != nil && e.State == Alive
}

// refute broadcasts that this node is alive, under a number higher than any
// that a suspicion can carry.
func (g *Gossip) refute() {
	// Queued when it returns; a nanosecond, because nobody needs to wait until it is sent.
	_ = g.list.UpdateNode(time.Nanosecond)
}

// speakTo brings a caller the refutation without waiting for the next round of
// gossip: a ping takes along what is queued, an exchange of states brings it all.
func (g *Gossip) speakTo(c call) {
	if c.kind != callSuspect {
		if _, err := g.list.Join([]string{c.addr}); err != nil {
			g.cfg.Log.Debug("caller not reached", "node", c.from, "err", err)
		}
		return
	}
	addr, err := net.ResolveUDPAddr("udp", c.addr)
	if err != nil {
		return
	}
	_, _ = g.list.Ping(string(c.from), addr) // an answer is not needed
}

// delegate hears messages from memberlist and tells it what to send along.
type delegate Gossip

func (d *delegate) NodeMeta(int) []byte { return (*Gossip)(d).metaBytes() }

// NotifyMsg must not block: it holds up all packets.
func (d *delegate) NotifyMsg(b []byte) {
	if c, ok := decodeCall(b); ok {
		select {
		case d.calls <- c:
		default: // the caller calls again
		}
	}
}

// GetBroadcasts has nothing to send; it is a chance to look around.
func (d *delegate) GetBroadcasts(int, int) [][]byte {
	(*Gossip)(d).glance()
	return nil
}

func (d *delegate) LocalState(bool) []byte        { return nil }
func (d *delegate) MergeRemoteState([]byte, bool) {}
