package scheduler

import "fmt"

// rule is why a node is refused. The order is the order of checks: what no
// freed resource can cure comes first, so that a node counts under the reason
// that says most about it.
type rule uint8

const (
	fits rule = iota
	ruleAvailable
	ruleEngine
	ruleConstraints
	rulePlatform
	rulePlugin
	ruleVolume // the data is elsewhere: see home
	ruleAffinity
	ruleResources
	rulePorts
	ruleReplicas
	ruleBalance   // nor is this: see move
	ruleAddresses // not the node's fault: Cluster.noAddress has the words
	absent        // no node of the cluster: counts nowhere
	ruleCount
)

// tally counts nodes by the first rule that refused them.
type tally [ruleCount]int

func tallyOf(refused []rule) tally {
	var t tally
	for _, r := range refused {
		t[r]++
	}
	return t
}

// ruleNames are the names of the rules in Reason.Rule.
var ruleNames = [ruleCount]string{
	ruleAvailable: "availability", ruleEngine: "engine", ruleConstraints: "constraints", rulePlatform: "platform", rulePlugin: "plugins",
	ruleVolume: "volumes", ruleAffinity: "affinity", ruleResources: "resources", rulePorts: "ports", ruleReplicas: "replicas",
	ruleBalance: "balance", ruleAddresses: "addresses",
}

// count says what the rule means on n nodes, in the words of Docker Swarm.
func (r rule) count(n int) string {
	nodes := "nodes"
	if n == 1 {
		nodes = "node"
	}
	switch r {
	case ruleAvailable:
		return fmt.Sprintf("%d %s not available for new tasks", n, nodes)
	case ruleEngine:
		return fmt.Sprintf("container engine does not answer on %d %s", n, nodes)
	case ruleConstraints:
		return fmt.Sprintf("scheduling constraints not satisfied on %d %s", n, nodes)
	case rulePlatform:
		return fmt.Sprintf("unsupported platform on %d %s", n, nodes)
	case rulePlugin:
		return fmt.Sprintf("missing plugin on %d %s", n, nodes)
	case ruleResources:
		return fmt.Sprintf("insufficient resources on %d %s", n, nodes)
	case rulePorts:
		return fmt.Sprintf("host-mode port already in use on %d %s", n, nodes)
	case ruleReplicas:
		return "max replicas per node limit exceed"
	case ruleBalance:
		return "no node is less loaded"
	}
	return ""
}
