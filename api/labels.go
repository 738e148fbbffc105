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

// TaskName is what people call a task: web.1.<id> in a replicated service,
// web.<node id>.<id> in a global one. It is also the container's name.
func TaskName(service string, t *Task) string {
	if t.Slot > 0 {
		return service + "." + strconv.Itoa(t.Slot) + "." + string(t.ID)
	}
	return service + "." + string(t.NodeID) + "." + string(t.ID)
}
