package worker

import (
	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// Files is where the secrets and configs of tasks lie for their containers.
// worker/files has the real one, worker/runtimetest one in memory.
type Files interface {
	// Put writes the files of a task anew, and returns them with their sources.
	Put(task api.TaskID, list []docker.File) ([]docker.File, error)
	// Drop removes them; that there are none is fine.
	Drop(task api.TaskID) error
	// Tasks are those that have files, from earlier lives of the program too.
	Tasks() ([]api.TaskID, error)
	// Close removes everything. The cluster's containers are gone by then.
	Close() error
}

// noFiles is a node that keeps no secrets and configs.
type noFiles struct{}

func (noFiles) Put(task api.TaskID, _ []docker.File) ([]docker.File, error) {
	return nil, api.Errorf(api.CodeUnsupported, "task %s uses secrets or configs, and this node keeps none: keep the service to other nodes by a constraint", task)
}

func (noFiles) Drop(api.TaskID) error        { return nil }
func (noFiles) Tasks() ([]api.TaskID, error) { return nil, nil }
func (noFiles) Close() error                 { return nil }

// learn takes the secrets and configs that a manager has sent. It is the manager
// who says when one is to be forgotten: it counts on those that it has sent, and
// may not know yet what has become of a task here.
func (r *runner) learn(u *update) {
	if u.full {
		clear(r.contents)
	}
	for _, c := range u.contents {
		r.contents[c.ID] = c
	}
}

// forget is the other half of learn.
func (r *runner) forget(u *update) {
	for _, id := range u.released {
		delete(r.contents, id)
	}
}

// lacks names a secret or config of the task that has not come yet, and one that
// the cluster does not have any more. Nobody asks for a container that runs: it
// has its files.
func (r *runner) lacks(t *task) (waits, gone string) {
	if t.container != nil && t.container.State != docker.Created {
		return "", ""
	}
	for i := range t.refs {
		switch c := r.contents[t.refs[i].ID]; {
		case c == nil && waits == "":
			waits = t.refs[i].String()
		case c != nil && c.Gone && gone == "":
			gone = t.refs[i].String()
		}
	}
	return waits, gone
}

// contentsOf are the secrets and configs of a task, for a call beside the runner.
func (r *runner) contentsOf(t *task) map[string]*api.Content {
	have := make(map[string]*api.Content, len(t.refs))
	for i := range t.refs {
		have[t.refs[i].ID] = r.contents[t.refs[i].ID]
	}
	return have
}

// tidy removes the files of a task of which no container runs, or will.
func (r *runner) tidy(t *task) {
	if !t.filed || t.busy || !t.over() {
		return
	}
	t.filed = false
	r.drop(t.id)
}

func (r *runner) drop(id api.TaskID) {
	if err := r.cfg.Files.Drop(id); err != nil {
		r.log.Warn("secrets and configs of a task that is over are still there", "task", id, "err", err)
	}
}

// sweep looks once, when a manager and the engine have both said what there is,
// at what earlier lives of the program have left.
func (r *runner) sweep() {
	if r.swept || !r.told || !r.up {
		return
	}
	r.swept = true
	list, err := r.cfg.Files.Tasks()
	if err != nil {
		r.log.Warn("secrets and configs of tasks that are over may still be there", "err", err)
	}
	for _, id := range list {
		if t := r.tasks[id]; t != nil {
			t.filed = true
			r.tidy(t)
		} else {
			r.drop(id)
		}
	}
}
