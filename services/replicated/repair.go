package replicated

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/restart"
	"github.com/swarmctl/swarmctl/services/slot"
)

// repairs sees to it that each slot has one task that can run, where it may run.
type repairs struct {
	view    *state.View
	service *api.Service
	seen    slot.Seen
	now     time.Time
	moves   *slot.Moves
	room    int // how many more tasks that serve may be moved
	out     *slot.Changes
}

// repair sees to one slot. While a canary stands, the slot may run both versions
// side by side, each with successors of its own.
func (r *repairs) repair(sl slot.Slot) {
	chains := map[uint64][]*api.Task{}
	for _, t := range sl.Tasks {
		version := slot.Version(r.service, t.SpecVersion)
		chains[version] = append(chains[version], t)
	}
	for _, version := range slices.Sorted(maps.Keys(chains)) {
		c := chain{repairs: r, Slot: slot.Slot{Key: sl.Key, Tasks: chains[version]}, leaves: map[*api.Task]slot.Leave{}}
		c.repair()
	}
}

// chain is what a slot has of tasks that follow each other.
type chain struct {
	*repairs
	slot.Slot
	leaves map[*api.Task]slot.Leave // of the live tasks, where they are to leave
	good   []*api.Task              // live, and not told to stop
	lost   []*api.Task              // told to stop, and to be replaced at once
	ended  []*api.Task              // by themselves
}

func (c *chain) repair() {
	for _, t := range c.Tasks {
		switch {
		case slot.EndedByItself(t):
			c.ended = append(c.ended, t)
		case t.Live():
			c.good = append(c.good, t)
			leave, again := c.moves.Leaving(t)
			if leave.Why != "" {
				c.leaves[t] = leave
			}
			if again.After(c.now) {
				c.out.WakeAt(again)
			}
		}
	}
	c.settleMoves()
	c.dropTwins()
	c.stopAtOnce()
	c.follow()
	c.move()
}

// stop tells a live task to stop.
func (c *chain) stop(t *api.Task) {
	c.out.Shut(t, api.TaskShutdown)
	c.good = slices.DeleteFunc(c.good, func(g *api.Task) bool { return g == t })
}

// replaced is the live task that t takes over from; nil if there is none.
func (c *chain) replaced(t *api.Task) *api.Task {
	for _, g := range c.good {
		if t.Replaces == g.ID {
			return g
		}
	}
	return nil
}

// settleMoves ends the moves that have come to an end: the successor serves, or
// there is no need of it any more. A task that its node took along and brought
// back is as good as ever.
func (c *chain) settleMoves() {
	for _, t := range slices.Clone(c.good) {
		from := c.replaced(t)
		switch {
		case from == nil:
		case t.Status.State == api.TaskRunning && !slot.Down(c.view, t):
			c.stop(from)
		case !c.moving(from) && t.SpecVersion == from.SpecVersion:
			c.stop(t)
		}
	}
}

// moving reports whether the task is to run elsewhere, by need or for balance.
func (c *chain) moving(t *api.Task) bool {
	_, leaves := c.leaves[t]
	return leaves || c.service.Rebalance.UnderWay()
}

// dropTwins leaves one live task of each spec, the one that has come furthest,
// and of those that take over from another one. Two of different specs are an
// update that starts the new one first.
func (c *chain) dropTwins() {
	type place struct {
		version uint64
		from    *api.Task
	}
	best := map[place]*api.Task{}
	placeOf := func(t *api.Task) place { return place{t.SpecVersion, c.replaced(t)} }
	for _, t := range c.good {
		if b := best[placeOf(t)]; b == nil || t.Status.State > b.Status.State {
			best[placeOf(t)] = t
		}
	}
	for _, t := range slices.Clone(c.good) {
		if best[placeOf(t)] != t {
			c.stop(t)
		}
	}
}

// stopAtOnce stops what is to leave and is not waited for: it serves nobody, a
// deadline has passed, or it must never run twice.
func (c *chain) stopAtOnce() {
	for _, t := range slices.Clone(c.good) {
		leave, ok := c.leaves[t]
		running := t.Status.State == api.TaskRunning
		switch {
		case !ok:
			continue
		case running && c.replaced(t) == nil && !leave.Overdue && !c.moves.Single(t):
			continue
		case running && c.moves.Single(t) && !leave.Lost && !leave.Overdue:
			if c.room <= 0 {
				continue
			}
			c.room--
		}
		c.lost = append(c.lost, t)
		c.stop(t)
	}
}

// follow gives a successor to what has ended, or has been stopped at once, where
// nothing else does its work.
func (c *chain) follow() {
	switch {
	case len(c.good) > 0:
		for _, t := range c.ended {
			c.followBeside(t)
		}
	case len(c.lost) > 0:
		// The node failed, not the task: at once, wherever there is room.
		last := c.lost[len(c.lost)-1]
		next := c.successor(last)
		next.Restarts = last.Restarts
		if c.moves.Single(last) && !slot.Down(c.view, last) {
			next.Desired = api.TaskReady
		}
		c.out.Create = append(c.out.Create, next)
		for _, t := range c.ended {
			c.out.Shut(t, api.TaskShutdown)
		}
	case len(c.ended) > 0:
		last := len(c.ended) - 1
		for _, t := range c.ended[:last] {
			c.out.Shut(t, api.TaskShutdown)
		}
		restart.Successor(c.out, c.service, c.ended[last], c.seen, c.now)
	}
}

// followBeside gives a successor to a task that has ended beside a live one: the
// new task of an update that starts it first, or one that was to take over from a
// task that must leave. A rebalance can do without it.
func (c *chain) followBeside(t *api.Task) {
	from := c.replaced(t)
	needed := slot.Keeps(c.service, t.SpecVersion)
	if from != nil && from.SpecVersion == t.SpecVersion {
		_, needed = c.leaves[from]
	}
	if !needed || slices.ContainsFunc(c.good, func(g *api.Task) bool {
		return g.Replaces == t.ID || g.SpecVersion == t.SpecVersion && c.replaced(g) == from && g != from
	}) {
		c.out.Shut(t, api.TaskShutdown)
		return
	}
	had := len(c.out.Create)
	restart.Successor(c.out, c.service, t, c.seen, c.now)
	for _, next := range c.out.Create[had:] {
		if next.Replaces = t.Replaces; from == nil {
			next.Replaces = ""
		}
	}
}

// move makes successors for the tasks that are to leave and serve until those do.
// One that a newer spec takes over from has no need of it, and one whose
// successors have failed for good keeps its place.
func (c *chain) move() {
	for _, t := range slices.Clone(c.good) {
		leave, ok := c.leaves[t]
		if !ok || c.replaced(t) != nil || t.Status.State < api.TaskRunning || c.takenOver(t) || c.gaveUp(t) {
			continue
		}
		if !leave.Lost {
			if c.room <= 0 {
				continue
			}
			c.room--
		}
		next := c.successor(t)
		next.Replaces = t.ID
		next.Status.Message = fmt.Sprintf("replaces %s on %s, which %s", c.view.TaskName(t), c.hostname(t), leave.Why)
		for _, l := range c.lost {
			if l.Replaces == t.ID {
				next.Restarts = l.Restarts
			}
		}
		c.out.Create = append(c.out.Create, next)
	}
}

func (c *chain) successor(t *api.Task) *api.Task {
	return c.Task(c.service, slot.Version(c.service, t.SpecVersion), api.TaskRunning)
}

// takenOver reports whether another task, or one that has just ended and is
// followed, takes over from t.
func (c *chain) takenOver(t *api.Task) bool {
	takes := func(o *api.Task) bool {
		return o.Replaces == t.ID || o.SpecVersion == c.service.SpecVersion && t.SpecVersion != c.service.SpecVersion
	}
	return slices.ContainsFunc(c.good, takes) || slices.ContainsFunc(c.ended, takes)
}

// gaveUp reports whether the policy wants nothing to follow the last task that
// was to take over from t.
func (c *chain) gaveUp(t *api.Task) bool {
	past := slot.Slot{Key: c.Key}
	for _, o := range c.Tasks {
		if o.Replaces == t.ID && !o.Live() {
			past.Tasks = append(past.Tasks, o)
		}
	}
	return restart.Finished(c.view, past) != nil
}

func (c *chain) hostname(t *api.Task) string {
	if n := c.view.Node(t.NodeID); n != nil {
		return n.Hostname()
	}
	return string(t.NodeID)
}
