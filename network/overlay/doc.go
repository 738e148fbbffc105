// Package overlay joins the containers of a network on all hosts into one
// segment. On each host that has containers of it the network is a plain
// bridge of the engine, and a VXLAN device in that bridge reaches the other
// hosts. Where an address is comes from the fabric alone: nothing is learned
// from frames, nothing is flooded, and questions for addresses are answered on
// the host where they are asked.
package overlay
