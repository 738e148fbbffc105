// Package cluster forms clusters of real daemons on real Docker Engines, one
// in each host of a rack, for scenarios, chaos and measurements. A [Cluster] is
// swarmctl's or, for comparison, Docker Swarm's own: both speak Docker's API,
// so whatever watches or drives one drives the other in the same way. What
// runs is always asked of the engines themselves, never of the cluster.
package cluster
