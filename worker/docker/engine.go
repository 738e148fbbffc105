package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/swarmctl/swarmctl/api"
)

// Config is what an Engine is made with.
type Config struct {
	// Host is where the engine listens: unix:///path or tcp://host:port. Empty
	// means DOCKER_HOST with its companions, and without those the usual socket.
	Host string
	// Dial, where it is set, connects to the engine instead: one of another node.
	Dial func(ctx context.Context) (net.Conn, error)
	// PullStall is how long a pull may go without any progress before it is
	// given up. Shorter reports a dead registry sooner; longer bears with a
	// slow disk that unpacks a large layer. 0 means 2 min.
	PullStall time.Duration
	Log       *slog.Logger
}

// Sentinels for errors.Is.
var (
	// ErrNoImage says that a container's image is not on this node.
	ErrNoImage = errors.New("no such image")
	// ErrNoContainer says that a container does not exist.
	ErrNoContainer = errors.New("no such container")
)

// Engine is a Docker Engine. Its methods may be called from many goroutines.
// When the engine does not answer at all, errors have code unavailable.
type Engine struct {
	cfg   Config
	cli   *client.Client
	pulls singleflight.Group
	// loaded is under which ID the engine has what came as another's, by that
	// engine's ID. It saves sending the image again; nothing is wrong without it.
	loaded sync.Map
}

// New makes an Engine without contacting it: it may be down.
func New(cfg Config) (*Engine, error) {
	cfg.PullStall = cmp.Or(cfg.PullStall, 2*time.Minute)
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	opts := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if cfg.Host != "" {
		opts = append(opts, client.WithHost(cfg.Host))
	}
	if cfg.Dial != nil {
		// The host is one that no environment can point elsewhere.
		opts = []client.Opt{client.WithHost("http://node"), client.WithAPIVersionNegotiation(), client.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) { return cfg.Dial(ctx) })}
	}
	cli, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "container engine %q: %v", cmp.Or(cfg.Host, os.Getenv(client.EnvOverrideHost)), err)
	}
	return &Engine{cfg: cfg, cli: cli}, nil
}

// Close ends the connections that are kept.
func (e *Engine) Close() error { return e.cli.Close() }

// Host is the engine's address, with its scheme.
func (e *Engine) Host() string { return e.cli.DaemonHost() }

// Dial opens a raw connection to the engine's API.
func (e *Engine) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := e.cli.Dialer()(ctx)
	if err != nil {
		return nil, api.Errorf(api.CodeUnavailable, "container engine %s: %v", e.Host(), err)
	}
	return conn, nil
}

// Create makes a container and does not start it. Where the task has one
// already (the program was killed after it had asked) it returns that one,
// and finishes what is left to do for its networks.
// Errors: ErrNoImage; code invalid or unsupported for a spec that cannot be.
func (e *Engine) Create(ctx context.Context, r *Request) (id string, err error) {
	p, err := MakePlan(r)
	if err != nil {
		return "", err
	}
	version := e.cli.ClientVersion()
	if err := checkVersion(p, version); err != nil {
		return "", err
	}
	if err := e.checkVolumes(ctx, p.HostConfig.Mounts); err != nil {
		return "", err
	}
	first, rest := p.forVersion(version)
	c, err := e.createOf(ctx, r, p, first)
	if err != nil {
		return "", err
	}
	if c.State == Created {
		err = e.connect(ctx, c.ID, rest)
	}
	return c.ID, err
}

// createOf makes the container of the very image that the task's reference is.
// The reference's name stays the container's image where the host has that image
// under it, since people look for names.
func (e *Engine) createOf(ctx context.Context, r *Request, p *Plan, networks *network.NetworkingConfig) (Container, error) {
	if r.Local != "" {
		p.Config.Image = r.Local
	}
	if r.Image == nil || r.Local != "" {
		c, _, err := e.create(ctx, p, networks, r.Task.ID)
		return c, err
	}
	name := p.Config.Image
	ref, err := e.FindImage(ctx, name, r.Image)
	if err != nil {
		return Container{}, err
	}
	p.Config.Image = ref
	c, fresh, err := e.create(ctx, p, networks, r.Task.ID)
	if err != nil || !fresh || ref != name {
		return c, err
	}
	// Somebody may have given the name to another image between the two calls.
	if ref, err = e.FindImage(ctx, name, r.Image); err == nil && ref == name {
		return c, nil
	}
	if rerr := e.Remove(ctx, c.ID); rerr != nil || err != nil {
		return Container{}, errors.Join(err, rerr)
	}
	p.Config.Image = ref
	c, _, err = e.create(ctx, p, networks, r.Task.ID)
	return c, err
}

// create makes a container, or finds it made: fresh says which.
func (e *Engine) create(ctx context.Context, p *Plan, networks *network.NetworkingConfig, task api.TaskID) (c Container, fresh bool, err error) {
	resp, err := e.cli.ContainerCreate(ctx, p.Config, p.HostConfig, networks, nil, p.Name)
	switch {
	case err == nil:
		return Container{ID: resp.ID, State: Created}, true, nil
	case cerrdefs.IsNotFound(err) && !noNetwork(err):
		return Container{}, false, fmt.Errorf("%w: %s", ErrNoImage, p.Config.Image)
	case cerrdefs.IsConflict(err):
		if c, ierr := e.Inspect(ctx, p.Name); ierr == nil && c.Task == task {
			return c, false, nil
		}
	}
	return Container{}, false, e.fail(err)
}

// connect puts a container that has not started on further networks. To say it
// twice is to say it once.
func (e *Engine) connect(ctx context.Context, id string, list []connection) error {
	for _, c := range list {
		if err := e.cli.NetworkConnect(ctx, c.network, id, c.settings); err != nil {
			return fmt.Errorf("network %q: %w", c.network, e.fail(err))
		}
	}
	return nil
}

// Start starts a container; one that runs already is fine.
func (e *Engine) Start(ctx context.Context, id string) error {
	return e.fail(e.cli.ContainerStart(ctx, id, container.StartOptions{}))
}

// Stop sends a container its stop signal and, after its grace period, SIGKILL.
// It returns when the container has ended; one that has already is fine.
func (e *Engine) Stop(ctx context.Context, id string) error {
	return e.fail(e.cli.ContainerStop(ctx, id, container.StopOptions{}))
}

// Remove removes a container with its anonymous volumes; one that does not exist is fine.
func (e *Engine) Remove(ctx context.Context, id string) error {
	err := e.cli.ContainerRemove(ctx, id, container.RemoveOptions{RemoveVolumes: true, Force: true})
	if cerrdefs.IsNotFound(err) || cerrdefs.IsConflict(err) && strings.Contains(err.Error(), "already in progress") {
		return nil
	}
	return e.fail(err)
}

// Inspect returns a container by ID or name.
func (e *Engine) Inspect(ctx context.Context, id string) (Container, error) {
	resp, err := e.cli.ContainerInspect(ctx, id)
	if err != nil {
		return Container{}, e.fail(err)
	}
	return fromInspect(&resp), nil
}

// List returns the containers of a cluster, whatever their state.
func (e *Engine) List(ctx context.Context, cluster string) ([]Container, error) {
	list, err := e.cli.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", api.LabelCluster+"="+cluster))})
	if err != nil {
		return nil, e.fail(err)
	}
	out := make([]Container, len(list))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i := range list {
		group.Go(func() (err error) {
			// The list alone lacks exit codes and health.
			out[i], err = e.Inspect(ctx, list[i].ID)
			if errors.Is(err, ErrNoContainer) {
				return nil // gone in between: it has no ID in out
			}
			return err
		})
	}
	err = group.Wait()
	return withoutGone(out), err
}

func withoutGone(list []Container) []Container {
	n := 0
	for _, c := range list {
		if c.ID != "" {
			list[n] = c
			n++
		}
	}
	return list[:n]
}

// Strangers names the containers of clusters other than the given one: what
// this engine ran for a cluster that its node is no longer a member of.
func (e *Engine) Strangers(ctx context.Context, cluster string) ([]string, error) {
	list, err := e.cli.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", api.LabelCluster))})
	var names []string
	for _, c := range list {
		if c.Labels[api.LabelCluster] != cluster && len(c.Names) > 0 {
			names = append(names, strings.TrimPrefix(c.Names[0], "/"))
		}
	}
	return names, e.fail(err)
}

// EndedItself reports whether the engine watched a container end without being
// told to, and has not been restarted since. An engine on its way down stops its
// containers, and what ends with exit code 0 then has not succeeded.
func (e *Engine) EndedItself(ctx context.Context, c Container) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages, errs := e.cli.Events(ctx, exitOf(c))
	for {
		select {
		case m := <-messages:
			switch {
			case m.Action == events.ActionDie:
				return true, nil
			case ends(&m):
				return false, nil
			}
		case err := <-errs:
			return false, e.fail(ignoreEOF(err))
		}
	}
}

// fail turns an error of the client into one of ours.
func (e *Engine) fail(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case client.IsErrConnectionFailed(err):
		return api.Errorf(api.CodeUnavailable, "container engine %s does not answer: is it running?", e.Host())
	case cerrdefs.IsNotFound(err) && strings.Contains(err.Error(), "No such container"):
		return fmt.Errorf("%w: %s", ErrNoContainer, plain(err))
	case cerrdefs.IsNotFound(err) && noNetwork(err):
		return api.Errorf(api.CodeUnavailable, "container engine %s: %s: it is made again", e.Host(), plain(err))
	case isTransport(err):
		return api.Errorf(api.CodeUnavailable, "container engine %s broke off: %v", e.Host(), err)
	}
	return errors.New(plain(err))
}

// isTransport tells a connection that broke from an answer of the engine.
func isTransport(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) || ignoreEOF(err) == nil || strings.Contains(err.Error(), "error during connect")
}

// plain is the engine's own sentence, without what the client puts before it.
func plain(err error) string {
	return strings.TrimPrefix(err.Error(), "Error response from daemon: ")
}
