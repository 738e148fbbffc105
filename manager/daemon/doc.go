// Package daemon is the composition root: it builds a node out of the other
// packages and decides when each part runs. A daemon that is a member of a
// cluster runs a worker, the gossip and, where its certificate says manager,
// the manager's half: the cluster's port, the Raft store, the dispatcher and,
// for as long as it leads, the loops of the leader. It serves the Docker API on
// a local socket whether it is a member or not; init, join and leave come from
// there.
package daemon
