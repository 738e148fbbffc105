package api

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// NodeState is what the cluster knows of a node's life.
type NodeState string

// The states of a node; the names are those of Docker's Engine API.
const (
	NodeUnknown      NodeState = "unknown"      // not heard of since the leader changed, or only its daemon is gone; nothing is placed there or replaced
	NodeDown         NodeState = "down"         // neither gossip nor its session hears it; its tasks are replaced
	NodeReady        NodeState = "ready"        // has a session with a manager
	NodeDisconnected NodeState = "disconnected" // left the cluster of its own will, or was demoted to nothing
)

// Node is a member of the cluster.
type Node struct {
	ID          NodeID
	Spec        NodeSpec
	Description NodeDescription
	Status      NodeStatus
	// DrainedAt is when the node was drained, by the clock of whoever did it; zero
	// where it is not drained. The state machine keeps it.
	DrainedAt time.Time
	// Load is nil where the node has not said.
	Load *NodeLoad `cbor:",omitempty"`
	// ManagerAddr is the host:port of a node that is a member of the Raft
	// group, and empty for every other node.
	ManagerAddr string `cbor:",omitempty"`
	// Number is the node's own small number, from 1, which packets are marked
	// with. Gateways are its addresses in the networks that it has tasks in, and
	// in the ingress network always. The state machine keeps both.
	Number   uint32       `cbor:",omitempty"`
	Gateways []Attachment `cbor:",omitempty"`
	// Routes are the prefixes that the node's host has a way to without the
	// cluster: networks get their subnets elsewhere.
	Routes []netip.Prefix `cbor:",omitempty"`
	// PortProblems are the published ports that the node does not answer, and
	// why: a process on it has taken 8080/tcp, say.
	PortProblems map[string]string `cbor:",omitempty"`
	// Volumes are the node's named volumes, by name: what it has said last, which
	// stays while it is away.
	Volumes []Volume `cbor:",omitempty"`
	Meta    Meta
}

// NodeStatus is what is observed of a node.
type NodeStatus struct {
	State   NodeState
	Message string `cbor:",omitempty"`
	// Since is when State became what it is, by the clock of whoever proposed it.
	// The state machine keeps it.
	Since time.Time
	// DaemonGone says that the node answers and its daemon does not: containers
	// run on there that nobody can stop.
	DaemonGone bool `cbor:",omitempty"`
	// Addr is the address at which the node's manager sees it, without a port.
	Addr string `cbor:",omitempty"`
	// Session is the ID of the node's session and SessionManager the manager
	// that holds it. SessionLost is set by that manager once heartbeats stay
	// away: one of the two signals that must agree before a node is down.
	Session        string `cbor:",omitempty"`
	SessionManager NodeID `cbor:",omitempty"`
	SessionLost    bool   `cbor:",omitempty"`
	// Unsettled says that the node has not compared yet, in this session, what the
	// cluster knows of its tasks with what its engine has, or that the manager which
	// holds the session has not confirmed that to a new leader: tasks that are said to
	// run may have ended with the host's power.
	Unsettled bool `cbor:",omitempty"`
}

// NodeLoad is how busy a node is with everything that runs there, ours or not.
type NodeLoad struct {
	CPU    uint8 // percent of all cores in use, over the last minute
	Memory uint8 // percent of the memory that cannot be had any more
}

// String returns "cpu 40 %, memory 20 %".
func (l *NodeLoad) String() string { return fmt.Sprintf("cpu %d %%, memory %d %%", l.CPU, l.Memory) }

// Volume returns the node's copy of a volume, or nil.
func (n *Node) Volume(name string) *Volume {
	i, ok := slices.BinarySearchFunc(n.Volumes, name, func(v Volume, name string) int { return strings.Compare(v.Name, name) })
	if !ok {
		return nil
	}
	return &n.Volumes[i]
}

// IsManager reports whether the node is a member of the Raft group.
func (n *Node) IsManager() bool { return n.ManagerAddr != "" }

// Hostname is what people call the node; its ID where it has not said.
func (n *Node) Hostname() string {
	if n.Description.Hostname != "" {
		return n.Description.Hostname
	}
	return string(n.ID)
}
