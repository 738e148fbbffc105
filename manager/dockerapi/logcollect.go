package dockerapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// maxLogSources bounds the nodes' engines that are read at once, unless the
// logs are followed: then every task's are.
const maxLogSources = 32

// collector gathers the logs of tasks for one reader. A node that does not
// answer costs the reader its own lines and a warning, never the others'.
type collector struct {
	tunnel    Tunnel
	patience  time.Duration
	query     logQuery
	out       *logWriter
	selection logSelection
	current   func() *state.View

	sources sync.WaitGroup
	slots   chan struct{}
	started map[api.TaskID]bool // only run uses it

	mu     sync.Mutex
	silent map[api.NodeID]bool // nodes that the reader has been warned of
	dead   map[api.NodeID]bool // nodes of which nothing can be read
}

// run ends when all logs are written: where they are followed, when the reader
// goes or no more tasks can come.
func (c *collector) run(ctx context.Context, view *state.View, cursor *state.Cursor) {
	defer c.sources.Wait()
	c.startAll(ctx, view)
	for c.query.follow && !c.selection.over(view) {
		e, err := cursor.Next(ctx)
		if err != nil {
			return
		}
		view = e.View
		if e.Reset {
			c.startAll(ctx, view)
		}
		for _, p := range e.Tasks {
			if p.After != nil {
				c.start(ctx, view, p.After)
			}
		}
	}
}

func (c *collector) startAll(ctx context.Context, view *state.View) {
	for t := range view.ServiceTasks(c.selection.service) {
		c.start(ctx, view, t)
	}
}

// start reads a task's log once there is one: its container has been started.
func (c *collector) start(ctx context.Context, view *state.View, t *api.Task) {
	if c.started[t.ID] || !c.selection.includes(t) || t.NodeID == "" ||
		t.Status.Container == nil || t.Status.Container.ID == "" || t.Status.State < api.TaskStarting {
		return
	}
	c.started[t.ID] = true
	src := source{task: t, name: view.TaskName(t), node: nodeName(view, t.NodeID), query: c.query, patience: c.patience}
	if spec := view.SpecOf(t); spec != nil {
		src.terminal = hasTerminal(&spec.Spec)
	}
	if n := view.Node(t.NodeID); n == nil || n.Status.State == api.NodeDown {
		c.warnNode(src, nodeError{errors.New("it is down")})
		return
	}
	c.sources.Go(func() { c.read(ctx, src) })
}

func nodeName(view *state.View, id api.NodeID) string {
	if n := view.Node(id); n != nil {
		return n.Hostname()
	}
	return string(id)
}

// read copies one task's log, and takes it up again where it broke off for as
// long as the task runs and the reader follows.
func (c *collector) read(ctx context.Context, src source) {
	if !c.query.follow {
		select {
		case c.slots <- struct{}{}:
			defer func() { <-c.slots }()
		case <-ctx.Done():
			return
		}
		if c.isDead(src.task.NodeID) {
			return // the reader has been warned: to wait for each of its tasks would hold up the others
		}
	}
	for {
		err := src.copy(ctx, c.tunnel, func(l line) { c.out.write(src.task, l) })
		if err == nil || ctx.Err() != nil || c.endedBefore(src, err) {
			return
		}
		c.warnNode(src, err)
		if !c.query.follow || src.terminal || !c.runs(src.task.ID) {
			return
		}
		select {
		case <-time.After(c.patience / 3): // short beside what the reader has waited already
		case <-ctx.Done():
			return
		}
	}
}

// endedBefore reports whether the log is gone because the task is history.
func (c *collector) endedBefore(src source, err error) bool {
	return isGone(err) && !c.runs(src.task.ID)
}

func (c *collector) runs(id api.TaskID) bool {
	view := c.current()
	if view == nil {
		return false
	}
	t := view.Task(id)
	return t != nil && !t.Status.State.Terminal()
}

func (c *collector) isDead(id api.NodeID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead[id]
}

// warnNode warns once a node: its other tasks would say the same.
func (c *collector) warnNode(src source, reason error) {
	c.mu.Lock()
	known := c.silent[src.task.NodeID]
	c.silent[src.task.NodeID] = true
	c.dead[src.task.NodeID] = c.dead[src.task.NodeID] || errors.As(reason, new(nodeError))
	c.mu.Unlock()
	if !known {
		c.out.warn(src.task, fmt.Sprintf("incomplete logs: %s and other tasks on node %s may be missing: %v", src.name, src.node, reason))
	}
}
