package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/swarmctl/swarmctl/raftstore/state"
)

// fataler is what testing.T and rapid.T have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// audit checks that a model that followed the state by its events is the same
// as one that is made from the state as it is now.
func audit(t fataler, c *Cluster, v *state.View) {
	t.Helper()
	got, want := c.inventory(), NewCluster(v).inventory()
	if got != want {
		t.Fatalf("the model went out of step with the state: it has\n%s\nand should have\n%s", got, want)
	}
}

// inventory writes down all that the model holds and a plan depends on.
func (c *Cluster) inventory() string {
	var lines []string
	for id, i := range c.index {
		s, r := &c.slots[i], &c.rooms[i]
		ports := slices.Clone(s.ports)
		slices.SortFunc(ports, func(a, b portUse) int { return int(a.port) - int(b.port) })
		generic := slices.DeleteFunc(slices.Clone(s.genericTaken), func(a amount) bool { return a.n == 0 })
		claims := slices.Clone(s.claims)
		slices.SortFunc(claims, func(a, b claim) int {
			return strings.Compare(a.kind+"="+a.value+string(a.task), b.kind+"="+b.value+string(b.task))
		})
		lines = append(lines, fmt.Sprintf("node %s member=%v cpu=%d memory=%d load=%d weight=%d tasks=%d occupants=%d ports=%v generic=%v claims=%v",
			id, s.node != nil, r.cpuFree, r.memoryFree, s.load, s.weight, r.tasks, s.occupants, ports, generic, claims))
	}
	for id, s := range c.services {
		counts := map[string]int32{}
		for i, n := range s.counts {
			counts[string(c.slots[i].id)] = n
		}
		shy := map[string]int{}
		for o, n := range s.shy {
			shy[string(o.id)] = n
		}
		lines = append(lines, fmt.Sprintf("service %s strategy=%d groups=%d named=%d counts=%v shy=%v", id, s.strategy, s.groups, s.named, counts, shy))
	}
	for key, g := range c.groups {
		lines = append(lines, fmt.Sprintf("group %v refs=%d waiting=%d", key, g.refs, g.waiting))
	}
	for id, s := range c.supplies {
		lines = append(lines, fmt.Sprintf("supply %s groups=%d left=%d tasks=%d lacking=%d", id, s.groups, c.left(s), s.tasks, s.lacking))
	}
	for name, copies := range c.volumes.byName {
		for i, o := range copies {
			lines = append(lines, fmt.Sprintf("volume %s on %s: kind=%d tasks=%v", name, c.slots[i].id, o.kind, slices.Sorted(maps.Keys(o.tasks))))
		}
	}
	for id, e := range c.entries {
		lines = append(lines, fmt.Sprintf("entry %s where=%d", id, e.where))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// checkQueues checks that every waiting entry is in its group's queue once.
func (c *Cluster) checkQueues(t fataler) {
	t.Helper()
	queued := map[*entry]int{}
	for g := range maps.Values(c.groups) {
		for _, e := range slices.Concat(g.queue, g.pinned, g.singles) {
			if e.where == waits {
				queued[e]++
			}
		}
	}
	for id, e := range c.entries {
		if e.where == waits && queued[e] != 1 {
			t.Fatalf("task %s waits and is queued %d times", id, queued[e])
		}
	}
}
