package scheduler

import (
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/mount"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/expand"
	"github.com/swarmctl/swarmctl/api/setting"
)

// volumeNeed is a named volume that holds a task: where its data lies on one
// node, that is where the task goes.
type volumeNeed struct {
	source   string // with templates
	readOnly bool
	template bool
	perNode  bool // its name differs from node to node
}

// readVolumes finds them. A task of a global service has its node, whatever is there.
func (n *needs) readVolumes(spec *api.ServiceSpec) {
	c := spec.TaskTemplate.ContainerSpec
	if c == nil {
		return
	}
	for i := range c.Mounts {
		if m := &c.Mounts[i]; m.Type == mount.TypeVolume && m.Source != "" {
			n.mounts = append(n.mounts, m.Source)
		}
	}
	if spec.Mode.Global != nil || spec.Mode.GlobalJob != nil {
		return
	}
	for i := range c.Mounts {
		m := &c.Mounts[i]
		if !setting.PinsMount(m) {
			continue
		}
		need := volumeNeed{source: m.Source, readOnly: m.ReadOnly, template: strings.Contains(m.Source, "{{")}
		need.perNode = need.template && strings.Contains(m.Source, "Node")
		n.volumes = append(n.volumes, need)
	}
}

// kind is what the planner makes of a node's copy of a volume.
type kind uint8

const (
	untold  kind = iota // the node has not told of it
	data                // it lies on this node alone
	shared              // it is the same on every node that has it: made beforehand, of a server of files or by a plugin
	loose               // its label lets tasks go
	givenUp             // no task is to start on it
)

func kindOf(v *api.Volume, node api.NodeID) kind {
	switch {
	case v.GivenUp, v.Move.UnderWay() && v.Move.To == node:
		return givenUp
	case !setting.PinsVolume("", nil, v.Labels):
		return loose
	case setting.PinsVolume(v.Driver, v.Options, v.Labels):
		return data
	}
	return shared
}

// copyOn is a node's copy of a volume. It counts from the moment that a task is
// placed that will make it: until the node tells of it nobody else would know.
type copyOn struct {
	kind  kind
	tasks map[api.TaskID]struct{} // that are on the node, or on their way, and mount it
}

func (o *copyOn) holds() bool { return o.kind == data || o.kind == untold && len(o.tasks) > 0 }

// volumes are all copies that the cluster knows of, by name and node.
type volumes struct {
	byName  map[string]map[int32]*copyOn
	mounted map[api.TaskID][]mounted // where tasks are counted
	// changes counts what may let a task that waits for its data go.
	changes uint64
	// moves are those under way, by the name of the volume.
	moves map[string]*api.VolumeMove
}

type mounted struct {
	name string
	node int32
}

func newVolumes() volumes {
	return volumes{byName: map[string]map[int32]*copyOn{}, mounted: map[api.TaskID][]mounted{}, moves: map[string]*api.VolumeMove{}}
}

// on is a node's copy, which is made where there is none.
func (v *volumes) on(name string, i int32) *copyOn {
	copies := v.byName[name]
	if copies == nil {
		copies = map[int32]*copyOn{}
		v.byName[name] = copies
	}
	if copies[i] == nil {
		copies[i] = &copyOn{}
	}
	return copies[i]
}

// tidy forgets a copy that is none.
func (v *volumes) tidy(name string, i int32) {
	v.changes++
	if o := v.byName[name][i]; o != nil && o.kind == untold && len(o.tasks) == 0 {
		if delete(v.byName[name], i); len(v.byName[name]) == 0 {
			delete(v.byName, name)
		}
	}
}

// report takes what node i has, after what it had.
func (v *volumes) report(i int32, node api.NodeID, had, has []api.Volume) {
	for k := range had {
		v.on(had[k].Name, i).kind = untold
	}
	for k := range has {
		v.on(has[k].Name, i).kind = kindOf(&has[k], node)
	}
	for _, list := range [][]api.Volume{had, has} {
		for k := range list {
			v.tidy(list[k].Name, i)
		}
	}
}

// putVolumes takes in what node i says of its volumes.
func (c *Cluster) putVolumes(i int32, old, n *api.Node) {
	var had []api.Volume
	if old != nil {
		had = old.Volumes
	}
	if sameVolumes(had, n.Volumes) {
		return
	}
	c.volumes.report(i, n.ID, had, n.Volumes)
	if c.volumes.takeMoves(had, n.Volumes) {
		c.unholdVolumes()
	}
	if c.waitsForVolumes() {
		c.touch(i)
	}
}

// waitsForVolumes reports whether a group is blocked that new volumes may concern.
func (c *Cluster) waitsForVolumes() bool {
	for g := range c.stages[blocked] {
		if len(g.needs.volumes) > 0 {
			return true
		}
	}
	return false
}

// unpinned reports whether a service's tasks may start where their volumes are not.
func unpinned(s *api.Service) bool {
	return s != nil && setting.LifecycleOf(s.Spec.Labels).Unpinned
}

// setUnpinned takes in what a service says now; its tasks that wait are looked at again.
func (c *Cluster) setUnpinned(known *service, s *api.Service) {
	if now := unpinned(s); now != known.unpinned {
		known.unpinned = now
		for g := range c.stages[blocked] {
			if g.service == known {
				c.setStage(g, ready)
			}
		}
	}
}

// sameVolumes reports whether two lists are the same; nearly always they are one.
func sameVolumes(a, b []api.Volume) bool {
	if len(a) != len(b) {
		return false
	}
	return len(a) == 0 || &a[0] == &b[0] || slices.EqualFunc(a, b, func(a, b api.Volume) bool {
		return a.Name == b.Name && a.Driver == b.Driver && a.CreatedAt == b.CreatedAt && a.GivenUp == b.GivenUp && a.Move == b.Move && maps.Equal(a.Options, b.Options) && maps.Equal(a.Labels, b.Labels)
	})
}

// mount counts a task that is on node i, or on its way, under its volumes.
func (c *Cluster) mount(g *group, t *api.Task, i int32) {
	if len(g.needs.volumes) == 0 {
		return
	}
	for k := range g.needs.volumes {
		name := c.volumeName(&g.needs.volumes[k], t, i)
		o := c.volumes.on(name, i)
		if o.tasks == nil {
			o.tasks = map[api.TaskID]struct{}{}
		}
		o.tasks[t.ID] = struct{}{}
		c.volumes.mounted[t.ID] = append(c.volumes.mounted[t.ID], mounted{name, i})
	}
	c.volumes.changes++
	if c.waitsForVolumes() { // what asks for the same volume may follow
		c.touch(i)
	}
}

func (c *Cluster) unmount(id api.TaskID, i int32) {
	list, ok := c.volumes.mounted[id]
	if !ok {
		return
	}
	var rest []mounted
	for _, h := range list {
		if h.node != i {
			rest = append(rest, h)
			continue
		}
		delete(c.volumes.byName[h.name][i].tasks, id)
		c.volumes.tidy(h.name, i)
	}
	if c.volumes.mounted[id] = rest; rest == nil {
		delete(c.volumes.mounted, id)
	}
}

// anyNode stands for a node where the name of a volume does not depend on it.
const anyNode int32 = -1

// volumeName is what the volume is called for a task on node i.
func (c *Cluster) volumeName(n *volumeNeed, t *api.Task, i int32) string {
	if !n.template {
		return n.source
	}
	spec := c.view.SpecOf(t)
	if spec == nil {
		return n.source
	}
	if i == anyNode {
		return expand.VolumeName(n.source, &spec.Spec, t, nil)
	}
	there := *t
	there.NodeID = c.slots[i].id
	return expand.VolumeName(n.source, &spec.Spec, &there, c.slots[i].node)
}

// home is where a task may go for the sake of its volumes.
type home struct {
	nodes  map[int32]bool // nil: wherever no copy was given up
	holds  []place        // the volumes that say so
	barred map[int32]string
}

// place is a volume and the nodes whose copies will do.
type place struct {
	name   string // empty: it differs from node to node
	nodes  []int32
	common bool // the nodes share it: nobody's data is on one of them alone
}

// allows reports whether the task may go to node i.
func (h *home) allows(i int32) bool {
	if h == nil {
		return true
	}
	if _, barred := h.barred[i]; barred {
		return false
	}
	return h.nodes == nil || h.nodes[i]
}

// homeOf says where a task may go: where its volume is one that nodes share, to
// any that has it; else with the data that its slot had last, or with data that
// no other slot of its service uses; where there is none of that anywhere,
// because it is the first or one more replica.
func (c *Cluster) homeOf(g *group, t *api.Task) *home {
	if len(g.needs.volumes) == 0 || g.service.unpinned {
		return nil
	}
	h := &home{}
	for k := range g.needs.volumes {
		n := &g.needs.volumes[k]
		copies, common := c.copiesOf(h, n, t)
		if own, ok := c.lastPlace(n, t, copies); len(common) > 0 {
			copies = common
		} else if ok {
			copies = map[int32]bool{own: true}
		} else {
			c.dropUsed(n, t, copies)
		}
		if len(copies) > 0 {
			h.restrict(place{c.nameIfOne(n, t), slices.Sorted(maps.Keys(copies)), len(common) > 0}, copies)
		}
	}
	return h
}

func (h *home) restrict(to place, copies map[int32]bool) {
	h.holds = append(h.holds, to)
	if h.nodes == nil {
		h.nodes = copies
		return
	}
	maps.DeleteFunc(h.nodes, func(i int32, _ bool) bool { return !copies[i] })
}

func (c *Cluster) nameIfOne(n *volumeNeed, t *api.Task) string {
	if n.perNode {
		return ""
	}
	return c.volumeName(n, t, anyNode)
}

// copiesOf are the nodes that have the data, and those that have a volume which
// is common to them. It notes those whose copy was given up.
func (c *Cluster) copiesOf(h *home, n *volumeNeed, t *api.Task) (copies, common map[int32]bool) {
	copies, common = map[int32]bool{}, map[int32]bool{}
	look := func(name string, i int32, o *copyOn) {
		switch {
		case o.kind == givenUp:
			if h.barred == nil {
				h.barred = map[int32]string{}
			}
			h.barred[i] = name
		case o.kind == shared:
			common[i] = true
		case o.holds():
			copies[i] = true
		}
	}
	if !n.perNode {
		name := c.nameIfOne(n, t)
		for i, o := range c.volumes.byName[name] {
			look(name, i, o)
		}
		return copies, common
	}
	for i := range int32(len(c.slots)) {
		name := c.volumeName(n, t, i)
		if o := c.volumes.byName[name][i]; o != nil {
			look(name, i, o)
		}
	}
	return copies, common
}

// lastPlace is the node with a copy on which the task's slot ran last. What it
// may only read is as good on another.
func (c *Cluster) lastPlace(n *volumeNeed, t *api.Task, copies map[int32]bool) (node int32, ok bool) {
	if n.readOnly || t.Slot == 0 {
		return 0, false
	}
	var last *api.Task
	for o := range c.view.SlotTasks(t.ServiceID, t.Slot) {
		if o.ID == t.ID || o.NodeID == "" || o.Status.State == api.TaskRejected || last != nil && !later(o, last) {
			continue
		}
		if i, known := c.index[o.NodeID]; known && copies[i] {
			last, node = o, i
		}
	}
	return node, last != nil
}

// later reports whether a is more of its slot's present than b: it is meant to
// run there, or it is the one that something happened to last.
func later(a, b *api.Task) bool {
	if x, y := occupies(a) && isActive(a), occupies(b) && isActive(b); x != y {
		return x
	}
	return a.Meta.Version.Index > b.Meta.Version.Index
}

// dropUsed takes out the copies that other slots of the service use.
func (c *Cluster) dropUsed(n *volumeNeed, t *api.Task, copies map[int32]bool) {
	for i := range copies {
		for id := range c.volumes.byName[c.volumeName(n, t, i)][i].tasks {
			if o := c.view.Task(id); o != nil && o.ServiceID == t.ServiceID && o.Slot != t.Slot && isActive(o) {
				delete(copies, i)
				break
			}
		}
	}
}

// countVolumes says where the volumes are that hold a task.
func (c *Cluster) countVolumes(h *home) string {
	if len(h.holds) == 0 {
		return "its volumes were given up on " + plural(len(h.barred), "node")
	}
	return joined(h.holds, func(o place) string { return c.whereIs(o) }, ", ")
}

func (c *Cluster) whereIs(o place) string {
	what := "volume " + o.name
	if o.name == "" {
		what = "its volume"
	}
	names := c.hostnames(o.nodes)
	if len(names) == 1 {
		return what + " is on node " + names[0]
	}
	return what + " is on nodes " + strings.Join(names, ", ")
}

func (c *Cluster) hostnames(nodes []int32) []string {
	names := make([]string, 0, len(nodes))
	for _, i := range nodes {
		if n := c.slots[i].node; n != nil {
			names = append(names, n.Hostname())
		}
	}
	slices.Sort(names)
	if len(names) > maxNamed {
		names = append(names[:maxNamed], "...")
	}
	return names
}

// remedy is the way out for a task whose data is where it cannot go.
func (c *Cluster) remedy(h *home) string {
	switch {
	case h == nil:
		return ""
	case len(h.holds) == 0 && len(h.barred) == 1:
		for i, name := range h.barred {
			return "`swarmctl volume rm --node " + c.slots[i].node.Hostname() + " " + name + "` makes room for a new one"
		}
	case len(h.holds) > 0 && len(h.nodes) == 0:
		return "its volumes are on different nodes, and no node has all: remove the copies that are in the way with `swarmctl volume rm --node`"
	}
	for _, o := range h.holds {
		for _, i := range o.nodes {
			if n := c.slots[i].node; n != nil && o.name != "" && !o.common {
				force := ""
				if n.Status.State != api.NodeReady {
					force = "--force "
				}
				return "it waits for its data: to begin anew without that, `swarmctl volume rm " + force + "--node " + n.Hostname() + " " + o.name + "`"
			}
		}
	}
	return ""
}

// explainVolume says why node i will not do for the sake of volumes, or "".
func (c *Cluster) explainVolume(h *home, i int32) string {
	if h.allows(i) {
		return ""
	}
	if name, barred := h.barred[i]; barred {
		n := c.slots[i].node
		return "its copy of volume " + name + " was given up: `swarmctl volume rm --node " + n.Hostname() + " " + name + "` makes room for a new one"
	}
	for _, o := range h.holds {
		if !slices.Contains(o.nodes, i) {
			return c.whereIs(o)
		}
	}
	return ""
}
