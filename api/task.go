package api

import (
	"fmt"
	"strings"
	"time"
)

// TaskState is where a task stands, or where it should stand. States only
// ever grow: a task that has reached one never goes back to a lower one. The
// names and the order are those of Docker's Engine API.
type TaskState uint8

// The states of a task, in the order in which it passes them.
const (
	TaskNew       TaskState = iota
	TaskAllocated           // resources of the cluster (addresses, ports) are set aside
	TaskPending             // waits for the scheduler
	TaskAssigned            // has a node
	TaskAccepted            // the node knows it
	TaskPreparing           // the node pulls the image and creates the container
	TaskReady               // the container exists and is not started
	TaskStarting            // started, not known to be healthy yet
	TaskRunning             // runs, and is healthy where it has a health check
	TaskComplete            // ended by itself with exit code 0
	TaskShutdown            // ended because the cluster asked for it
	TaskFailed              // ended by itself with another exit code, or could not be started
	TaskRejected            // the node could not accept it
	TaskRemove              // only as a desired state: its service is gone
	TaskOrphaned            // its node has been gone for so long that it is given up
)

var taskStateNames = [...]string{
	"new", "allocated", "pending", "assigned", "accepted", "preparing", "ready", "starting",
	"running", "complete", "shutdown", "failed", "rejected", "remove", "orphaned",
}

// String returns the state as Docker's API spells it, in lower case.
func (s TaskState) String() string {
	if int(s) < len(taskStateNames) {
		return taskStateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// ParseTaskState is the inverse of TaskState.String; it ignores case.
func ParseTaskState(name string) (TaskState, error) {
	for i, n := range taskStateNames {
		if strings.EqualFold(n, name) {
			return TaskState(i), nil
		}
	}
	return 0, Errorf(CodeInvalid, "unknown task state %q: use one of %s", name, strings.Join(taskStateNames[:], ", "))
}

// Terminal reports whether a task in this state has ended for good.
func (s TaskState) Terminal() bool { return s > TaskRunning && s != TaskRemove }

// Task is one attempt to run one replica of a service on one node. A replica
// that fails is not restarted: a new task takes its slot. Tasks in the store
// are immutable; whoever wants to change one proposes a command.
type Task struct {
	ID        TaskID
	ServiceID ServiceID
	// Slot is the number of the replica, from 1, in a replicated service or job;
	// 0 in a global one. What people are shown of it is Place.
	Slot int `cbor:",omitempty"`
	// NodeID is empty until the scheduler has found a node. A task of a global
	// service has it from the start and is still Pending.
	NodeID NodeID `cbor:",omitempty"`
	// SpecVersion says which version of the service's task spec it runs; the
	// spec itself is stored once a version, not in every task.
	SpecVersion uint64
	// JobIteration is the iteration of the job that the task is part of.
	JobIteration uint64 `cbor:",omitempty"`
	// Desired is Ready (prepare, wait), Running, Complete (jobs), Shutdown or Remove. It only grows.
	Desired TaskState
	// GenericResources are those of its node that were set aside for it.
	GenericResources []GenericResource `cbor:",omitempty"`
	// RestartDelay is how long the task stays at desired Ready, counted from
	// its creation, before it may run. A duration and not a time of day, so
	// that the clocks of two leaders need not agree.
	RestartDelay time.Duration `cbor:",omitempty"`
	// Restarts is how many tasks of this slot failed in a row before this one.
	Restarts int `cbor:",omitempty"`
	// Replaces is the task that this one takes over from: it runs on, and is
	// stopped when this one runs. Empty for a task that takes over from none.
	Replaces TaskID `cbor:",omitempty"`
	// PodOf is the task of another service that this one lives with: on its node,
	// in its network namespace, and not after it. Empty for a task that is no sidecar.
	PodOf TaskID `cbor:",omitempty"`
	// Networks are its addresses: from the moment that it has a node until it
	// has ended. The ingress network is the last, where it is on it.
	Networks []Attachment `cbor:",omitempty"`
	Status   TaskStatus
	Meta     Meta
}

// TaskStatus is what is observed of a task.
type TaskStatus struct {
	State TaskState
	// At is when the state was reached, by the clock of the node that saw it.
	At time.Time
	// Message says what happens ("started"); Err says why it does not.
	Message string `cbor:",omitempty"`
	Err     string `cbor:",omitempty"`
	// Container is nil until there is one.
	Container *ContainerStatus `cbor:",omitempty"`
}

// ContainerStatus is what the engine says of a task's container.
type ContainerStatus struct {
	ID       string
	PID      int `cbor:",omitempty"`
	ExitCode int `cbor:",omitempty"`
	// Ports are the ports of the host that the container holds (publish mode host).
	Ports []PortStatus `cbor:",omitempty"`
}

// PortStatus is one port of a host that a container holds.
type PortStatus struct {
	Protocol  string // tcp, udp or sctp
	Target    uint32 // inside the container
	Published uint32 // on the host
}

// Wanted reports whether the task is meant to run, or to have run to its end.
func (t *Task) Wanted() bool { return t.Desired <= TaskComplete }

// Live reports whether the task is meant to run and has not ended: what the
// replicas of a service are counted by.
func (t *Task) Live() bool { return t.Wanted() && t.Status.State <= TaskRunning }

// RestartNote says, in the words that people read, that the task waits for its
// restart delay: "restart in 40s after 5 failures". Empty where it does not.
func (t *Task) RestartNote() string {
	if t.Desired != TaskReady || t.RestartDelay == 0 || t.Status.State.Terminal() {
		return ""
	}
	s := "s"
	if t.Restarts == 1 {
		s = ""
	}
	return fmt.Sprintf("restart in %s after %d failure%s", t.RestartDelay, t.Restarts, s)
}
