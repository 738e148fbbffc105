package runtimetest

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// Network is a node's part of the cluster's networks, in memory: its bridges are
// those of an Engine, and it knows which containers were handed to it.
type Network struct {
	engine  *Engine
	cluster string

	mu       sync.Mutex
	set      *fabric.Set
	updates  []*fabric.Update
	lagging  bool // what comes is not applied
	applied  uint64
	changed  chan struct{}
	faults   map[string][]error
	held     map[api.TaskID]bool // prepared or attached
	attached map[api.TaskID]int  // PIDs
	attaches map[api.TaskID]int  // how often
	settled  []string
	problems map[string]string
	ill      chan struct{} // closed when problems are others
	closed   bool
}

// NewNetwork makes one that knows no network yet.
func NewNetwork(e *Engine, cluster string) *Network {
	return &Network{
		engine: e, cluster: cluster, set: fabric.NewSet(), changed: make(chan struct{}), ill: make(chan struct{}),
		faults: map[string][]error{}, held: map[api.TaskID]bool{}, attached: map[api.TaskID]int{}, attaches: map[api.TaskID]int{},
	}
}

// Update takes a change and applies it, unless it lags.
func (n *Network) Update(u *fabric.Update) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.updates = append(n.updates, u)
	n.set.Apply(u)
	n.apply()
}

func (n *Network) apply() {
	if n.lagging || n.applied == n.set.Index {
		return
	}
	n.applied = n.set.Index
	close(n.changed)
	n.changed = make(chan struct{})
}

// Applied is the index of what was applied last.
func (n *Network) Applied() (index uint64, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.applied, n.changed
}

// Problems are those that were made with Trouble.
func (n *Network) Problems() (list map[string]string, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.problems, n.ill
}

// Prepare makes the bridges of a task.
func (n *Network) Prepare(ctx context.Context, task *api.Task, _ *api.ServiceSpec) (docker.Networking, error) {
	var out docker.Networking
	if err := n.fault("prepare"); err != nil {
		return out, err
	}
	n.mu.Lock()
	n.held[task.ID] = true
	n.mu.Unlock()
	for _, a := range task.Networks {
		n.mu.Lock()
		known := n.set.Networks[a.Network]
		n.mu.Unlock()
		if known == nil {
			return out, api.Errorf(api.CodeUnavailable, "network %s is not known to this node", a.Network)
		}
		if err := n.engine.CreateBridge(ctx, &fabric.Bridge{Cluster: n.cluster, Network: a.Network, Name: known.Name}); err != nil {
			return out, err
		}
		mac := fabric.MAC(a.Addrs[0])
		out.Networks = append(out.Networks, docker.EndpointPlan{Name: known.Name, Addrs: a.Addrs, MAC: net.HardwareAddr(mac[:])})
	}
	return out, nil
}

// Attach takes the container of a task, if that runs as the process.
func (n *Network) Attach(_ context.Context, task api.TaskID, pid int, _ []api.Attachment) error {
	if err := n.fault("attach"); err != nil {
		return err
	}
	if !n.engine.runs(task, pid) {
		return fmt.Errorf("no process %d", pid)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held[task], n.attached[task] = true, pid
	n.attaches[task]++
	return nil
}

// Settle finds no connection under way, and notes who asked.
func (n *Network) Settle(_ context.Context, task api.TaskID) error {
	c, _ := n.engine.Of(task)
	n.mu.Lock()
	n.settled = append(n.settled, fmt.Sprint(task, " ", c.State))
	n.mu.Unlock()
	return n.fault("settle")
}

// Settled lists the tasks that were to settle, with how their containers were then.
func (n *Network) Settled() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.settled)
}

// Detach forgets the container of a task.
func (n *Network) Detach(task api.TaskID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.held, task)
	delete(n.attached, task)
}

// Close takes the bridges away.
func (n *Network) Close(ctx context.Context) error {
	list, err := n.engine.Bridges(ctx, n.cluster)
	if err != nil {
		return err
	}
	for _, b := range list {
		if err := n.engine.RemoveBridge(ctx, b.ID); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	return nil
}

func (n *Network) fault(call string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.faults[call]
	if len(f) == 0 {
		return nil
	}
	n.faults[call] = f[1:]
	return f[0]
}

// Fail has the next call of a kind fail: prepare, attach, settle.
func (n *Network) Fail(call string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults[call] = append(n.faults[call], err)
}

// Trouble has published ports not be answered.
func (n *Network) Trouble(list map[string]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.problems = list
	close(n.ill)
	n.ill = make(chan struct{})
}

// Lag has what comes from now on not be applied, or goes on.
func (n *Network) Lag(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lagging = on
	n.apply()
}

// Attached are the tasks whose containers it has, in order.
func (n *Network) Attached() []api.TaskID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.attached))
}

// Held are the tasks that it was told of and not yet that they are over, in order.
func (n *Network) Held() []api.TaskID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.held))
}

// Attaches is how often the container of a task was handed to it.
func (n *Network) Attaches(task api.TaskID) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attaches[task]
}

// Updates are what managers have said, in order.
func (n *Network) Updates() []*fabric.Update {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.updates)
}

// Closed reports whether everything was taken away.
func (n *Network) Closed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closed
}
