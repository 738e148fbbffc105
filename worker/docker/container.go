package docker

import (
	"time"

	"github.com/swarmctl/swarmctl/api"
)

// State is where a container stands, as far as a task is concerned.
type State uint8

// The states of a container, in the order in which it passes them.
const (
	Created State = iota + 1
	Running       // paused and restarting containers count as running
	Exited        // ended, or on its way out
)

// String returns the state's name.
func (s State) String() string {
	if s > Exited {
		return "unknown"
	}
	return [...]string{"unknown", "created", "running", "exited"}[s]
}

// Health is what a container's health check says.
type Health uint8

// The states of health.
const (
	NoCheck  Health = iota // no health check: running is all there is to say
	Checking               // no verdict yet
	Healthy
	Unhealthy
)

// Container is what a worker knows of the container of a task.
type Container struct {
	ID   string
	Task api.TaskID
	Name string

	State  State
	Health Health
	// SelfStop is for how long it may be cut off from the managers before it is
	// to be stopped; 0: for ever. It is not known of a container that only an
	// event has told of.
	SelfStop time.Duration
	// PID is the main process on the host; 0 when it does not run.
	PID int
	// Ports are the ports of the host that it holds.
	Ports []api.PortStatus

	// ExitCode, OOM (the kernel killed a process for want of memory) and Error
	// (the engine's own words) say how it ended.
	ExitCode int
	OOM      bool
	Error    string
	// Killed says that it was sent a signal to end by: by the engine on its own
	// way down, by `docker stop`, or by the worker.
	Killed bool
	// EndedAt is when it ended, by the engine's clock.
	EndedAt time.Time
}

// EventType is what happened to a container.
type EventType uint8

// What a worker wants to hear of.
const (
	EventCreated EventType = iota + 1
	EventStarted
	EventKilled // sent a signal that ends a process
	EventDied   // with ExitCode
	EventOOM    // comes before EventDied
	EventHealth // with Health
	EventGone   // removed
	// EventEngine says that the engine's own description may have changed:
	// its labels were reloaded or a plugin came or went. It has no container.
	EventEngine
	// EventVolumeMade and EventVolumeGone are about the volume that is their Name,
	// anybody's; they have no container.
	EventVolumeMade
	EventVolumeGone
)

// Event is something that happened at the engine.
type Event struct {
	Type      EventType
	Container string
	Task      api.TaskID
	Name      string
	ExitCode  int
	Health    Health
	Driver    string // of a volume
	At        time.Time
}

// Node is what a container may know of the node it runs on; see expand.go.
type Node struct {
	ID           api.NodeID
	Hostname     string
	OS           string
	Architecture string
}

// Request is everything that a container is made from. Nothing in it is changed.
type Request struct {
	Cluster string
	Node    Node
	Task    *api.Task
	Spec    *api.ServiceSpec
	// Networking is empty for a task that is on no network of the cluster.
	Networking Networking
	// Image is which image the spec's reference is; nil: the one that has its
	// name here. Local, where it is set, is what the engine has it as.
	Image *api.Image
	Local string
	// Pod is, for a sidecar, the container whose network namespace it is to share.
	Pod string
	// Files are the task's secrets and configs, in the order of its references.
	Files []File
}
