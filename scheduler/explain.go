package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Explain says of every node, in the order of their hostnames, all that keeps
// it from taking the task; of a task that has its node, only of that one. A
// task that runs is explained as though it still waited. It reads the whole
// state: meant for people who ask, not for loops.
func Explain(v *state.View, t *api.Task) []api.NodeReason {
	c := NewCluster(v)
	x := explainer{Cluster: c, view: v, task: t, group: c.groupOf(v, t)}
	if occupies(t) {
		c.vacate(c.slotOf(t.NodeID), x.group, t.ID, isActive(t))
		c.returnAddresses(x.group, t)
		c.unaccompany(t)
	}
	c.lend(t)
	if isWaiting(t) && t.Replaces != "" && t.NodeID == "" {
		p := &planner{Cluster: c, usual: c.usualStrategy()}
		p.strategy = p.strategyOf(x.group)
		x.move = p.moveOf(x.group, t)
	}
	if t.NodeID == "" {
		x.home = c.homeOf(x.group, t)
	}
	var list []api.NodeReason
	for n := range v.Nodes() {
		if t.NodeID == "" || t.NodeID == n.ID {
			list = append(list, api.NodeReason{Node: n.ID, Hostname: n.Hostname(), Load: n.Load, Reasons: x.reasons(n)})
		}
	}
	slices.SortStableFunc(list, func(a, b api.NodeReason) int { return cmp.Compare(a.Hostname, b.Hostname) })
	return list
}

type explainer struct {
	*Cluster
	view  *state.View
	task  *api.Task
	group *group
	move  *move // nil: it takes over from nobody
	home  *home // where its volumes are
}

func (x *explainer) reasons(n *api.Node) []api.Reason {
	var list []api.Reason
	say := func(r rule, texts ...string) {
		for _, text := range texts {
			if text != "" {
				list = append(list, api.Reason{Rule: ruleNames[r], Text: text})
			}
		}
	}
	needs, i := &x.group.needs, x.slotOf(n.ID)
	say(ruleVolume, cmp.Or(x.moving(needs), x.explainVolume(x.home, i)))
	if !needs.fixed.follows || !reachable(n) {
		say(ruleAvailable, unavailability(n))
	}
	if !engineAnswers(n) {
		say(ruleEngine, silentEngine(n))
		return list // what it said of itself before is not worth much
	}
	if needs.fixed.badConstraint != nil {
		say(ruleConstraints, needs.fixed.badConstraint.Error())
	}
	say(ruleConstraints, needs.fixed.constraints.Explain(n))
	say(rulePlatform, needs.fixed.explainPlatform(n))
	for _, plugin := range needs.fixed.missingPlugins(n) {
		say(rulePlugin, "it has no "+plugin)
	}
	for k := range needs.affinity {
		if a := &needs.affinity[k]; x.refuses(needs, a, i) {
			say(ruleAffinity, a.explain())
		}
	}
	say(ruleResources, x.shortages(i)...)
	for _, port := range needs.ports {
		if x.slots[i].portTaken(port) {
			say(rulePorts, fmt.Sprintf("host port %s is taken by %s", port, x.holder(n.ID, port)))
		}
	}
	if has := x.group.service.counts[i]; needs.maxReplicas > 0 && has >= needs.maxReplicas {
		say(ruleReplicas, fmt.Sprintf("has %s of the service, max replicas per node is %d", plural(int(has), "task"), needs.maxReplicas))
	}
	if x.move != nil && !x.move.free && !x.move.helps(i) {
		say(ruleBalance, x.move.explain(i))
	}
	if s := x.short(needs, i); s != nil {
		say(ruleAddresses, x.scarcity(s))
	}
	return list
}

// unavailability says why no new tasks are placed on the node, or "".
func unavailability(n *api.Node) string {
	switch {
	case available(n):
		return ""
	case n.Status.State == api.NodeDown && n.Status.Message != "":
		return "is down: " + n.Status.Message
	case n.Status.State == api.NodeUnknown || n.Status.State == "":
		return cmp.Or(n.Status.Message, "has not been heard of since the leader changed")
	case n.Status.State == api.NodeDisconnected:
		return "has left the cluster"
	case n.Status.State != api.NodeReady:
		return "is " + string(n.Status.State)
	case n.Spec.Availability == swarm.NodeAvailabilityDrain:
		return "is drained: its availability must be active"
	case n.Spec.Availability == swarm.NodeAvailabilityPause:
		return "is paused: its availability must be active"
	case n.Status.SessionLost:
		return "its session is lost: its manager does not hear it"
	}
	return "has availability " + string(n.Spec.Availability) + ": it must be active"
}

// silentEngine says why nothing can be started on a node that is there.
func silentEngine(n *api.Node) string {
	if n.Description.Resources.MemoryBytes == 0 {
		return "its container engine has not answered yet"
	}
	return "its container engine does not answer"
}

func (f *fixedNeeds) explainPlatform(n *api.Node) string {
	platforms := f.strange(n)
	if platforms == nil {
		return ""
	}
	wanted := make([]string, len(platforms))
	for i, p := range platforms {
		wanted[i] = cmp.Or(p.OS, "any") + "/" + cmp.Or(p.Architecture, "any")
	}
	p := n.Description.Platform
	has := cmp.Or(strings.ToLower(p.OS), "unknown") + "/" + cmp.Or(platformArch(p.Architecture), "unknown")
	return fmt.Sprintf("needs platform %s, it has %s", strings.Join(wanted, " or "), has)
}

// shortages names each resource of which node i has too little, with the numbers.
func (x *explainer) shortages(i int32) []string {
	var list []string
	n, s, r := &x.group.needs.all, &x.slots[i], &x.rooms[i]
	if n.cpu > 0 && n.cpu > r.cpuFree {
		list = append(list, shortage(n.cpu, r.cpuFree, s.cpuTaken, cpus, ""))
	}
	if n.memory > 0 && n.memory > r.memoryFree {
		list = append(list, shortage(n.memory, r.memoryFree, s.memoryTaken, bytes, " of memory"))
	}
	for _, a := range n.generic {
		all, taken := amountOf(s.genericAll, a.kind), amountOf(s.genericTaken, a.kind)
		if a.n > all-taken {
			list = append(list, shortage(a.n, all-taken, taken, number, " "+a.kind))
		}
	}
	return list
}

func shortage(want, free, taken int64, unit func(int64) string, of string) string {
	return fmt.Sprintf("needs %s%s, %s free (reserved: %s of %s)", unit(want), of, unit(max(0, free)), unit(taken), unit(free+taken))
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// cpus writes nano CPUs as "1 CPU" or "0.25 CPUs".
func cpus(nano int64) string {
	if nano == 1e9 {
		return "1 CPU"
	}
	return strconv.FormatFloat(float64(nano)/1e9, 'f', -1, 64) + " CPUs"
}

// bytes writes an amount of memory with at most two decimals: "512 MiB", "1.7 GiB".
func bytes(n int64) string {
	unit, value := 0, float64(n)
	names := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for value >= 1024 && unit < len(names)-1 {
		value, unit = value/1024, unit+1
	}
	text := strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(value, 'f', 2, 64), "0"), ".")
	return text + " " + names[unit]
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// String returns the port as Docker writes it: 8080/tcp.
func (p hostPort) String() string {
	return strconv.Itoa(int(p&0xffff)) + "/" + [...]string{"tcp", "udp", "sctp"}[p>>16]
}

// holder names the task that has the port of a node.
func (x *explainer) holder(id api.NodeID, port hostPort) string {
	for t := range x.view.NodeTasks(id) {
		if !occupies(t) || t.ID == x.task.ID {
			continue
		}
		if slices.Contains(x.groupOf(x.view, t).needs.ports, port) {
			return "task " + x.view.TaskName(t)
		}
	}
	return "another task"
}
