package dispatcher

import (
	"encoding/json"
	"errors"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// serve carries a session over its stream until either ends. Receiving has its
// own goroutine, which ends with the stream, that is, with this method's
// return: a node that does not read must still be heard.
func (d *Dispatcher) serve(s *session, stream wire.Dispatcher_SessionServer) error {
	defer d.leave(s)
	go d.receive(s, stream)
	w := &sender{d: d, s: s, stream: stream, told: newTold(s.node)}
	if err := w.begin(); err != nil {
		return err
	}
	for {
		select {
		case <-s.wake:
			if err := w.flush(s.take()); err != nil {
				return err
			}
		case <-s.ended:
			return s.err
		case <-d.stopped:
			return errStopping
		}
	}
}

func (d *Dispatcher) receive(s *session, stream wire.Dispatcher_SessionServer) {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			var done bool
			if done, err = d.handle(s, m); !done {
				continue
			}
		}
		s.end(err)
		return
	}
}

// leave is the end of a session's stream. The session stays for a timeout, so
// that its node may come back, unless nothing more is to be known of it: it is
// lost already, or its node is gone or lives elsewhere.
func (d *Dispatcher) leave(s *session) {
	s.streaming.Store(false)
	known := s.knownLost()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.drains.waits, s)
	if d.sessions[s.node] == s && (known || standing(d.view, s) != nil) {
		delete(d.sessions, s.node)
	}
}

// handle takes one message of the node; done says that it was the last.
func (d *Dispatcher) handle(s *session, m *wire.FromNode) (done bool, err error) {
	s.heard.Store(true)
	switch m := m.GetMessage().(type) {
	case *wire.FromNode_Heartbeat:
		s.measured(m.Heartbeat.GetLoad())
		s.mark(func(p *pending) { p.beat = m.Heartbeat })
	case *wire.FromNode_Status:
		d.reports.add(s, m.Status)
	case *wire.FromNode_DescriptionJson:
		var desc api.NodeDescription
		if err := json.Unmarshal(m.DescriptionJson, &desc); err != nil {
			return true, api.Errorf(api.CodeInvalid, "description of node %s: %v", s.node, err)
		}
		s.describe(&desc)
	case *wire.FromNode_PortProblems:
		s.troubles(m.PortProblems)
	case *wire.FromNode_Volumes:
		d.reports.volumes(s, m.Volumes)
	case *wire.FromNode_FabricApplied:
		d.applied(s, m.FabricApplied.GetIndex())
	case *wire.FromNode_Goodbye:
		d.goodbye(s)
		return true, nil
	default:
		return true, api.Errorf(api.CodeInvalid, "message %T has no place within a session", m)
	}
	return false, nil
}

// sender is the sending half of a session's stream.
type sender struct {
	d      *Dispatcher
	s      *session
	stream wire.Dispatcher_SessionServer
	told   *told
	info   *wire.ClusterInfo
	woven  uint64 // the last change of the fabric that was sent
}

// look returns what a session is to be told of, read in one moment: the state, what
// all nodes are told of the cluster, and what the node lacks of the fabric of
// that state.
func (w *sender) look(lacks func(*loom) []*parcel) (*state.View, *sharedInfo, []*parcel) {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	news := lacks(w.d.loom)
	w.woven = w.d.loom.seq
	return w.d.view, w.d.shared, news
}

func (w *sender) begin() error {
	view, shared, fabric := w.look((*loom).all)
	if err := standing(view, w.s); err != nil {
		return err
	}
	m, err := w.d.welcome(w.s, view.Node(w.s.node), shared)
	if err != nil {
		return err
	}
	w.info = m.GetWelcome().GetCluster()
	if err := w.stream.Send(m); err != nil {
		return err
	}
	if err := w.weave(fabric); err != nil {
		return err
	}
	list, err := w.told.full(view)
	if err != nil {
		return err
	}
	return w.assign(view, list)
}

// flush sends what is pending. Acknowledgements and heartbeats go first: they
// are small, and the node waits for them. The fabric goes before the tasks that
// count on it.
func (w *sender) flush(p pending) error {
	if p.acked > 0 {
		if err := w.stream.Send(&wire.FromManager{Message: &wire.FromManager_StatusAck{StatusAck: &wire.StatusAck{Seq: p.acked}}}); err != nil {
			return err
		}
	}
	if p.beat != nil {
		if err := w.stream.Send(&wire.FromManager{Message: &wire.FromManager_Heartbeat{Heartbeat: &wire.Heartbeat{Stamp: p.beat.GetStamp()}}}); err != nil {
			return err
		}
	}
	for _, id := range p.tunnels {
		if err := w.stream.Send(&wire.FromManager{Message: &wire.FromManager_OpenTunnel{OpenTunnel: &wire.OpenTunnel{Id: id}}}); err != nil {
			return err
		}
	}
	view, shared, fabric := w.look(func(l *loom) []*parcel { return l.since(w.woven) })
	if p.node || p.info {
		if err := w.lookAtNode(view, shared); err != nil {
			return err
		}
	}
	if err := w.weave(fabric); err != nil {
		return err
	}
	if p.resync {
		p.tasks = w.told.everything(view)
	}
	list, err := w.told.changes(view, p.tasks)
	if err != nil {
		return err
	}
	if err := w.assign(view, list); err != nil || p.cleared == 0 {
		return err
	}
	return w.stream.Send(&wire.FromManager{Message: &wire.FromManager_Cleared{Cleared: &wire.Cleared{Index: p.cleared}}})
}

func (w *sender) weave(list []*parcel) error {
	for _, p := range list {
		for _, m := range p.messages() {
			if err := w.stream.Send(m); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *sender) assign(view *state.View, list []*wire.Assignments) error {
	for _, a := range list {
		if err := w.stream.Send(&wire.FromManager{Message: &wire.FromManager_Assignments{Assignments: a}}); err != nil {
			return err
		}
	}
	if w.told.stops {
		w.told.stops = false
		w.d.awaitClearance(w.s, view.Index())
	}
	return nil
}

func (w *sender) lookAtNode(view *state.View, shared *sharedInfo) error {
	if err := standing(view, w.s); err != nil {
		return err
	}
	n := view.Node(w.s.node)
	if n.Status.SessionLost {
		w.s.contradicted()
	}
	info, err := shared.forNode(n)
	if err != nil || proto.Equal(info, w.info) {
		return err
	}
	w.info = info
	return w.stream.Send(&wire.FromManager{Message: &wire.FromManager_Cluster{Cluster: info}})
}
