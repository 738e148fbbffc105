package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
)

const (
	// defaultHeartbeat applies where a manager does not say.
	defaultHeartbeat = 800 * time.Millisecond
	// silentPeriods is after how many heartbeats without a word from the
	// manager the session is given up.
	silentPeriods = 5
)

// session is one stream to one manager.
type session struct {
	*connector
	peer     *wire.Peer
	client   wire.DispatcherClient
	stream   wire.Dispatcher_SessionClient
	welcomed bool
	watchdog *time.Timer
	period   atomic.Int64 // between two heartbeats, a time.Duration
	beat     *time.Ticker
	ctx      context.Context
	tunnels  sync.WaitGroup
	fabric   fabricState

	// contents are the secrets and configs that have come before the full set of
	// tasks, until that has come: they are complete with it.
	contents []*api.Content
	complete bool
}

// run says Hello and carries on until the stream ends.
func (s *session) run(ctx context.Context) error {
	sctx, cancel := context.WithCancelCause(ctx)
	defer s.tunnels.Wait()
	defer s.runner.link.set(nil, nil)
	defer cancel(nil)
	s.ctx = sctx
	// The dog watches from its own goroutine: a Send to a manager that does
	// not read any more would hold up a check in the loop.
	s.watchdog = time.AfterFunc(welcomeTimeout, func() { cancel(errSilent) })
	defer s.watchdog.Stop()
	err := s.talk()
	if cause := context.Cause(sctx); cause != nil && ctx.Err() == nil {
		return cause
	}
	return wire.FromStatus(err)
}

func (s *session) talk() (err error) {
	if s.stream, err = s.client.Session(s.ctx); err != nil {
		return err
	}
	sent := time.Now()
	hello := &wire.Hello{DescriptionJson: s.desc.json(), Version: s.cfg.Version, AdvertiseAddr: s.cfg.Advertise, Routes: wire.Texts(s.cfg.Routes()), PortProblems: s.problems(), Volumes: s.volumes.all(), Settles: true}
	if err := s.send(&wire.FromNode{Message: &wire.FromNode_Hello{Hello: hello}}); err != nil && err != io.EOF {
		return err
	}
	m, err := s.stream.Recv() // tells why, if the stream has ended already
	if err != nil {
		return err
	}
	if m.GetWelcome() == nil {
		return api.Errorf(api.CodeInternal, "the manager began with %T instead of Welcome", m.GetMessage())
	}
	s.welcome(m.GetWelcome())
	s.answered(sent)
	return s.loop(s.receive())
}

func (s *session) send(m *wire.FromNode) error { return s.stream.Send(m) }

// cause is why a stream has ended whose Send says no more than that it has.
func (s *session) cause(incoming <-chan received) error {
	for {
		select {
		case in := <-incoming:
			if in.err != nil {
				return in.err
			}
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

func (s *session) welcome(w *wire.Welcome) {
	s.welcomed = true
	s.period.Store(int64(cmp.Or(w.GetHeartbeat().AsDuration(), defaultHeartbeat)))
	s.watchdog.Reset(s.patience())
	s.log.Info("session opened", "manager", s.peer.GetNodeId(), "addr", s.peer.GetAddr(), "session", w.GetSessionId())
	s.heard(w.GetCluster())
	s.outbox.reset()
	s.load.untold()
	s.runner.link.set(s.peer, s.client)
}

// patience is for how long the manager may say nothing.
func (s *session) patience() time.Duration { return silentPeriods * time.Duration(s.period.Load()) }

// beatEvery changes the period of the heartbeats. One is sent at once: the
// manager may already wait for the next by the shorter of the two.
func (s *session) beatEvery(d time.Duration) error {
	if d <= 0 || int64(d) == s.period.Load() {
		return nil
	}
	s.period.Store(int64(d))
	s.watchdog.Reset(s.patience())
	s.beat.Reset(d)
	return s.heartbeat()
}

type received struct {
	m   *wire.FromManager
	err error
}

func (s *session) receive() <-chan received {
	out := make(chan received)
	go func() { // ends with the stream, which ends with the session's context
		for {
			m, err := s.stream.Recv()
			if err == nil {
				s.watchdog.Reset(s.patience())
			}
			select {
			case out <- received{m, err}:
			case <-s.ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}

func (s *session) loop(incoming <-chan received) error {
	s.beat = time.NewTicker(time.Duration(s.period.Load()))
	defer s.beat.Stop()
	leaving := s.leaving
	_, s.fabric.changed = s.cfg.Network.Applied()
	for {
		var err error
		select {
		case in := <-incoming:
			if in.err != nil {
				return s.ended(in.err, leaving == nil)
			}
			err = s.handle(in.m)
		case <-s.beat.C:
			err = s.heartbeat()
		case <-s.outbox.wake:
			// What a task leaves behind is told before that it has ended: whoever follows
			// it goes to its volumes.
			if err = s.tellVolumes(); err != nil {
				break
			}
			if batch := s.outbox.next(); batch != nil {
				err = s.send(&wire.FromNode{Message: &wire.FromNode_Status{Status: batch}})
			}
		case <-s.desc.wake:
			err = s.send(&wire.FromNode{Message: &wire.FromNode_DescriptionJson{DescriptionJson: s.desc.json()}})
		case <-s.volumes.wake:
			err = s.tellVolumes()
		case <-s.fabric.changed:
			err = s.tellApplied()
		case <-s.fabric.ill:
			err = s.send(&wire.FromNode{Message: &wire.FromNode_PortProblems{PortProblems: s.problems()}})
		case <-leaving:
			leaving = nil
			err = s.send(&wire.FromNode{Message: &wire.FromNode_Goodbye{Goodbye: &wire.Goodbye{}}})
		}
		if err == io.EOF {
			err = s.cause(incoming)
		}
		if err != nil {
			return s.ended(err, leaving == nil)
		}
	}
}

// ended tells a farewell that was heard (the manager closes the stream without
// an error then, or has removed the node already) from a stream that broke.
func (s *session) ended(err error, saidGoodbye bool) error {
	if saidGoodbye && (errors.Is(err, io.EOF) || errors.Is(wire.FromStatus(err), api.ErrForbidden)) {
		return errLeft
	}
	if errors.Is(err, io.EOF) {
		return api.Errorf(api.CodeUnavailable, "the manager has closed the session")
	}
	return err
}

func (s *session) heartbeat() error {
	if s.suspected(s.peer) {
		return errSuspect
	}
	return s.send(&wire.FromNode{Message: &wire.FromNode_Heartbeat{Heartbeat: &wire.Heartbeat{
		Stamp: uint64(time.Since(s.born)), Load: wire.EncodeLoad(s.load.news(time.Now())),
	}}})
}

// answered renews the lease of containers that stop themselves: a manager has
// answered what was sent at a time.
func (s *session) answered(sent time.Time) {
	period := time.Duration(s.period.Load())
	s.runner.post(func() { s.runner.renew(sent, period) })
}

func (s *session) handle(m *wire.FromManager) error {
	switch m := m.GetMessage().(type) {
	case *wire.FromManager_Assignments:
		u, err := decode(m.Assignments, s.cfg.NodeID)
		if err != nil {
			return err
		}
		if err := s.beginFabric(); err != nil {
			return err
		}
		s.gather(u)
		s.runner.post(func() { s.runner.assign(u) })
	case *wire.FromManager_Fabric:
		return s.takeFabric(m.Fabric)
	case *wire.FromManager_Cleared:
		s.runner.post(func() { s.runner.clear(m.Cleared.GetIndex()) })
	case *wire.FromManager_StatusAck:
		s.outbox.acked(m.StatusAck.GetSeq())
	case *wire.FromManager_Cluster:
		s.heard(m.Cluster)
		return s.beatEvery(m.Cluster.GetHeartbeat().AsDuration())
	case *wire.FromManager_OpenTunnel:
		s.tunnels.Go(func() { s.tunnel(m.OpenTunnel.GetId()) })
	case *wire.FromManager_Heartbeat:
		// What claims to be of the future answers nothing of ours.
		if sent := s.born.Add(time.Duration(m.Heartbeat.GetStamp())); sent.After(s.born) && !sent.After(time.Now()) {
			s.answered(sent)
		}
	case *wire.FromManager_Welcome:
	}
	return nil
}

// gather has the secrets and configs of a full set be all in one place, so that
// those which are not in it can be forgotten.
func (s *session) gather(u *update) {
	if s.complete {
		return
	}
	s.contents = append(s.contents, u.contents...)
	u.contents = nil
	if u.full {
		u.contents, s.contents, s.complete = s.contents, nil, true
	}
}

// decode fails as a whole: a set without the tasks that this program does not
// understand would have it remove their containers.
func decode(a *wire.Assignments, node api.NodeID) (*update, error) {
	u := &update{index: a.GetIndex(), full: a.GetFull()}
	for _, m := range a.GetSpecs() {
		s, err := wire.DecodeSpec(m)
		if err != nil {
			return nil, fmt.Errorf("assignments: %w", err)
		}
		u.specs = append(u.specs, s)
	}
	for _, m := range a.GetTasks() {
		t, err := wire.DecodeTask(m, node)
		if err != nil {
			return nil, fmt.Errorf("assignments: %w", err)
		}
		u.tasks = append(u.tasks, t)
	}
	for _, id := range a.GetRemoved() {
		u.removed = append(u.removed, api.TaskID(id))
	}
	for _, m := range a.GetContents() {
		c, err := wire.DecodeContent(m)
		if err != nil {
			return nil, fmt.Errorf("assignments: %w", err)
		}
		u.contents = append(u.contents, c)
	}
	u.released = a.GetReleased()
	return u, nil
}
