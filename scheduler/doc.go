// Package scheduler decides which node a task runs on. Its planner is pure: a
// Cluster is what the nodes are and what is taken on them, kept current by the
// events of raftstore/state, and Cluster.Plan turns it into assignments and
// explained refusals without I/O, clock or randomness; equal inputs give equal
// plans. The Scheduler is the loop beside it, which runs on the leader, follows
// the state and proposes what is planned. Tasks on nodes that died are not its
// business: the services loop replaces them, and the replacements come here.
//
// A task whose volumes hold data goes where that is (volume.go), or waits: with
// the copy that its slot used last; else with one that no other slot of its
// service uses; where there is neither, anywhere. Slots, and not services, because
// the replicas of a database each have their own data under the same name. The
// rejected alternative, a replica's home as a field of its slot in the state, would
// have been a second truth beside what the nodes have. Its cost: where history
// is not kept (a task history limit of 0) two replicas that lost their tasks at
// once may find each other's data.
package scheduler
