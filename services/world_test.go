package services

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/slot"
)

// world is a cluster without machines: the real state, the real decisions, and
// a scheduler and workers that do what they are told, when they are told.
type world struct {
	*state.State
	now    time.Time
	seen   slot.Seen
	index  uint64
	lastID int
}

func newWorld() *world {
	w := &world{State: state.New(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), seen: slot.NewSeen()}
	w.apply(state.Op{PutCluster: &api.Cluster{ID: "c"}})
	return w
}

func (w *world) apply(ops ...state.Op) {
	w.index++
	if err := w.Apply(w.index, []state.Command{{At: w.now, Ops: ops}})[0].Err(); err != nil {
		panic(err)
	}
	w.look()
}

// look is the leader noting what is there.
func (w *world) look() {
	for t := range w.View().Tasks() {
		w.seen.Note(t, w.now)
	}
	for n := range w.View().Nodes() {
		w.seen.NoteNode(n, w.now)
	}
	for s := range w.View().Services() {
		w.seen.NoteService(s, w.now)
	}
}

func (w *world) newID() string {
	w.lastID++
	return fmt.Sprintf("t%d", w.lastID)
}

// step lets every service, removed ones included, decide once, and carries it out.
func (w *world) step() (lines []string) {
	v := w.View()
	ids := map[api.ServiceID]bool{}
	for s := range v.Services() {
		ids[s.ID] = true
	}
	for t := range v.Tasks() {
		ids[t.ServiceID] = true
	}
	for _, id := range sorted(ids) {
		noteHeld(v, id, w.seen, w.now)
		c := decide(v, id, w.seen, w.now)
		ops := c.Ops(w.newID)
		lines = append(lines, w.describe(&c)...)
		if len(ops) > 0 {
			w.apply(ops...)
		}
	}
	return lines
}

func sorted[K cmp.Ordered](set map[K]bool) []K {
	keys := make([]K, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (w *world) describe(c *slot.Changes) (lines []string) {
	for _, id := range c.Delete {
		lines = append(lines, "delete "+string(id))
	}
	for _, d := range c.Desire {
		lines = append(lines, fmt.Sprintf("%s -> %s", d.Task, d.State))
	}
	for _, t := range c.Create {
		line := fmt.Sprintf("create %s in %s: %s, spec %d", t.ID, place(t), t.Desired, t.SpecVersion)
		if t.Replaces != "" {
			line += ", replaces " + string(t.Replaces)
		}
		if t.Restarts > 0 {
			line += fmt.Sprintf(", restarts %d", t.Restarts)
		}
		if t.RestartDelay > 0 {
			line += fmt.Sprintf(" (%s)", t.Status.Message)
		}
		lines = append(lines, line)
	}
	if c.Update != nil {
		lines = append(lines, fmt.Sprintf("update %s: %s", c.Update.Status.State, c.Update.Status.Message))
	}
	if c.Put != nil {
		lines = append(lines, "rebalance "+cmp.Or(c.Put.Rebalance.Outcome, "begins"))
	}
	if c.Empty() && !c.Wake.IsZero() {
		lines = append(lines, "wake in "+c.Wake.Sub(w.now).String())
	}
	return lines
}

func place(t *api.Task) string {
	if t.Slot > 0 {
		return fmt.Sprintf("%s.%d", t.ServiceID, t.Slot)
	}
	return fmt.Sprintf("%s.%s", t.ServiceID, t.NodeID)
}

// place is the scheduler: each task that waits for no other service to the fitting
// node with the fewest live tasks.
func (w *world) place() {
	for _, t := range slices.Collect(w.View().WaitingTasks()) {
		if s := w.View().Service(t.ServiceID); s != nil && state.Unmet(w.View(), s) != "" {
			continue
		}
		var best *api.Node
		load := 0
		for n := range w.View().Nodes() {
			if w.leaves(t, n.ID) || n.Status.State != api.NodeReady || n.Spec.Availability != swarm.NodeAvailabilityActive && t.PodOf == "" || t.NodeID != "" && t.NodeID != n.ID {
				continue
			}
			here := 0
			for o := range w.View().NodeTasks(n.ID) {
				if o.Live() {
					here++
				}
			}
			if best == nil || here < load {
				best, load = n, here
			}
		}
		if best != nil {
			w.apply(state.Op{AssignTasks: []state.Assign{{Task: t.ID, Node: best.ID}}})
		}
	}
}

// leaves reports whether a task takes over from one that is on the node.
func (w *world) leaves(t *api.Task, node api.NodeID) bool {
	from := w.View().Task(t.Replaces)
	return from != nil && from.NodeID == node
}

func (w *world) report(id api.TaskID, s api.TaskState) {
	w.apply(state.Op{ReportTasks: []state.Report{{Task: id, Status: api.TaskStatus{State: s, At: w.now}}}})
}

// settle lets all parts work until nothing happens any more. It returns what
// was said of updates on the way, and what is waited for in the end.
func (w *world) settle() (lines []string) {
	for range 500 {
		before := w.index
		said := w.step()
		w.place()
		w.work()
		if w.index == before {
			return append(lines, said...)
		}
		for _, line := range said {
			if strings.HasPrefix(line, "update ") || strings.HasPrefix(line, "rebalance ") {
				lines = append(lines, line)
			}
		}
	}
	panic("the cluster does not come to rest")
}

// work is every worker whose node is up: it does what its tasks are desired to do.
func (w *world) work() {
	for _, t := range slices.Collect(w.View().Tasks()) {
		if t.Status.State < api.TaskAssigned || t.Status.State.Terminal() || slot.Down(w.View(), t) {
			continue
		}
		want := min(t.Desired, api.TaskRunning)
		if !t.Wanted() {
			want = api.TaskShutdown
		}
		if t.Status.State < want {
			w.report(t.ID, want)
		}
	}
}

func (w *world) addNode(id string) {
	n := &api.Node{ID: api.NodeID(id), Status: api.NodeStatus{State: api.NodeReady}}
	n.Spec.Availability = swarm.NodeAvailabilityActive
	n.Spec.Labels = map[string]string{"name": id}
	w.apply(state.Op{PutNode: n})
}

// editNode changes a node's state, availability or, by the word label and
// name=value, one of its labels; an empty value removes it.
func (w *world) editNode(id, what string, words ...string) {
	n := *w.View().Node(api.NodeID(id))
	switch what {
	case "label":
		n.Spec.Labels = maps.Clone(n.Spec.Labels)
		for _, word := range words {
			if k, v, _ := strings.Cut(word, "="); v != "" {
				n.Spec.Labels[k] = v
			} else {
				delete(n.Spec.Labels, k)
			}
		}
	case "removed":
		w.apply(state.Op{DeleteNode: &state.DeleteNode{ID: n.ID}})
		return
	case "drain", "pause", "active":
		n.Spec.Availability = swarm.NodeAvailability(what)
	case "daemon-gone":
		n.Status.State, n.Status.DaemonGone = api.NodeDown, true
	default:
		n.Status.State, n.Status.DaemonGone = api.NodeState(what), false
	}
	w.apply(state.Op{PutNode: &n})
}

// ps is the tasks of a service, slot by slot.
func (w *world) ps(id string) (lines []string) {
	for _, sl := range slot.Group(w.View(), api.ServiceID(id)) {
		for _, t := range sl.Tasks {
			line := fmt.Sprintf("%s %s on %s: desired %s, %s, spec %d", place(t), t.ID, cmp.Or(string(t.NodeID), "-"), t.Desired, t.Status.State, t.SpecVersion)
			if t.JobIteration > 0 {
				line += fmt.Sprintf(", iteration %d", t.JobIteration)
			}
			if t.Replaces != "" {
				line += ", replaces " + string(t.Replaces)
			}
			if note := t.RestartNote(); note != "" {
				line += ", " + note
			}
			lines = append(lines, line)
		}
	}
	return lines
}

// change puts a service in place of what it was, or says why not.
func (w *world) change(s *api.Service, err error) []string {
	if err != nil {
		return []string{err.Error()}
	}
	w.apply(state.Op{PutService: s})
	return nil
}

// inspect is what is remembered of a service's updates.
func (w *world) inspect(id string) []string {
	s := w.View().Service(api.ServiceID(id))
	line := fmt.Sprintf("spec %d, previous %d", s.SpecVersion, s.PreviousSpecVersion)
	if s.PreviousSpec == nil {
		line += " (no way back)"
	}
	if n, ok := s.Replicas(); ok {
		line += fmt.Sprintf(", replicas %d", n)
	}
	if s.UpdateStatus != nil {
		line += fmt.Sprintf(", %s: %s", s.UpdateStatus.State, s.UpdateStatus.Message)
	}
	if s.Canary != nil {
		line += fmt.Sprintf(", canary %s", s.Canary.Phase)
	}
	if len(s.Hidden) > 0 {
		line += fmt.Sprintf(", hidden %v", s.Hidden)
	}
	if s.Rebalance.UnderWay() {
		line += ", to be rebalanced"
	} else if s.Rebalance != nil {
		line += ", " + s.Rebalance.Outcome
	}
	return []string{line}
}

// putService creates or changes a service by key=value words.
func (w *world) putService(id string, words []string) {
	s := &api.Service{ID: api.ServiceID(id)}
	s.Spec.Name = id
	s.Spec.Mode.Replicated = &swarm.ReplicatedService{}
	old := w.View().Service(s.ID)
	if old != nil {
		s.Spec = old.Spec
	}
	for _, word := range words {
		k, v, _ := strings.Cut(word, "=")
		setServiceField(&s.Spec, k, v)
	}
	if old != nil {
		s = state.Updated(w.View(), old, s.Spec, nil)
	}
	w.apply(state.Op{PutService: s})
}
