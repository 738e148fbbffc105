package worker

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"google.golang.org/grpc"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// Engine is what a worker wants of a container engine. worker/docker has the
// real one, worker/runtimetest one that lives in memory.
type Engine interface {
	Describe(ctx context.Context) (api.NodeDescription, error)
	Watch(ctx context.Context, cluster string, ready func(), handle func(docker.Event)) error
	List(ctx context.Context, cluster string) ([]docker.Container, error)
	Volumes(ctx context.Context) ([]api.Volume, error)
	Strangers(ctx context.Context, cluster string) ([]string, error)
	FindImage(ctx context.Context, name string, want *api.Image) (ref string, err error)
	PullImage(ctx context.Context, name string, auth api.RegistryAuth) error
	LoadImage(ctx context.Context, name string, announced *api.Image, archive io.Reader, alive func()) (ref string, err error)
	Create(ctx context.Context, r *docker.Request) (id string, err error)
	Start(ctx context.Context, id string) error
	Inspect(ctx context.Context, id string) (docker.Container, error)
	EndedItself(ctx context.Context, c docker.Container) (bool, error)
	Stop(ctx context.Context, id string) error
	Remove(ctx context.Context, id string) error
	Dial(ctx context.Context) (net.Conn, error)
}

// Config is what a Worker is made with.
type Config struct {
	NodeID    api.NodeID
	ClusterID string
	Engine    Engine
	// Network is the node's part of the cluster's networks. Nil: it has none, and
	// tasks that need them are rejected.
	Network Network
	// Files is where the secrets and configs of tasks lie for their containers.
	// Nil: the node keeps none, and tasks that use some are rejected.
	Files Files

	// DialDaemon connects to this node's daemon, for managers that ask it about
	// the node. nil: it answers nothing.
	DialDaemon func(ctx context.Context) (net.Conn, error)

	// Dial connects to a manager's cluster port, with TLS and this node's
	// certificate. The worker closes the connection when its session ends.
	Dial func(ctx context.Context, addr string) (*grpc.ClientConn, error)
	// Managers are the managers that the node knows of, best first: a manager
	// names itself first. It is asked before each attempt to connect.
	Managers func() []*wire.Peer
	// OnCluster is told whatever the manager says of the cluster and of the
	// node, at the beginning of each session and on every change; of changes that
	// come while it runs, the last one only. May be nil.
	OnCluster func(*wire.ClusterInfo)
	// Suspect reports whether a manager is doubted by the gossip: the worker
	// then turns to another at once, if there is one. May be nil.
	Suspect func(api.NodeID) bool
	// TLS is what the node tells of its certificate, and a channel that is
	// closed when that changes. May be nil.
	TLS func() (swarm.TLSInfo, <-chan struct{})
	// Advertise is the node's own address without a port; empty: as the
	// managers see it. Version is the program's.
	Advertise string
	Version   string
	// Routes are the prefixes that the host routes itself; asked at the
	// beginning of each session. May be nil.
	Routes func() []netip.Prefix

	// Starts is how many containers are created and started at once. More than
	// the engine digests makes all of them late; fewer leaves cores idle. 0
	// means DefaultStarts.
	Starts int
	// CallTimeout ends a call to the engine that creates, starts, inspects or
	// removes a container, so that an engine that hangs fails the task and not
	// the node. Short fails tasks on a starved machine. 0 means 2 min.
	CallTimeout time.Duration
	// ImageStall is how long an image that comes from another node may make no
	// progress before it is given up, and asked for again. Longer bears with an
	// engine that unpacks a large layer on a slow disk. 0 means 2 min.
	ImageStall time.Duration
	Log        *slog.Logger
}

// DefaultStarts is one start for every core and one more to fill the gaps in
// which the engine waits for the kernel, and no more than 16: see DESIGN.md for the measurements.
func DefaultStarts() int { return min(16, runtime.NumCPU()+1) }

func (c *Config) validate() error {
	switch {
	case c.NodeID == "" || c.ClusterID == "":
		return api.Errorf(api.CodeInvalid, "worker: NodeID and ClusterID are needed")
	case c.Engine == nil || c.Dial == nil || c.Managers == nil:
		return api.Errorf(api.CodeInvalid, "worker: Engine, Dial and Managers are needed")
	case c.Starts < 0:
		return api.Errorf(api.CodeInvalid, "worker: %d starts at once: give a positive number, or 0 for the default", c.Starts)
	}
	c.Starts = cmp.Or(c.Starts, DefaultStarts())
	c.CallTimeout = cmp.Or(c.CallTimeout, 2*time.Minute)
	c.ImageStall = cmp.Or(c.ImageStall, 2*time.Minute)
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	if c.Routes == nil {
		c.Routes = func() []netip.Prefix { return nil }
	}
	if c.Network == nil {
		c.Network = newNoNetwork()
	}
	if c.Files == nil {
		c.Files = noFiles{}
	}
	if c.OnCluster == nil {
		c.OnCluster = func(*wire.ClusterInfo) {}
	}
	if c.Suspect == nil {
		c.Suspect = func(api.NodeID) bool { return false }
	}
	if c.TLS == nil {
		c.TLS = func() (info swarm.TLSInfo, never <-chan struct{}) { return info, nil }
	}
	return nil
}
