// Package dockerapi serves Docker's Engine API: the swarm half (/swarm /nodes
// /services /tasks and what belongs to them) from the replicated state, the
// rest by passing it through to the engine on this host. It is what the
// daemon's socket speaks, on every node and whatever its role; a manager that
// does not lead hands the swarm half to the leader, and a node that is not a
// manager refuses it with the words that Docker's users know. What it accepts
// it hands on as commands to the store; what it shows it projects from the
// project's own nouns to Docker's.
package dockerapi
