package dispatcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

func TestNodeGetsItsTasksThenChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1", "n2")
		s.service("web", "n1", "t1", "t2")
		s.service("other", "n2", "x1")
		r := newRig(t, s)
		w := r.open("n1")
		welcome, full := w.greeted()
		if welcome.Cluster.ClusterId != "c" || welcome.Cluster.Managers[0].Addr != "10.0.0.1:2377" || string(welcome.Cluster.GossipKeys[0]) != "key" || welcome.Cluster.GossipPeers[0] != "10.0.0.1" {
			t.Errorf("welcome %v", welcome)
		}
		if len(full.Tasks) != 2 || len(full.Specs) != 1 || full.Specs[0].ServiceId != "web" {
			t.Errorf("full set %v", full)
		}
		n := s.View().Node("n1")
		if st := n.Status; st.State != api.NodeReady || st.Session != welcome.SessionId || st.SessionManager != "m1" || st.Addr != "10.0.0.9" || n.Description.Hostname != "n1" {
			t.Errorf("node %+v", n)
		}

		// The spec is known: a third task comes without it. The first two change.
		s.tasks("web", "n1", "t3")
		if a := w.next().GetAssignments(); a.Full || len(a.Specs) != 0 || len(a.Tasks) != 1 || a.Tasks[0].Id != "t3" {
			t.Errorf("change %v", a)
		}
		s.put(state.Op{DesireTasks: []state.Desire{{Task: "t1", State: api.TaskShutdown}}}, state.Op{DeleteTasks: []api.TaskID{"t2"}})
		if a := w.next().GetAssignments(); len(a.Tasks) != 1 || api.TaskState(a.Tasks[0].Desired) != api.TaskShutdown || !slices.Equal(a.Removed, []string{"t2"}) {
			t.Errorf("change %v", a)
		}
	})
}

func TestNodesOwnWordsDoNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		s.service("web", "n1", "t1")
		w := newRig(t, s).open("n1")
		w.greeted()
		w.report(7, "t1", api.TaskRunning)
		if ack := w.next().GetStatusAck(); ack.GetSeq() != 7 {
			t.Fatalf("got %v", ack)
		}
		if got := s.View().Task("t1").Status; got.State != api.TaskRunning || got.Message != "started" {
			t.Errorf("status %+v", got)
		}
		synctest.Wait()
		if len(w.queue) != 0 {
			t.Errorf("the node is told %v", <-w.queue)
		}
	})
}

func (w *worker) report(seq uint64, id string, s api.TaskState) {
	w.t.Helper()
	w.send(&wire.FromNode{Message: &wire.FromNode_Status{Status: &wire.StatusBatch{Seq: seq, Statuses: []*wire.TaskStatus{
		{TaskId: id, State: uint32(s), Message: "started"},
	}}}})
}

// What a node's tasks came to and its word that this is all are one change; a node
// that never says so, of an earlier version, counts as it always has.
func TestNodeIsUnsettledUntilItSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1", "n2")
		s.service("web", "n1", "t1")
		r := newRig(t, s)
		r.open("n2").greeted()
		if s.View().Node("n2").Status.Unsettled {
			t.Error("a node that does not speak of it is unsettled")
		}
		w := r.openAs("n1", &wire.Hello{DescriptionJson: []byte("{}"), Settles: true})
		w.greeted()
		w.report(1, "t1", api.TaskRunning)
		for w.next().GetStatusAck() == nil {
		}
		if !s.View().Node("n1").Status.Unsettled {
			t.Error("settled without having said so")
		}
		before := s.proposals()
		w.send(&wire.FromNode{Message: &wire.FromNode_Status{Status: &wire.StatusBatch{Seq: 2, Settled: true, Statuses: []*wire.TaskStatus{
			{TaskId: "t1", State: uint32(api.TaskFailed)},
		}}}})
		for w.next().GetStatusAck().GetSeq() != 2 {
		}
		if s.View().Node("n1").Status.Unsettled || s.View().Task("t1").Status.State != api.TaskFailed || s.proposals()-before != 1 {
			t.Errorf("%+v, %+v by %d proposals", s.View().Node("n1").Status, s.View().Task("t1").Status, s.proposals()-before)
		}
		// A new leader asks: those that hold sessions say so again.
		no := false
		s.put(state.Op{ObserveNode: &state.ObserveNode{ID: "n1", Settled: &no}}, state.Op{ObserveNode: &state.ObserveNode{ID: "n2", Settled: &no}})
		synctest.Wait()
		if s.View().Node("n1").Status.Unsettled || s.View().Node("n2").Status.Unsettled {
			t.Error("a new leader hears of nobody")
		}
		w.send(&wire.FromNode{Message: &wire.FromNode_Status{Status: &wire.StatusBatch{Seq: 3, Settled: true}}})
		for w.next().GetStatusAck().GetSeq() != 3 {
		}
	})
}

func TestNodeCanReportOnlyWhatIsItsOwnAndMakesSense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1", "n2")
		s.service("web", "n2", "t1")
		w := newRig(t, s).open("n1")
		w.greeted()
		w.report(1, "t1", api.TaskFailed)   // another node's
		w.report(2, "t1", api.TaskOrphaned) // not for a node to say
		w.report(3, "", api.TaskRunning)
		for {
			if w.next().GetStatusAck().GetSeq() == 3 {
				break
			}
		}
		if got := s.View().Task("t1").Status.State; got != api.TaskAssigned {
			t.Errorf("state %s", got)
		}
	})
}

func TestReportsOfManyNodesShareProposals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		r := newRig(t, s)
		var workers []*worker
		for i := range 40 {
			id := api.NodeID(fmt.Sprintf("w%02d", i))
			s.put(state.Op{PutNode: &api.Node{ID: id}})
			w := r.open(id)
			w.greeted()
			workers = append(workers, w)
		}
		s.service("web", "w00", "t0")
		for _, w := range workers[1:] {
			s.tasks("web", w.id, api.TaskID("t-"+w.id))
		}
		// No leader for a while: reports wait, and are not lost.
		s.set(func() { s.err = api.Errorf(api.CodeUnavailable, "no leader") })
		before := s.proposals()
		for _, w := range workers[1:] {
			w.report(1, "t-"+string(w.id), api.TaskRunning)
		}
		synctest.Wait()
		s.set(func() { s.err = nil })
		for _, w := range workers[1:] {
			for w.next().GetStatusAck() == nil {
			}
			if got := s.View().Task(api.TaskID("t-" + w.id)).Status.State; got != api.TaskRunning {
				t.Fatalf("acknowledged, and is %s", got)
			}
		}
		if n := s.proposals() - before; n > 2*reportsInFlight {
			t.Errorf("%d proposals for 39 reports", n)
		}
	})
}

func TestRemovedNodeIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		r := newRig(t, s)
		const want = "is not a member: it was removed; join again"
		if err := r.open("stranger").end(); !errors.Is(err, api.ErrForbidden) || !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Errorf("stranger: %v", err)
		}
		w := r.open("n1")
		w.greeted()
		s.put(state.Op{DeleteNode: &state.DeleteNode{ID: "n1"}})
		if err := w.end(); !errors.Is(err, api.ErrForbidden) {
			t.Errorf("removed: %v", err)
		}
		r.forgets("n1")
	})
}

func (r *rig) forgets(id api.NodeID) {
	r.t.Helper()
	synctest.Wait()
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	if r.d.sessions[id] != nil {
		r.t.Errorf("the session of %s is still kept", id)
	}
}

func TestNewSessionReplacesTheOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		r := newRig(t, s)
		first := r.open("n1")
		first.greeted()
		second := r.open("n1")
		second.greeted()
		if err := first.end(); !errors.Is(err, api.ErrOutdated) {
			t.Errorf("first: %v", err)
		}
		// The node moves to another manager.
		s.put(state.Op{ObserveNode: &state.ObserveNode{ID: "n1", Status: &api.NodeStatus{State: api.NodeReady, Session: "elsewhere", SessionManager: "m2"}}})
		if err := second.end(); !errors.Is(err, api.ErrOutdated) {
			t.Errorf("second: %v", err)
		}
		r.forgets("n1")
		time.Sleep(time.Minute)
		if st := s.View().Node("n1").Status; st.SessionLost || st.Session != "elsewhere" {
			t.Errorf("status %+v", st)
		}
	})
}

// A manager that lags behind the leader must not send a set of tasks from
// before the session: the node would remove what it has only just been given.
func TestLaggingManagerWaitsBeforeItTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		r := newRig(t, s)
		s.set(func() { s.lag = true })
		w := r.open("n1")
		time.Sleep(time.Second)
		if len(w.queue) != 0 {
			t.Fatalf("told too early: %v", <-w.queue)
		}
		s.catchUp()
		w.greeted()
	})
}

func TestNodeIsToldOfItsSpecAndTheManagers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1", "n2")
		r := newRig(t, s)
		w, other := r.open("n1"), r.open("n2")
		w.greeted()
		other.greeted()
		n := *s.View().Node("n1")
		n.Spec.Labels = map[string]string{"zone": "a"}
		s.put(state.Op{PutNode: &n})
		if c := w.next().GetCluster(); !bytes.Contains(c.GetNodeSpecJson(), []byte("zone")) {
			t.Errorf("got %v", c)
		}
		s.put(state.Op{PutNode: &api.Node{ID: "m2", ManagerAddr: "10.0.0.2:2377"}})
		for _, w := range []*worker{w, other} {
			if c := w.next().GetCluster(); len(c.GetManagers()) != 2 {
				t.Errorf("%s: got %v", w.id, c)
			}
		}
		synctest.Wait()
		if len(other.queue) != 0 {
			t.Errorf("told once too often: %v", <-other.queue)
		}
	})
}

func TestDescriptionIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		w := newRig(t, s).open("n1")
		w.greeted()
		w.send(&wire.FromNode{Message: &wire.FromNode_DescriptionJson{DescriptionJson: []byte(`{"Hostname":"renamed"}`)}})
		time.Sleep(time.Second)
		n := s.View().Node("n1")
		if n.Description.Hostname != "renamed" || n.Status.SessionLost {
			t.Errorf("node %+v", n)
		}
		w.send(&wire.FromNode{Message: &wire.FromNode_DescriptionJson{DescriptionJson: []byte(`{`)}})
		if err := w.end(); !errors.Is(err, api.ErrInvalid) {
			t.Errorf("got %v", err)
		}
	})
}

func TestLoadIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		w := newRig(t, s).open("n1")
		w.greeted()
		w.send(&wire.FromNode{Message: &wire.FromNode_Heartbeat{Heartbeat: &wire.Heartbeat{Load: &wire.NodeLoad{Cpu: 70, Memory: 20}}}})
		time.Sleep(time.Second)
		if l := s.View().Node("n1").Load; l == nil || *l != (api.NodeLoad{CPU: 70, Memory: 20}) {
			t.Errorf("load %+v", l)
		}
		before := s.proposals()
		w.beatFor(10 * time.Second) // heartbeats that say nothing of it change nothing
		if l := s.View().Node("n1").Load; l == nil || l.CPU != 70 || s.proposals() != before {
			t.Errorf("load %+v after %d proposals", l, s.proposals()-before)
		}
	})
}

func TestTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1", "thief")
		r := newRig(t, s)
		if _, err := r.d.OpenTunnel(t.Context(), "n1"); !errors.Is(err, api.ErrUnavailable) {
			t.Errorf("without a session: %v", err)
		}
		w := r.open("n1")
		w.greeted()
		go w.echo(t)
		conn, err := r.d.OpenTunnel(t.Context(), "n1")
		if err != nil {
			t.Fatal(err)
		}
		big := bytes.Repeat([]byte("x"), 300_000)
		go func() {
			_, _ = conn.Write(big)
			_ = conn.(interface{ CloseWrite() error }).CloseWrite()
		}()
		if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, big) {
			t.Errorf("%d bytes came back, %v", len(got), err)
		}
		_ = conn.Close()
	})
}

// echo dials back once and sends what it gets; a thief tries before.
func (w *worker) echo(t *testing.T) {
	id := w.next().GetOpenTunnel().GetId()
	thief := metadata.AppendToOutgoingContext(t.Context(), "peer", "thief", "tunnel-id", id)
	if stream, err := w.rig.dial().Tunnel(thief); err != nil {
		t.Error(err)
	} else if _, err := stream.Recv(); !errors.Is(wire.FromStatus(err), api.ErrNotFound) {
		t.Errorf("a thief got %v", err)
	}
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "peer", string(w.id), "tunnel-id", id))
	stream, err := w.rig.dial().Tunnel(ctx)
	if err != nil {
		t.Error(err)
		cancel()
		return
	}
	conn := wire.NewConn(stream, "test", cancel)
	_, _ = io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn})
	_ = conn.Close()
	<-conn.Done()
}

func TestTunnelThatNobodyDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		r := newRig(t, s)
		w := r.open("n1")
		w.greeted()
		start := time.Now()
		if _, err := r.d.OpenTunnel(t.Context(), "n1"); !errors.Is(err, api.ErrUnavailable) || time.Since(start) != tunnelTimeout {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

func TestPortsThatANodeDoesNotAnswerAreWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		w := newRig(t, s).open("n1")
		w.greeted()
		many := map[string]string{}
		for i := range 200 {
			many[fmt.Sprintf("%d/tcp", i)] = strings.Repeat("x", 10<<10)
		}
		for _, c := range []struct {
			said map[string]string
			kept int
		}{{map[string]string{"80/tcp": "taken"}, 1}, {many, maxProblems}, {nil, 0}} {
			w.send(&wire.FromNode{Message: &wire.FromNode_PortProblems{PortProblems: &wire.PortProblems{Why: c.said}}})
			time.Sleep(time.Second)
			got := s.View().Node("n1").PortProblems
			if len(got) != c.kept || c.kept == 1 && got["80/tcp"] != "taken" || len(got["0/tcp"]) > maxText+3 {
				t.Errorf("%d problems are kept, want %d", len(got), c.kept)
			}
		}
	})
}

// A task must not be seen to have ended before what it has left behind is seen,
// however often the store fails.
func TestVolumesAreWrittenBeforeTheReportsThatFollowThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		s.service("db", "n1", "t1", "t2")
		w := newRig(t, s).open("n1")
		w.greeted()
		s.set(func() { s.err, s.proposed = api.ErrUnavailable, nil })
		list := &wire.Volumes{}
		for i, task := range []string{"t1", "t2"} {
			list = &wire.Volumes{List: append(slices.Clone(list.List), &wire.Volume{Name: "of-" + task})}
			w.send(&wire.FromNode{Message: &wire.FromNode_Volumes{Volumes: list}})
			w.report(uint64(i+1), task, api.TaskFailed)
			time.Sleep(time.Second)
		}
		s.set(func() { s.err = nil })
		time.Sleep(time.Second)
		s.mu.Lock()
		defer s.mu.Unlock()
		known, ended := map[string]bool{}, 0
		for _, cmd := range s.proposed {
			for _, op := range cmd.Ops {
				if o := op.ObserveNode; o != nil && o.Volumes != nil {
					for _, v := range *o.Volumes {
						known[v.Name] = true
					}
				}
				for _, r := range op.ReportTasks {
					if ended++; !known["of-"+string(r.Task)] {
						t.Errorf("the end of %s was written, and its volume is not known", r.Task)
					}
				}
			}
		}
		if ended != 2 {
			t.Errorf("%d ends were written, want 2", ended)
		}
	})
}

func TestVolumesOfANodeAreBoundedAndHaveNoSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("n1")
		w := newRig(t, s).open("n1")
		w.greeted()
		many := &wire.Volumes{}
		for i := range wire.MaxVolumes + 10 {
			many.List = append(many.List, &wire.Volume{Name: fmt.Sprintf("v%04d", i)})
		}
		many.List = append(many.List, &wire.Volume{Name: strings.Repeat("x", 1000)}, &wire.Volume{Name: "y", Labels: map[string]string{"a": strings.Repeat("x", 10<<10)}})
		for _, c := range []struct {
			said *wire.Volumes
			kept int
		}{{&wire.Volumes{List: []*wire.Volume{{Name: "db", Driver: "local", Options: map[string]string{"o": "password=geheim"}}}}, 1}, {many, wire.MaxVolumes}, {&wire.Volumes{}, 0}} {
			w.send(&wire.FromNode{Message: &wire.FromNode_Volumes{Volumes: c.said}})
			time.Sleep(time.Second)
			got := s.View().Node("n1").Volumes
			if len(got) != c.kept || c.kept == 1 && got[0].Options["o"] != "password=***" {
				t.Errorf("%d volumes are kept, want %d: %v", len(got), c.kept, got[:min(2, len(got))])
			}
		}
	})
}
