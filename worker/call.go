package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// lacksSpec rejects a task whose spec is not here.
func (r *runner) lacksSpec(t *task) bool {
	if t.spec != nil {
		return false
	}
	r.report(t, report(api.TaskRejected, "rejected", fmt.Sprintf("spec %d of service %s did not come with the task", t.assigned.SpecVersion, t.assigned.ServiceID)))
	return true
}

// prepare has the node's networks be what the container needs.
func (r *runner) prepare(t *task) {
	if r.lacksSpec(t) {
		return
	}
	task, spec := t.assigned, t.spec
	var n docker.Networking
	t.joined = true
	r.wait(t, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, r.cfg.CallTimeout)
		defer cancel()
		n, err = r.cfg.Network.Prepare(ctx, task, spec)
		return err
	}, func(err error) {
		if err != nil {
			r.failed(t, err, report(api.TaskRejected, "rejected", err.Error()))
			return
		}
		t.networking = &n
		r.succeeded(t)
	})
}

func (r *runner) create(t *task) {
	if r.lacksSpec(t) {
		r.post(func() { r.free++ })
		return
	}
	req := &docker.Request{Cluster: r.cfg.ClusterID, Node: r.node, Task: t.assigned, Spec: t.spec, Image: r.wanted(t).image, Local: t.local, Pod: r.podContainer(t)}
	have, files := r.contentsOf(t), len(t.refs) > 0
	t.filed = t.filed || files
	if t.networking != nil {
		req.Networking = *t.networking
	}
	var id string
	r.call(t, true, r.timely(func(ctx context.Context) (err error) {
		if files {
			if req.Files, err = r.makeFiles(req, have); err != nil {
				return err
			}
		}
		id, err = r.cfg.Engine.Create(ctx, req)
		return err
	}), func(err error) {
		if errors.Is(err, docker.ErrNoImage) && t.pulls == 0 {
			r.pull(t)
			return
		}
		t.networking = nil // who creates again looks again
		if err != nil {
			r.failed(t, err, report(api.TaskRejected, "rejected", err.Error()))
			return
		}
		r.volumes.mounted(&r.node, t)
		t.made = id
		t.observe(docker.Container{ID: id, Task: t.id, State: docker.Created})
		r.succeeded(t)
	})
}

// makeFiles writes the secrets and configs of a task. It is done again where a
// container was made in an earlier life of the program: the host may have lost
// its memory since.
func (r *runner) makeFiles(req *docker.Request, have map[string]*api.Content) ([]docker.File, error) {
	list, err := docker.MakeFiles(req, have)
	if err != nil {
		return nil, err
	}
	return r.cfg.Files.Put(req.Task.ID, list)
}

// pull fetches the image.
func (r *runner) pull(t *task) {
	if t.desired() >= api.TaskShutdown {
		r.look(t)
		return
	}
	id, image := t.id, r.wanted(t)
	t.pulls++
	r.outbox.wakeUp() // that it prepares may take a while now
	var ref string
	r.wait(t, func(ctx context.Context) (err error) {
		ref, err = r.fetch(ctx, id, image, func(text string) { r.post(func() { r.progress(id, text) }) })
		return err
	}, func(err error) {
		if err != nil {
			t.pulls = 0
			if errors.Is(err, api.ErrUnavailable) { // it is tried again, and people may wonder
				r.progress(id, "preparing: "+err.Error())
			}
			r.failed(t, err, report(api.TaskRejected, "rejected", err.Error()))
			return
		}
		t.local = ref
		r.look(t)
	})
}

// wait runs what may take long before a container is there. It holds no slot,
// since others need not wait for it, and is given up once the task is not
// wanted any more; done is not run then.
func (r *runner) wait(t *task, f func(context.Context) error, done func(error)) {
	waiting, giveUp := context.WithCancel(r.ctx)
	t.giveUp = giveUp
	r.call(t, false, func(context.Context) error { return f(waiting) }, func(err error) {
		given := waiting.Err() != nil
		giveUp()
		t.giveUp = nil
		if given {
			t.pulls = 0
			r.look(t)
			return
		}
		done(err)
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
		case err != nil && r.podOf(t) == podOver: // no failure of the sidecar
			r.succeeded(t)
		case err != nil:
			t.made = "" // what it was made with may be gone: a network, for one
			r.failed(t, err, report(api.TaskFailed, "failed", "starting container failed: "+err.Error()))
		default:
			t.observe(c)
			r.succeeded(t)
		}
	})
}

// attach gives a container that runs its balancers and names. It is no
// replica before that; one that was reported as running is not given up for it.
func (r *runner) attach(t *task) {
	c, networks := *t.container, t.assigned.Networks
	t.joined = true
	r.call(t, false, r.within(theNetwork, func(ctx context.Context) (err error) {
		if c.PID == 0 { // an event told of the start, and events have no PIDs
			c, err = r.cfg.Engine.Inspect(ctx, c.ID)
		}
		if err != nil || c.State != docker.Running {
			return err
		}
		if err = r.cfg.Network.Attach(ctx, t.id, c.PID, networks); err == nil {
			return nil
		}
		switch now, ierr := r.cfg.Engine.Inspect(ctx, c.ID); {
		case errors.Is(ierr, docker.ErrNoContainer):
			return ierr
		case ierr == nil && now.State != docker.Running:
			c = now // it has ended, and had nothing to be attached
			return nil
		}
		return err
	}), func(err error) {
		switch {
		case errors.Is(err, docker.ErrNoContainer):
			t.container = nil
			r.succeeded(t)
		case err != nil && t.status.State >= api.TaskRunning:
			r.failed(t, err, nil)
		case err != nil:
			r.failed(t, err, report(api.TaskFailed, "failed", "task: not on its networks: "+err.Error()))
		default:
			if c.State == docker.Running {
				t.attached = c.ID
			}
			t.observe(c)
			r.succeeded(t)
		}
	})
}

// detach tells the networks that a container has ended, or will never run.
func (r *runner) detach(t *task) {
	if !t.joined || t.busy || !t.over() { // a call that is under way may be the networks' own
		return
	}
	t.joined, t.attached, t.networking = false, "", nil
	r.cfg.Network.Detach(t.id)
}

// stop waits as long as the container's grace period says, however long.
func (r *runner) stop(t *task) {
	c, served := *t.container, t.attached != "" && t.status.State == api.TaskRunning
	r.call(t, false, func(ctx context.Context) error {
		if served {
			if err := r.cfg.Network.Settle(ctx, t.id); err != nil {
				r.log.Warn("connections that were under way may be reset", "task", t.id, "err", err)
			}
		}
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
	r.log.Warn("step of a task failed; it is repeated", "task", t.id, "err", err, "after", wait)
	time.AfterFunc(wait, func() { r.post(func() { r.look(t) }) })
}
