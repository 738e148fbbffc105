// Package runtimetest is a container engine that lives in memory. It behaves:
// containers take their time, end, fail and vanish; the engine goes down, comes
// back without them, hangs, and forgets images. Tests of the worker, and of
// whatever has a worker in it, run on it without root and without a clock.
package runtimetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// Engine is a container engine in memory. It has the methods that a worker
// wants of one; the others are for tests, in control.go.
type Engine struct {
	mu         sync.Mutex
	host       string
	containers map[string]*box          // by ID
	bridges    map[string]fabric.Bridge // by name
	volumes    map[string]api.Volume    // by name
	stuck      map[string]bool          // volumes whose driver does not answer
	absent     map[string]error
	pulled     map[string]int
	images     map[string]api.Image        // by name and ID: what is known of those that are here
	registry   map[string]api.Image        // what a pull of a name brings
	auths      map[string]api.RegistryAuth // what an image was asked for with last
	watchers   map[*watcher]struct{}
	down       bool
	cutOff     bool
	files      *Files        // nil: nobody looks whether what containers bind is there
	hung       chan struct{} // nil, or closed when the engine goes on
	faults     map[string][]error
	pace       time.Duration
	serial     int
	starting   int
	asked      []string // credentials, in turn
	loads      int
	busiest    int
	conns      chan net.Conn
}

type box struct {
	docker.Container
	cluster  string
	args     []string
	image    string // what it was made of
	networks []docker.EndpointPlan
	sources  []string // of its files
	pod      string   // the container whose network namespace it shares
	checked  bool     // has a health check
	starts   int
	sawExit  bool
	stubborn bool
	grace    time.Duration
	ended    chan struct{}
}

type watcher struct {
	cluster string
	events  []docker.Event
	wake    chan struct{}
	gone    chan struct{}
}

// New makes an engine that has every image and takes no time.
func New(host string) *Engine {
	return &Engine{
		host: host, containers: map[string]*box{}, bridges: map[string]fabric.Bridge{}, absent: map[string]error{}, pulled: map[string]int{},
		auths:    map[string]api.RegistryAuth{},
		images:   map[string]api.Image{},
		registry: map[string]api.Image{},
		volumes:  map[string]api.Volume{}, stuck: map[string]bool{},
		watchers: map[*watcher]struct{}{}, faults: map[string][]error{}, conns: make(chan net.Conn, 16),
	}
}

// enter is the beginning of every call: it takes as long as the engine is slow
// or hung, and fails as it was told to. On success the engine is locked.
func (e *Engine) enter(ctx context.Context, call string) error {
	e.mu.Lock()
	hung, pace := e.hung, e.pace
	e.mu.Unlock()
	if hung != nil {
		select {
		case <-hung:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if slow := call == "create" || call == "start"; slow && pace > 0 {
		select {
		case <-time.After(pace / 2):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	e.mu.Lock()
	if e.down {
		e.mu.Unlock()
		return api.Errorf(api.CodeUnavailable, "container engine memory://%s does not answer: is it running?", e.host)
	}
	if f := e.faults[call]; len(f) > 0 {
		e.faults[call] = f[1:]
		e.mu.Unlock()
		return f[0]
	}
	return nil
}

// Describe tells of a machine with 4 cores and 8 GiB.
func (e *Engine) Describe(ctx context.Context) (api.NodeDescription, error) {
	if err := e.enter(ctx, "describe"); err != nil {
		return api.NodeDescription{}, err
	}
	defer e.mu.Unlock()
	return api.NodeDescription{
		Hostname:  e.host,
		Platform:  swarm.Platform{OS: "linux", Architecture: "x86_64"},
		Resources: swarm.Resources{NanoCPUs: 4e9, MemoryBytes: 8 << 30},
		Engine:    swarm.EngineDescription{EngineVersion: "memory"},
	}, nil
}

// Watch calls handle for every event until the context ends or the engine goes down.
func (e *Engine) Watch(ctx context.Context, cluster string, ready func(), handle func(docker.Event)) error {
	if err := e.enter(ctx, "watch"); err != nil {
		ready()
		return err
	}
	w := &watcher{cluster: cluster, wake: make(chan struct{}, 1), gone: make(chan struct{})}
	e.watchers[w] = struct{}{}
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.watchers, w)
		e.mu.Unlock()
	}()
	ready()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.gone:
			return api.Errorf(api.CodeUnavailable, "container engine memory://%s broke off", e.host)
		case <-w.wake:
			e.mu.Lock()
			events := w.events
			w.events = nil
			e.mu.Unlock()
			for _, ev := range events {
				handle(ev)
			}
		}
	}
}

func (e *Engine) tell(b *box, ev docker.Event) {
	ev.Container, ev.Task, ev.Name, ev.At = b.ID, b.Task, b.Name, time.Now()
	for w := range e.watchers {
		if w.cluster != b.cluster {
			continue
		}
		w.hear(ev)
	}
}

// List returns a cluster's containers, ordered by name.
func (e *Engine) List(ctx context.Context, cluster string) ([]docker.Container, error) {
	if err := e.enter(ctx, "list"); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	return e.list(func(b *box) bool { return b.cluster == cluster }), nil
}

func (e *Engine) list(keep func(*box) bool) []docker.Container {
	var out []docker.Container
	for _, b := range e.containers {
		if keep(b) {
			out = append(out, b.Container)
		}
	}
	slices.SortFunc(out, func(a, b docker.Container) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Strangers names the containers of other clusters.
func (e *Engine) Strangers(ctx context.Context, cluster string) ([]string, error) {
	if err := e.enter(ctx, "strangers"); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	var names []string
	for _, c := range e.list(func(b *box) bool { return b.cluster != cluster }) {
		names = append(names, c.Name)
	}
	return names, nil
}

// find is FindImage for an engine that is locked. An image of which nothing is
// known is whichever is wanted.
func (e *Engine) find(name string, want *api.Image) (ref string, err error) {
	have, known := e.images[name]
	_, absent := e.absent[name]
	if !absent && (want == nil || !known || want.Is(&have)) {
		return name, nil
	}
	if want != nil {
		if _, ok := e.images[want.ID]; ok {
			return want.ID, nil
		}
	}
	return "", fmt.Errorf("%w: %s", docker.ErrNoImage, name)
}

// FindImage says what an image is here as.
func (e *Engine) FindImage(ctx context.Context, name string, want *api.Image) (ref string, err error) {
	if err := e.enter(ctx, "find"); err != nil {
		return "", err
	}
	defer e.mu.Unlock()
	return e.find(docker.ImageName(name), want)
}

// PullImage has an absent image appear, or fails as MissingImage said.
func (e *Engine) PullImage(ctx context.Context, name string, auth api.RegistryAuth) error {
	if err := e.enter(ctx, "pull"); err != nil {
		return err
	}
	defer e.mu.Unlock()
	name = docker.ImageName(name)
	e.auths[name] = auth
	e.asked = append(e.asked, string(auth))
	e.pulled[name]++
	if why := e.absent[name]; why != nil {
		return why
	}
	delete(e.absent, name)
	if i, ok := e.registry[name]; ok {
		e.images[name], e.images[i.ID] = i, i
	}
	return nil
}

// LoadImage reads an archive to its end and has the image then.
func (e *Engine) LoadImage(ctx context.Context, name string, announced *api.Image, archive io.Reader, alive func()) (ref string, err error) {
	data, err := io.ReadAll(archive)
	if err != nil {
		return "", fmt.Errorf("unexpected EOF after %d bytes", len(data))
	}
	if err := e.enter(ctx, "load"); err != nil {
		return "", err
	}
	defer e.mu.Unlock()
	alive()
	name = docker.ImageName(name)
	e.loads++
	e.images[announced.ID] = *announced
	if _, absent := e.absent[name]; absent {
		delete(e.absent, name)
		e.images[name] = *announced
	}
	return e.find(name, announced)
}

// Create makes a container of a plan that the real engine would get as well.
func (e *Engine) Create(ctx context.Context, r *docker.Request) (string, error) {
	plan, err := docker.MakePlan(r)
	if err != nil {
		return "", err
	}
	if err := e.await(ctx, plan.HostConfig.Mounts); err != nil {
		return "", err
	}
	if err := e.enter(ctx, "create"); err != nil {
		return "", err
	}
	defer e.mu.Unlock()
	if err := e.check(plan.HostConfig.Mounts); err != nil {
		return "", err
	}
	ref := r.Local
	if ref == "" {
		if ref, err = e.find(plan.Config.Image, r.Image); err != nil {
			return "", err
		}
	}
	if err := e.missing(r.Networking.Networks); err != nil {
		return "", err
	}
	for _, b := range e.containers {
		if b.Name == plan.Name {
			b.networks = r.Networking.Networks // what an earlier call has left to do
			return b.ID, nil
		}
	}
	e.mount(plan.HostConfig.Mounts)
	e.serial++
	b := &box{cluster: r.Cluster, networks: r.Networking.Networks, args: plan.Config.Cmd, checked: plan.Config.Healthcheck != nil, grace: time.Duration(*plan.Config.StopTimeout) * time.Second}
	b.ID, b.Name, b.Task, b.State = fmt.Sprintf("c%d", e.serial), plan.Name, r.Task.ID, docker.Created
	b.image, b.pod = ref, plan.HostConfig.NetworkMode.ConnectedContainer()
	b.SelfStop = setting.SelfStopOf(plan.Config.Labels)
	for _, f := range r.Files {
		b.sources = append(b.sources, f.Source)
	}
	for port, bindings := range plan.HostConfig.PortBindings {
		for range bindings {
			b.Ports = append(b.Ports, api.PortStatus{Protocol: port.Proto(), Target: uint32(port.Int()), Published: uint32(30000 + e.serial)})
		}
	}
	e.containers[b.ID] = b
	e.tell(b, docker.Event{Type: docker.EventCreated})
	if e.cutOff {
		e.cutOff, b.networks = false, nil
		return "", api.Errorf(api.CodeUnavailable, "container engine memory://%s broke off", e.host)
	}
	return b.ID, nil
}

// Start starts a container. What its arguments say then happens: "exit N", "stubborn".
func (e *Engine) Start(ctx context.Context, id string) error {
	e.mu.Lock()
	e.starting++
	e.busiest = max(e.busiest, e.starting)
	e.mu.Unlock()
	err := e.enter(ctx, "start")
	if err != nil {
		e.mu.Lock()
	}
	defer e.mu.Unlock()
	e.starting--
	if err != nil {
		return err
	}
	b := e.containers[id]
	switch {
	case b == nil:
		return fmt.Errorf("%w: %s", docker.ErrNoContainer, id)
	case b.State == docker.Running:
		return nil
	}
	if err := e.missing(b.networks); err != nil {
		return err
	}
	if with := e.containers[b.pod]; b.pod != "" && (with == nil || with.State != docker.Running) {
		return fmt.Errorf("cannot join network namespace of a non running container: %s", b.pod)
	}
	for _, source := range b.sources {
		if e.files != nil && !e.files.has(source) {
			return fmt.Errorf("invalid mount config for type \"bind\": bind source path does not exist: %s", source)
		}
	}
	e.begin(b)
	return nil
}

func (e *Engine) begin(b *box) {
	e.serial++
	b.starts++
	b.State, b.PID, b.ended, b.sawExit, b.Killed = docker.Running, 1000+e.serial, make(chan struct{}), false, false
	if b.checked {
		b.Health = docker.Checking
	}
	e.tell(b, docker.Event{Type: docker.EventStarted})
	switch strings.Join(b.args, " ") {
	case "stubborn":
		b.stubborn = true
	case "exit 0":
		e.end(b, 0)
	case "exit 1":
		e.end(b, 1)
	}
}

func (e *Engine) kill(b *box) {
	b.Killed = true
	e.tell(b, docker.Event{Type: docker.EventKilled})
}

func (e *Engine) end(b *box, code int) {
	if b.State != docker.Running {
		return
	}
	b.State, b.ExitCode, b.PID, b.EndedAt, b.sawExit = docker.Exited, code, 0, time.Now(), !e.down
	close(b.ended)
	e.tell(b, docker.Event{Type: docker.EventDied, ExitCode: code})
}

// Inspect returns a container by ID.
func (e *Engine) Inspect(ctx context.Context, id string) (docker.Container, error) {
	if err := e.enter(ctx, "inspect"); err != nil {
		return docker.Container{}, err
	}
	defer e.mu.Unlock()
	if b := e.containers[id]; b != nil {
		return b.Container, nil
	}
	return docker.Container{}, fmt.Errorf("%w: %s", docker.ErrNoContainer, id)
}

// EndedItself reports whether the engine saw the container end without being told to.
func (e *Engine) EndedItself(ctx context.Context, c docker.Container) (bool, error) {
	if err := e.enter(ctx, "ended"); err != nil {
		return false, err
	}
	defer e.mu.Unlock()
	b := e.containers[c.ID]
	return b != nil && b.sawExit && !b.Killed, nil
}

// Stop ends a container: at once with exit code 0, or after its grace period
// with 137 if it is stubborn.
func (e *Engine) Stop(ctx context.Context, id string) error {
	if err := e.enter(ctx, "stop"); err != nil {
		return err
	}
	defer e.mu.Unlock()
	b := e.containers[id]
	switch {
	case b == nil:
		return fmt.Errorf("%w: %s", docker.ErrNoContainer, id)
	case b.State != docker.Running:
		return nil
	case !b.stubborn:
		e.kill(b)
		e.end(b, 0)
		return nil
	}
	ended := b.ended
	e.kill(b)
	e.mu.Unlock()
	var err error
	select {
	case <-time.After(b.grace):
	case <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	e.mu.Lock()
	if err == nil {
		e.end(b, 137)
	}
	return err
}

// Remove removes a container, running or not.
func (e *Engine) Remove(ctx context.Context, id string) error {
	if err := e.enter(ctx, "remove"); err != nil {
		return err
	}
	defer e.mu.Unlock()
	if b := e.containers[id]; b != nil {
		e.end(b, 137)
		delete(e.containers, id)
		e.tell(b, docker.Event{Type: docker.EventGone})
	}
	return nil
}

// Dial returns one end of a connection; Accept has the other.
func (e *Engine) Dial(ctx context.Context) (net.Conn, error) {
	if err := e.enter(ctx, "dial"); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	a, b := halves()
	select {
	case e.conns <- b:
		return a, nil
	default:
		return nil, errors.New("nobody accepts connections")
	}
}
