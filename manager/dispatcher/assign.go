package dispatcher

import (
	"reflect"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// specBatch is how many bytes of specs travel in one message: gRPC refuses
// messages of more than 4 MiB, and a spec alone may have 500 KB and more.
const specBatch = 1 << 20

// told is what a node has been told in this session.
type told struct {
	node  api.NodeID
	tasks map[api.TaskID]toldTask
	// specs has the specs of those tasks. One without tasks counts as not
	// told: the node is free to forget it.
	specs map[specKey]*toldSpec
	// stops is set when the node is told to stop a task that others may be
	// connected to: it waits for the word that they are not.
	stops bool
}

// toldSpec is a spec as it was told last.
type toldSpec struct {
	tasks     int
	spec      *api.SpecVersion
	logDriver *swarm.Driver // the cluster's, where it names none
}

type toldTask struct {
	desired   api.TaskState
	spec      specKey
	networked bool
}

type specKey struct {
	service api.ServiceID
	version uint64
}

func newTold(node api.NodeID) *told {
	return &told{node: node, tasks: map[api.TaskID]toldTask{}, specs: map[specKey]*toldSpec{}}
}

// full returns the messages that tell a node everything; the last one has the tasks.
func (k *told) full(v *state.View) ([]*wire.Assignments, error) {
	b := builder{told: k, view: v, last: &wire.Assignments{Full: true, Index: v.Index()}}
	for t := range v.NodeTasks(k.node) {
		b.look(t.ID)
	}
	k.stops = true // it may run what is not in the set
	return b.messages()
}

// changes returns the messages that tell a node what became of some tasks:
// none, if it knows already. Statuses are the node's own words, so a task whose
// status alone has changed is no news.
func (k *told) changes(v *state.View, ids map[api.TaskID]struct{}) ([]*wire.Assignments, error) {
	b := builder{told: k, view: v, last: &wire.Assignments{Index: v.Index()}}
	for id := range ids {
		b.look(id)
	}
	if len(b.last.Tasks)+len(b.last.Removed) == 0 {
		return nil, b.err
	}
	return b.messages()
}

// everything names all tasks that may have changed when nobody knows which.
func (k *told) everything(v *state.View) map[api.TaskID]struct{} {
	ids := map[api.TaskID]struct{}{}
	for id := range k.tasks {
		ids[id] = struct{}{}
	}
	for t := range v.NodeTasks(k.node) {
		ids[t.ID] = struct{}{}
	}
	return ids
}

type builder struct {
	told  *told
	view  *state.View
	specs []*wire.Assignments // messages with specs alone, each within bounds
	size  int
	last  *wire.Assignments
	err   error
}

func (b *builder) look(id api.TaskID) {
	was, known := b.told.tasks[id]
	t := b.view.Task(id)
	if t == nil || t.NodeID != b.told.node {
		if known {
			b.told.forget(id, was)
			b.told.stops = b.told.stops || was.networked
			b.last.Removed = append(b.last.Removed, string(id))
		}
		return
	}
	if known && was.desired == t.Desired {
		return
	}
	// A task of a global service has its node from the start: it is the node's
	// when the scheduler has agreed.
	if t.Status.State < api.TaskAssigned {
		return
	}
	key := specKey{t.ServiceID, t.SpecVersion}
	networked := len(t.Networks) > 0
	b.told.tasks[id] = toldTask{desired: t.Desired, spec: key, networked: networked}
	b.told.stops = b.told.stops || networked && !t.Wanted()
	if !known {
		b.needSpec(t, key)
	}
	m, err := wire.EncodeTask(t)
	if err != nil {
		b.err = err
		return
	}
	b.last.Tasks = append(b.last.Tasks, m)
}

func (k *told) forget(id api.TaskID, was toldTask) {
	delete(k.tasks, id)
	if s := k.specs[was.spec]; s != nil {
		if s.tasks--; s.tasks <= 0 {
			delete(k.specs, was.spec)
		}
	}
}

func (b *builder) needSpec(t *api.Task, key specKey) {
	s := b.told.specs[key]
	if s == nil {
		s = &toldSpec{}
		b.told.specs[key] = s
	}
	s.tasks++
	now := b.view.SpecOf(t)
	logDriver := defaultLogDriver(b.view, now)
	if s.spec == now && reflect.DeepEqual(s.logDriver, logDriver) {
		return
	}
	s.spec, s.logDriver = now, logDriver
	spec, err := wire.EncodeSpec(withLogDriver(now, logDriver))
	if err != nil {
		b.err = err
		return
	}
	if n := len(b.specs); n == 0 || b.size+len(spec.SpecJson) > specBatch {
		b.specs = append(b.specs, &wire.Assignments{Index: b.view.Index()})
		b.size = 0
	}
	m := b.specs[len(b.specs)-1]
	m.Specs = append(m.Specs, spec)
	b.size += len(spec.SpecJson)
}

// defaultLogDriver is the cluster's, for a spec that names none. It holds for
// containers that are made from now on: those that there are keep theirs.
func defaultLogDriver(v *state.View, s *api.SpecVersion) *swarm.Driver {
	if c := v.Cluster(); c != nil && s.Spec.TaskTemplate.LogDriver == nil {
		return c.Spec.TaskDefaults.LogDriver
	}
	return nil
}

func withLogDriver(s *api.SpecVersion, d *swarm.Driver) *api.SpecVersion {
	if d == nil {
		return s
	}
	filled := *s
	filled.Spec.TaskTemplate.LogDriver = d
	return &filled
}

// messages puts the last specs into the message with the tasks: most of the
// time that makes it the only one.
func (b *builder) messages() ([]*wire.Assignments, error) {
	if n := len(b.specs); n > 0 {
		b.last.Specs = b.specs[n-1].Specs
		b.specs = b.specs[:n-1]
	}
	return append(b.specs, b.last), b.err
}
