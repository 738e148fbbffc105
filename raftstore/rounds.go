package raftstore

import (
	"context"
	"sync"
)

// rounds share the work of those who ask at the same time: each caller gets the
// result of a round that began after it asked.
type rounds struct {
	mu      sync.Mutex
	running bool
	next    *round
}

type round struct {
	work func() error
	done chan struct{}
	err  error
}

// wait joins the next round, whose work is that of its first caller.
func (r *rounds) wait(ctx context.Context, closed <-chan struct{}, work func() error) error {
	r.mu.Lock()
	if r.next == nil {
		r.next = &round{work: work, done: make(chan struct{})}
	}
	mine := r.next
	if !r.running {
		r.running = true
		go r.run() // ends when nobody waits
	}
	r.mu.Unlock()
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return withCause(errNotUs, ctx)
	case <-closed:
		return errClosed
	}
}

func (r *rounds) run() {
	for {
		r.mu.Lock()
		now := r.next
		r.next = nil
		if now == nil {
			r.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		now.err = now.work()
		close(now.done)
	}
}
