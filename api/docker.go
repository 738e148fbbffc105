package api

import "github.com/docker/docker/api/types/swarm"

// The nouns of the cluster are Docker's own types, so that what is stored is
// what is served. They are named here once: should the module that defines
// them move, this file moves with it.
type (
	// ServiceSpec is what a user asks of a service.
	ServiceSpec = swarm.ServiceSpec
	// TaskSpec is the part of a ServiceSpec that a container is made from.
	TaskSpec = swarm.TaskSpec
	// NodeSpec is what a user asks of a node: labels, role, availability.
	NodeSpec = swarm.NodeSpec
	// NodeDescription is what a node says of itself.
	NodeDescription = swarm.NodeDescription
	// SecretSpec is a secret as a user gives it, its data included.
	SecretSpec = swarm.SecretSpec
	// ConfigSpec is a config as a user gives it.
	ConfigSpec = swarm.ConfigSpec
	// NetworkSpec is what a user asks of a network that spans hosts.
	NetworkSpec = swarm.NetworkSpec
	// ClusterSpec is what a user asks of the cluster as a whole.
	ClusterSpec = swarm.Spec
	// GenericResource is some of what a node has beside CPU and memory.
	GenericResource = swarm.GenericResource
	// Meta is the version and the times that every stored object carries.
	Meta = swarm.Meta
)
