package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/unlock"
	"github.com/swarmctl/swarmctl/manager/ca"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
	"github.com/swarmctl/swarmctl/manager/mover"
	"github.com/swarmctl/swarmctl/scheduler"
	"github.com/swarmctl/swarmctl/worker/docker"
	"github.com/swarmctl/swarmctl/worker/files"
)

// Daemon is one node: a local API, and a membership where it has one.
type Daemon struct {
	cfg    Config
	engine *docker.Engine
	files  *files.Store // of secrets and configs of tasks
	// scope is Run's context and group: memberships live in it.
	scope context.Context
	group *errgroup.Group
	api   *dockerapi.API
	// self has the connections of managers that ask this node about itself.
	self *protoListener

	// moves are how far moves of volumes have come that this node leads.
	moves *mover.Progress

	// ops lets one of init, join and leave happen at a time.
	ops sync.Mutex

	mu     sync.Mutex
	member *member // nil: not a member
	// locked is set while the node is a manager whose disk waits for the
	// cluster's unlock key. There is no member then.
	locked bool
	// joining is set while there is no member yet but one is on its way.
	joining bool
}

// Run is a node in the foreground: until the context ends, or until the
// socket or the state directory cannot be had. Containers go on without it.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	release, err := lockState(cfg.StateDir)
	if err != nil {
		return err
	}
	defer release()
	settle(cfg.Nice, cfg.Log)
	leaveNoCore(cfg.Log)
	engine, err := docker.New(docker.Config{Host: cfg.EngineHost, Log: cfg.Log.With("component", "engine")})
	if err != nil {
		return err
	}
	listener, err := listenSocket(cfg.Socket)
	if err != nil {
		return err
	}
	group, scope := errgroup.WithContext(ctx)
	d := &Daemon{cfg: cfg, engine: engine, files: files.New(cfg.filesDir()), scope: scope, group: group, self: newProtoListener(listener.Addr()), moves: mover.NewProgress()}
	if d.api, err = d.newAPI(); err == nil {
		err = d.resume()
	}
	if err != nil {
		_ = listener.Close()
		return err
	}
	d.serve(listener)
	cfg.Log.Info("daemon is ready", "socket", cfg.Socket, "state", cfg.StateDir, "version", cfg.Version)
	if err := group.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

// resume takes up the membership that the state directory holds. What an init
// or a leave that was cut off has left there goes away: the identity is
// written last and removed first, so without it there was no membership.
func (d *Daemon) resume() error {
	m, err := d.load(nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return removeMembership(d.cfg.StateDir, false)
	case errors.Is(err, identity.ErrLocked):
		d.cfg.Log.Warn("this manager is locked: `swarmctl unlock` starts it; its containers run on meanwhile")
		d.setLocked(true)
		return nil
	case err != nil:
		return err
	}
	d.start(m)
	return nil
}

// load makes the membership that the state directory holds.
func (d *Daemon) load(key unlock.Key) (*member, error) {
	id, err := identity.Load(d.cfg.StateDir, key)
	if err != nil {
		return nil, err
	}
	set, err := loadSettings(d.cfg.StateDir)
	if err != nil {
		return nil, err
	}
	return newMember(d, identity.NewSource(id, d.cfg.StateDir, key), set), nil
}

// start runs a membership under the daemon. A membership ends when the node
// leaves; should it fail it is tried again, since the cluster counts on it.
func (d *Daemon) start(m *member) {
	d.mu.Lock()
	d.member = m
	d.mu.Unlock()
	d.group.Go(func() error {
		m.run(d.scope)
		return nil
	})
}

// current is the membership, or nil.
func (d *Daemon) current() *member {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.member
}

func (d *Daemon) newAPI() (*dockerapi.API, error) {
	return dockerapi.New(dockerapi.Config{
		Node:       d,
		Store:      storeFacade{d},
		Tunnel:     tunnelFacade{d},
		Forward:    http.HandlerFunc(d.forward),
		ToManager:  http.HandlerFunc(d.toManager),
		Prober:     prober{d},
		Networks:   networksFacade{d},
		DialEngine: d.engine.Dial,
		Volumes:    mover.NewNode(d.engine, d.cfg.Log.With("component", "volumes")), MoveProgress: d.moves.Of,
		NewToken:   identity.NewToken,
		RotateRoot: ca.Rotate,
		Explain:    scheduler.Explain,
		ImageNamed: d.imageNamed,
		Routes:     d.routes,
		Version:    d.cfg.Version,
		Log:        d.cfg.Log.With("component", "api"),
	})
}

func (d *Daemon) serve(l net.Listener) {
	server := dockerapi.NewServer(d.scope, d.api, d.cfg.Log.With("component", "api"))
	d.group.Go(func() error {
		err := server.Serve(l)
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return fmt.Errorf("serve the API: %w", err)
	})
	d.group.Go(func() error {
		<-d.scope.Done()
		// Close and not Shutdown: event and log streams would hold it up for ever.
		return server.Close()
	})
	own := dockerapi.NewServer(d.scope, d.api.OfNode(), d.cfg.Log.With("component", "api"))
	d.group.Go(func() error {
		return serveUntil(d.scope, func() error { return own.Serve(d.self) }, func() { _ = own.Close() })
	})
}

// dialSelf connects to what managers ask this node about itself.
func (d *Daemon) dialSelf(context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	if !d.self.give(far) {
		return nil, api.Errorf(api.CodeUnavailable, "this node's daemon is going down")
	}
	return near, nil
}

// listenSocket makes the socket that the API is served on, for root and the
// group docker, as the engine does. One that a killed daemon left is replaced:
// the lock on the state directory has shown that the daemon is gone.
func listenSocket(addr string) (net.Listener, error) {
	path := strings.TrimPrefix(addr, "unix://")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("socket %s: %w: give another one with --socket", path, err)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("socket %s: another program serves it: stop that one, or give another --socket", path)
	}
	if err := removeFile(path); err != nil {
		return nil, fmt.Errorf("socket %s: %w: give another one with --socket", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w: give another one with --socket", path, err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		_ = l.Close()
		return nil, err
	}
	chownToDockerGroup(path)
	return l, nil
}

// ID implements dockerapi.Node.
func (d *Daemon) ID() (id nodeID) {
	if m := d.current(); m != nil {
		return m.id()
	}
	return ""
}

// Role implements dockerapi.Node.
func (d *Daemon) Role() dockerapi.Role {
	d.mu.Lock()
	m, locked := d.member, d.locked
	d.mu.Unlock()
	switch {
	case locked:
		return dockerapi.Locked
	case m == nil:
		return dockerapi.Inactive
	}
	mgr := m.manager()
	switch {
	case mgr == nil:
		return dockerapi.Worker
	case mgr.leads():
		return dockerapi.Leader
	}
	return dockerapi.Manager
}

// Info implements dockerapi.Node.
func (d *Daemon) Info(context.Context) swarm.Info {
	d.mu.Lock()
	m, joining, locked := d.member, d.joining, d.locked
	d.mu.Unlock()
	switch {
	case locked:
		return d.lockedInfo()
	case m != nil:
		return m.info()
	case joining:
		return swarm.Info{LocalNodeState: swarm.LocalNodeStatePending}
	}
	return swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive}
}
