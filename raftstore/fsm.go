package raftstore

import (
	"container/heap"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/swarmctl/swarmctl/raftstore/state"
)

// fsm applies committed entries to the state, in raft's order, and tells those
// who wait for an index.
type fsm struct {
	state *state.State
	guard *guard
	waits waits
}

// applied is what raft's future hands back to the proposer.
type applied struct {
	term    uint64
	results []state.Result
}

// ApplyBatch implements raft.BatchingFSM.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	for i, log := range logs {
		if log.Type == raft.LogCommand {
			out[i] = f.apply(log)
		}
	}
	f.waits.reached(f.state.View().Index())
	return out
}

// Apply implements raft.FSM; only raft.RecoverCluster calls it.
func (f *fsm) Apply(log *raft.Log) any { return f.apply(log) }

func (f *fsm) apply(log *raft.Log) applied {
	commands, err := state.DecodeBatch(log.Data)
	if err != nil {
		// Passing it over would make this manager's state differ from the others'.
		f.guard.die(fmt.Errorf("apply entry %d of the raft log: %w", log.Index, err))
	}
	return applied{term: log.Term, results: f.state.Apply(log.Index, commands)}
}

// Snapshot implements raft.FSM: it costs a pointer.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return snapshot{f.state.View()}, nil }

// Restore implements raft.FSM.
func (f *fsm) Restore(r io.ReadCloser) error {
	if err := f.state.Restore(r); err != nil {
		return err
	}
	f.waits.reached(f.state.View().Index())
	return nil
}

type snapshot struct{ view *state.View }

// Persist implements raft.FSMSnapshot; raft closes or cancels the sink.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	_, err := s.view.WriteTo(sink)
	return err
}

// Release implements raft.FSMSnapshot.
func (snapshot) Release() {}

// waits are those who wait for an index to be applied, the lowest first.
type waits struct {
	mu   sync.Mutex
	heap waitHeap
}

type waiter struct {
	index uint64
	done  chan struct{}
}

// reached wakes all who wait for index or less.
func (w *waits) reached(index uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.heap) > 0 && w.heap[0].index <= index {
		close(heap.Pop(&w.heap).(waiter).done)
	}
}

// WaitApplied waits until View is at least at index. The error is the context's.
func (s *Store) WaitApplied(ctx context.Context, index uint64) error {
	if s.View().Index() >= index {
		return nil
	}
	w := waiter{index, make(chan struct{})}
	s.fsm.waits.mu.Lock()
	heap.Push(&s.fsm.waits.heap, w)
	s.fsm.waits.mu.Unlock()
	s.fsm.waits.reached(s.View().Index()) // it may have been applied since
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx) // the waiter stays until its index comes: a few words
	case <-s.closed:
		return errClosed
	}
}

type waitHeap []waiter

func (h waitHeap) Len() int           { return len(h) }
func (h waitHeap) Less(i, j int) bool { return h[i].index < h[j].index }
func (h waitHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *waitHeap) Push(x any)        { *h = append(*h, x.(waiter)) }
func (h *waitHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
