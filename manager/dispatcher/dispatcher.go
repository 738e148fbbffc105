package dispatcher

import (
	"context"
	"maps"
	"slices"
	"sync"

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
}

// New returns a dispatcher; it serves nobody before Run.
func New(cfg Config) (*Dispatcher, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	d := &Dispatcher{
		cfg:      cfg,
		started:  make(chan struct{}),
		stopped:  make(chan struct{}),
		moved:    make(chan struct{}),
		sessions: map[api.NodeID]*session{},
		tunnels:  tunnels{waiting: map[string]*dialBack{}},
	}
	d.reports = newReporter(d)
	return d, nil
}

// Run follows the store until ctx ends, which is the only error it returns;
// all sessions end with it. It runs once.
func (d *Dispatcher) Run(ctx context.Context) error {
	view, cursor := d.cfg.Store.Follow()
	d.mu.Lock()
	d.view, d.shared = view, d.cfg.shareInfo(view)
	d.adopt(slices.Collect(view.Nodes()))
	d.mu.Unlock()
	close(d.started)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(d.stopped)
	wg.Go(func() { d.reports.run(ctx) })
	wg.Go(func() { d.watchSilence(ctx) })
	for {
		event, err := cursor.Next(ctx)
		if err != nil {
			return err
		}
		d.fanOut(event)
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
	if e.Reset {
		d.adopt(slices.Collect(e.View.Nodes()))
		for s := range maps.Values(d.sessions) {
			s.mark(func(p *pending) { p.resync = true })
			d.nodeChanged(s)
		}
	}
	for _, pair := range e.Tasks {
		t := pair.After
		if t == nil {
			t = pair.Before
		}
		if s := d.sessions[t.NodeID]; s != nil && t.NodeID != "" {
			s.mark(func(p *pending) { p.tasks[t.ID] = struct{}{} })
		}
	}
	d.fanOutNodes(e)
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
