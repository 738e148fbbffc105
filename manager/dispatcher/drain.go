package dispatcher

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
)

// draining is what this manager does so that drains end: it gathers how far its
// own nodes have applied the fabric, tells the leader or, as the leader, hears
// that of the others, and tells the nodes that wait for it how far all are. It
// speaks only where there is a drain. Guarded by Dispatcher.mu.
type draining struct {
	clearance
	own   mark // how far the nodes of this manager were when it last mattered
	all   mark // how far those of the whole cluster were
	waits map[*session][]wait
	wake  chan struct{} // has room for one

	// While this manager leads: since when, what the other managers have said,
	// and which of them have nodes (nil: to be found out).
	term    chan struct{} // closed at its end; nil while another one leads
	began   time.Time
	words   map[api.NodeID]party
	holders map[api.NodeID]struct{}
}

// mark is an index that only grows.
type mark struct {
	index uint64
	moved chan struct{} // closed, and replaced, when it does
}

func (m *mark) raise(index uint64) {
	if index > m.index {
		m.index = index
		close(m.moved)
		m.moved = make(chan struct{})
	}
}

// wait is a node's that was told to stop something.
type wait struct {
	until uint64 // index of the assignments that said so
	drain uint64 // the one that must be over
	since time.Time
}

func newDraining() draining {
	return draining{
		own: mark{moved: make(chan struct{})}, all: mark{moved: make(chan struct{})},
		waits: map[*session][]wait{}, wake: make(chan struct{}, 1),
	}
}

// over reports whether all has been heard that there is to hear of the drains.
func (w *draining) over() bool { return w.last() <= min(w.own.index, w.all.index) }

// look has watchDrains look again.
func (w *draining) look() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// watchDrains adds up what was heard: once for all that came meanwhile, and
// again when those who did not answer have had their time.
func (d *Dispatcher) watchDrains(ctx context.Context) {
	var patience <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.drains.wake:
		case <-patience:
		}
		if patience = nil; !d.tally(time.Now()) {
			patience = time.After(drainPatience)
		}
	}
}

// tally reports whether the drains are over then.
func (d *Dispatcher) tally(now time.Time) (over bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := &d.drains
	if w.settle(now); w.over() {
		return true
	}
	own := w.least(d.view.Index(), d.nodesApplied(), now)
	if w.lastUpTo(own) > w.own.index {
		w.own.raise(own)
	}
	if w.term == nil {
		return w.over()
	}
	if all := w.least(own, d.managersApplied(), now); w.lastUpTo(all) > w.all.index {
		d.cleared(all)
	}
	return w.over()
}

// nodesApplied yields how far the nodes are that have their session here. One
// that is lost does not count; one whose stream has ended does for as long as it
// may come back: its containers still balance as it told them to.
func (d *Dispatcher) nodesApplied() iter.Seq[party] {
	return func(yield func(party) bool) {
		for _, s := range d.sessions {
			if !s.lost() && !yield(party{d.loom.reaches(s.applied, d.view.Index()), s.spoke}) {
				return
			}
		}
	}
}

// managersApplied yields how far the other managers are that answer for nodes.
func (d *Dispatcher) managersApplied() iter.Seq[party] {
	w := &d.drains
	if w.holders == nil {
		w.holders = d.findHolders()
	}
	return func(yield func(party) bool) {
		for id := range w.holders {
			word, ok := w.words[id]
			if !ok {
				word.spoke = w.began
			}
			if !yield(word) {
				return
			}
		}
	}
}

func (d *Dispatcher) findHolders() map[api.NodeID]struct{} {
	holders := map[api.NodeID]struct{}{}
	for n := range d.view.Nodes() {
		id := n.Status.SessionManager
		if m := d.view.Node(id); id != d.cfg.NodeID && !n.Status.SessionLost && there(n) && there(m) && m.IsManager() {
			holders[id] = struct{}{}
		}
	}
	return holders
}

// cleared takes the word that the whole cluster is at index.
func (d *Dispatcher) cleared(index uint64) {
	d.drains.all.raise(index)
	for s, list := range d.drains.waits {
		d.clear(s, list)
	}
}

// clear tells a node of those of its waits that are over.
func (d *Dispatcher) clear(s *session, list []wait) {
	var done uint64
	list = slices.DeleteFunc(list, func(w wait) bool {
		if w.drain <= d.drains.all.index {
			done = max(done, w.until)
			return true
		}
		return false
	})
	if done > 0 {
		s.mark(func(p *pending) { p.cleared = max(p.cleared, done) })
	}
	if len(list) == 0 {
		delete(d.drains.waits, s)
		return
	}
	d.drains.waits[s] = list
}

// awaitClearance notes that the assignments of an index, which have been sent,
// told a node to stop something: it is told when that may happen.
func (d *Dispatcher) awaitClearance(s *session, until uint64) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	w := &d.drains
	w.settle(now)
	drain := w.lastUpTo(until)
	if drain <= w.past { // whoever may not have answered is not waited for
		drain = 0
	}
	list := slices.DeleteFunc(w.waits[s], func(o wait) bool { return now.Sub(o.since) >= drainPatience })
	d.clear(s, append(list, wait{until, drain, now}))
}

// applied notes a node's word.
func (d *Dispatcher) applied(s *session, index uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.applied, s.spoke = max(s.applied, index), time.Now()
	if !d.drains.over() {
		d.drains.look()
	}
}

// LeadClearance combines what the managers have heard from their nodes, while
// this one leads: until ctx ends.
func (d *Dispatcher) LeadClearance(ctx context.Context) error {
	if err := d.running(ctx); err != nil {
		return err
	}
	term := make(chan struct{})
	d.mu.Lock()
	d.drains.term, d.drains.began = term, time.Now()
	d.drains.words, d.drains.holders = map[api.NodeID]party{}, nil
	d.drains.look()
	d.mu.Unlock()
	<-ctx.Done()
	d.mu.Lock()
	d.drains.term = nil
	d.mu.Unlock()
	close(term)
	return ctx.Err()
}

// FollowClearance tells the leader, at the other end of the stream, how far the
// nodes of this manager are, and hears how far all are, until the stream ends.
func (d *Dispatcher) FollowClearance(stream wire.Managers_AppliedClient) error {
	ctx := stream.Context()
	if err := d.running(ctx); err != nil {
		return err
	}
	heard := make(chan error, 1)
	go func() { // ends with the stream
		for {
			m, err := stream.Recv()
			if err != nil {
				heard <- wire.FromStatus(err)
				return
			}
			d.hearLeader(m.GetIndex())
		}
	}()
	index, moved := d.ownNow(time.Now())
	for {
		if err := stream.Send(&wire.FabricApplied{Index: index}); err != nil {
			return <-heard // says why
		}
		select {
		case <-moved:
			index, moved = d.watch(&d.drains.own)
		case err := <-heard:
			return err
		case <-d.stopped:
			return errStopping
		}
	}
}

// ownNow is how far the nodes of this manager are, for a leader that has not heard it yet.
func (d *Dispatcher) ownNow(now time.Time) (uint64, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	own := &d.drains.own
	own.raise(d.drains.least(d.view.Index(), d.nodesApplied(), now))
	return own.index, own.moved
}

func (d *Dispatcher) watch(m *mark) (uint64, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return m.index, m.moved
}

func (d *Dispatcher) hearLeader(index uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cleared(index)
}

// ServeClearance is the leader's end of FollowClearance, for one other manager.
func (d *Dispatcher) ServeClearance(manager api.NodeID, stream wire.Managers_AppliedServer) error {
	if err := d.running(stream.Context()); err != nil {
		return err
	}
	d.mu.Lock()
	term := d.drains.term
	d.mu.Unlock()
	if term == nil {
		return api.Errorf(api.CodeNotLeader, "manager %s does not lead: it cannot say how far all nodes are", d.cfg.NodeID)
	}
	heard := make(chan error, 1)
	go func() { // ends with the stream, that is, when this method returns
		for {
			m, err := stream.Recv()
			if err != nil {
				heard <- err
				return
			}
			d.hearManager(manager, m.GetIndex())
		}
	}()
	for told := uint64(0); ; {
		index, moved := d.watch(&d.drains.all)
		if index > told {
			if err := stream.Send(&wire.Cleared{Index: index}); err != nil {
				return err
			}
			told = index
		}
		select {
		case <-moved:
		case err := <-heard:
			return err
		case <-term:
			return api.Errorf(api.CodeNotLeader, "manager %s leads no longer", d.cfg.NodeID)
		case <-d.stopped:
			return errStopping
		}
	}
}

func (d *Dispatcher) hearManager(id api.NodeID, index uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.drains.term != nil {
		d.drains.words[id] = party{index, time.Now()}
		d.drains.look()
	}
}

// running waits until Run follows the store.
func (d *Dispatcher) running(ctx context.Context) error {
	select {
	case <-d.started:
		return nil
	case <-d.stopped:
		return errStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}
