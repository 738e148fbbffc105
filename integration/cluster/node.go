package cluster

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"

	"github.com/swarmctl/swarmctl/integration/hosts"
)

const (
	ourSocket    = "/run/swarmctl/swarmctl.sock"
	engineSocket = "/run/docker.sock"
	daemonLog    = "swarmctl"
)

// Node is a host that is, or may become, a member of the cluster.
type Node struct {
	*hosts.Host
	ID      string // empty before it has joined
	Manager bool   // what it joined as
	// Docker is a client of the host's own engine and API one of the cluster,
	// at this node. Both find their socket again after a power cycle.
	Docker *client.Client
	API    *client.Client

	c      *Cluster
	daemon *hosts.Process
}

func newNode(c *Cluster, h *hosts.Host) (*Node, error) {
	engine, err := h.Engine()
	if err != nil {
		return nil, err
	}
	n := &Node{Host: h, Docker: engine, API: engine, c: c}
	if c.kind == Ours {
		n.API, err = h.Docker(ourSocket)
	}
	return n, err
}

// StartDaemon starts the node's daemon and returns when its socket answers. A
// node of Docker Swarm has none beside its engine.
func (n *Node) StartDaemon(ctx context.Context) error {
	if n.c.kind != Ours {
		return nil
	}
	var err error
	if n.daemon, err = n.Start(daemonLog, n.c.tools.Swarmctl, "daemon"); err != nil {
		return err
	}
	err = Eventually(ctx, 30*time.Second, func(ctx context.Context) error {
		select {
		case <-n.daemon.Done:
			return Final(fmt.Errorf("it ended"))
		default:
		}
		_, err := n.API.Info(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("daemon of %s: %w:\n%s", n.Name, err, hosts.Tail(n.Log(daemonLog), 10))
	}
	return nil
}

// KillDaemon ends the node's daemon with SIGKILL. The engine and the
// containers live on.
func (n *Node) KillDaemon() { n.daemon.Kill() }

// SignalDaemon sends the node's daemon a signal that ends it, and returns when
// it has ended.
func (n *Node) SignalDaemon(s os.Signal) { n.daemon.Signal(s) }

// DaemonPID is the daemon's process as seen outside the host; 0 where there is none.
func (n *Node) DaemonPID() int {
	if n.daemon == nil {
		return 0
	}
	return n.daemon.PID
}

// PowerOn boots the node with the disk it had: the engine, then the daemon.
func (n *Node) PowerOn(ctx context.Context) error {
	if err := n.Host.PowerOn(ctx); err != nil {
		return err
	}
	return n.StartDaemon(ctx)
}

// CLI runs swarmctl inside the node and returns what it printed.
func (n *Node) CLI(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return n.Run(ctx, append([]string{n.c.tools.Swarmctl}, args...)...)
}

// DockerCLI runs Docker's own CLI inside the node, against the cluster's API
// there, and returns what it printed.
func (n *Node) DockerCLI(ctx context.Context, args ...string) (string, error) {
	socket := ourSocket
	if n.c.kind != Ours {
		socket = engineSocket
	}
	return n.Run(ctx, append([]string{"docker", "--host", "unix://" + socket}, args...)...)
}

func (n *Node) init(ctx context.Context) error {
	var err error
	if n.c.kind == Ours {
		_, err = n.CLI(ctx, append([]string{"init", "--advertise-addr", n.Addr}, n.c.flags...)...)
	} else {
		_, err = n.API.SwarmInit(ctx, swarm.InitRequest{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: n.Addr})
	}
	if err != nil {
		return err
	}
	n.Manager = true
	return n.learnID(ctx)
}

// Join makes the node a member of the cluster that manager belongs to.
func (n *Node) Join(ctx context.Context, manager *Node, asManager bool) error {
	token, err := manager.Token(ctx, asManager)
	if err != nil {
		return fmt.Errorf("token for %s: %w", n.Name, err)
	}
	remote := manager.Addr + ":2377"
	if n.c.kind == Ours {
		_, err = n.CLI(ctx, "join", "--token", token, "--advertise-addr", n.Addr, remote)
	} else {
		err = n.API.SwarmJoin(ctx, swarm.JoinRequest{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: n.Addr, RemoteAddrs: []string{remote}, JoinToken: token})
	}
	if err != nil {
		return fmt.Errorf("join %s: %w", n.Name, err)
	}
	n.Manager = asManager
	return n.learnID(ctx)
}

// Token asks the node, a manager, for a join token.
func (n *Node) Token(ctx context.Context, manager bool) (string, error) {
	sw, err := n.API.SwarmInspect(ctx)
	if manager {
		return sw.JoinTokens.Manager, err
	}
	return sw.JoinTokens.Worker, err
}

func (n *Node) learnID(ctx context.Context) error {
	info, err := n.API.Info(ctx)
	n.ID = info.Swarm.NodeID
	if err == nil && n.ID == "" {
		err = fmt.Errorf("%s is a member but its info names no node ID", n.Name)
	}
	return err
}
