package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"github.com/swarmctl/swarmctl/integration/hosts"
)

// Kind is whose cluster it is.
type Kind int

const (
	Ours        Kind = iota // swarmctl
	DockerSwarm             // the engines' own swarm mode
	EnginesOnly             // no cluster: the engines by themselves
)

// Config says what to form.
type Config struct {
	Kind     Kind
	Hosts    hosts.Config
	Managers int // including the first
	Workers  int
	Init     []string // more flags of swarmctl init
	Tools    Tools
}

// Cluster is a rack of hosts whose engines work together.
type Cluster struct {
	Rack  *hosts.Rack
	Nodes []*Node // the managers first
	kind  Kind
	flags []string // of init
	tools Tools
}

// Powered returns a rack of powered hosts with the demo image and, for a
// cluster of ours, with a daemon in each that is no member of a cluster yet.
func Powered(ctx context.Context, cfg Config) (*Cluster, error) {
	rack, err := hosts.New(cfg.Hosts)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Rack: rack, kind: cfg.Kind, flags: cfg.Init, tools: cfg.Tools}
	if err := c.Add(ctx, cfg.Managers+cfg.Workers); err != nil {
		return nil, errors.Join(err, c.Down())
	}
	return c, nil
}

// New forms a cluster and returns when every node of it is ready.
func New(ctx context.Context, cfg Config) (*Cluster, error) {
	c, err := Powered(ctx, cfg)
	if err != nil || cfg.Kind == EnginesOnly {
		return c, err
	}
	if err := c.form(ctx, cfg.Managers); err != nil {
		return nil, errors.Join(fmt.Errorf("form the cluster: %w", err), errors.New(c.Complaints(20)), c.Down())
	}
	return c, nil
}

// Add puts more hosts into the rack, as Powered does. They are no members yet.
func (c *Cluster) Add(ctx context.Context, n int) error {
	added, err := c.Rack.Add(ctx, n)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, h := range added {
		node, err := newNode(c, h)
		if err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, node)
		g.Go(func() error {
			if err := h.Load(ctx, c.tools.Image); err != nil {
				return err
			}
			return node.StartDaemon(ctx)
		})
	}
	return g.Wait()
}

func (c *Cluster) form(ctx context.Context, managers int) error {
	first := c.Nodes[0]
	if err := first.init(ctx); err != nil {
		return err
	}
	for i, n := range c.Nodes[1:] {
		if err := n.Join(ctx, first, i+1 < managers); err != nil {
			return err
		}
	}
	return c.AwaitReady(ctx, len(c.Nodes))
}

// AwaitReady returns when the cluster counts n nodes as ready and knows their
// engines: a node whose engine is away stays ready, but is given no tasks.
func (c *Cluster) AwaitReady(ctx context.Context, n int) error {
	return Eventually(ctx, 60*time.Second, func(ctx context.Context) error {
		nodes, err := c.List(ctx)
		if err != nil {
			return err
		}
		ready, engines := 0, 0
		for _, node := range nodes {
			if node.Status.State == swarm.NodeStateReady {
				ready++
				if node.Description.Engine.EngineVersion != "" {
					engines++
				}
			}
		}
		if ready != n || engines != n {
			return fmt.Errorf("%d nodes are ready, %d of them with their engine, not %d", ready, engines, n)
		}
		return nil
	})
}

// AwaitManagers returns when every manager is reachable for the others and
// serves the API itself, which one that was just promoted does a moment later.
func (c *Cluster) AwaitManagers(ctx context.Context) error {
	return Eventually(ctx, 60*time.Second, func(ctx context.Context) error {
		for _, asked := range c.Nodes {
			if !asked.Manager || !asked.On() {
				continue
			}
			list, err := asked.API.NodeList(ctx, swarm.NodeListOptions{})
			if err != nil {
				return fmt.Errorf("%s: %w", asked.Name, err)
			}
			for _, n := range list {
				if m := n.ManagerStatus; m != nil && m.Reachability != swarm.ReachabilityReachable {
					return fmt.Errorf("manager %s is %s", n.Description.Hostname, m.Reachability)
				}
			}
		}
		return nil
	})
}

// List asks any manager that answers for the nodes.
func (c *Cluster) List(ctx context.Context) ([]swarm.Node, error) {
	var list []swarm.Node
	err := c.Any(ctx, func(ctx context.Context, n *Node) (err error) {
		list, err = n.API.NodeList(ctx, swarm.NodeListOptions{})
		return err
	})
	return list, err
}

// Any calls f with one powered manager after the other until one succeeds.
// Each gets two seconds to answer.
func (c *Cluster) Any(ctx context.Context, f func(context.Context, *Node) error) error {
	err := errors.New("no manager has power")
	for _, n := range c.Nodes {
		if !n.Manager || !n.On() {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		err = f(ctx, n)
		cancel()
		if err == nil {
			return nil
		}
	}
	return err
}

// Leader returns the node that leads, as a manager with power says.
func (c *Cluster) Leader(ctx context.Context) (*Node, error) {
	list, err := c.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		if m.ManagerStatus != nil && m.ManagerStatus.Leader {
			if n := c.ByID(m.ID); n != nil {
				return n, nil
			}
			return nil, fmt.Errorf("the leader, node %s, is none of this rack's", m.ID)
		}
	}
	return nil, errors.New("no manager leads")
}

// ByID returns the node with an ID, or nil.
func (c *Cluster) ByID(id string) *Node {
	for _, n := range c.Nodes {
		if n.ID == id {
			return n
		}
	}
	return nil
}

// Follower returns a powered manager that does not lead.
func (c *Cluster) Follower(ctx context.Context) (*Node, error) {
	leader, err := c.Leader(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range c.Nodes {
		if n.Manager && n.On() && n != leader {
			return n, nil
		}
	}
	return nil, errors.New("no follower has power")
}

// Workers returns the nodes that are no managers.
func (c *Cluster) Workers() []*Node {
	var workers []*Node
	for _, n := range c.Nodes {
		if !n.Manager {
			workers = append(workers, n)
		}
	}
	return workers
}

// Down ends everything and removes it.
func (c *Cluster) Down() error { return c.Rack.Down() }

// Complaints returns the last warnings and errors of every daemon's log, for
// a failure's message.
func (c *Cluster) Complaints(lines int) string {
	out := ""
	for _, n := range c.Nodes {
		out += fmt.Sprintf("--- %s said\n", n.Name)
		for _, text := range hosts.TailOf(c.logOf(n), lines, complains) {
			out += text + "\n"
		}
	}
	return out
}

func complains(text string) bool {
	return !strings.Contains(text, "level=info") && !strings.Contains(text, "level=INFO") && !strings.Contains(text, "level=DEBUG")
}

// SaveLogs copies every daemon's whole log into a directory.
func (c *Cluster) SaveLogs(dir string) error {
	var failed error
	for _, n := range c.Nodes {
		data, err := os.ReadFile(c.logOf(n))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, n.Name+".log"), data, 0o644)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// SaveNetworks writes what every powered node's network is made of into a directory.
func (c *Cluster) SaveNetworks(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var failed error
	for _, n := range c.Nodes {
		if !n.On() {
			continue
		}
		out, err := n.Run(ctx, "sh", "-c", "ip addr; ip rule; ip route show table all; ip neigh; bridge link; bridge fdb; nft list ruleset; ss -tulnp")
		failed = errors.Join(failed, err, os.WriteFile(filepath.Join(dir, n.Name+".network"), []byte(out), 0o644))
	}
	return failed
}

func (c *Cluster) logOf(n *Node) string {
	if c.kind == Ours {
		return n.Log(daemonLog)
	}
	return n.Log("dockerd")
}
