package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/swarmctl/swarmctl/api"
)

// Refusal says why a task cannot be placed: first how many nodes refuse it
// under which rule, in the words of Docker Swarm, then each of them by name,
// where they are few enough to read:
//
//	no suitable node (insufficient resources on 1 node; 1 node not available for new tasks):
//	node h1: needs 3 GiB of memory, it has 2 GiB; node h2: is drained: its availability must be active
//
// It says what is true for as long as the rules and the nodes are the same:
// how much is free at the moment changes with every task that comes or goes,
// and a task that waits is not written anew each time. Explain has the numbers.
type Refusal struct {
	Task *api.Task
	Err  string
}

// maxNamed is how many nodes a refusal names.
const maxNamed = 5

// refusal is the text for tasks of a group that each node refuses by one of the rules.
func (c *Cluster) refusal(g *group, refused []rule, t *tally) string {
	text, nodes := t.text(func(r rule, n int) string { return c.countOf(g, r, n) })
	elsewhere, then := t[ruleVolume], ": " // one word for all of them
	if nodes -= elsewhere; nodes > 0 && nodes <= maxNamed {
		text, then = text+c.byName(g, refused), "; "
	}
	if elsewhere > 0 {
		if way := c.remedy(g.home); way != "" {
			text += then + way
		}
	}
	return text
}

// byName says of each node by name why it refuses the group.
func (c *Cluster) byName(g *group, refused []rule) (text string) {
	named := make([]int32, 0, maxNamed)
	for i, r := range refused {
		if r != absent && !g.everywhere(r) {
			named = append(named, int32(i))
		}
	}
	slices.SortFunc(named, func(a, b int32) int {
		return cmp.Or(strings.Compare(c.slots[a].node.Hostname(), c.slots[b].node.Hostname()), strings.Compare(string(c.slots[a].id), string(c.slots[b].id)))
	})
	for n, i := range named {
		text += []string{": ", "; "}[min(n, 1)] + c.refusalOf(g, i, refused[i])
	}
	return text
}

// pinnedRefusal is the text for a task that has node i and is refused there.
func (c *Cluster) pinnedRefusal(g *group, i int32, r rule) string {
	text := noSuitableNode(c.countOf(g, r, 1))
	if g.everywhere(r) {
		return text
	}
	return text + ": " + c.refusalOf(g, i, r)
}

// countOf says what the rule means for the group on n nodes.
func (c *Cluster) countOf(g *group, r rule, n int) string {
	switch r {
	case ruleVolume:
		return c.countVolumes(g.home)
	case ruleAffinity:
		if a := g.needs.missing(); a != nil {
			return a.remedy()
		}
		return g.needs.countAffinity(n)
	case ruleAddresses:
		return c.noAddress(g)
	}
	return r.count(n)
}

// everywhere reports whether what the rule refuses is not the node's fault:
// there are no words on each.
func (g *group) everywhere(r rule) bool {
	return r == ruleAddresses || r == ruleBalance || r == ruleVolume || r == ruleAffinity && g.needs.missing() != nil
}

// refusalOf is why node i refuses the group.
func (c *Cluster) refusalOf(g *group, i int32, r rule) string {
	n := c.slots[i].node
	text := lasting(&g.needs, n, r)
	if r == ruleAffinity {
		if a := c.unmet(&g.needs, i); a != nil {
			text = a.explain()
		}
	}
	return "node " + n.Hostname() + ": " + text
}

// lasting says why a rule refuses the node, in words that stay true while
// other tasks come and go there.
func lasting(needs *needs, n *api.Node, r rule) string {
	switch r {
	case ruleAvailable:
		return unavailability(n)
	case ruleEngine:
		return silentEngine(n)
	case ruleConstraints:
		if needs.fixed.badConstraint != nil {
			return needs.fixed.badConstraint.Error()
		}
		return needs.fixed.constraints.Explain(n)
	case rulePlatform:
		return needs.fixed.explainPlatform(n)
	case rulePlugin:
		return "it has no " + strings.Join(needs.fixed.missingPlugins(n), " and no ")
	case ruleResources:
		return needs.lastingShortage(n)
	case rulePorts:
		return "host port " + joined(needs.ports, hostPort.String, " or ") + " is taken"
	case ruleReplicas:
		return fmt.Sprintf("has as many tasks of the service as max replicas per node allows (%d)", needs.maxReplicas)
	}
	return "fits"
}

// lastingShortage names what the node can never give, or else all that the
// task reserves: which of it is short may change by the second.
func (n *needs) lastingShortage(node *api.Node) string {
	has := node.Description.Resources
	var never, wanted, all []string
	look := func(want, has int64, unit func(int64) string, of string) {
		if want > has {
			never = append(never, fmt.Sprintf("needs %s%s, it has %s", unit(want), of, unit(has)))
		}
		if want > 0 {
			wanted, all = append(wanted, unit(want)+of), append(all, strings.TrimSuffix(unit(has)+of, " of memory"))
		}
	}
	look(n.all.cpu, has.NanoCPUs, cpus, "")
	look(n.all.memory, has.MemoryBytes, bytes, " of memory")
	kinds := amounts(has.GenericResources)
	for _, a := range n.all.generic {
		look(a.n, amountOf(kinds, a.kind), number, " "+a.kind)
	}
	with := ""
	if len(n.fixed.beside) > 0 {
		with = "with its sidecars "
	}
	if len(never) > 0 {
		return with + strings.Join(never, "; ")
	}
	return fmt.Sprintf(with+"needs %s, less of its %s is free", strings.Join(wanted, " and "), strings.Join(all, " and "))
}

func joined[T any](list []T, text func(T) string, by string) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = text(v)
	}
	return strings.Join(texts, by)
}

// seeExplain is the end of a refusal by more nodes than it names. It is no
// part of the text that the tasks of a group share.
func seeExplain(t *api.Task) string { return ": see `swarmctl task explain " + string(t.ID) + "`" }

// toldOf is what a task has been told according to the state.
func toldOf(t *api.Task) string { return strings.TrimSuffix(t.Status.Err, seeExplain(t)) }

// text is the short text of a refusal, the rules that refused most nodes
// first, and how many nodes refused.
func (t *tally) text(count func(rule, int) string) (text string, nodes int) {
	var failed []rule
	for r := fits + 1; r < absent; r++ {
		if t[r] > 0 {
			failed = append(failed, r)
			nodes += t[r]
		}
	}
	slices.SortStableFunc(failed, func(a, b rule) int { return cmp.Compare(t[b], t[a]) })
	return noSuitableNode(joined(failed, func(r rule) string { return count(r, t[r]) }, "; ")), nodes
}

func noSuitableNode(why string) string {
	if why == "" {
		return "no suitable node"
	}
	return "no suitable node (" + why + ")"
}
