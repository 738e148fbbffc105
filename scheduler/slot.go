package scheduler

import (
	"hash/fnv"
	"maps"
	"reflect"

	"github.com/swarmctl/swarmctl/api"
)

// slot is a node and what is taken on it. A slot outlives its node for as
// long as tasks refer to it, so that what was added is what is subtracted.
type slot struct {
	// What every placement reads and writes comes first, in one piece.
	node                  *api.Node // nil: not a node of the cluster (any more)
	cpuTaken, memoryTaken int64
	// cpuShare and memoryShare turn what is taken into 255ths of what there is.
	cpuShare, memoryShare float64
	occupants             int32  // tasks whose resources are counted here
	weight                uint16 // of what is there: see weightOf
	hash                  uint16 // of the node's ID
	load                  uint8  // reserved share of CPU or memory, the greater one
	dirty                 bool   // something may fit that did not before
	renewed               bool   // the node itself is not what it was

	id           api.NodeID
	genericAll   []amount
	genericTaken []amount
	claims       []claim
	ports        []portUse
}

type portUse struct {
	port hostPort
	n    int
}

// room is the part of a slot that every plan reads for every node: small and
// in one piece.
type room struct {
	cpuFree, memoryFree int64
	spread              uint64 // what a strategy of spread goes by, any service's own tasks apart: see spreadRank
	tasks               int32  // tasks that are meant to run
	age                 uint32
}

// slotOf returns the place of a node, which is made where there is none.
func (c *Cluster) slotOf(id api.NodeID) int32 {
	if i, ok := c.index[id]; ok {
		return i
	}
	var i int32
	if last := len(c.free) - 1; last >= 0 {
		i, c.free = c.free[last], c.free[:last]
	} else {
		i = int32(len(c.slots))
		c.slots, c.rooms, c.count, c.verdicts = append(c.slots, slot{}), append(c.rooms, room{}), append(c.count, 0), append(c.verdicts, absent)
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	c.slots[i] = slot{id: id, dirty: c.slots[i].dirty, hash: uint16(h.Sum32() ^ h.Sum32()>>16)}
	c.rooms[i] = room{age: c.rooms[i].age + 1}
	c.index[id] = i
	return i
}

// putNode takes in a node that is new or has changed.
func (c *Cluster) putNode(n *api.Node) {
	i := c.slotOf(n.ID)
	s := &c.slots[i]
	old := s.node
	s.node = n
	s.weight = weightOf(n.Load)
	c.putVolumes(i, old, n)
	if old != nil && samePlace(old, n) {
		c.rerank(i)
		if len(c.starved) > 0 && c.gainsGateway(i, old.Gateways) {
			c.touch(i) // the last address of a network may do now
		}
		return
	}
	s.genericAll = amounts(n.Description.Resources.GenericResources)
	s.cpuShare, s.memoryShare = share(n.Description.Resources.NanoCPUs), share(n.Description.Resources.MemoryBytes)
	c.rooms[i].age++
	c.measure(i)
	c.rerank(i)
	s.renewed = true
	c.touch(i)
}

// samePlace reports whether two versions of a node are the same to the
// planner: most changes of a node are news of its session or its load only.
func samePlace(a, b *api.Node) bool {
	return a.Spec.Availability == b.Spec.Availability && maps.Equal(a.Spec.Labels, b.Spec.Labels) &&
		a.Status.State == b.Status.State && a.Status.SessionLost == b.Status.SessionLost && a.Status.Addr == b.Status.Addr &&
		a.IsManager() == b.IsManager() && reflect.DeepEqual(a.Description, b.Description)
}

func share(all int64) float64 {
	if all <= 0 {
		return 0
	}
	return 255 / float64(all)
}

// removeNode forgets a node; its slot goes with the last task on it.
func (c *Cluster) removeNode(id api.NodeID) {
	i, ok := c.index[id]
	if !ok {
		return
	}
	c.volumes.report(i, id, c.slots[i].node.Volumes, nil)
	if c.volumes.takeMoves(c.slots[i].node.Volumes, nil) {
		c.unholdVolumes()
	}
	c.slots[i].node = nil
	c.rooms[i].age++
	c.touch(i)
	c.freeSlot(i)
}

func (c *Cluster) freeSlot(i int32) {
	s := &c.slots[i]
	if s.node != nil || s.occupants > 0 {
		return
	}
	if _, ok := c.index[s.id]; !ok {
		return
	}
	delete(c.index, s.id)
	for _, g := range c.groups {
		delete(g.failures, i)
	}
	c.free = append(c.free, i)
}

// measure works out what is free from what there is and what is taken.
func (c *Cluster) measure(i int32) {
	s, r := &c.slots[i], &c.rooms[i]
	r.cpuFree = s.node.Description.Resources.NanoCPUs - s.cpuTaken
	r.memoryFree = s.node.Description.Resources.MemoryBytes - s.memoryTaken
	s.reload()
}

// reload works out what part of the node is reserved.
func (s *slot) reload() {
	s.load = uint8(min(255, max(float64(s.cpuTaken)*s.cpuShare, float64(s.memoryTaken)*s.memoryShare)))
}

// touch remembers that tasks which the node was refused to may fit now.
func (c *Cluster) touch(i int32) {
	if s := &c.slots[i]; !s.dirty {
		s.dirty = true
		c.dirty = append(c.dirty, i)
	}
}

// occupy takes what a task of the group needs on node i.
func (c *Cluster) occupy(i int32, g *group, active bool) {
	c.slots[i].occupants++
	c.take(i, g, 1)
	if active {
		c.addActive(i, g, 1)
	}
	c.rerank(i)
}

// occupyAs is occupy for a task that has its node according to the state.
func (c *Cluster) occupyAs(t *api.Task, g *group) {
	i := c.slotOf(t.NodeID)
	c.occupy(i, g, isActive(t))
	c.slots[i].adoptClaims(t)
	c.mount(g, t, i)
}

// vacate gives back what occupy took, and what was set aside for the task.
func (c *Cluster) vacate(i int32, g *group, id api.TaskID, active bool) {
	c.slots[i].dropClaims(id)
	c.unmount(id, i)
	if active {
		c.addActive(i, g, -1)
	}
	c.take(i, g, -1)
	c.rerank(i)
	c.slots[i].occupants--
	c.touch(i)
	c.freeSlot(i)
}

func (c *Cluster) take(i int32, g *group, sign int64) {
	n := &g.needs
	c.reserve(i, &pledge{cpu: n.cpu, memory: n.memory, generic: n.generic}, sign)
	for _, p := range n.ports {
		c.slots[i].takePort(p, int(sign))
	}
}

// reserve takes an amount of what node i has, or gives it back.
func (c *Cluster) reserve(i int32, n *pledge, sign int64) {
	s := &c.slots[i]
	if n.cpu != 0 || n.memory != 0 {
		s.cpuTaken += sign * n.cpu
		s.memoryTaken += sign * n.memory
		if s.node != nil { // else what there is counts when it comes
			r := &c.rooms[i]
			r.cpuFree -= sign * n.cpu
			r.memoryFree -= sign * n.memory
		}
		s.reload()
	}
	for _, a := range n.generic {
		s.genericTaken = add(s.genericTaken, a.kind, sign*a.n)
	}
}

func (s *slot) takePort(p hostPort, n int) {
	for i := range s.ports {
		if s.ports[i].port != p {
			continue
		}
		if s.ports[i].n += n; s.ports[i].n == 0 {
			s.ports = append(s.ports[:i], s.ports[i+1:]...)
		}
		return
	}
	s.ports = append(s.ports, portUse{p, n})
}

func (s *slot) portTaken(p hostPort) bool {
	for i := range s.ports {
		if s.ports[i].port == p {
			return true
		}
	}
	return false
}

// activate counts a task that is there as one that is meant to run, or no longer.
func (c *Cluster) activate(i int32, g *group, n int32) {
	c.addActive(i, g, n)
	c.rerank(i)
}

// addActive counts tasks that are meant to run. One more changes what fits where
// groups ask to be with the service.
func (c *Cluster) addActive(i int32, g *group, n int32) {
	c.rooms[i].tasks += n
	counts := g.service.counts
	if counts[i] += n; counts[i] == 0 {
		delete(counts, i)
	}
	if n < 0 || g.service.named > 0 {
		c.touch(i)
	}
}
