// Package identity is who a node is: its key, its certificate and the root it
// trusts, on disk and in use. A node reads it at start, hands its Source to
// every TLS listener and client it has, and asks PeerFrom who is at the other
// end. Certificates come from manager/ca; package join fetches them over the wire.
//
// A certificate says who its holder is the way Docker Swarm's do: CN is the
// node's ID, O the cluster's, OU the role. A manager's certificate also carries
// the role as a DNS name, so that the ordinary verification of crypto/tls, asked
// for the server name "swarm-manager", checks the chain and the role at once.
// Host names and addresses are not verified: nodes move, roles do not.
package identity
