package runtimetest

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// Files are the secrets and configs of a node's tasks, in memory. They outlive
// the daemons that write them, as a mount does.
type Files struct {
	mu     sync.Mutex
	tasks  map[api.TaskID][]docker.File
	faults []error
}

// NewFiles makes a store without any.
func NewFiles() *Files { return &Files{tasks: map[api.TaskID][]docker.File{}} }

// Put keeps the files of a task, or fails as Fail said.
func (f *Files) Put(task api.TaskID, list []docker.File) ([]docker.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.faults) > 0 {
		err := f.faults[0]
		f.faults = f.faults[1:]
		return nil, err
	}
	out := slices.Clone(list)
	for i := range out {
		out[i].Source = fmt.Sprintf("/files/%s/%d", task, i)
	}
	f.tasks[task] = slices.Clone(out)
	for i := range out {
		out[i].Data = nil
	}
	return out, nil
}

// Drop forgets the files of a task.
func (f *Files) Drop(task api.TaskID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.tasks, task)
	return nil
}

// Tasks are those that have files, in order.
func (f *Files) Tasks() ([]api.TaskID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.tasks)), nil
}

// Close forgets everything.
func (f *Files) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.tasks)
	return nil
}

// Fail has the next Put fail.
func (f *Files) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, err)
}

// Of are the files of a task.
func (f *Files) Of(task api.TaskID) []docker.File {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.tasks[task])
}

// has reports whether something lies at a source.
func (f *Files) has(source string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, list := range f.tasks {
		if slices.ContainsFunc(list, func(d docker.File) bool { return d.Source == source }) {
			return true
		}
	}
	return false
}
