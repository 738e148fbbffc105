package dispatcher

import (
	"iter"
	"time"
)

// drainPatience is for how long the end of a task waits until nobody sends it
// new connections. A worker waits no longer than this either.
const drainPatience = 5 * time.Second

// clearance says when a drain is over: when everyone who has a balancer has
// taken out of it what is to stop. It knows the drains, as indexes of the store,
// and judges by what it is given.
type clearance struct {
	// past is the last drain that has had its time: whoever has not answered by
	// then is not waited for.
	past  uint64
	fresh []drain // later ones, the newest at the end
}

// drain is a change of the fabric that took something out of the balancers.
type drain struct {
	index uint64
	at    time.Time
}

// party is one who applies the fabric: a node or, for its nodes, a manager.
type party struct {
	applied uint64
	spoke   time.Time // last, or since when it could have
}

// begin notes a drain.
func (c *clearance) begin(index uint64, now time.Time) {
	c.settle(now)
	c.fresh = append(c.fresh, drain{index, now})
}

// settle lets drains pass whose time is up.
func (c *clearance) settle(now time.Time) {
	for len(c.fresh) > 0 && now.Sub(c.fresh[0].at) >= drainPatience {
		c.past, c.fresh = c.fresh[0].index, c.fresh[1:]
	}
}

// last is the last drain.
func (c *clearance) last() uint64 { return c.lastUpTo(1<<64 - 1) }

// lastUpTo is the last drain that is not after an index: everything up to that
// index is cleared with it.
func (c *clearance) lastUpTo(index uint64) uint64 {
	for i := len(c.fresh) - 1; i >= 0; i-- {
		if c.fresh[i].index <= index {
			return c.fresh[i].index
		}
	}
	return min(c.past, index)
}

// least is up to where all have applied the fabric, most where there is
// nobody. Who owes a drain that is past and has not said a word since does not count.
func (c *clearance) least(most uint64, parties iter.Seq[party], now time.Time) uint64 {
	least := most
	for p := range parties {
		if p.applied >= c.past || now.Sub(p.spoke) < drainPatience {
			least = min(least, p.applied)
		}
	}
	return least
}
