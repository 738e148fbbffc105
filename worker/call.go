package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/docker"
)

func (r *runner) create(t *task) {
	if t.spec == nil {
		r.report(t, report(api.TaskRejected, "rejected", fmt.Sprintf("spec %d of service %s did not come with the task", t.assigned.SpecVersion, t.assigned.ServiceID)))
		r.post(func() { r.free++ })
		return
	}
	req := &docker.Request{Cluster: r.cfg.ClusterID, Node: r.node, Task: t.assigned, Spec: t.spec}
	var id string
	r.call(t, true, r.timely(func(ctx context.Context) (err error) {
		id, err = r.cfg.Engine.Create(ctx, req)
		return err
	}), func(err error) {
		switch {
		case errors.Is(err, docker.ErrNoImage) && t.pulls == 0:
			r.pull(t)
		case err != nil:
			r.failed(t, err, report(api.TaskRejected, "rejected", err.Error()))
		default:
			t.observe(docker.Container{ID: id, Task: t.id, State: docker.Created})
			r.succeeded(t)
		}
	})
}

// pull fetches the image. It holds no slot: others need not wait for it.
func (r *runner) pull(t *task) {
	if t.desired() >= api.TaskShutdown {
		r.look(t)
		return
	}
	image, auth := t.spec.TaskTemplate.ContainerSpec.Image, t.auth
	t.pulls++
	r.outbox.wakeUp() // that it prepares may take a while now
	waiting, giveUp := context.WithCancel(r.ctx)
	t.giveUp = giveUp
	r.call(t, false, func(context.Context) error {
		return r.cfg.Engine.EnsureImage(waiting, image, auth)
	}, func(err error) {
		given := waiting.Err() != nil
		giveUp()
		t.giveUp = nil
		switch {
		case given:
			t.pulls = 0
			r.look(t)
		case err != nil:
			t.pulls = 0
			r.failed(t, err, report(api.TaskRejected, "rejected", err.Error()))
		default:
			r.look(t)
		}
	})
}

// start starts a container and looks at it once: its PID, its ports and
// whether it has a health check are not to be had otherwise.
func (r *runner) start(t *task) {
	c := *t.container
	r.call(t, true, r.timely(func(ctx context.Context) error {
		if err := r.cfg.Engine.Start(ctx, c.ID); err != nil {
			return err
		}
		var err error
		c, err = r.cfg.Engine.Inspect(ctx, c.ID)
		return err
	}), func(err error) {
		switch {
		case errors.Is(err, docker.ErrNoContainer):
			t.container = nil
			r.report(t, report(api.TaskFailed, "failed", "task: container is gone: it was removed before it started"))
			r.succeeded(t)
		case err != nil:
			r.failed(t, err, report(api.TaskFailed, "failed", "starting container failed: "+err.Error()))
		default:
			t.observe(c)
			r.succeeded(t)
		}
	})
}

// stop waits as long as the container's grace period says, however long.
func (r *runner) stop(t *task) {
	c := *t.container
	r.call(t, false, func(ctx context.Context) error {
		return r.cfg.Engine.Stop(ctx, c.ID)
	}, func(err error) {
		switch {
		case errors.Is(err, docker.ErrNoContainer):
			t.container = nil
			r.succeeded(t)
		case err != nil:
			r.failed(t, err, nil)
		default:
			r.stopped(t, c)
		}
	})
}

// stopped looks at the container unless the event was faster: it brings the
// exit code.
func (r *runner) stopped(t *task, was docker.Container) {
	if t.container == nil || t.container.State == docker.Exited {
		r.succeeded(t)
		return
	}
	r.call(t, false, r.timely(func(ctx context.Context) (err error) {
		was, err = r.cfg.Engine.Inspect(ctx, was.ID)
		return err
	}), func(err error) {
		switch {
		case errors.Is(err, docker.ErrNoContainer):
			t.container = nil
		case err != nil:
			r.failed(t, err, nil)
			return
		default:
			t.observe(was)
		}
		r.succeeded(t)
	})
}

func (r *runner) remove(t *task) {
	id := t.container.ID
	r.call(t, true, r.timely(func(ctx context.Context) error {
		return r.cfg.Engine.Remove(ctx, id)
	}), func(err error) {
		if err != nil {
			r.failed(t, err, nil)
			return
		}
		if t.container != nil && t.container.ID == id {
			t.container = nil
		}
		r.succeeded(t)
	})
}

func (r *runner) ask(t *task) {
	c := *t.container
	var itself bool
	r.call(t, false, r.timely(func(ctx context.Context) (err error) {
		itself, err = r.cfg.Engine.EndedItself(ctx, c)
		return err
	}), func(err error) {
		switch {
		case err != nil:
			r.failed(t, err, nil)
			return
		case t.exit != unknown: // an event was faster
		case itself:
			t.exit = byItself
		default:
			t.exit = byForce
		}
		r.succeeded(t)
	})
}

func (r *runner) succeeded(t *task) {
	t.failures = 0
	r.look(t)
}

const maxRetry = 10 * time.Second

// failed ends a call that did not work. final is how the task ends then; nil
// is for calls that must work in the end. An engine that is away, and a worker
// that is about to end, decide nothing.
func (r *runner) failed(t *task, err error, final *api.TaskStatus) {
	if r.ctx.Err() != nil {
		return
	}
	if final != nil && !errors.Is(err, api.ErrUnavailable) && !errors.Is(err, context.Canceled) {
		if t.desired() < api.TaskShutdown {
			r.report(t, final)
		}
		r.succeeded(t)
		return
	}
	t.failures++
	wait := min(maxRetry, 100*time.Millisecond<<min(t.failures, 8))
	r.log.Warn("call to the container engine failed; it is repeated", "task", t.id, "err", err, "after", wait)
	time.AfterFunc(wait, func() { r.post(func() { r.look(t) }) })
}
