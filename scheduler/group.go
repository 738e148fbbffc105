package scheduler

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/swarmctl/swarmctl/api"
)

// groupKey names the tasks of one version of a service: to the planner they
// are all the same.
type groupKey struct {
	service api.ServiceID
	version uint64
}

// group is what the planner knows of the tasks of one version of a service.
type group struct {
	key     groupKey
	needs   needs
	service *service
	refs    int // tasks that are waiting, in flight or on a node
	// failures are the times at which tasks failed, by node, oldest first.
	failures map[int32][]time.Time

	stage stage
	// queue are the tasks that may go anywhere, pinned those that have their
	// node, singles those that are placed each for itself: they take over from
	// another, or have volumes. Entries that have left (entry.where) are dropped
	// when it is read.
	queue, pinned, singles []*entry
	waiting                int       // entries in all three that do wait
	since                  time.Time // when the oldest of them was created
	// refused is, while the group is blocked, why each node refuses it, and
	// singlesRefused why each refused the last of its singles, home where that one
	// had to go, and changes what was known of volumes then.
	refused, singlesRefused []rule
	tally                   tally
	home                    *home
	changes                 uint64
	left                    []int // while it is starved: what its networks had left
	homeless                bool  // while it is blocked: see Cluster.homeless
}

// service is shared by the groups of one service, and by those that name it in
// a constraint.
type service struct {
	id       api.ServiceID
	strategy strategy        // usual: it does not say
	unpinned bool            // its tasks may start where their volumes are not
	counts   map[int32]int32 // tasks meant to run, by node
	groups   int
	named    int              // constraints on it
	shy      map[*service]int // services that may not be where it is, with how many constraints say so
}

// stage is what the next plan does with a group.
type stage uint8

const (
	idle    stage = iota // nothing waits
	ready                // something waits and is to be planned
	blocked              // something waits for a node to change
	held                 // something waits for another service: see planner.hold
)

// entry is a task between the moment that it waits and the moment that its
// node is known to the state.
type entry struct {
	task  *api.Task
	group *group
	where int32  // the node it was assigned to, or one of the following
	told  string // the refusal that was told last
}

const (
	waits int32 = -1
	gone  int32 = -2
)

func (c *Cluster) group(key groupKey, spec func() *api.ServiceSpec) *group {
	if g := c.groups[key]; g != nil {
		return g
	}
	s := c.service(key.service)
	s.groups++
	asked := spec()
	g := &group{key: key, needs: needsOf(asked), service: s}
	c.accompany(g)
	c.connect(g, asked)
	c.relate(g)
	c.groups[key] = g
	return g
}

// service returns what is known of a service. Whoever keeps it counts himself in it.
func (c *Cluster) service(id api.ServiceID) *service {
	s := c.services[id]
	if s == nil {
		own := c.view.Service(id)
		s = &service{id: id, strategy: ownStrategy(own), unpinned: unpinned(own), counts: map[int32]int32{}}
		c.services[id] = s
	}
	return s
}

// forget drops a service that nobody keeps.
func (c *Cluster) forget(s *service) {
	if s.groups == 0 && s.named == 0 {
		delete(c.services, s.id)
	}
}

// release gives one reference to the group back.
func (c *Cluster) release(g *group) {
	if g.refs--; g.refs > 0 {
		return
	}
	c.setStage(g, idle)
	c.disconnect(g)
	c.unrelate(g)
	delete(c.groups, g.key)
	g.service.groups--
	c.forget(g.service)
}

func (c *Cluster) setStage(g *group, to stage) {
	if g.stage == to {
		return
	}
	delete(c.stages[g.stage], g)
	delete(c.starved, g)
	g.stage = to
	if to == idle {
		g.refused, g.singlesRefused, g.tally, g.home = nil, nil, tally{}, nil
		return
	}
	c.stages[to][g] = struct{}{}
}

// wait puts an entry into its group's queue.
func (c *Cluster) wait(e *entry) {
	e.where = waits
	switch g := e.group; {
	case e.task.NodeID != "":
		g.pinned = append(g.pinned, e)
	case e.task.Replaces != "" || len(g.needs.volumes) > 0:
		g.singles = append(g.singles, e)
	default:
		g.queue = append(g.queue, e)
	}
	if at := e.task.Meta.CreatedAt; e.group.waiting == 0 || at.Before(e.group.since) {
		e.group.since = at
	}
	e.group.waiting++
	c.setStage(e.group, ready)
}

// leave takes an entry out of the waiting ones; to is its node, or gone.
func (c *Cluster) leave(e *entry, to int32) {
	e.where = to
	if e.group.waiting--; e.group.waiting == 0 {
		e.group.queue, e.group.pinned, e.group.singles = nil, nil, nil
		c.setStage(e.group, idle)
	}
}

// tidy drops those that have left from a queue and puts the rest in order.
func tidy(queue []*entry) []*entry {
	queue = slices.DeleteFunc(queue, func(e *entry) bool { return e.where != waits })
	if !slices.IsSortedFunc(queue, compareEntries) {
		slices.SortFunc(queue, compareEntries)
	}
	return queue
}

func compareEntries(a, b *entry) int {
	if a.task.Slot != b.task.Slot {
		return cmp.Compare(a.task.Slot, b.task.Slot)
	}
	return strings.Compare(string(a.task.ID), string(b.task.ID))
}

// oldest is when the first of the group's waiting tasks was created.
func (g *group) oldest() time.Time {
	var at time.Time
	for _, queue := range [][]*entry{g.queue, g.pinned, g.singles} {
		for _, e := range queue {
			if e.where == waits && (at.IsZero() || e.task.Meta.CreatedAt.Before(at)) {
				at = e.task.Meta.CreatedAt
			}
		}
	}
	return at
}

// inOrder returns groups in the order in which they are planned: those first
// whose tasks have waited longest, so that what is freed goes to them.
func inOrder(set map[*group]struct{}) []*group {
	groups := slices.Collect(maps.Keys(set))
	slices.SortFunc(groups, func(a, b *group) int {
		return cmp.Or(a.since.Compare(b.since), strings.Compare(string(a.key.service), string(b.key.service)), cmp.Compare(a.key.version, b.key.version))
	})
	return groups
}

// Failures of a version of a service on a node lower the node's rank for it,
// once there are this many within this time, as in Docker Swarm.
const (
	manyFailures  = 5
	failureMemory = 5 * time.Minute
)

func (g *group) failed(i int32, now time.Time) {
	if g.failures == nil {
		g.failures = map[int32][]time.Time{}
	}
	g.failures[i] = append(recent(g.failures[i], now), now)
}

// penalty is 0 up to the limit, and grows with every failure from there.
func (g *group) penalty(i int32, now time.Time) uint64 {
	if g.failures == nil {
		return 0
	}
	n := len(recent(g.failures[i], now))
	return uint64(min(15, max(0, n-manyFailures+1)))
}

func recent(times []time.Time, now time.Time) []time.Time {
	for len(times) > 0 && now.Sub(times[0]) >= failureMemory {
		times = times[1:]
	}
	return times
}
