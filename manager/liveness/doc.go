// Package liveness decides which nodes are ready, unknown or down, from two
// signals that must agree: what gossip says and whether the node's session with
// a manager lives. The leader runs its loop for as long as its term lasts; the
// services loops replace the tasks of nodes that it calls down.
//
//	session  gossip              the node is
//	lives    anything but left   ready
//	any      left                down, at once
//	lost     dead                down, at once
//	lost     dead, host refuses  unknown: its daemon is gone, not its containers; down after DaemonGrace
//	lost     dead, host listens  down, at once: its daemon hangs
//	lost     alive, suspect      as it was; unknown after SessionGrace
//	lost     never heard of      unknown, and down after FirstGrace
//
// An unknown node gets no new tasks, and none of its tasks is replaced. Of one
// whose daemon is gone or hangs that is noted as well (NodeStatus.DaemonGone), and
// stays noted when the host falls silent too: tasks that must not run twice are
// not replaced. A node that is down is ready again by a session alone: one that
// it opens, or an old one whose manager is heard again.
//
// A session counts as lost when the manager that holds it says so, or when that
// manager itself is dead or gone, be it only its daemon: otherwise a manager and
// a worker that lose power together would vouch for each other.
package liveness
