package dispatcher

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// observed is what is written to the store of one session's node: whether the
// session is lost, and what the node says of itself. Guarded by session.mu.
type observed struct {
	status api.NodeStatus // as written when the session was opened
	lost   bool           // the session is silent
	// written says what the store has been told of lost. It is written again
	// for as long as the two differ, so a failed proposal needs no bookkeeping.
	written     told3
	description *api.NodeDescription // to be written
	problems    *map[string]string   // with ports; to be written
	load        *api.NodeLoad        // to be written
}

// told3 is a bool that may be unknown: a proposal may fail and yet be done.
type told3 int8

const (
	toldFound told3 = iota
	toldLost
	toldUnknown
)

func toldOf(lost bool) told3 {
	if lost {
		return toldLost
	}
	return toldFound
}

func (s *session) describe(desc *api.NodeDescription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observed.description = desc
}

func (s *session) troubles(m *wire.PortProblems) {
	problems := portProblems(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observed.problems = &problems
}

// measured notes how busy the node is, where it says so.
func (s *session) measured(l *wire.NodeLoad) {
	if l == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observed.load = wire.DecodeLoad(l)
}

// maxProblems is how many ports a node may complain of.
const maxProblems = 100

// portProblems is what a node may say of published ports.
func portProblems(m *wire.PortProblems) map[string]string {
	out := map[string]string{}
	for _, port := range slices.Sorted(maps.Keys(m.GetWhy())) {
		if len(out) < maxProblems && len(port) <= maxPort {
			out[port] = clip(m.GetWhy()[port])
		}
	}
	return out
}

// maxPort is longer than any port with an address.
const maxPort = 100

// contradicted notes that the store takes the session for lost. That is in
// order while it is, and while the store is about to be told otherwise; else
// someone has written the node's status from an older view. NB: the node's state
// is left to those who judge it by gossip too: two writers would wrestle.
func (s *session) contradicted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.observed.lost && s.observed.written == toldFound {
		s.observed.written = toldUnknown
	}
}

// knownLost reports whether the store knows that the session is lost.
func (s *session) knownLost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.observed.lost && s.observed.written == toldLost
}

func (s *session) lost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.observed.lost
}

// listen counts one tick: a session is lost when it was silent for limit ticks
// in a row and found again with its first word.
func (s *session) listen(limit int) {
	if s.heard.Swap(false) {
		s.silent = 0
	} else {
		s.silent++
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observed.lost = s.silent >= limit
}

// observation is what there is to write of a session, if anything.
type observation struct {
	session *session
	lost    bool
	turned  bool // whether op tells that the session is lost, or found again
	op      state.Op
	was     observed // of which the parts that were to be written are in op
}

func (s *session) observe() (observation, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &s.observed
	if toldOf(o.lost) == o.written && o.description == nil && o.problems == nil && o.load == nil {
		return observation{}, false
	}
	ob := &state.ObserveNode{ID: s.node, Description: o.description, PortProblems: o.problems, Load: o.load, IfSession: s.id}
	turned := toldOf(o.lost) != o.written
	switch {
	case turned && o.lost: // what that means for the node, the leader judges
		lost := true
		ob.SessionLost = &lost
	case turned:
		status := o.status
		status.Unsettled = !s.settled.Load()
		ob.Status = &status
	}
	return observation{session: s, lost: o.lost, turned: turned, op: state.Op{ObserveNode: ob}, was: *o}, true
}

// written notes how the proposal of an observation went; forget says that
// nothing remains to be known of the session.
func (o *observation) written(ok bool) (forget bool) {
	s := o.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.turned {
		s.observed.written = toldUnknown
		if ok {
			s.observed.written = toldOf(o.lost)
		}
	}
	if ok && s.observed.description == o.was.description {
		s.observed.description = nil
	}
	if ok && s.observed.problems == o.was.problems {
		s.observed.problems = nil
	}
	if ok && s.observed.load == o.was.load {
		s.observed.load = nil
	}
	return ok && o.lost && s.observed.lost && !s.streaming.Load()
}

// watchSilence ticks, and writes what it hears and does not hear to the store:
// all news of a tick in one command, one command at a time.
func (d *Dispatcher) watchSilence(ctx context.Context) {
	timeout := d.sessionTimeout()
	tick := time.NewTicker(timeout / ticksPerTimeout)
	defer tick.Stop()
	idle := make(chan struct{}, 1)
	idle <- struct{}{}
	// Waits for the last proposal, which ends with ctx.
	defer func() { <-idle }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := d.sessionTimeout(); now != timeout { // the cluster wants another one
			timeout = now
			tick.Reset(timeout / ticksPerTimeout)
		}
		news := d.listen()
		if len(news) == 0 {
			continue
		}
		select {
		case <-idle:
			go func() {
				d.writeObservations(ctx, news)
				idle <- struct{}{}
			}()
		default: // still writing; the news will be there at the next tick
		}
	}
}

func (d *Dispatcher) sessionTimeout() time.Duration {
	view, _ := d.current()
	_, timeout := d.cfg.times(view)
	return timeout
}

func (d *Dispatcher) listen() []observation {
	d.mu.Lock()
	sessions := slices.Collect(maps.Values(d.sessions))
	d.mu.Unlock()
	var news []observation
	for _, s := range sessions {
		s.listen(ticksPerTimeout)
		if o, ok := s.observe(); ok {
			news = append(news, o)
		}
	}
	if len(news) > 0 {
		d.drains.look()
	}
	return news
}

func (d *Dispatcher) writeObservations(ctx context.Context, news []observation) {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	ops := make([]state.Op, len(news))
	for i := range news {
		ops[i] = news[i].op
		if news[i].turned {
			d.cfg.Log.Info("session heard or lost", "node", news[i].session.node, "lost", news[i].lost)
		}
	}
	result, err := d.cfg.Store.Propose(ctx, d.command(ops...))
	if err == nil {
		err = result.Err()
	}
	if err != nil && ctx.Err() == nil {
		d.cfg.Log.Warn("observations of nodes not written; trying again", "nodes", len(news), "error", err)
	}
	for i := range news {
		if news[i].written(err == nil) {
			d.drop(news[i].session)
		}
	}
}

// goodbye writes that the node has left. Should that fail, the session is lost
// after its timeout all the same.
func (d *Dispatcher) goodbye(s *session) {
	s.mu.Lock()
	status := s.observed.status
	s.mu.Unlock()
	status.State, status.Message, status.SessionLost = api.NodeDisconnected, "left the cluster", true
	ctx, cancel := context.WithTimeout(context.Background(), proposeTimeout)
	defer cancel()
	op := state.Op{ObserveNode: &state.ObserveNode{ID: s.node, Status: &status, IfSession: s.id}}
	if _, err := d.cfg.Store.Propose(ctx, d.command(op)); err != nil {
		d.cfg.Log.Warn("node's leave not written", "node", s.node, "error", err)
		return
	}
	d.drop(s)
}
