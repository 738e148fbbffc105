// Package dns answers containers' questions for names. On every node a Server
// listens at the node's gateway address in each network that has a bridge
// there; the engine's own resolver in each container passes on to it what the
// engine does not know. Services, tasks and attached containers are answered
// from the fabric, by whom the asker shares a network with; everything else is
// asked of the servers that the host itself uses.
//
// What decides is pure: claims of names (claim.go), the table made from them
// (table.go, build.go), the answer to a question (answer.go) and why it is that
// one (explain.go).
package dns
