// Package mover moves local volumes from one node to another. Keeper is the
// leader's loop: it carries out the moves that the state says are under way,
// ends those of leaders before it, and has removed what moves leave behind.
// Node is a node's end, which its daemon serves: it reads or fills volumes of
// its own host. In between is the leader, over the tunnels that there are.
package mover
