package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// runner owns the node's tasks. One goroutine runs whatever is posted to it:
// assignments, events, the results of calls. It therefore needs no lock, and it
// never waits for the engine; calls run beside it (call.go).
type runner struct {
	cfg    *Config
	log    *slog.Logger
	outbox *outbox

	link      link // to the managers
	transfers transfers

	mu   sync.Mutex
	mail []func()
	wake chan struct{} // has room for one

	ctx   context.Context // of run: ends every call
	calls sync.WaitGroup

	tasks map[api.TaskID]*task
	specs map[specKey]*api.SpecVersion
	// contents are the secrets and configs that a manager has sent, by their IDs.
	// They are nowhere else but in the files of tasks.
	contents map[string]*api.Content
	swept    bool // files of earlier lives have been looked at
	node     docker.Node
	told     bool // a manager has said, once at least, what the node's tasks are
	up       bool // the engine answers and tasks holds what it has
	settles  bool // the session's manager is to be told when the tasks are settled
	early    []docker.Event

	volumes *volumes

	lease    lease
	lapsed   bool        // some container has been cut off for its time
	guarding *time.Timer // see guard

	held    map[*task]struct{} // must stop, and are not out of the balancers yet
	cleared uint64             // up to which index every node has applied the networks' state

	// sidecars are, by the task that they live with, those that are to be looked at
	// with it.
	sidecars map[api.TaskID]map[*task]struct{}

	queues [3][]*task // see enqueue
	free   int        // slots
	lent   int        // calls that go on without theirs
}

type specKey struct {
	service api.ServiceID
	version uint64
}

func newRunner(cfg *Config, out *outbox) *runner {
	r := &runner{
		cfg: cfg, log: cfg.Log, outbox: out, wake: make(chan struct{}, 1),
		tasks: map[api.TaskID]*task{}, specs: map[specKey]*api.SpecVersion{}, held: map[*task]struct{}{}, contents: map[string]*api.Content{},
		sidecars: map[api.TaskID]map[*task]struct{}{},
		node:     docker.Node{ID: cfg.NodeID}, free: cfg.Starts, volumes: newVolumes(), transfers: transfers{running: map[string]*transfer{}},
	}
	r.guarding = time.AfterFunc(time.Hour, func() { r.post(r.guard) })
	r.guarding.Stop()
	return r
}

// post has f run by the runner's goroutine. It never waits.
func (r *runner) post(f func()) {
	r.mu.Lock()
	r.mail = append(r.mail, f)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run returns once the context has ended and no call is under way any more.
func (r *runner) run(ctx context.Context) error {
	r.ctx = ctx
	r.lease.answered = time.Now() // a restart is no cut: nobody had the time to answer
	defer r.calls.Wait()
	defer r.guarding.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
			r.mu.Lock()
			mail := r.mail
			r.mail = nil
			r.mu.Unlock()
			for _, f := range mail {
				f()
			}
			r.settle()
			r.pump()
		}
	}
}

// update is what a manager says of the node's tasks, decoded.
type update struct {
	index   uint64
	full    bool
	specs   []*api.SpecVersion
	tasks   []*api.Task
	removed []api.TaskID

	contents []*api.Content // with full: all that the tasks use
	released []string
}

// assign takes what a manager says.
func (r *runner) assign(u *update) {
	for _, s := range u.specs {
		r.specs[specKey{s.ServiceID, s.Version}] = s
	}
	r.learn(u)
	if u.full {
		r.full(u)
	}
	for _, t := range u.tasks {
		r.assignOne(t, u.index)
	}
	for _, id := range u.removed {
		r.unassign(r.tasks[id])
	}
	if len(u.tasks)+len(u.removed) > 0 {
		r.dropSpecs()
		r.guard()
	}
	r.forget(u)
	if u.full {
		r.sweep()
		r.settles = true
	}
}

// settle says once a session that the managers know of every task what became of
// it: after a power failure they hold for running what is not, and what waits for
// it to be healthy must not go by that.
func (r *runner) settle() {
	if !r.settles || !r.up {
		return
	}
	for _, t := range r.tasks {
		if t.doubtful() {
			return
		}
	}
	r.settles = false
	r.outbox.settle()
}

// doubtful reports whether the managers hold a task for running that is not, and
// have not been told what has become of it.
func (t *task) doubtful() bool {
	if t.assigned == nil || t.status.State.Terminal() {
		return false
	}
	said := t.assigned.Status.State == api.TaskStarting || t.assigned.Status.State == api.TaskRunning
	return said && (t.container == nil || t.container.State != docker.Running)
}

// full takes everything away from the node that is not in the set.
func (r *runner) full(u *update) {
	keep := make(map[api.TaskID]bool, len(u.tasks))
	for _, t := range u.tasks {
		keep[t.ID] = true
	}
	r.told = true
	for id, t := range r.tasks {
		if !keep[id] {
			r.unassign(t)
		}
	}
}

func (r *runner) assignOne(a *api.Task, index uint64) {
	t := r.task(a.ID)
	if t.assigned != nil && a.Desired < t.assigned.Desired { // a manager that lags behind the last one
		a.Desired = t.assigned.Desired
	}
	t.assigned = a
	r.noteSidecar(t)
	if spec := r.specs[specKey{a.ServiceID, a.SpecVersion}]; spec != nil {
		t.spec, t.auth, t.image = &spec.Spec, spec.RegistryAuth, spec.Image
		t.refs = api.ContentRefs(spec.Spec.TaskTemplate.ContainerSpec)
		t.limit = setting.SelfStopOf(spec.Spec.Labels)
	}
	switch {
	case a.Status.State >= t.status.State:
		t.status = a.Status
	default:
		// The manager does not know yet, or has lost what we said.
		again := t.status
		r.outbox.put(t.id, &again, false)
	}
	r.drain(t, index)
	r.interrupt(t)
	r.look(t)
}

// unassign takes a task that has left the store. It does not wait for the
// balancers: its addresses may be another task's already.
func (r *runner) unassign(t *task) {
	if t == nil {
		return
	}
	t.assigned = nil
	delete(r.held, t)
	r.outbox.forget(t.id)
	r.interrupt(t)
	r.look(t)
}

// interrupt ends a wait for an image that nobody wants any more.
func (r *runner) interrupt(t *task) {
	if t.giveUp != nil && t.desired() >= api.TaskShutdown {
		t.giveUp()
	}
}

// dropSpecs forgets the specs without a task: a manager sends them again.
func (r *runner) dropSpecs() {
	used := map[specKey]bool{}
	for _, t := range r.tasks {
		if t.assigned != nil {
			used[specKey{t.assigned.ServiceID, t.assigned.SpecVersion}] = true
		}
	}
	for k := range r.specs {
		if !used[k] {
			delete(r.specs, k)
		}
	}
}

func (r *runner) task(id api.TaskID) *task {
	t := r.tasks[id]
	if t == nil {
		t = &task{id: id}
		r.tasks[id] = t
	}
	return t
}

// engineUp takes the list of what the engine has, and then what has happened
// since the list was asked for.
func (r *runner) engineUp(node docker.Node, list []docker.Container) {
	found := map[api.TaskID]*docker.Container{}
	for i := range list {
		c := &list[i]
		if first := found[c.Task]; c.Task == "" || first != nil {
			r.log.Warn("container with the labels of a task that has another one; it is left alone", "container", c.Name, "task", c.Task)
			continue
		}
		found[c.Task] = c
		r.task(c.Task)
	}
	r.node, r.up = node, true
	for id, t := range r.tasks {
		t.replace(found[id])
	}
	early := r.early
	r.early = nil
	for i := range early {
		r.apply(&early[i])
	}
	for _, t := range r.tasks {
		r.look(t)
	}
	r.guard()
	r.sweep()
}

// engineDown leaves every task as it was last known.
func (r *runner) engineDown() { r.up, r.early = false, nil }

// happened takes an event of the engine.
func (r *runner) happened(ev docker.Event) {
	if !r.up {
		r.early = append(r.early, ev)
		return
	}
	if t := r.apply(&ev); t != nil {
		r.look(t)
	}
}

func (r *runner) apply(ev *docker.Event) *task {
	t := r.tasks[ev.Task]
	if t == nil && ev.Type == docker.EventCreated && ev.Task != "" {
		t = r.task(ev.Task) // by a call whose answer never came
	}
	if t != nil {
		t.happened(ev)
	}
	return t
}

// look decides about one task, and acts.
func (r *runner) look(t *task) {
	defer r.lookBeside(t)
	defer r.tidy(t)
	defer r.detach(t)
	if !r.up || t.busy || t.queued || r.tasks[t.id] != t || r.ctx.Err() != nil {
		return
	}
	d := r.decide(t)
	r.report(t, d.status)
	switch d.act {
	case create, start, remove:
		r.enqueue(t, d.act)
	case prepare:
		r.prepare(t)
	case attach:
		r.attach(t)
	case stop:
		r.stop(t)
	case ask:
		r.ask(t)
	case forget:
		delete(r.tasks, t.id)
		r.dropSidecar(t)
	}
}

// decide says what is next for a task, as things are now.
func (r *runner) decide(t *task) decision {
	v := t.view()
	v.alone, v.selfStop, v.selfStopped = !r.told, t.selfStop(), t.selfStopped
	v.cutOff = r.lease.over(v.selfStop, time.Now())
	v.waits, v.gone = r.lacks(t)
	v.pod = r.podOf(t)
	d := decide(v)
	if d.act == stop && v.cutOff && !t.selfStopped {
		t.selfStopped = true
		r.log.Warn("cut off from the managers: a container is stopped that must not run twice", "task", t.id, "for", v.selfStop)
	}
	return d
}

// report hands a status on, if it is news. States in which a task stays for a
// moment only may wait for company.
func (r *runner) report(t *task, s *api.TaskStatus) {
	if s = t.note(s, time.Now()); s == nil {
		return
	}
	passing := s.State == api.TaskPreparing || s.State == api.TaskStarting
	r.outbox.put(t.id, s, passing)
	if s.State.Terminal() && s.Err != "" {
		r.log.Info("task ended", "task", t.id, "state", s.State, "err", s.Err)
	}
}

// progress has a task that prepares say how it comes on.
func (r *runner) progress(id api.TaskID, text string) {
	t := r.tasks[id]
	if t == nil || t.assigned == nil || t.status.State != api.TaskPreparing || t.status.Message == text {
		return
	}
	t.status.Message = text
	s := t.status
	r.outbox.put(id, &s, true)
}

func (t *task) desired() api.TaskState {
	if t.assigned == nil {
		return api.TaskRemove
	}
	return t.assigned.Desired
}
