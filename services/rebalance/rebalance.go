package rebalance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/rollout"
	"github.com/swarmctl/swarmctl/services/slot"
)

// Check returns why a service cannot be rebalanced, as an error of code
// invalid, or conflict where it cannot at the moment; nil where it can.
func Check(s *api.Service) error {
	switch {
	case s.IsJob():
		return api.Errorf(api.CodeInvalid, "service %s is a job and cannot be rebalanced: what its tasks have done would be lost", s.Name())
	case s.Spec.Mode.Replicated == nil:
		return api.Errorf(api.CodeInvalid, "service %s is global and cannot be rebalanced: it has one task on every node", s.Name())
	case s.Spec.Labels[setting.LabelPod] != "":
		return api.Errorf(api.CodeInvalid, "service %s cannot be rebalanced: each of its tasks is where one of service %s is: rebalance that one", s.Name(), s.Spec.Labels[setting.LabelPod])
	case s.Spec.Labels[setting.LabelSelfStop] != "":
		return api.Errorf(api.CodeInvalid, "service %s cannot be rebalanced: it has the label %s, so a task would have to stop before its successor starts: drain a node to move what it has", s.Name(), setting.LabelSelfStop)
	case rollout.Stopped(s):
		return api.Errorf(api.CodeConflict, "service %s cannot be rebalanced: its update is paused, and tasks that move would get the version at which it stopped: let it go on with `swarmctl service update %s`, or go back with `swarmctl service rollback %s`", s.Name(), s.Name(), s.Name())
	}
	return nil
}

// Step returns what the next move of a service, whose slots are given, needs,
// and when to look again. While an update or a canary is under way it waits.
func Step(v *state.View, s *api.Service, slots []slot.Slot, seen slot.Seen, now time.Time) slot.Changes {
	after := setting.LifecycleOf(s.Spec.Labels).Rebalance
	wanted := s.Rebalance.UnderWay()
	if !wanted && after == 0 || rollout.UnderWay(s) {
		return slot.Changes{}
	}
	b := &balance{view: v, service: s, seen: seen, now: now, moves: slot.NewMoves(v, s, seen, now)}
	switch err := Check(s); {
	case err != nil && wanted:
		b.stop(err.Error())
		return b.out
	case err != nil:
		return slot.Changes{}
	}
	b.count(slots)
	if wanted {
		b.step(slots)
	} else {
		b.begin(after)
	}
	return b.out
}

// balance is one step in the making.
type balance struct {
	view    *state.View
	service *api.Service
	seen    slot.Seen
	now     time.Time
	moves   *slot.Moves
	out     slot.Changes

	places  []*place
	total   int
	waiting *api.Task // takes over from another one, for balance, and has no node yet
	failed  *api.Task // was to, and has ended instead since the rebalance began
	moving  bool      // a move is under way
	since   time.Time // when the last thing happened that the balance depends on
}

// place is a node that the service may use, with what it has of it.
type place struct {
	node  *api.Node
	tasks []*api.Task // those on their way to it included
}

// count looks where the tasks are, or will be.
func (b *balance) count(slots []slot.Slot) {
	rules, err := slot.RulesOf(&b.service.Spec)
	if err != nil {
		return // of a newer program
	}
	beside := slot.NewBeside(b.view, b.service, rules)
	byID := map[api.NodeID]*place{}
	for n := range b.view.Nodes() {
		if n.Status.State != api.NodeReady || n.Status.SessionLost || n.Spec.Availability != swarm.NodeAvailabilityActive || !rules.Match(n) {
			continue
		}
		if met, _ := beside.At(n.ID); !met {
			continue
		}
		p := &place{node: n}
		b.places, byID[n.ID] = append(b.places, p), p
		b.happened(b.seen.Nodes[n.ID].Usable)
	}
	for _, sl := range slots {
		for _, t := range sl.Live() {
			p, next := byID[t.NodeID], sl.Successor(t)
			b.moving = b.moving || next != nil
			switch {
			case p == nil:
			case next == nil:
				p.tasks = append(p.tasks, t)
				b.total++
				b.happened(b.seen.Tasks[t.ID].Running)
				b.failed = cmp.Or(b.failed, b.attempt(sl, t))
			case next.NodeID == "":
				b.waiting = next
			}
		}
	}
}

// attempt returns a task that was to take over from t and has failed since the
// rebalance began; nil if there is none.
func (b *balance) attempt(sl slot.Slot, t *api.Task) *api.Task {
	for _, o := range sl.Tasks {
		failed := o.Status.State == api.TaskFailed || o.Status.State == api.TaskRejected
		if r := b.service.Rebalance; failed && o.Replaces == t.ID && r.UnderWay() && o.Meta.Version.Index > r.Index {
			return o
		}
	}
	return nil
}

func (b *balance) happened(at time.Time) {
	if at.After(b.since) {
		b.since = at
	}
}

// begin starts a rebalance by itself, when the nodes have been out of balance
// for so long. What a rebalance could not mend is left alone until something
// else happens.
func (b *balance) begin(after time.Duration) {
	if b.moving || b.fullest(b.places, b.preferences()) == nil {
		return
	}
	if ended, ok := b.seen.Rebalanced[b.service.ID]; ok && !b.since.After(ended) {
		return
	}
	if at := b.since.Add(after); at.After(b.now) {
		b.out.WakeAt(at)
		return
	}
	next := *b.service
	next.Rebalance = &api.Rebalance{}
	b.out.Put = &next
}

// step begins with the next move, or ends the rebalance: also where a successor
// has failed. It would fail again, and nothing is lost without it.
func (b *balance) step(slots []slot.Slot) {
	if t := b.failed; t != nil {
		b.stop(fmt.Sprintf("%s.%d stays where it is: its successor on %s has failed: %s", b.service.Name(), t.Slot, b.hostname(t), cmp.Or(t.Status.Err, t.Status.State.String())))
		return
	}
	if w := b.waiting; w != nil {
		if w.Status.Err != "" {
			b.out.Shut(w, api.TaskShutdown)
			b.stop(fmt.Sprintf("%s.%d stays where it is: %s", b.service.Name(), w.Slot, w.Status.Err))
		}
		return
	}
	from := b.fullest(b.places, b.preferences())
	switch {
	case from == nil && !b.moving:
		b.end(api.Rebalance{Outcome: fmt.Sprintf("balanced: %s on %s", counted(b.total, "task"), counted(len(b.places), "node"))})
	case from != nil && b.moves.Room(slots, 0) > 0:
		b.move(from)
	}
}

func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// move gives the last task of a node that runs a successor. What runs only now
// is waited for.
func (b *balance) move(from *place) {
	chosen := from.tasks[0]
	for _, t := range from.tasks {
		if t.Status.State != api.TaskRunning {
			return
		}
		if slot.KeyOf(chosen).Compare(slot.KeyOf(t)) < 0 {
			chosen = t
		}
	}
	next := slot.KeyOf(chosen).Task(b.service, slot.Version(b.service, chosen.SpecVersion), api.TaskRunning)
	next.Replaces = chosen.ID
	next.Status.Message = fmt.Sprintf("replaces %s on %s, which has more tasks of the service than others", b.view.TaskName(chosen), from.node.Hostname())
	b.out.Create = append(b.out.Create, next)
}

func (b *balance) hostname(t *api.Task) string {
	if n := b.view.Node(t.NodeID); n != nil {
		return n.Hostname()
	}
	return string(t.NodeID)
}

// stop ends the rebalance before all is even.
func (b *balance) stop(why string) { b.end(api.Rebalance{Outcome: "stopped: " + why, Stopped: true}) }

func (b *balance) end(how api.Rebalance) {
	next := *b.service
	next.Rebalance = &how
	b.out.Put = &next
}

// preferences are the labels that tasks are to be spread over, the first one first.
func (b *balance) preferences() (keys []string) {
	if p := b.service.Spec.TaskTemplate.Placement; p != nil {
		for _, pref := range p.Preferences {
			if pref.Spread != nil {
				keys = append(keys, pref.Spread.SpreadDescriptor)
			}
		}
	}
	return keys
}

// fullest returns the node that a task is to leave: of those whose label has
// most of the service's tasks, where the labels are two apart, and else within
// each of them. It is nil where all are as even as can be.
func (b *balance) fullest(places []*place, preferences []string) *place {
	groups := split(places, preferences)
	if len(groups) == 0 {
		return nil
	}
	order := func(x, y []*place) int { return cmp.Compare(size(x), size(y)) }
	most := slices.MaxFunc(groups, order)
	if uneven := size(most)-size(slices.MinFunc(groups, order)) > 1; uneven {
		for len(most) > 1 {
			preferences = preferences[min(1, len(preferences)):]
			most = slices.MaxFunc(split(most, preferences), order)
		}
		return most[0]
	}
	if len(preferences) > 0 {
		for _, g := range groups {
			if p := b.fullest(g, preferences[1:]); p != nil {
				return p
			}
		}
	}
	return nil
}

// split parts nodes by the value of the first label; where none is given, into
// single ones.
func split(places []*place, preferences []string) (groups [][]*place) {
	at := map[string]int{}
	for _, p := range places {
		value := string(p.node.ID)
		if len(preferences) > 0 {
			value = labelOf(p.node, preferences[0])
		}
		i, ok := at[value]
		if !ok {
			i = len(groups)
			at[value], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], p)
	}
	return groups
}

func labelOf(n *api.Node, key string) string {
	if label, ok := strings.CutPrefix(key, "engine.labels."); ok {
		return n.Description.Engine.Labels[label]
	}
	label, _ := strings.CutPrefix(key, "node.labels.")
	return n.Spec.Labels[label]
}

func size(places []*place) (n int) {
	for _, p := range places {
		n += len(p.tasks)
	}
	return n
}
