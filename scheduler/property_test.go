package scheduler

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/constraint"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// TestLaws plays random histories and checks after every step that no node
// has more than it can hold, that no task is where it must not be, that none
// was refused that would fit, and that the model is in step with the state.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		h := history{world: newWorld(t), r: r}
		h.do("network ov 10.0.1.0/28", "network small 10.0.2.0/29")
		for i := range rapid.IntRange(1, 4).Draw(r, "nodes") {
			h.do(h.nodeLine(i))
		}
		steps := rapid.IntRange(1, 25).Draw(r, "steps")
		for range steps {
			h.step()
		}
		h.plan(math.MaxInt)
		h.carryOut(h.cluster.Plan(h.now, math.MaxInt)) // what changed while the last plan was on its way
		audit(r, h.cluster, h.state.View())
		h.checkNobodyForgotten()
	})
}

// history makes random changes.
type history struct {
	*world
	r     *rapid.T
	tasks int // made so far
}

func (h *history) pick(label string, options ...string) string {
	return rapid.SampledFrom(options).Draw(h.r, label)
}

func (h *history) nodeLine(i int) string {
	return fmt.Sprintf("node n%d cpu=%s mem=%s label.zone=%s role=%s availability=%s state=%s session=%s engine-version=%s gpu=%s load=%s", i,
		h.pick("cpu", "1", "2", "4"), h.pick("mem", "1GiB", "2GiB"), h.pick("zone", "a", "b"), h.pick("role", "manager", "worker"),
		h.pick("availability", "active", "active", "active", "drain", "pause"), h.pick("state", "ready", "ready", "ready", "down"), h.pick("session", "there", "there", "there", "new"),
		h.pick("engine", "20.10", "20.10", "20.10", "none"), h.pick("gpu", "1", "2"), h.pick("load", "0", "0", "30", "95"))
}

func (h *history) serviceLine(i int) string {
	line := fmt.Sprintf("service s%d image=%d", i, rapid.IntRange(0, 2).Draw(h.r, "image"))
	for _, option := range []string{
		"cpu=0.7", "mem=300MiB", "gpu=1", "port=80/tcp", "port=53/udp", "max=2",
		"constraint=node.labels.zone==a", "constraint=node.role!=manager", "spread=node.labels.zone", "platform=linux/amd64",
		"constraint=service.name" + h.pick("with", "==", "!=") + h.pick("named", "s0", "s1", "s2", "s9"),
		"strategy=binpack", "strategy=capacity", "mode=dnsrr network=ov", "mode=dnsrr network=small",
		"depends=" + h.pick("waits for", "s9", "s9:optional", h.earlier(i)+":started", h.earlier(i)+":healthy", h.earlier(i)+":completed:optional"),
		"mount=" + h.pick("volume", "a", "b", "b:ro", "b:free", "c", "v-{{.Task.Slot}}", "n-{{.Node.Hostname}}"), "pin=false",
	} {
		if rapid.IntRange(0, 3).Draw(h.r, option) == 0 {
			line += " " + option
		}
	}
	return line
}

// earlier is a service that i may wait for without waiting for itself.
func (h *history) earlier(i int) string {
	if i == 0 {
		return "s9"
	}
	return fmt.Sprintf("s%d", rapid.IntRange(0, i-1).Draw(h.r, "earlier"))
}

func (h *history) step() {
	switch rapid.IntRange(0, 12).Draw(h.r, "step") {
	case 10:
		h.do(h.sidecarLine())
	case 11, 12:
		h.accompany()
	case 0:
		h.do(h.nodeLine(rapid.IntRange(0, 5).Draw(h.r, "node")))
	case 1:
		h.do(h.serviceLine(rapid.IntRange(0, 2).Draw(h.r, "service")))
	case 2, 3:
		h.create()
	case 4, 5:
		h.changeTask()
	case 6:
		if n := h.anyNode(); n != nil && rapid.IntRange(0, 3).Draw(h.r, "really") == 0 {
			h.do("rmnode " + string(n.ID))
		}
	case 7:
		h.planAndLose()
	case 8:
		h.changeVolumes()
	default:
		h.plan(rapid.SampledFrom([]int{1, 2, 5, math.MaxInt}).Draw(h.r, "limit"))
	}
}

// sidecarLine is a service of sidecars of one of the others, which may be none yet.
func (h *history) sidecarLine() string {
	line := "service " + h.pick("sidecar", "x0", "x1") + " image=" + h.pick("image", "0", "1")
	if s := h.state.View().Service(api.ServiceID(strings.Fields(line)[1])); s != nil {
		line += " pod=" + setting.PodOf(s.Spec.Labels)
	} else {
		line += " pod=" + h.pick("of", "s0", "s1")
	}
	for _, option := range []string{"cpu=0.4", "mem=200MiB", "gpu=1", "platform=linux/amd64"} {
		if rapid.IntRange(0, 1).Draw(h.r, option) == 0 {
			line += " " + option
		}
	}
	return line
}

// accompany makes a sidecar of a task that is placed.
func (h *history) accompany() {
	s := h.state.View().Service(api.ServiceID(h.pick("sidecar", "x0", "x1")))
	if s == nil {
		return
	}
	of := h.state.View().ServiceByName(setting.PodOf(s.Spec.Labels))
	if of == nil {
		return
	}
	if with := h.anyTaskOf(of.ID); with != nil {
		h.tasks++
		h.do(fmt.Sprintf("tasks %s 1 id=t%03d pod=%s", s.ID, h.tasks, with.ID))
	}
}

func (h *history) create() {
	s := h.state.View().Service(api.ServiceID(fmt.Sprintf("s%d", rapid.IntRange(0, 2).Draw(h.r, "service"))))
	if s == nil {
		return
	}
	for range rapid.IntRange(1, 4).Draw(h.r, "tasks") {
		h.tasks++
		n, slot := h.anyNode(), h.tasks%7
		if n == nil && slot == 0 { // without a slot are the tasks of global services, which are made for their node
			slot = 7
		}
		line := fmt.Sprintf("tasks %s %d id=t%03d desired=%s", s.ID, slot, h.tasks, h.pick("desired", "running", "ready"))
		if n != nil && (slot == 0 || rapid.IntRange(0, 4).Draw(h.r, "pinned") == 0) {
			line += " on=" + string(n.ID)
		} else if old := h.anyTaskOf(s.ID); old != nil && rapid.IntRange(0, 3).Draw(h.r, "takes over") == 0 {
			line += " replaces=" + string(old.ID)
		}
		h.do(line)
	}
}

// anyTaskOf is a task that runs on a node, or nil.
func (h *history) anyTaskOf(id api.ServiceID) *api.Task {
	running := slices.DeleteFunc(slices.Collect(h.state.View().ServiceTasks(id)), func(t *api.Task) bool { return !occupies(t) || !isActive(t) })
	if len(running) == 0 {
		return nil
	}
	return rapid.SampledFrom(running).Draw(h.r, "of running tasks")
}

func (h *history) anyNode() *api.Node {
	nodes := slices.Collect(h.state.View().Nodes())
	if len(nodes) == 0 {
		return nil
	}
	return rapid.SampledFrom(nodes).Draw(h.r, "of nodes")
}

func (h *history) changeTask() {
	tasks := slices.Collect(h.state.View().Tasks())
	if len(tasks) == 0 {
		return
	}
	t := rapid.SampledFrom(tasks).Draw(h.r, "task")
	switch rapid.IntRange(0, 4).Draw(h.r, "change") {
	case 0:
		h.do(fmt.Sprintf("desire %s shutdown", t.ID))
	case 1:
		h.do(fmt.Sprintf("delete %s", t.ID))
	case 2:
		if s := h.state.View().Service(t.ServiceID); s != nil && rapid.IntRange(0, 2).Draw(h.r, "whole service") == 0 {
			h.do(fmt.Sprintf("rmservice %s", s.ID))
		}
	default:
		if t.Status.State >= api.TaskAssigned {
			h.do(fmt.Sprintf("report %s %s", t.ID, h.pick("to", "running", "failed", "complete")))
		}
	}
}

// changeVolumes has a node say what it has, or people give up what they need no more.
func (h *history) changeVolumes() {
	n := h.anyNode()
	if n == nil {
		return
	}
	if rapid.IntRange(0, 3).Draw(h.r, "give up") == 0 {
		h.do(fmt.Sprintf("giveup %s %s", n.ID, h.pick("given up", "a", "b", "v-1")))
		return
	}
	has := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c:nfs", "v-1", "v-2:new", "n-n1"}), rapid.ID).Draw(h.r, "has")
	h.do("volumes " + string(n.ID) + " " + strings.Join(has, " "))
}

// checkVolumes checks, by the state alone, that a task does not begin without
// its data where there is some that no other slot of its service uses.
func (h *history) checkVolumes(v *state.View, t *api.Task, n *api.Node, on map[api.NodeID][]*api.Task) {
	h.r.Helper()
	spec := &v.SpecOf(t).Spec
	if s := v.Service(t.ServiceID); t.NodeID != "" || s == nil || s.Spec.Labels[setting.LabelVolumePin] == "false" {
		return
	}
	for i := range spec.TaskTemplate.ContainerSpec.Mounts {
		m := &spec.TaskTemplate.ContainerSpec.Mounts[i]
		if !setting.PinsMount(m) {
			continue
		}
		hasLocally, elsewhere, there, common := false, false, false, false // the last two are of what nodes share
		for o := range v.Nodes() {
			name := nameOn(m.Source, t, o)
			known := o.Volume(name)
			if o.ID == n.ID && known != nil && known.GivenUp {
				h.r.Fatalf("task %s was placed on node %s, whose volume %s was given up", t.ID, n.ID, name)
			}
			users := slices.DeleteFunc(slices.Clone(on[o.ID]), func(u *api.Task) bool { return !uses(v, u, o, name) })
			if known != nil && !known.GivenUp && len(known.Options) > 0 {
				common = true
				there = there || o.ID == n.ID
				continue
			}
			has := known != nil && !known.GivenUp || known == nil && len(users) > 0
			inUse := slices.ContainsFunc(users, func(u *api.Task) bool { return u.ServiceID == t.ServiceID && u.Slot != t.Slot && isActive(u) })
			hasLocally = hasLocally || o.ID == n.ID && has
			elsewhere = elsewhere || has && !inUse
		}
		if common && !there || !common && elsewhere && !hasLocally {
			h.r.Fatalf("task %s was placed on node %s, which has no volume %s, and another node has", t.ID, n.ID, m.Source)
		}
	}
}

// nameOn is the name of a volume for a task on a node, as the few templates of
// these tests have it.
func nameOn(source string, t *api.Task, n *api.Node) string {
	return strings.NewReplacer("{{.Task.Slot}}", fmt.Sprint(t.Slot), "{{.Node.Hostname}}", n.Hostname()).Replace(source)
}

// uses reports whether a task mounts the volume of a node.
func uses(v *state.View, t *api.Task, n *api.Node, name string) bool {
	return slices.ContainsFunc(needsOf(&v.SpecOf(t).Spec).volumes, func(need volumeNeed) bool { return nameOn(need.source, t, n) == name })
}

// plan plans and carries out; a second model that is made anew must decide the
// same, and every second time the assignments reach the state late.
func (h *history) plan(limit int) {
	late := rapid.Bool().Draw(h.r, "late")
	v := h.state.View()
	d := h.cluster.Plan(h.now, limit)
	h.checkDecision(v, d)
	h.cluster.checkQueues(h.r)
	if late && len(d.Assign) > 0 {
		h.changeTask()
		h.do(h.nodeLine(rapid.IntRange(0, 5).Draw(h.r, "node")))
	}
	h.carryOut(d)
	if !late && limit == math.MaxInt {
		again := h.cluster.Plan(h.now, limit)
		if len(again.Assign)+len(again.Refuse) > 0 {
			h.r.Fatalf("planned twice in a row, the second plan was %v", again)
		}
		if rest := Plan(h.state.View(), h.now); len(rest.Assign) > 0 {
			h.r.Fatalf("a new model assigns what the old one did not: %v", rest.Assign)
		}
	}
	h.cluster.checkQueues(h.r)
}

// planAndLose plans, and what it planned is never carried out.
func (h *history) planAndLose() {
	for _, a := range h.cluster.Plan(h.now, math.MaxInt).Assign {
		h.cluster.Withdraw(a.Task)
	}
	for t := range h.state.View().WaitingTasks() {
		h.cluster.Untell(t.ID)
	}
	audit(h.r, h.cluster, h.state.View())
	h.cluster.checkQueues(h.r)
}

// checkDecision holds each assignment, in their order, against what the state
// alone says of the node and of what is on it.
func (h *history) checkDecision(v *state.View, d Decision) {
	h.r.Helper()
	on := map[api.NodeID][]*api.Task{}
	for t := range v.Tasks() {
		if occupies(t) {
			on[t.NodeID] = append(on[t.NodeID], t)
		}
	}
	for _, a := range d.Assign {
		t, n := v.Task(a.Task), v.Node(a.Node)
		spec := &v.SpecOf(t).Spec
		if why := state.Unmet(v, v.Service(t.ServiceID)); why != "" {
			h.r.Fatalf("task %s was placed on node %s, but it %s", t.ID, n.ID, why)
		}
		if t.NodeID != "" && t.NodeID != n.ID {
			h.r.Fatalf("task %s was placed on node %s and not on its own, %s", t.ID, n.ID, t.NodeID)
		}
		list, err := constraint.Parse(spec.TaskTemplate.Placement.Constraints)
		if err != nil || !list.Match(n) || !available(n) && t.PodOf == "" || !engineAnswers(n) {
			h.r.Fatalf("task %s was placed on node %s against %v", t.ID, n.ID, list)
		}
		h.checkAffinity(v, t, n, list.Services(), on)
		if old := v.Task(t.Replaces); old != nil && occupies(old) && isActive(old) && t.NodeID == "" {
			h.checkMove(v, t, old, n, on)
		}
		h.checkVolumes(v, t, n, on)
		on[n.ID] = append(on[n.ID], t)
		if limit := int(spec.TaskTemplate.Placement.MaxReplicas); limit > 0 {
			if has := countActive(on[n.ID], t.ServiceID); has > limit {
				h.r.Fatalf("node %s gets its task %d of service %s, at most %d may be", n.ID, has, t.ServiceID, limit)
			}
		}
		h.checkNode(v, n, on[n.ID], t)
	}
}

// lacking are the services of sidecars that a task on a node has, or is to get.
func lacking(v *state.View, t *api.Task, on []*api.Task) (list []*api.Service) {
	of := v.Service(t.ServiceID)
	if of == nil || !isActive(t) {
		return nil
	}
	for s := range v.Services() {
		there := slices.ContainsFunc(on, func(o *api.Task) bool { return o.PodOf == t.ID && o.ServiceID == s.ID })
		if setting.PodOf(s.Spec.Labels) == of.Name() && !there {
			list = append(list, s)
		}
	}
	return list
}

// checkMove checks that a task which takes over from another goes elsewhere
// and, where the other could stay, to a node with fewer tasks of the service.
func (h *history) checkMove(v *state.View, t, old *api.Task, n *api.Node, on map[api.NodeID][]*api.Task) {
	h.r.Helper()
	if n.ID == old.NodeID {
		h.r.Fatalf("task %s was placed on node %s, which %s is on", t.ID, n.ID, old.ID)
	}
	spec := &v.SpecOf(t).Spec
	if needs := needsOf(spec); needs.fixed.check(v.Node(old.NodeID)) != fits || len(needs.fixed.constraints.Services()) > 0 || len(needs.spread) > 0 {
		return
	}
	switch s := v.Service(t.ServiceID); {
	case s == nil:
	case s.Spec.Labels[setting.LabelStrategy] == "binpack":
		h.r.Fatalf("task %s of a service that is packed was moved to node %s", t.ID, n.ID)
	case s.Spec.Labels[setting.LabelStrategy] == "" && countActive(on[n.ID], t.ServiceID)+1 >= countActive(on[old.NodeID], t.ServiceID):
		h.r.Fatalf("task %s was moved from node %s to %s, which has no fewer tasks of the service", t.ID, old.NodeID, n.ID)
	}
}

// checkAffinity checks a task that is placed against what runs on its node.
func (h *history) checkAffinity(v *state.View, t *api.Task, n *api.Node, constraints []constraint.Service, on map[api.NodeID][]*api.Task) {
	h.r.Helper()
	for _, s := range constraints {
		named := v.ServiceByName(s.Name)
		there := named != nil && countActive(on[n.ID], named.ID) > 0
		first := named != nil && named.ID == t.ServiceID && !slices.ContainsFunc(slices.Collect(v.Nodes()), func(n *api.Node) bool {
			fixed := needsOf(&v.SpecOf(t).Spec).fixed
			return countActive(on[n.ID], t.ServiceID) > 0 && fixed.check(n) == fits
		})
		if there == s.Not && !(first && !s.Not) {
			h.r.Fatalf("task %s was placed on node %s against %s", t.ID, n.ID, s)
		}
	}
}

func countActive(tasks []*api.Task, service api.ServiceID) int {
	n := 0
	for _, t := range tasks {
		if t.ServiceID == service && isActive(t) {
			n++
		}
	}
	return n
}

// checkNode checks that a node can hold its tasks and the sidecars that they lack, in
// what the last one and its own ask for.
func (h *history) checkNode(v *state.View, n *api.Node, tasks []*api.Task, placed *api.Task) {
	h.r.Helper()
	var cpu, memory, gpus int64
	ports := map[hostPort]int{}
	count := func(needs needs) {
		cpu, memory, gpus = cpu+needs.cpu, memory+needs.memory, gpus+amountOf(needs.generic, "gpu")
	}
	last := needsOf(&v.SpecOf(placed).Spec).all
	for _, s := range lacking(v, placed, tasks) {
		needs := needsOf(&s.Spec)
		last.add(&needs)
	}
	for _, t := range tasks {
		needs := needsOf(&v.SpecOf(t).Spec)
		count(needs)
		for _, s := range lacking(v, t, tasks) {
			count(needsOf(&s.Spec))
		}
		for _, p := range needs.ports {
			if ports[p]++; ports[p] > 1 {
				h.r.Fatalf("node %s: %d tasks have host port %s", n.ID, ports[p], p)
			}
		}
	}
	has := n.Description.Resources
	if last.cpu > 0 && cpu > has.NanoCPUs || last.memory > 0 && memory > has.MemoryBytes ||
		last.generic != nil && gpus > amountOf(amounts(has.GenericResources), "gpu") {
		h.r.Fatalf("node %s: %d nano CPUs, %d bytes, %d gpus are reserved, it has %+v", n.ID, cpu, memory, gpus, has)
	}
}

// checkNobodyForgotten checks that every task that still waits says why, and
// that Explain agrees.
func (h *history) checkNobodyForgotten() {
	v := h.state.View()
	for t := range v.WaitingTasks() {
		if t.Status.Err == "" {
			h.r.Fatalf("task %s waits and does not know why", t.ID)
		}
		why := state.Unmet(v, v.Service(t.ServiceID))
		if strings.HasPrefix(t.Status.Err, "waits for ") && t.Status.Err != why {
			h.r.Fatalf("task %s says that it %q, and it %q", t.ID, t.Status.Err, why)
		}
		if why != "" {
			continue // or it found no node before it had to wait, and says that
		}
		for _, n := range Explain(v, t) {
			if len(n.Reasons) == 0 {
				h.r.Fatalf("task %s waits (%s), but %s", t.ID, t.Status.Err, n)
			}
		}
	}
}

// TestSpreadIsEven checks that equal nodes get equal numbers of a service's
// tasks, give or take one, whatever the order in which things happen.
func TestSpreadIsEven(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		nodes := rapid.IntRange(1, 12).Draw(r, "nodes")
		for i := range nodes {
			w.do(fmt.Sprintf("node n%d cpu=1000 mem=1000GiB", i))
		}
		w.do("service other", "tasks other 1-"+fmt.Sprint(rapid.IntRange(1, 30).Draw(r, "others")))
		w.do("service web " + rapid.SampledFrom([]string{"", "cpu=1", "mem=1GiB"}).Draw(r, "needs"))
		next := 1
		for range rapid.IntRange(1, 4).Draw(r, "rounds") {
			n := rapid.IntRange(1, 20).Draw(r, "tasks")
			w.do(fmt.Sprintf("tasks web %d-%d", next, next+n-1))
			next += n
			for d := w.cluster.Plan(w.now, 7); ; d = w.cluster.Plan(w.now, 7) {
				w.carryOut(d)
				if !d.More {
					break
				}
			}
		}
		counts := make([]int, nodes)
		for i := range counts {
			for t := range w.state.View().NodeTasks(api.NodeID(fmt.Sprintf("n%d", i))) {
				if t.ServiceID == "web" {
					counts[i]++
				}
			}
		}
		if slices.Max(counts)-slices.Min(counts) > 1 {
			r.Fatalf("tasks of web by node: %v", counts)
		}
	})
}

// TestCapacityIsProportional checks that nodes get shares of a service in
// proportion to their size, give or take one task, where nothing else is on them.
func TestCapacityIsProportional(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		sizes := rapid.SliceOfN(rapid.IntRange(1, 8), 1, 6).Draw(r, "sizes")
		all := 0
		for i, size := range sizes {
			w.do(fmt.Sprintf("node n%d cpu=%d mem=%dGiB", i, 4*size, 16*size))
			all += size
		}
		rounds := rapid.IntRange(1, 5).Draw(r, "rounds")
		w.do("service web strategy=capacity "+rapid.SampledFrom([]string{"", "cpu=0.1", "mem=100MiB"}).Draw(r, "needs"), fmt.Sprintf("tasks web 1-%d", rounds*all))
		w.carryOut(w.cluster.Plan(w.now, math.MaxInt))
		for i, size := range sizes {
			if got := len(slices.Collect(w.state.View().NodeTasks(api.NodeID(fmt.Sprintf("n%d", i))))); got < rounds*size-1 || got > rounds*size+1 {
				r.Fatalf("of %d tasks node n%d of size %d of %d has %d", rounds*all, i, size, all, got)
			}
		}
	})
}

// TestPoolChangesNothing checks that groups that share a pool get the same
// nodes as they do from a look at every node.
func TestPoolChangesNothing(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		h := history{world: w, r: r}
		var lines []string
		w.do("network ov 10.1.0.0/16", "network small 10.0.0.0/"+rapid.SampledFrom([]string{"24", "27"}).Draw(r, "small"))
		for i := range 40 {
			lines = append(lines, h.nodeLine(i))
		}
		w.do(lines...)
		for i := range rapid.IntRange(2, 6).Draw(r, "services") {
			w.do(h.serviceLine(i))
			if n := rapid.IntRange(0, 3).Draw(r, "there already"); n > 0 {
				w.do(fmt.Sprintf("tasks s%d 1-%d", i, n))
				w.carryOut(w.cluster.Plan(w.now, math.MaxInt))
			}
		}
		for s := range w.state.View().Services() {
			for range manyFailures * rapid.IntRange(0, 1).Draw(r, "failures") {
				h.tasks++
				w.do(fmt.Sprintf("tasks %s 9 id=f%d on=n3 state=running", s.ID, h.tasks), fmt.Sprintf("report f%d failed", h.tasks))
			}
			w.do(fmt.Sprintf("tasks %s 10-%d", s.ID, rapid.IntRange(10, 18).Draw(r, "last")))
		}
		pooled := w.cluster.plan(planner{now: w.now, limit: math.MaxInt})
		for _, a := range pooled.Assign {
			w.cluster.Withdraw(a.Task)
		}
		looked := w.cluster.plan(planner{now: w.now, limit: math.MaxInt, noPools: true})
		if !reflect.DeepEqual(pooled.Assign, looked.Assign) {
			r.Fatalf("with pools\n%v\nwithout\n%v", pooled.Assign, looked.Assign)
		}
	})
}

// TestEqualInputsEqualPlans checks that a plan depends on the state alone.
func TestEqualInputsEqualPlans(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		w.do(fmt.Sprintf("node n%d label.zone=%d load=%d", i, i%3, i*7%100))
	}
	for i := range 20 {
		strategy := []setting.Strategy{setting.StrategySpread, setting.StrategyBinpack, setting.StrategyCapacity}[i%3]
		w.do(fmt.Sprintf("service s%d spread=node.labels.zone cpu=0.%d strategy=%s", i, i%3+1, strategy), fmt.Sprintf("tasks s%d 1-40", i))
	}
	first := Plan(w.state.View(), w.now)
	for range 5 {
		if again := Plan(w.state.View(), w.now); !reflect.DeepEqual(first, again) {
			t.Fatal("two plans of one state differ")
		}
	}
	if live := w.cluster.Plan(w.now, math.MaxInt); !reflect.DeepEqual(first.Assign, live.Assign) {
		t.Fatal("a model that followed the events plans otherwise than a new one")
	}
}

// TestReset checks that a state that is replaced as a whole replaces the model.
func TestReset(t *testing.T) {
	w := newWorld(t)
	w.do("node h1", "service web", "tasks web 1-3")
	w.cluster.Plan(w.now, math.MaxInt)
	w.cluster.Apply(&state.Event{Reset: true, View: w.state.View()}, w.now)
	audit(t, w.cluster, w.state.View())
	if d := w.cluster.Plan(w.now, math.MaxInt); len(d.Assign) != 3 {
		t.Fatalf("got %v, want three assignments", d.Assign)
	}
}
