package agent

import (
	"context"
	"errors"
	"sync"
	"time"
)

// watch listens for what others change until ctx ends.
func (a *Agent) watch(ctx context.Context) {
	var wg sync.WaitGroup
	if o := a.cfg.Parts.Overlay; o != nil {
		// Published ports use a bridge: it may be a new one.
		wg.Go(func() { a.listen(ctx, o.Watch, overlayPart, ingressPart) })
	}
	if b := a.cfg.Parts.Balance; b != nil {
		wg.Go(func() { a.listen(ctx, b.Watch, balancePart) })
	}
	if i := a.cfg.Parts.Ingress; i != nil {
		wg.Go(func() { a.listen(ctx, i.Watch, ingressPart) })
	}
	wg.Wait()
}

// listen has parts look when something was changed. Ears that fail are opened
// again; whatever was missed meanwhile is looked for.
func (a *Agent) listen(ctx context.Context, watch func(context.Context, func()) error, parts ...string) {
	var wait time.Duration
	for {
		began := time.Now()
		err := watch(ctx, func() { a.disturbed(parts...) })
		if ctx.Err() != nil {
			return
		}
		a.cfg.Log.Debug("changes of the kernel's network were missed", "err", err)
		a.disturbed(parts...)
		if time.Since(began) > lastRetry {
			wait = 0
		}
		wait = nextWait(wait, errMissed)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

var errMissed = errors.New("changes were missed")
