package raftstore

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// guard stands between raft and a disk that may fail. hashicorp/raft panics
// where it cannot save its term or read back what is committed, and a follower
// that fails halfway through an append stays confused until it restarts. So:
//
//   - a full disk is waited for: the goroutine that must write stands still,
//     which to the rest of the group is a slow member, and goes on when there is
//     space. Only the leader's own appends return the error, for then raft steps
//     down and another member, with space, takes over.
//   - any other failure, and a committed entry that cannot be read, ends the
//     Store: the failing goroutine ends (running its deferred calls, so that
//     raft's books stay balanced), and Run returns the reason.
type guard struct {
	dir   string
	log   *slog.Logger
	retry time.Duration // between two attempts to write to a full disk

	armed   atomic.Bool   // raft runs; before that, errors are simply returned
	closing chan struct{} // closed when the Store ends
	fatal   chan error    // holds the first failure that ends the Store

	mu   sync.Mutex
	full error     // what keeps this node from writing
	last time.Time // when that was last so
}

func newGuard(dir string, log *slog.Logger) *guard {
	return &guard{dir: dir, log: log, retry: 500 * time.Millisecond, closing: make(chan struct{}), fatal: make(chan error, 1)}
}

// isFull reports whether err is about space, which may come back.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// persist writes, and comes back only when that is done.
func (g *guard) persist(write func() error) error {
	for {
		err := g.try(write)
		switch {
		case err == nil:
			return nil
		case !g.armed.Load():
			return err
		case !isFull(err):
			g.die(err)
		}
		select {
		case <-time.After(g.retry):
		case <-g.closing:
			runtime.Goexit() // the caller would panic on an error
		}
	}
}

// try writes once and remembers whether there was space.
func (g *guard) try(write func() error) error {
	err := write()
	switch {
	case err == nil:
		g.setFull(nil)
	case isFull(err):
		err = fmt.Errorf("write to %s: the disk is full: free some space there, and this node goes on by itself: %w", g.dir, err)
		g.setFull(err)
	default:
		err = fmt.Errorf("write to %s: %w: check the disk, or leave the cluster with force and join again from another one", g.dir, err)
	}
	return err
}

func (g *guard) setFull(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err != nil && g.full == nil:
		g.log.Error("raft cannot write, waiting for space", "dir", g.dir, "error", err)
	case err == nil && g.full != nil:
		g.log.Info("raft can write again", "dir", g.dir)
	}
	g.full = err
	if err != nil {
		g.last = time.Now()
	}
}

// fullWithin reports whether the disk was full not longer ago than that.
func (g *guard) fullWithin(d time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.last.IsZero() && time.Since(g.last) < d
}

func (g *guard) health() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.full
}

// die ends the Store for the given reason, and the calling goroutine. Before
// raft runs it panics, which start turns into an error.
func (g *guard) die(err error) {
	if !g.armed.Load() {
		panic(err)
	}
	select {
	case g.fatal <- err:
	default: // it is ending already
	}
	runtime.Goexit()
}
