package api

import (
	"strings"
	"time"
)

// Explanation is why a task is where it is, or is nowhere: what
// `swarmctl task explain` shows.
type Explanation struct {
	ID        TaskID
	Name      string // web.1.<id>
	ServiceID ServiceID
	State     string
	Desired   string
	// NodeID and Node are the node that the task has; empty while it waits for one.
	NodeID NodeID `json:",omitempty"`
	Node   string `json:",omitempty"`
	// Resources are the generic resources of the node that are the task's own:
	// "gpu=GPU-1", "ssd=2".
	Resources []string `json:",omitempty"`
	// Since is when the task reached its state; for one that waits, when it was made.
	Since time.Time
	// Err is why the task does not run, Note what it waits for before it may, or
	// why it is not replaced though its node is out of reach.
	Err  string `json:",omitempty"`
	Note string `json:",omitempty"`
	// Nodes are the nodes that were asked, while the task waits for one.
	Nodes []NodeReason `json:",omitempty"`
}

// NodeReason is why one node does not take a task; no reasons: it would.
type NodeReason struct {
	Node     NodeID
	Hostname string
	// Load is nil where the node has not said how busy it is.
	Load    *NodeLoad `json:",omitempty"`
	Reasons []Reason
}

// Reason is one rule that a node breaks, with what it would take.
type Reason struct {
	// Rule is availability, engine, constraints, platform, plugins, affinity,
	// resources, ports, replicas, balance or addresses.
	Rule string
	Text string
}

// Text is the reasons in one line, or "fits" where there are none.
func (n NodeReason) Text() string {
	if len(n.Reasons) == 0 {
		return "fits"
	}
	texts := make([]string, len(n.Reasons))
	for i, r := range n.Reasons {
		texts[i] = r.Text
	}
	return strings.Join(texts, "; ")
}

// String returns "node h3: needs 512 MiB of memory, 300 MiB free (reserved: 1.7 GiB of 2 GiB)".
func (n NodeReason) String() string { return "node " + n.Hostname + ": " + n.Text() }
