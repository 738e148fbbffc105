package raftstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/swarmctl/swarmctl/api"
)

type registerInput struct {
	write bool
	value int
}

// register is what a linearizable register does. A write of unknown outcome
// is an operation that never returned, which porcupine may place anywhere
// after its call; its output is ignored.
var register = porcupine.Model{
	Init: func() any { return 0 },
	Step: func(s, in, out any) (bool, any) {
		i := in.(registerInput)
		if i.write {
			return true, i.value
		}
		return out.(int) == s.(int), s
	},
}

// Writers and readers on all three managers, while leaders lose their cables
// and hand over: every acknowledged write stays, every read is current.
func TestReadsAndWritesAreLinearizable(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	_, err := c.leader().Propose(c.ctx(), makeRegister())
	c.ok(err)
	_, err = c.leader().Propose(c.ctx(), setRegister(0))
	c.ok(err)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	h := &history{start: time.Now()}
	var wg sync.WaitGroup
	for client := range 6 {
		n := c.nodes[[]api.NodeID{"a", "b", "c"}[client%3]]
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				op, end := context.WithTimeout(ctx, 2*time.Second)
				if client < 3 {
					h.write(op, n.Store, client, client*1_000_000+i+1)
				} else {
					h.read(op, n.Store, client)
				}
				end()
			}
		})
	}
	for range 3 {
		h.waitGrown(500)
		old := c.leader()
		if rand.IntN(2) == 0 {
			_ = old.TransferLeadership(c.ctx(), "")
			continue
		}
		c.pull(old.id, true)
		c.leader(old.id)
		h.waitGrown(300)
		c.pull(old.id, false)
	}
	h.waitGrown(500)
	cancel()
	wg.Wait()
	ops := h.finished()
	result := porcupine.CheckOperationsTimeout(register, ops, time.Minute)
	t.Logf("%d operations: %v", len(ops), result)
	if result != porcupine.Ok {
		t.Error("the history is not linearizable")
	}
}

type history struct {
	start time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
	grown chan struct{}
	goal  int
}

func (h *history) add(client int, call time.Duration, in registerInput, out int, known bool) {
	ret := time.Since(h.start)
	if !known {
		ret = time.Hour
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Call: int64(call), Output: out, Return: int64(ret)})
	if h.grown != nil && len(h.ops) >= h.goal {
		close(h.grown)
		h.grown = nil
	}
}

// waitGrown waits until n more operations are done.
func (h *history) waitGrown(n int) {
	h.mu.Lock()
	h.goal = len(h.ops) + n
	grown := make(chan struct{})
	h.grown = grown
	h.mu.Unlock()
	<-grown
}

func (h *history) finished() []porcupine.Operation { return h.ops }

func (h *history) write(ctx context.Context, s *Store, client, v int) {
	call := time.Since(h.start)
	_, err := s.Propose(ctx, setRegister(v))
	if err == nil || IsUnknown(err) {
		h.add(client, call, registerInput{true, v}, 0, err == nil)
	}
}

func (h *history) read(ctx context.Context, s *Store, client int) {
	call := time.Since(h.start)
	v, err := s.ReadView(ctx)
	if err != nil {
		// A follower, or a leader on its way out: wait for the next change.
		_, changed := s.reign.get()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		return
	}
	got, err := strconv.Atoi(v.Node("register").ManagerAddr)
	if err != nil {
		panic(fmt.Sprint("not a number: ", err))
	}
	h.add(client, call, registerInput{}, got, true)
}
