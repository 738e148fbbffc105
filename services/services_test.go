package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// fakeStore is the real state with a leader that never fails, unless told to,
// and needs some time for every proposal.
type fakeStore struct {
	*state.State
	mu       sync.Mutex
	index    uint64
	proposed int
	err      error
}

func newFakeStore() *fakeStore {
	s := &fakeStore{State: state.New()}
	s.put(state.Op{PutCluster: &api.Cluster{ID: "c"}})
	return s
}

func (s *fakeStore) Propose(ctx context.Context, cmd state.Command) (state.Result, error) {
	select {
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
		return state.Result{}, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proposed++
	if s.err != nil {
		return state.Result{}, s.err
	}
	s.index++
	return s.Apply(s.index, []state.Command{cmd})[0], nil
}

func (s *fakeStore) proposals() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proposed
}

func (s *fakeStore) put(ops ...state.Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index++
	if err := s.Apply(s.index, []state.Command{{At: time.Now(), Ops: ops}})[0].Err(); err != nil {
		panic(err)
	}
}

func (s *fakeStore) service(id string, replicas uint64) {
	svc := &api.Service{ID: api.ServiceID(id)}
	svc.Spec.Name = id
	svc.Spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &replicas}
	s.put(state.Op{PutService: svc})
}

func (s *fakeStore) fail(id api.TaskID) {
	s.put(state.Op{ReportTasks: []state.Report{{Task: id, Status: api.TaskStatus{State: api.TaskFailed}}}})
}

func (s *fakeStore) live(id string) (list []*api.Task) {
	for t := range s.View().ServiceTasks(api.ServiceID(id)) {
		if t.Live() {
			list = append(list, t)
		}
	}
	return list
}

// start runs a loop until the test ends and returns how to end it.
func start(t *testing.T, s Store) (stop func() error) {
	t.Helper()
	l, err := New(Config{Store: s, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return func() error { cancel(); return <-done }
}

func TestFiftyReplicasAreOneCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		stop := start(t, s)
		s.service("web", 50)
		time.Sleep(time.Second)
		if n := len(s.live("web")); n != 50 || s.proposals() != 1 {
			t.Errorf("%d tasks by %d commands", n, s.proposals())
		}
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestManyServicesAndBigOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		for i := range 100 {
			s.service(fmt.Sprintf("s%d", i), 2)
		}
		s.service("big", 2500)
		stop := start(t, s)
		time.Sleep(time.Second)
		total := 0
		for range s.View().Tasks() {
			total++
		}
		if total != 2700 || s.proposals() != 103 {
			t.Errorf("%d tasks by %d commands", total, s.proposals())
		}
		_ = stop()
	})
}

func TestDelayedRestartIsDueByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		s.service("web", 1)
		stop := start(t, s)
		time.Sleep(time.Second)
		s.fail(s.live("web")[0].ID)
		time.Sleep(time.Second)
		second := s.live("web")[0]
		if second.Desired != api.TaskRunning {
			t.Fatalf("the first failure was not made good at once: %+v", second)
		}
		s.fail(second.ID)
		failed := time.Now()
		time.Sleep(4 * time.Second)
		third := s.live("web")[0]
		if third.Desired != api.TaskReady || third.RestartNote() != "restart in 5s after 2 failures" {
			t.Fatalf("%+v, %q", third, third.RestartNote())
		}
		_, cursor := s.Follow()
		if _, err := cursor.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(failed); waited < 5*time.Second || waited > 5*time.Second+10*time.Millisecond {
			t.Errorf("ran after %s", waited)
		}
		_ = stop()
	})
}

func TestNewLeaderTakesDelaysOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		s.service("web", 1)
		stop := start(t, s)
		for range 2 {
			time.Sleep(time.Second)
			s.fail(s.live("web")[0].ID)
		}
		time.Sleep(3 * time.Second)
		_ = stop()
		stop = start(t, s)
		time.Sleep(1900 * time.Millisecond)
		if d := s.live("web")[0].Desired; d != api.TaskReady {
			t.Fatalf("too soon: desired %s", d)
		}
		time.Sleep(200 * time.Millisecond)
		if d := s.live("web")[0].Desired; d != api.TaskRunning {
			t.Fatalf("late: desired %s", d)
		}
		_ = stop()
	})
}

func TestTermEndsWhenTheStoreHasAnotherLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		s.service("web", 1)
		s.err = api.Errorf(api.CodeNotLeader, "not the leader")
		l, err := New(Config{Store: s, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Run(t.Context()); !errors.Is(err, api.ErrNotLeader) {
			t.Error(err)
		}
	})
}

func TestFailedProposalIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		s.service("web", 1)
		s.err = api.Errorf(api.CodeUnavailable, "no answer in time")
		stop := start(t, s)
		time.Sleep(2500 * time.Millisecond)
		s.mu.Lock()
		if s.proposed != 3 {
			t.Errorf("%d attempts in 2.5 s", s.proposed)
		}
		s.err = nil
		s.mu.Unlock()
		time.Sleep(time.Second)
		if len(s.live("web")) != 1 {
			t.Error("nothing was created")
		}
		_ = stop()
	})
}
