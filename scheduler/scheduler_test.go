package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// store is a replicated state without replicas. It can be slow, refuse, and
// answer with an error although it has carried the command out.
type store struct {
	*world
	mu       sync.Mutex
	delay    time.Duration // until a command is committed
	refuse   error         // what commands are answered with instead
	unsure   error         // what commands are answered with although carried out
	commands []state.Command
}

func (s *store) Follow() (*state.View, *state.Cursor) { return s.state.Follow() }

func (s *store) Propose(ctx context.Context, cmd state.Command) (state.Result, error) {
	select {
	case <-ctx.Done():
		return state.Result{}, ctx.Err()
	case <-time.After(s.delay):
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = append(s.commands, cmd)
	if s.refuse != nil {
		return state.Result{}, s.refuse
	}
	s.index++
	r := s.state.Apply(s.index, []state.Command{cmd})[0]
	return r, s.unsure
}

// change is do, safe beside a running scheduler.
func (s *store) change(lines ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.do(lines...)
}

func (s *store) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// proposals returns how many commands were proposed since it was last asked.
func (s *store) proposals() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.commands)
	s.commands = nil
	return n
}

// assigned counts the tasks that have a node.
func (s *store) assigned() int {
	n := 0
	for t := range s.state.View().Tasks() {
		if t.Status.State >= api.TaskAssigned {
			n++
		}
	}
	return n
}

// running runs a scheduler in a bubble of its own, where no time passes but
// what somebody sleeps.
func running(t *testing.T, f func(t *testing.T, s *store)) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{world: newWorld(t)}
		s.do("node h1", "node h2 label.zone=a", "service web")
		sched, err := New(Config{Store: s, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- sched.Run(ctx) }()
		synctest.Wait()
		f(t, s)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestNewTaskIsAssignedAtOnce(t *testing.T) {
	running(t, func(t *testing.T, s *store) {
		s.change("tasks web 1")
		synctest.Wait() // and no time passes
		if got := s.assigned(); got != 1 {
			t.Errorf("%d tasks assigned, want 1", got)
		}
	})
}

func TestBatchesDoNotWaitForEachOther(t *testing.T) {
	running(t, func(t *testing.T, s *store) {
		s.set(func() { s.delay = 10 * time.Millisecond })
		s.change(fmt.Sprintf("tasks web 1-%d", maxInFlight+1))
		start := time.Now()
		for s.assigned() < maxInFlight+1 {
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		// One commit for as many as may be in flight, and one for the last task.
		if took := time.Since(start); took != 20*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if got := s.proposals(); got != maxInFlight/batchSize+1 {
			t.Errorf("%d proposals", got)
		}
	})
}

func TestRefusedTaskIsToldOnceAndRetriedWhenItMatters(t *testing.T) {
	running(t, func(t *testing.T, s *store) {
		s.change("service picky constraint=node.labels.zone==b", "tasks picky 1-2")
		synctest.Wait()
		want := "no suitable node (scheduling constraints not satisfied on 2 nodes): " +
			"node h1: constraint node.labels.zone==b: it has no label zone; node h2: constraint node.labels.zone==b: its label zone is \"a\""
		if got := s.state.View().Task("picky.1").Status; got.Err != want || got.State != api.TaskPending {
			t.Errorf("got %+v, want %s", got, want)
		}
		s.proposals()
		s.change("node h1 session=kept", "node h2 label.colour=red", "tasks web 1")
		synctest.Wait()
		if got := s.proposals(); got != 1 { // web.1
			t.Errorf("%d proposals though nothing changed for those that wait", got)
		}
		s.change("node h2 label.zone=b")
		synctest.Wait()
		if got := s.assigned(); got != 3 {
			t.Errorf("%d tasks assigned, want 3", got)
		}
		if got := s.state.View().Task("picky.1").Status.Err; got != "" {
			t.Errorf("an assigned task still says %q", got)
		}
	})
}

// What is free on the nodes changes by the second where containers crash; the
// tasks that wait for room are not written anew each time.
func TestRefusedTasksAreLeftAloneWhileOthersComeAndGo(t *testing.T) {
	running(t, func(t *testing.T, s *store) {
		s.change("service big cpu=3 mem=6GiB port=80/tcp", "tasks big 1-100", "service small cpu=0.5 mem=2GiB")
		synctest.Wait()
		s.proposals()
		for i := range 20 {
			s.change(fmt.Sprintf("tasks small 1-2 on=h%d state=running", i%2+1))
			s.change("report small.1 failed", "delete small.1", "report small.2 failed", "delete small.2")
			synctest.Wait()
		}
		if got := s.proposals(); got != 0 {
			t.Errorf("%d proposals", got)
		}
		if got := s.state.View().Task("big.3").Status.Err; got == "" {
			t.Error("big.3 does not say why it waits")
		}
	})
}

// A leader that takes over finds the tasks told and has nothing to add.
func TestNewLeaderTellsNothingTwice(t *testing.T) {
	for _, nodes := range []int{2, maxNamed + 1} {
		w := newWorld(t)
		for i := range nodes {
			w.do(fmt.Sprintf("node h%d", i))
		}
		w.do("service picky constraint=node.labels.zone==b cpu=9", "tasks picky 1-3")
		w.carryOut(w.cluster.Plan(w.now, math.MaxInt))
		if d := Plan(w.state.View(), w.now); len(d.Refuse) > 0 {
			t.Errorf("%d nodes: told again: %v", nodes, d.Refuse)
		}
	}
}

func TestProposalThatFailedIsMadeAgain(t *testing.T) {
	running(t, func(t *testing.T, s *store) {
		s.set(func() { s.refuse = errors.New("disk full") })
		s.change("tasks web 1-600", "service picky constraint=node.labels.zone==b", "tasks picky 1")
		time.Sleep(5 * time.Second)
		if n := s.proposals(); n < 8 || n > 40 {
			t.Errorf("%d proposals in 5 seconds of failure", n)
		}
		s.set(func() { s.refuse = nil })
		time.Sleep(lastPause)
		synctest.Wait()
		if got := s.assigned(); got != 600 {
			t.Errorf("%d tasks assigned, want 600", got)
		}
		if s.state.View().Task("picky.1").Status.Err == "" {
			t.Error("the task that no node takes was not told")
		}
	})
}

func TestProposalOfUnknownOutcomeIsNotCarriedOutTwice(t *testing.T) {
	running(t, func(t *testing.T, s *store) {
		s.set(func() { s.unsure = errors.New("timed out") })
		s.change("service big mem=8GiB", "tasks big 1-3")
		time.Sleep(time.Second)
		s.set(func() { s.unsure = nil })
		time.Sleep(lastPause)
		synctest.Wait()
		if got := s.assigned(); got != 2 {
			t.Errorf("%d tasks assigned, want the two that fit", got)
		}
		want := "no suitable node (insufficient resources on 2 nodes): " +
			"node h1: needs 8 GiB of memory, less of its 8 GiB is free; node h2: needs 8 GiB of memory, less of its 8 GiB is free"
		if got := s.state.View().Task("big.3").Status.Err; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// A node is removed between plan and commit.
func TestAssignmentThatCameTooLateIsPlannedAgain(t *testing.T) {
	running(t, func(t *testing.T, s *store) {
		s.set(func() { s.delay = 10 * time.Millisecond })
		s.change("tasks web 1-2")
		time.Sleep(5 * time.Millisecond)
		s.change("rmnode h2")
		time.Sleep(100 * time.Millisecond)
		for _, id := range []api.TaskID{"web.1", "web.2"} {
			if got := s.state.View().Task(id); got.NodeID != "h1" {
				t.Errorf("task %s is on %q, %+v", id, got.NodeID, got.Status)
			}
		}
	})
}

func TestRunEndsWithTheTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{world: newWorld(t), refuse: api.Errorf(api.CodeNotLeader, "not the leader")}
		s.do("node h1", "service web", "tasks web 1")
		sched, err := New(Config{Store: s, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if err := sched.Run(t.Context()); !errors.Is(err, api.ErrNotLeader) {
			t.Errorf("Run returned %v", err)
		}
		// The next term finds everything again.
		s.refuse = nil
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := sched.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run returned %v", err)
		}
		if s.assigned() != 1 {
			t.Error("the task was not assigned")
		}
	})
}

func TestConfigIsComplete(t *testing.T) {
	for _, cfg := range []Config{{}, {Store: &store{}}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}
