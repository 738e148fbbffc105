package dispatcher

import (
	"maps"
	"reflect"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// specBatch is how many bytes of specs, secrets and configs travel in one
// message: gRPC refuses messages of more than 4 MiB, and a spec or a config
// alone may have 500 KB and more.
const specBatch = 1 << 20

// told is what a node has been told in this session.
type told struct {
	node  api.NodeID
	tasks map[api.TaskID]toldTask
	// specs has the specs of those tasks. One without tasks counts as not
	// told: the node is free to forget it.
	specs map[specKey]*toldSpec
	// contents counts, for each secret and config that the node has, its tasks
	// that use it: those that have not ended for good.
	contents map[string]int
	// stops is set when the node is told to stop a task that others may be
	// connected to: it waits for the word that they are not.
	stops bool
}

// toldSpec is a spec as it was told last.
type toldSpec struct {
	tasks     int
	spec      *api.SpecVersion
	logDriver *swarm.Driver // the cluster's, where it names none
	contents  []api.ContentRef
}

type toldTask struct {
	desired   api.TaskState
	spec      specKey
	networked bool
	over      bool // it uses no secrets and configs any more
}

type specKey struct {
	service api.ServiceID
	version uint64
}

func newTold(node api.NodeID) *told {
	return &told{node: node, tasks: map[api.TaskID]toldTask{}, specs: map[specKey]*toldSpec{}, contents: map[string]int{}}
}

// full returns the messages that tell a node everything; the last one has the tasks.
func (k *told) full(v *state.View) ([]*wire.Assignments, error) {
	b := newBuilder(k, v)
	b.last.Full = true
	for t := range v.NodeTasks(k.node) {
		b.look(t.ID)
	}
	k.stops = true // it may run what is not in the set
	b.contents()
	return b.messages()
}

// changes returns the messages that tell a node what became of some tasks:
// none, if it knows already. Statuses are the node's own words, so a task whose
// status alone has changed is no news, unless it was the last one that used a
// secret or a config.
func (k *told) changes(v *state.View, ids map[api.TaskID]struct{}) ([]*wire.Assignments, error) {
	b := newBuilder(k, v)
	for id := range ids {
		b.look(id)
	}
	b.contents()
	if len(b.last.Tasks)+len(b.last.Removed)+len(b.last.Released) == 0 {
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
	specs []*wire.Assignments // messages with specs and contents alone, each within bounds
	size  int
	last  *wire.Assignments
	err   error
	// uses are the secrets and configs whose users have changed, with how many
	// users the node knew of before.
	uses map[string]*usage
}

type usage struct {
	ref api.ContentRef
	was int
}

func newBuilder(k *told, v *state.View) *builder {
	return &builder{told: k, view: v, last: &wire.Assignments{Index: v.Index()}, uses: map[string]*usage{}}
}

func (b *builder) look(id api.TaskID) {
	was, known := b.told.tasks[id]
	t := b.view.Task(id)
	if t == nil || t.NodeID != b.told.node {
		if known {
			b.use(was, -1)
			b.told.forget(id, was)
			b.told.stops = b.told.stops || was.networked
			b.last.Removed = append(b.last.Removed, string(id))
		}
		return
	}
	if over := t.Status.State.Terminal(); known && over && !was.over {
		b.use(was, -1)
		was.over = true
		b.told.tasks[id] = was
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
	now := toldTask{desired: t.Desired, spec: key, networked: networked, over: t.Status.State.Terminal()}
	b.told.tasks[id] = now
	b.told.stops = b.told.stops || networked && !t.Wanted()
	if !known {
		b.needSpec(t, key)
		b.use(now, +1)
	}
	m, err := wire.EncodeTask(t)
	if err != nil {
		b.err = err
		return
	}
	b.last.Tasks = append(b.last.Tasks, m)
}

// use counts a task among the users of its secrets and configs, or out of them.
func (b *builder) use(t toldTask, n int) {
	spec := b.told.specs[t.spec]
	if t.over || spec == nil {
		return
	}
	for _, r := range spec.contents {
		if b.uses[r.ID] == nil {
			b.uses[r.ID] = &usage{ref: r, was: b.told.contents[r.ID]}
		}
		if b.told.contents[r.ID] += n; b.told.contents[r.ID] <= 0 {
			delete(b.told.contents, r.ID)
		}
	}
}

// contents adds the secrets and configs that the node needs from now on, and
// names those that it needs no longer.
func (b *builder) contents() {
	for _, id := range slices.Sorted(maps.Keys(b.uses)) {
		c := b.uses[id]
		switch users := b.told.contents[id]; {
		case users > 0 && c.was == 0:
			content := wire.EncodeContent(b.view.Content(&c.ref))
			m := b.room(len(content.Data))
			m.Contents = append(m.Contents, content)
		case users == 0 && c.was > 0:
			b.last.Released = append(b.last.Released, id)
		}
	}
}

// room is a message before the one with the tasks that has room for so much.
func (b *builder) room(size int) *wire.Assignments {
	if n := len(b.specs); n == 0 || b.size+size > specBatch {
		b.specs = append(b.specs, &wire.Assignments{Index: b.view.Index()})
		b.size = 0
	}
	b.size += size
	return b.specs[len(b.specs)-1]
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
	if s.spec == nil {
		s.contents = api.ContentRefs(now.Spec.TaskTemplate.ContainerSpec)
	}
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
	m := b.room(len(spec.SpecJson))
	m.Specs = append(m.Specs, spec)
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

// messages puts the last specs and contents into the message with the tasks:
// most of the time that makes it the only one.
func (b *builder) messages() ([]*wire.Assignments, error) {
	if n := len(b.specs); n > 0 {
		b.last.Specs, b.last.Contents = b.specs[n-1].Specs, b.specs[n-1].Contents
		b.specs = b.specs[:n-1]
	}
	return append(b.specs, b.last), b.err
}
