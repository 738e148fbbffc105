package load

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// asker asks once at a time. What it returns is good until the next call.
type asker interface {
	ask(deadline time.Time) ([]byte, error)
	connections() int
	close()
}

// Run asks until it has asked enough, or ctx ends, and returns what came of it.
func Run(ctx context.Context, cfg Config) (Result, error) {
	cfg.setDefaults()
	newAsker, err := cfg.newAsker()
	if err != nil {
		return Result{}, err
	}
	if cfg.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.For)
		defer cancel()
	}
	r := &run{cfg: cfg, start: time.Now()}
	tallies := make([]*tally, cfg.Clients)
	var clients sync.WaitGroup
	for i := range tallies {
		tallies[i] = newTally()
		clients.Go(func() { r.client(ctx, newAsker(), tallies[i]) })
	}
	clients.Wait()
	return sum(tallies, time.Since(r.start)), nil
}

type run struct {
	cfg   Config
	start time.Time
	begun atomic.Int64
}

// client asks one request after the other. The request that is under way when
// ctx ends is none that failed, so it has a deadline of its own.
func (r *run) client(ctx context.Context, a asker, t *tally) {
	defer a.close()
	for {
		n := r.begun.Add(1) - 1
		if r.cfg.Requests > 0 && n >= int64(r.cfg.Requests) || !r.due(ctx, n) {
			break
		}
		began := time.Now()
		answer, err := a.ask(began.Add(r.cfg.Timeout))
		t.add(began, answer, err)
		if r.cfg.Pause > 0 && !pause(ctx, r.cfg.Pause) {
			break
		}
	}
	t.connections = a.connections()
}

// due waits until it is time for request n, and reports whether it still is to
// be made. One that is late, because others took long, is made at once.
func (r *run) due(ctx context.Context, n int64) bool {
	if ctx.Err() != nil {
		return false
	}
	if r.cfg.Rate == 0 {
		return true
	}
	wait := time.Until(r.start.Add(time.Duration(n) * time.Second / time.Duration(r.cfg.Rate)))
	return wait <= 0 || pause(ctx, wait)
}

// pause reports whether ctx outlived it.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
