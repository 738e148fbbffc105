// Package agent is a node's part of the cluster's networks. It holds the
// fabric as managers send it and makes the parts of the network agree with it
// in one loop: the overlay, the balancers in containers, the published ports of
// the host and the names. It says up to which change they all do. Tasks get
// their networking here before their containers are made, and containers are
// handed to the parts once they run.
package agent
