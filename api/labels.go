package api

import "strconv"

// Labels that every container of a task carries. The com.docker.swarm names
// are Docker Swarm's, so that collectors and dashboards find our tasks; the
// swarmctl names tell our containers from everybody else's.
const (
	LabelServiceID   = "com.docker.swarm.service.id"
	LabelServiceName = "com.docker.swarm.service.name"
	LabelTask        = "com.docker.swarm.task" // always empty, as in Docker Swarm
	LabelTaskID      = "com.docker.swarm.task.id"
	LabelTaskName    = "com.docker.swarm.task.name"
	LabelNodeID      = "com.docker.swarm.node.id"
	LabelCluster     = "swarmctl.cluster" // the cluster's ID: what a worker finds its containers by
	LabelOurTask     = "swarmctl.task"    // the task's ID again, under a name only we write
)

// Labels of the engine's networks that are a node's part of the cluster's.
const (
	LabelNetworkCluster = "com.swarmctl.cluster" // the cluster's ID
	LabelNetworkID      = "com.swarmctl.network" // the network's
)

// TaskName is what people call a task: web.1.<id> in a replicated service,
// web.<node id>.<id> in a global one. It is also the container's name.
func TaskName(spec *ServiceSpec, t *Task) string {
	return spec.Name + "." + Place(spec, t) + "." + string(t.ID)
}

// Place is what stands for a task's slot in its names: its number or, in a
// global service, the node's ID.
func Place(spec *ServiceSpec, t *Task) string {
	if t.Slot == 0 {
		return string(t.NodeID)
	}
	return strconv.Itoa(SlotNumber(spec, t))
}

// SlotNumber is the slot's number as Docker counts it: from 1 in a replicated
// service, from 0 in a replicated job, and 0 for every task of a global one.
// NB: Docker's CLI waits for ever for a job whose slots do not begin at 0.
func SlotNumber(spec *ServiceSpec, t *Task) int {
	if spec.Mode.ReplicatedJob != nil {
		return t.Slot - 1
	}
	return t.Slot
}

// LabelStopped is the label of a service that is to have no tasks for a while:
// "true", or "false". Everything else of its spec stays, so that it comes back
// as it was.
const LabelStopped = "swarmctl.stopped"
