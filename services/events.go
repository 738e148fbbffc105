package services

import (
	"reflect"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/rollout"
	"github.com/swarmctl/swarmctl/services/slot"
)

// reset looks at everything anew: at the start of a term, and when the state
// was replaced as a whole.
func (l *Loop) reset(v *state.View) {
	l.view = v
	now := l.cfg.Now()
	seen := l.seen
	l.seen = slot.NewSeen()
	clear(l.sidecars)
	for t := range v.Tasks() {
		keep(l.seen.Tasks, seen.Tasks, t.ID)
		l.seen.Note(t, now)
		l.dirty[t.ServiceID] = struct{}{}
		l.noteSidecar(t)
	}
	for n := range v.Nodes() {
		keep(l.seen.Nodes, seen.Nodes, n.ID)
		l.seen.NoteNode(n, now)
	}
	l.beside.clear()
	l.depends.clear()
	for s := range v.Services() {
		l.relate(s.ID, s)
		keep(l.seen.Updates, seen.Updates, s.ID)
		keep(l.seen.Rebalanced, seen.Rebalanced, s.ID)
		keep(l.seen.Held, seen.Held, s.ID)
		l.seen.NoteService(s, now)
		l.dirty[s.ID] = struct{}{}
	}
}

// keep takes over what was seen of an object that is still there.
func keep[K comparable, T any](into, from map[K]T, id K) {
	if times, ok := from[id]; ok {
		into[id] = times
	}
}

// take notes what an event changes for whom.
func (l *Loop) take(e *state.Event) {
	l.view = e.View
	l.release()
	if e.Reset {
		l.reset(e.View)
		return
	}
	if e.Cluster { // the limit of the history may be another one
		for s := range e.View.Services() {
			l.dirty[s.ID] = struct{}{}
		}
	}
	for _, p := range e.Services {
		l.takeService(p)
	}
	for _, p := range e.Tasks {
		l.takeTask(p)
	}
	for _, p := range e.Nodes {
		l.takeNode(p)
	}
}

func (l *Loop) takeService(p state.Pair[api.Service]) {
	switch {
	case p.After == nil:
		l.relate(p.Before.ID, nil)
		l.wakeNamers(p.Before)
	case p.Before == nil:
		l.wakeNamers(p.After)
		fallthrough
	default:
		l.relate(p.After.ID, p.After)
	}
	l.wakeDependents(p.Before)
	l.wakeDependents(p.After)
	if p.After != nil {
		l.seen.NoteService(p.After, l.cfg.Now())
		l.dirty[p.After.ID] = struct{}{}
		return
	}
	delete(l.seen.Updates, p.Before.ID)
	delete(l.seen.Rebalanced, p.Before.ID)
	delete(l.seen.Held, p.Before.ID)
	l.dirty[p.Before.ID] = struct{}{}
}

// placing is what a constraint on a service, and its sidecars, see of one of its tasks.
type placing struct {
	node                           api.NodeID
	placed, wanted, ended, refused bool
}

func placingOf(t *api.Task) placing {
	if t == nil {
		return placing{ended: true}
	}
	return placing{t.NodeID, t.Status.State >= api.TaskAssigned, t.Wanted(), t.Status.State.Terminal(), t.Status.State == api.TaskPending && t.Status.Err != ""}
}

// noteSidecar notes what must know when the task that a sidecar lives with ends:
// by then the other's service, and with it the name, may be gone.
func (l *Loop) noteSidecar(t *api.Task) {
	if t.PodOf == "" {
		return
	}
	if l.sidecars[t.PodOf] == nil {
		l.sidecars[t.PodOf] = map[api.ServiceID]struct{}{}
	}
	l.sidecars[t.PodOf][t.ServiceID] = struct{}{}
}

// takePlacing wakes those to whom it matters where the tasks of others are.
func (l *Loop) takePlacing(p state.Pair[api.Task]) {
	if p.Before == nil {
		l.noteSidecar(p.After)
	}
	if len(l.beside.by)+len(l.sidecars) == 0 || placingOf(p.Before) == placingOf(p.After) {
		return
	}
	t := p.After
	if t == nil {
		t = p.Before
	}
	for id := range l.sidecars[t.ID] {
		l.dirty[id] = struct{}{}
	}
	if p.After == nil {
		delete(l.sidecars, t.ID)
	}
	if s := l.view.Service(t.ServiceID); s != nil {
		l.wakeNamers(s)
	}
}

// takeStanding wakes those that wait for what another service's task comes to.
func (l *Loop) takeStanding(p state.Pair[api.Task]) {
	if len(l.depends.by) == 0 {
		return
	}
	t := p.After
	switch {
	case t == nil:
		t = p.Before
	case p.Before != nil && p.Before.Status.State == t.Status.State && p.Before.Desired == t.Desired:
		return
	}
	l.wakeDependents(l.view.Service(t.ServiceID))
}

// takeTask passes over the steps of a task that change nothing for its
// service: of the ten that a task takes, only its end matters, where it is
// awaited that it runs, and that it is placed where it must not stay. Of one that
// takes over from another it matters too that it is placed, or that there is no
// place for it.
func (l *Loop) takeTask(p state.Pair[api.Task]) {
	l.takePlacing(p)
	l.takeStanding(p)
	if p.After == nil {
		delete(l.seen.Tasks, p.Before.ID)
		return
	}
	l.seen.Note(p.After, l.cfg.Now())
	before, after := p.Before, p.After
	switch {
	case before == nil, before.Desired != after.Desired, before.Status.State.Terminal() != after.Status.State.Terminal():
	case before.Status.State < api.TaskRunning && after.Status.State == api.TaskRunning && (after.Replaces != "" || l.awaits(after.ServiceID)):
	case after.Replaces != "" && (before.NodeID != after.NodeID || before.Status.Err != after.Status.Err):
	case before.NodeID != after.NodeID && l.late(before, after):
	default:
		return
	}
	l.dirty[after.ServiceID] = struct{}{}
}

// awaits reports whether it matters to the service that a task of it runs: an
// update goes on then, and one that was paused finishes the slots that it has
// begun; the next task moves, where one that must not run twice has moved, or for
// balance; and only what runs is out of balance.
func (l *Loop) awaits(id api.ServiceID) bool {
	s := l.view.Service(id)
	return s != nil && (rollout.UnderWay(s) || rollout.Stopped(s) || s.Rebalance.UnderWay() ||
		s.Spec.Labels[setting.LabelRebalance] != "" || s.Spec.Labels[setting.LabelSelfStop] != "")
}

// late reports whether the node that a task was placed on has changed in the
// meantime, and is not, or not for long, a place for it: when the node changed,
// the task was not there yet.
func (l *Loop) late(before, after *api.Task) bool {
	n, s := l.view.Node(after.NodeID), l.view.Service(after.ServiceID)
	if s == nil || n != nil && n.Meta.Version.Index < before.Meta.Version.Index {
		return false
	}
	leave, again := slot.NewMoves(l.view, s, l.seen, l.cfg.Now()).Leaving(after)
	return leave.Why != "" || !again.IsZero()
}

// takeNode wakes the services with tasks on a node that may be no place for
// them any more, or is one again; and, for every change that may make a node
// theirs, global services and jobs, and those that are to be spread evenly.
func (l *Loop) takeNode(p state.Pair[api.Node]) {
	n := p.After
	if n != nil {
		l.seen.NoteNode(n, l.cfg.Now())
	} else {
		n = p.Before
		delete(l.seen.Nodes, n.ID)
	}
	if len(l.depends.by) > 0 && changed(p, func(n *api.Node) any { return []any{n.Status.State, n.Status.Unsettled} }) {
		for t := range l.view.NodeTasks(n.ID) {
			l.wakeDependents(l.view.Service(t.ServiceID))
		}
	}
	place := changed(p, func(n *api.Node) any {
		return []any{n.Status.State, n.Status.Addr, n.Status.DaemonGone, n.Spec, n.Description, n.ManagerAddr != ""}
	})
	// A node with a lost session keeps what it has, and gets nothing new.
	if !place && !changed(p, func(n *api.Node) any { return n.Status.SessionLost }) {
		return
	}
	for s := range l.view.Services() {
		everywhere := s.Spec.Mode.Global != nil || s.Spec.Mode.GlobalJob != nil
		if place && everywhere || s.Rebalance.UnderWay() || s.Spec.Labels[setting.LabelRebalance] != "" {
			l.dirty[s.ID] = struct{}{}
		}
	}
	if !place {
		return
	}
	for t := range l.view.NodeTasks(n.ID) {
		l.dirty[t.ServiceID] = struct{}{}
		if s := l.view.Service(t.ServiceID); s != nil && len(l.beside.by) > 0 {
			l.wakeNamers(s) // its sidecars may have none there yet
		}
	}
}

func changed(p state.Pair[api.Node], aspect func(*api.Node) any) bool {
	if p.Before == nil || p.After == nil {
		return true
	}
	return !reflect.DeepEqual(aspect(p.Before), aspect(p.After))
}
