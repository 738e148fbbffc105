package constraint

import (
	"fmt"
	"strings"

	"github.com/swarmctl/swarmctl/api"
)

// Explain says for every constraint that the node does not satisfy what the
// node has instead, and "" for a node that satisfies them all:
//
//	constraint node.labels.zone==a: its label zone is "b"
func (l List) Explain(n *api.Node) string {
	var reasons []string
	for i := range l {
		if c := &l[i]; !c.Match(n) {
			reasons = append(reasons, fmt.Sprintf("constraint %s: %s", c, c.has(n)))
		}
	}
	return strings.Join(reasons, "; ")
}

// has says what the node has where the constraint looks.
func (c *Constraint) has(n *api.Node) string {
	what := map[field]string{
		nodeID: "ID", nodeHostname: "hostname", nodeIP: "address", nodeRole: "role",
		nodeOS: "operating system", nodeArch: "architecture",
		nodeLabel: "label " + c.label, engineLabel: "engine's label " + c.label,
	}[c.field]
	value, ok := c.actual(n)
	switch {
	case ok:
		return fmt.Sprintf("its %s is %q", what, value)
	case c.field == nodeLabel:
		return "it has no label " + c.label
	case c.field == engineLabel:
		return "its engine has no label " + c.label
	}
	return "its " + what + " is not known"
}
