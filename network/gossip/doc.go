// Package gossip tells every node which other nodes are alive. It wraps
// hashicorp/memberlist: encrypted with keys that are changed while it runs,
// labelled with the cluster's ID so that two clusters never merge, tuned so that
// a node without power is known dead in less than three seconds while one
// whose cable was out for two is not (see Timing). What it adds to memberlist:
// suspects are visible, the suspected are told so at once, the dead are
// called until they answer, and their hosts are asked whether it is only the
// daemon that is gone (see Host). The manager's liveness loop reads it, and the
// network takes suspects out of its load balancers by it.
package gossip
