// Package dispatcher is what nodes talk to. Every manager, leader or not,
// serves the sessions of nodes from its own replica of the state: a node gets
// the set of its tasks and then the changes, and reports back what became of
// them. With its tasks it gets the fabric, what all nodes know of the cluster's
// networks, and says how far it has applied it; the dispatchers of all managers
// tell a node that must stop a task when all others have let go of it.
// The dispatcher writes to the store only what nodes observe: statuses of
// tasks, descriptions of nodes, and whether a node's session is alive. It also
// opens tunnels to the engines of the nodes whose sessions it holds.
package dispatcher
