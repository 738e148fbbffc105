// Package balance answers virtual addresses where they are called: in the
// network namespace of every container on a network of the cluster. A new
// connection to a service's address is sent on to one of its serving tasks, in
// turn, with no hop between and the caller's own address kept. Containers that
// publish ports also learn here which way replies to clients outside must leave.
package balance
