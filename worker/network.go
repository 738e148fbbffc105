package worker

import (
	"context"
	"sync"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// Network is a node's part of the cluster's networks, as the worker sees it.
type Network interface {
	// Update takes what a manager says of the networks, in order. It does not
	// wait. Applied is up to which index the node's kernel agrees with that, and
	// a channel that is closed when the index is another one.
	Update(u *fabric.Update)
	Applied() (index uint64, changed <-chan struct{})
	// Problems are the published ports that the node does not answer, and why, and
	// a channel that is closed when they are others.
	Problems() (list map[string]string, changed <-chan struct{})
	// Prepare makes what a task's container needs to be on its networks, or looks
	// whether it is there still, and keeps it until Detach. It may wait. An error
	// of code unavailable has it called again; any other rejects the task.
	Prepare(ctx context.Context, task *api.Task, spec *api.ServiceSpec) (docker.Networking, error)
	// Attach gives a container that has just started, or is found running, its
	// balancers and names. To do it twice is to do it once.
	Attach(ctx context.Context, task api.TaskID, pid int, networks []api.Attachment) error
	// Settle is called when every balancer has let go of a task, before its
	// container is told to stop. It waits for connections that were under way to
	// be accepted, but not for long.
	Settle(ctx context.Context, task api.TaskID) error
	// Detach is told that the container has ended, or will never run. It does not
	// wait, and is told of no task that Prepare or Attach is busy with.
	Detach(task api.TaskID)
	// Close takes everything away. The cluster's containers are gone by then.
	Close(ctx context.Context) error
}

// noNetwork is a node without networks. It has nothing to apply, so whatever a
// manager says is applied.
type noNetwork struct {
	mu      sync.Mutex
	index   uint64
	changed chan struct{}
}

func newNoNetwork() *noNetwork { return &noNetwork{changed: make(chan struct{})} }

func (n *noNetwork) Update(u *fabric.Update) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index = u.Index
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *noNetwork) Applied() (index uint64, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.index, n.changed
}

func (n *noNetwork) Problems() (list map[string]string, never <-chan struct{}) { return nil, nil }

func (n *noNetwork) Prepare(_ context.Context, task *api.Task, _ *api.ServiceSpec) (docker.Networking, error) {
	return docker.Networking{}, api.Errorf(api.CodeUnsupported, "task %s is on networks of the cluster, and this node has none: keep the service to other nodes by a constraint", task.ID)
}

func (n *noNetwork) Attach(context.Context, api.TaskID, int, []api.Attachment) error { return nil }
func (n *noNetwork) Settle(context.Context, api.TaskID) error                        { return nil }
func (n *noNetwork) Detach(api.TaskID)                                               {}
func (n *noNetwork) Close(context.Context) error                                     { return nil }
