// Package scheduler decides which node a task runs on. Its planner is pure: a
// Cluster is what the nodes are and what is taken on them, kept current by the
// events of raftstore/state, and Cluster.Plan turns it into assignments and
// explained refusals without I/O, clock or randomness; equal inputs give equal
// plans. The Scheduler is the loop beside it, which runs on the leader, follows
// the state and proposes what is planned. Tasks on nodes that died are not its
// business: the services loop replaces them, and the replacements come here.
package scheduler
