package worker

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// Backoff between attempts to reach an engine or a manager.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// watchEngine follows the engine for as long as the context lives: one stream
// of events, and the list of what there is each time the stream begins, since
// nothing is known of what happened before it. Its error is an engine that must
// not be used.
func (w *Worker) watchEngine(ctx context.Context) error {
	wait := firstRetry
	for ctx.Err() == nil {
		up := false
		err := w.followEngine(ctx, &up)
		w.runner.post(w.runner.engineDown)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, api.ErrConflict):
			return err
		case up:
			wait = firstRetry
		}
		w.session.desc.lost()
		w.cfg.Log.Warn("the container engine is away; tasks keep their last known state", "err", err, "retry", wait)
		pause(ctx, wait)
		wait = min(2*wait, lastRetry)
	}
	return ctx.Err()
}

// followEngine returns when the stream of events breaks off. The list is taken
// beside the stream: an engine drops the events of those who do not read.
func (w *Worker) followEngine(ctx context.Context, up *bool) error {
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan struct{})
	group.Go(func() error {
		err := w.cfg.Engine.Watch(ctx, w.cfg.ClusterID, func() { close(ready) }, func(ev docker.Event) { w.event(ctx, ev) })
		if err == nil {
			err = errors.New("the stream of events ended")
		}
		return err
	})
	group.Go(func() error {
		select {
		case <-ready:
		case <-ctx.Done():
			return ctx.Err()
		}
		err := w.takeStock(ctx)
		*up = err == nil
		return err
	})
	return group.Wait()
}

func (w *Worker) event(ctx context.Context, ev docker.Event) {
	switch ev.Type {
	case docker.EventEngine:
	case docker.EventVolumeMade, docker.EventVolumeGone:
		w.session.volumes.happened(ev)
		return
	default:
		w.runner.post(func() { w.runner.happened(ev) })
		return
	}
	if desc, err := w.cfg.Engine.Describe(ctx); err == nil {
		w.session.desc.set(desc)
	}
}

func (w *Worker) takeStock(ctx context.Context) error {
	desc, err := w.cfg.Engine.Describe(ctx)
	if err != nil {
		return err
	}
	list, err := w.cfg.Engine.List(ctx, w.cfg.ClusterID)
	if err != nil {
		return err
	}
	node := docker.Node{ID: w.cfg.NodeID, Hostname: desc.Hostname, OS: desc.Platform.OS, Architecture: desc.Platform.Architecture}
	w.runner.post(func() { w.runner.engineUp(node, list) })
	w.session.desc.set(desc)
	signal(w.session.volumes.stale)
	w.cfg.Log.Info("the container engine answers", "version", desc.Engine.EngineVersion, "containers", len(list))
	return nil
}

// description is what the node says of itself. A node whose engine does not
// answer says so by an empty engine version: no task can run there.
type description struct {
	tls   func() (swarm.TLSInfo, <-chan struct{})
	mu    sync.Mutex
	now   api.NodeDescription
	known chan struct{} // closed once the engine has spoken
	wake  chan struct{} // has room for one
}

func newDescription(tls func() (swarm.TLSInfo, <-chan struct{})) *description {
	host, _ := os.Hostname()
	return &description{
		tls:   tls,
		now:   api.NodeDescription{Hostname: host, Platform: swarm.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}},
		known: make(chan struct{}), wake: make(chan struct{}, 1),
	}
}

func (d *description) set(desc api.NodeDescription) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = desc
	select {
	case <-d.known:
	default:
		close(d.known)
	}
	d.signal()
}

func (d *description) lost() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now.Engine.EngineVersion != "" {
		d.now.Engine.EngineVersion = ""
		d.signal()
	}
}

// followTLS tells the managers when the certificate is another one than when
// changed was asked for.
func (d *description) followTLS(ctx context.Context, changed <-chan struct{}) {
	for {
		select {
		case <-changed:
			_, changed = d.tls()
			d.signal()
		case <-ctx.Done():
			return
		}
	}
}

func (d *description) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *description) json() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now
	now.TLSInfo, _ = d.tls()
	data, err := json.Marshal(now)
	if err != nil {
		panic(err) // plain strings and numbers
	}
	return data
}

// pause waits, or returns at once when the context ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
