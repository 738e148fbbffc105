package scheduler

import (
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Cluster is the planner's model: the nodes, what is taken on each, and the
// tasks that wait. It follows the state by its events and runs ahead of it by
// what has been planned and is not committed yet. It is not safe for
// concurrent use.
type Cluster struct {
	// slots and rooms hold the nodes; free are the places not in use.
	slots []slot
	rooms []room
	index map[api.NodeID]int32
	free  []int32

	groups   map[groupKey]*group
	services map[api.ServiceID]*service
	classes  map[string]*class
	// entries are the tasks that wait or are in flight; stages the groups of
	// those that wait, by what the next plan does with them.
	entries map[api.TaskID]*entry
	stages  [4]map[*group]struct{}
	// view is the state as of the last event, of which there were so many.
	view   *state.View
	events int
	// supplies are the networks that groups are on; starved the groups that are
	// blocked for want of addresses.
	supplies map[api.NetworkID]*supply
	starved  map[*group]struct{}
	// related are the groups that name services in their constraints.
	related map[*group]struct{}
	// sidecars are, by the name of the service that they belong to, the services of
	// sidecars; pledges what is set aside for those that tasks lack, and pods the
	// tasks of which that may have changed.
	sidecars map[string][]sidecar
	pledges  map[api.TaskID]*pledge
	pods     map[api.TaskID]struct{}
	volumes  volumes
	// dirty are the nodes on which something may fit that did not before.
	dirty []int32

	// count and verdicts are space for Plan to work in, one place a slot.
	count    []int32
	verdicts []rule
	ranked   []candidate
}

// NewCluster returns the model of a state. Every task that waits in it is to be planned.
func NewCluster(v *state.View) *Cluster {
	c := &Cluster{
		index:    map[api.NodeID]int32{},
		groups:   map[groupKey]*group{},
		services: map[api.ServiceID]*service{},
		classes:  map[string]*class{},
		entries:  map[api.TaskID]*entry{},
		view:     v,
		supplies: map[api.NetworkID]*supply{},
		starved:  map[*group]struct{}{},
		related:  map[*group]struct{}{},
		sidecars: map[string][]sidecar{},
		pledges:  map[api.TaskID]*pledge{},
		pods:     map[api.TaskID]struct{}{},
		volumes:  newVolumes(),
	}
	for _, s := range []stage{ready, blocked, held} {
		c.stages[s] = map[*group]struct{}{}
	}
	for n := range v.Nodes() {
		c.putNode(n)
	}
	for s := range v.Services() {
		c.addSidecar(setting.PodOf(s.Spec.Labels), s)
	}
	for t := range v.Tasks() {
		c.putTask(v, nil, t, time.Time{})
	}
	c.repledge()
	return c
}

// Apply takes in what has changed. now is when failures count as having
// happened: the nodes' own clocks need not agree with ours. An event that
// replaces the state as a whole makes the model forget what is in flight.
func (c *Cluster) Apply(e *state.Event, now time.Time) {
	if e.Reset {
		*c = *NewCluster(e.View)
		return
	}
	c.view = e.View
	c.events++
	for _, p := range e.Nodes {
		if p.After != nil {
			c.putNode(p.After)
		}
	}
	if len(e.Networks) > 0 {
		c.reconnect()
	}
	c.putServices(e.Services)
	c.unhold(e)
	for _, p := range e.Tasks {
		c.putTask(e.View, p.Before, p.After, now)
	}
	c.repledge()
	for _, p := range e.Nodes {
		if p.After == nil && e.View.Node(p.Before.ID) == nil {
			c.removeNode(p.Before.ID)
		}
	}
}

// putServices takes in what has changed of services.
func (c *Cluster) putServices(pairs []state.Pair[api.Service]) {
	comesOrGoes := false
	for _, p := range pairs {
		s := p.After
		if s == nil {
			s = p.Before
		}
		if known := c.services[s.ID]; known != nil {
			known.strategy = ownStrategy(p.After)
			c.setUnpinned(known, p.After)
		}
		c.putSidecars(p)
		comesOrGoes = comesOrGoes || p.Before == nil || p.After == nil
	}
	if comesOrGoes && len(c.related) > 0 {
		c.rerelate()
	}
}

// Pending reports whether a plan could decide anything.
func (c *Cluster) Pending() bool {
	c.feed()
	return len(c.stages[ready]) > 0 || len(c.dirty) > 0 && len(c.stages[blocked]) > 0
}

// Waiting is the number of tasks that wait for a node, those in flight not counted.
func (c *Cluster) Waiting() int {
	n := 0
	for _, groups := range c.stages {
		for g := range groups {
			n += g.waiting
		}
	}
	return n
}

// isWaiting reports whether a task is for the scheduler to place.
func isWaiting(t *api.Task) bool {
	return t != nil && t.Status.State == api.TaskPending && t.Desired <= api.TaskComplete
}

// occupies reports whether a task takes up room on a node: until it has
// ended there, whatever is wanted of it.
func occupies(t *api.Task) bool {
	return t != nil && t.NodeID != "" && t.Status.State >= api.TaskAssigned && t.Status.State <= api.TaskRunning
}

// isActive reports whether a task counts among those that a service has on a node.
func isActive(t *api.Task) bool { return t.Desired <= api.TaskComplete }

// putTask takes in the change of a task; before and after are nil where it did or does not exist.
func (c *Cluster) putTask(v *state.View, before, after *api.Task, now time.Time) {
	t := after
	if t == nil {
		t = before
	}
	c.noteTask(t)
	if e := c.entries[t.ID]; e != nil {
		c.moveEntry(e, after)
		return
	}
	was, is := occupies(before), occupies(after)
	switch {
	case was && is && before.NodeID == after.NodeID:
		if isActive(before) != isActive(after) {
			g := c.groupOf(v, after)
			c.activate(c.slotOf(after.NodeID), g, int32(1-2*boolToInt(isActive(before))))
		}
		return
	case !was && !is && !isWaiting(after):
		return
	}
	g := c.groupOf(v, t)
	if is {
		g.refs++
		c.occupyAs(after, g)
	}
	if isWaiting(after) {
		c.enqueue(g, after)
	}
	if was {
		i := c.slotOf(before.NodeID)
		if failedItself(before, after) {
			g.failed(i, now)
		}
		c.vacate(i, g, before.ID, isActive(before))
		c.release(g)
	}
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// failedItself reports whether a task failed although it was meant to run.
func failedItself(before, after *api.Task) bool {
	return after != nil && isActive(before) && (after.Status.State == api.TaskFailed || after.Status.State == api.TaskRejected)
}

func (c *Cluster) groupOf(v *state.View, t *api.Task) *group {
	return c.group(groupKey{t.ServiceID, t.SpecVersion}, func() *api.ServiceSpec {
		// Nil where the service went away within the same event as the
		// task: then the task's removal follows at once.
		if spec := v.SpecOf(t); spec != nil {
			return &spec.Spec
		}
		return nil
	})
}

func (c *Cluster) enqueue(g *group, t *api.Task) {
	e := &entry{task: t, group: g, told: toldOf(t)}
	g.refs++
	c.entries[t.ID] = e
	c.wait(e)
}

// moveEntry takes in the change of a task that waits or is in flight.
func (c *Cluster) moveEntry(e *entry, after *api.Task) {
	if isWaiting(after) {
		e.task = after
		return
	}
	delete(c.entries, e.task.ID)
	g, taken := e.group, e.where
	if taken == waits {
		c.leave(e, gone)
	}
	if taken >= 0 {
		c.launch(g, taken, -1)
	}
	e.where = gone
	switch is := occupies(after); {
	case is && taken >= 0 && c.slots[taken].id == after.NodeID: // as planned
		c.slots[taken].adoptClaims(after)
		if !isActive(after) {
			c.activate(taken, g, -1)
		}
		return
	case is:
		g.refs++
		c.occupyAs(after, g)
	}
	if taken >= 0 {
		c.vacate(taken, g, e.task.ID, true)
	}
	c.release(g)
}

// Withdraw takes back what was planned for tasks whose assignment was not
// carried out; they wait again. Tasks that are not in flight any more are
// passed over, so it may come late.
func (c *Cluster) Withdraw(tasks ...api.TaskID) {
	for _, id := range tasks {
		if e := c.entries[id]; e != nil && e.where >= 0 {
			c.launch(e.group, e.where, -1)
			c.vacate(e.where, e.group, id, true)
			c.wait(e)
			c.noteTask(e.task)
			c.repledge()
		}
	}
}

// Untell forgets that tasks were told why they wait, because the report was
// not carried out: the next plan tells them again.
func (c *Cluster) Untell(tasks ...api.TaskID) {
	for _, id := range tasks {
		if e := c.entries[id]; e != nil && e.where == waits {
			e.told = toldOf(e.task)
			c.setStage(e.group, ready)
		}
	}
}
