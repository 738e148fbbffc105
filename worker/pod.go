package worker

import "github.com/swarmctl/swarmctl/worker/docker"

// noteSidecar notes whom a task lives with, if it is a sidecar.
func (r *runner) noteSidecar(t *task) {
	with := t.assigned.PodOf
	if with == "" || with == t.podOf {
		return
	}
	t.podOf = with
	if r.sidecars[with] == nil {
		r.sidecars[with] = map[*task]struct{}{}
	}
	r.sidecars[with][t] = struct{}{}
}

func (r *runner) dropSidecar(t *task) {
	if delete(r.sidecars[t.podOf], t); len(r.sidecars[t.podOf]) == 0 {
		delete(r.sidecars, t.podOf)
	}
}

// lookBeside looks at the sidecars of a task that may have come further: they wait
// for its container. Sidecars have none of their own.
func (r *runner) lookBeside(t *task) {
	if t.podOf != "" {
		return
	}
	for s := range r.sidecars[t.id] {
		r.look(s)
	}
}

// podOf is how far the container is that a task is a sidecar of.
func (r *runner) podOf(t *task) pod {
	if t.podOf == "" {
		return noPod
	}
	with := r.tasks[t.podOf]
	switch {
	case with == nil:
		return podAwaited
	case with.over():
		return podOver
	case with.container == nil:
		return podAwaited
	case with.container.State == docker.Created:
		return podMade
	}
	return podRuns
}

// podContainer is the container whose network namespace a task's is to share; empty
// where it has its own.
func (r *runner) podContainer(t *task) string {
	if with := r.tasks[t.podOf]; with != nil && with.container != nil {
		return with.container.ID
	}
	return ""
}
