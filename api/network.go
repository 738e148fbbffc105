package api

import "github.com/docker/docker/api/types/swarm"

// Network is an overlay network: one that spans the hosts of the cluster.
type Network struct {
	ID NetworkID
	// Spec is what was asked for.
	Spec NetworkSpec
	// IPAM is what the network got: every subnet with its gateway. A subnet is
	// no other network's, nor overlaps with one.
	IPAM swarm.IPAMOptions
	// VXLAN are the identifiers on the wire, one a subnet, of this network alone.
	VXLAN []uint32
	Meta  Meta
}

// OptionMTU is the driver's option for the MTU of a network's interfaces: of an
// overlay network, and of an engine's bridge.
const OptionMTU = "com.docker.network.driver.mtu"

// OptionVXLAN is the driver's option that asks for VXLAN identifiers, and
// under which they are shown.
const OptionVXLAN = "com.docker.network.driver.overlay.vxlanid_list"

// DriverOverlay is the driver of every network of the cluster.
const DriverOverlay = "overlay"
