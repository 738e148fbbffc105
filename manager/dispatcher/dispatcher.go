package dispatcher

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Dispatcher serves wire.Dispatcher.
type Dispatcher struct {
	wire.UnimplementedDispatcherServer
	cfg     Config
	reports *reporter
	tunnels tunnels

	sends   chan struct{} // has room for the images that are sent at once
	started chan struct{} // closed once Run follows the store
	stopped chan struct{} // closed when Run returns

	mu sync.Mutex
	// view is the state as of the last event that has been fanned out.
	view *state.View
	// moved is closed, and replaced, when view moves on.
	moved chan struct{}
	// sessions has one entry a node that this manager answers for: it has a
	// stream here, or had one and may come back before it counts as lost.
	sessions map[api.NodeID]*session
	shared   *sharedInfo
	// loom has the fabric as of view, drains what is being taken out of it.
	loom   *loom
	drains draining
	// spread is when all sessions were last woken for the fabric, and due
	// whether they are to be again; see spreadCost.
	spread time.Time
	due    bool
}

// New returns a dispatcher; it serves nobody before Run.
func New(cfg Config) (*Dispatcher, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	d := &Dispatcher{
		cfg:      cfg,
		sends:    make(chan struct{}, maxSends),
		started:  make(chan struct{}),
		stopped:  make(chan struct{}),
		moved:    make(chan struct{}),
		sessions: map[api.NodeID]*session{},
		tunnels:  tunnels{waiting: map[string]*dialBack{}},
		drains:   newDraining(),
	}
	d.reports = newReporter(d)
	return d, nil
}

// Run follows the store until ctx ends, which is the only error it returns;
// all sessions end with it. It runs once.
func (d *Dispatcher) Run(ctx context.Context) error {
	view, cursor := d.cfg.Store.Follow()
	d.mu.Lock()
	d.view, d.shared, d.loom = view, d.cfg.shareInfo(view), newLoom(view)
	d.drains.begin(view.Index(), time.Now()) // one of before may not be over
	d.adopt(slices.Collect(view.Nodes()))
	d.mu.Unlock()
	close(d.started)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(d.stopped)
	wg.Go(func() { d.reports.run(ctx) })
	wg.Go(func() { d.watchSilence(ctx) })
	wg.Go(func() { d.watchDrains(ctx) })
	return d.follow(ctx, cursor)
}

func (d *Dispatcher) follow(ctx context.Context, cursor *state.Cursor) error {
	var later <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-cursor.Ready():
			event, err := cursor.Next(ctx)
			if err != nil {
				return err
			}
			d.fanOut(event)
		case <-later:
			later = nil
		}
		if rest := d.spreadFabric(time.Now()); rest > 0 && later == nil {
			later = time.After(rest)
		}
	}
}

// fanOut tells the sessions concerned that something of theirs has changed.
// They look up what in the view, each when its stream has room: what changes
// twice meanwhile is sent once.
func (d *Dispatcher) fanOut(e *state.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.view = e.View
	close(d.moved)
	d.moved = make(chan struct{})
	d.weave(e)
	if e.Reset {
		d.adopt(slices.Collect(e.View.Nodes()))
		for s := range maps.Values(d.sessions) {
			s.mark(func(p *pending) { p.resync = true })
			d.nodeChanged(s)
		}
	}
	d.fanOutTasks(e)
	d.fanOutNodes(e)
}

// fanOutTasks tells each session of all of its tasks at once, so that what
// happened at once is told in one message.
func (d *Dispatcher) fanOutTasks(e *state.Event) {
	touched := map[*session][]api.TaskID{}
	for _, pair := range e.Tasks {
		t := either(pair)
		if s := d.sessions[t.NodeID]; s != nil && t.NodeID != "" {
			touched[s] = append(touched[s], t.ID)
		}
	}
	for s, ids := range touched {
		s.mark(func(p *pending) {
			for _, id := range ids {
				p.tasks[id] = struct{}{}
			}
		})
	}
}

// weave has the fabric follow an event. The sessions that get a task with it
// get the fabric before, see sender.flush; the others soon.
func (d *Dispatcher) weave(e *state.Event) {
	if e.Reset || len(e.Nodes) > 0 { // another manager answers for a node, or a node for nothing
		d.drains.holders = nil
		d.drains.look()
	}
	c := d.loom.follow(e)
	if c == nil {
		return
	}
	d.due = true
	if c.drains {
		d.drains.begin(c.update.Index, time.Now())
		d.drains.look()
	}
}

// spreadCost is about what it costs to tell one session of a change of the
// fabric. All sessions are woken for one at most as often as that takes half of
// a core: with 5,000 of them a change may wait for 0.2 s and travels with all
// that came meanwhile; with ten, for less than a millisecond.
const spreadCost = 20 * time.Microsecond

// spreadFabric wakes all sessions if the fabric has changed. Where that would
// be too soon it returns after how long it may be done.
func (d *Dispatcher) spreadFabric(now time.Time) (rest time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.due {
		return 0
	}
	pace := 2 * spreadCost * time.Duration(len(d.sessions))
	if rest = pace - now.Sub(d.spread); rest > 0 {
		return rest
	}
	d.due, d.spread = false, now
	for _, s := range d.sessions {
		s.mark(func(*pending) {})
	}
	return 0
}

func (d *Dispatcher) fanOutNodes(e *state.Event) {
	managers := e.Reset || e.Cluster
	for _, pair := range e.Nodes {
		managers = managers || concernsManagers(pair)
		if pair.After == nil {
			if s := d.sessions[pair.Before.ID]; s != nil {
				d.nodeChanged(s)
			}
			continue
		}
		d.adopt([]*api.Node{pair.After})
		if s := d.sessions[pair.After.ID]; s != nil {
			d.nodeChanged(s)
		}
	}
	if !managers {
		return
	}
	if next := d.cfg.shareInfo(e.View); !next.equal(d.shared) {
		d.shared = next
		for s := range maps.Values(d.sessions) {
			s.mark(func(p *pending) { p.info = true })
		}
	}
}

// nodeChanged has a session look at its node. One whose stream has ended has
// nobody to do so: it is forgotten here if the node is gone or lives elsewhere.
func (d *Dispatcher) nodeChanged(s *session) {
	if n := d.view.Node(s.node); n != nil && n.Status.Unsettled && n.Status.Session == s.id && s.settled.Load() {
		d.reports.confirm(s)
	}
	if s.streaming.Load() {
		s.mark(func(p *pending) { p.node = true })
		return
	}
	if n := d.view.Node(s.node); n == nil || n.Status.Session != s.id {
		delete(d.sessions, s.node)
	}
}

// adopt takes on the nodes that the state says have a session here and that
// this process knows nothing of: the daemon was restarted, or a node went away
// while it said hello. They have one timeout to come back.
func (d *Dispatcher) adopt(nodes []*api.Node) {
	for _, n := range nodes {
		if n.Status.SessionManager != d.cfg.NodeID || n.Status.SessionLost || d.sessions[n.ID] != nil {
			continue
		}
		d.sessions[n.ID] = newSession(n.ID, n.Status)
	}
}

// reached waits until this manager's state is at least at index.
func (d *Dispatcher) reached(ctx context.Context, index uint64) error {
	for {
		d.mu.Lock()
		at, moved := d.view.Index(), d.moved
		d.mu.Unlock()
		if at >= index {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-d.stopped:
			return errStopping
		}
	}
}

// current returns the newest view that has been fanned out, and what all
// nodes are told of the cluster.
func (d *Dispatcher) current() (*state.View, *sharedInfo) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.view, d.shared
}

func (d *Dispatcher) command(ops ...state.Op) state.Command {
	return state.Command{At: d.cfg.Now(), Ops: ops}
}

var errStopping = api.Errorf(api.CodeUnavailable, "this manager is stopping: try another one")
