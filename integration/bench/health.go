package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// health follows how many containers of a service serve, as the engines say: a
// container does from its first healthy check until it is sent a signal.
type health struct {
	stop    context.CancelFunc
	mu      sync.Mutex
	serving map[string]bool
	fewest  int
	changed chan struct{} // closed and replaced at every change
}

// watchHealth begins when n containers serve.
func (b *bench) watchHealth(ctx context.Context, service string, n int) (*health, error) {
	ctx, cancel := context.WithCancel(ctx)
	h := &health{stop: cancel, serving: map[string]bool{}, fewest: n, changed: make(chan struct{})}
	of := filters.Arg("label", cluster.ServiceLabel+"="+service)
	for _, node := range b.c.Nodes {
		stream, failed := node.Docker.Events(ctx, events.ListOptions{Filters: filters.NewArgs(of, filters.Arg("type", "container"))})
		go h.follow(stream, failed)
	}
	err := cluster.Eventually(ctx, patience, func(ctx context.Context) error {
		for _, node := range b.c.Nodes {
			list, err := node.Docker.ContainerList(ctx, container.ListOptions{Filters: filters.NewArgs(of, filters.Arg("health", "healthy"))})
			if err != nil {
				return err
			}
			for _, c := range list {
				h.set(c.ID, true)
			}
		}
		if now := h.now(); now != n {
			return fmt.Errorf("%d containers of %s are healthy, not %d", now, service, n)
		}
		return nil
	})
	h.mu.Lock()
	h.fewest = n
	h.mu.Unlock()
	if err != nil {
		cancel()
	}
	return h, err
}

func (h *health) follow(stream <-chan events.Message, failed <-chan error) {
	for {
		select {
		case e := <-stream:
			switch action := string(e.Action); {
			case strings.HasSuffix(action, ": healthy"):
				h.set(e.Actor.ID, true)
			case strings.HasSuffix(action, ": unhealthy"), action == string(events.ActionKill), action == string(events.ActionDie):
				h.set(e.Actor.ID, false)
			}
		case <-failed:
			return
		}
	}
}

func (h *health) set(id string, serves bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if serves {
		h.serving[id] = true
	} else {
		delete(h.serving, id)
	}
	h.fewest = min(h.fewest, len(h.serving))
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *health) now() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.serving)
}

// least is the fewest that served at any time.
func (h *health) least() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fewest
}

// reach waits until n serve.
func (h *health) reach(ctx context.Context, n int) error {
	return h.until(ctx, fmt.Sprintf("%d serve", n), func() bool { return len(h.serving) >= n })
}

// fell waits until fewer than n have served for a moment.
func (h *health) fell(ctx context.Context, n int) error {
	return h.until(ctx, fmt.Sprintf("fewer than %d serve", n), func() bool { return h.fewest < n })
}

func (h *health) until(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		h.mu.Lock()
		done, changed, now := ok(), h.changed, len(h.serving)
		h.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("not so in time: %s: %d do", what, now)
		}
	}
}
