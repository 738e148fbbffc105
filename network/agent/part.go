package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// Delays between attempts of a part that fails.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
	saidAfter  = time.Second // how long it fails before the log hears of it
)

// view is what the parts have to agree with. It never changes.
type view struct {
	set       *fabric.Set
	need      map[api.NetworkID]bool
	suspect   map[api.NodeID]bool
	listening []netip.Addr // where names are answered
}

// Names of the parts that may be upset by others.
const (
	overlayPart = "overlay"
	balancePart = "balance"
	ingressPart = "ingress"
)

// part is one of the parts, with how it is doing.
type part struct {
	name    string
	apply   func(*view) error
	restore func() error
	// aside: nobody is sent anywhere by what it has yet to do, so those who wait
	// for tasks to be drained do not wait for it.
	aside bool

	behind    bool      // the view is another than the one it has applied
	disturbed bool      // others may have changed what it has set
	look      time.Time // when to look whether they have
	err       error     // of the last run
	said      string    // the last failure that was logged, empty where it works
	saidAt    time.Time
	ill       time.Time     // since when it fails, zero where it does not
	wait      time.Duration // the delay after the last failure
	retry     time.Time     // zero where it did not fail
}

// list has the parts in two groups: what sends callers to an address comes
// after what makes the address reachable.
func (p Parts) list() (first, second []*part) {
	if p.Overlay != nil {
		first = append(first, &part{
			name: overlayPart, restore: p.Overlay.Restore,
			apply: func(v *view) error { return p.Overlay.Apply(v.set, v.need) },
		})
	}
	if p.Balance != nil {
		second = append(second, &part{
			name: balancePart, restore: p.Balance.Restore,
			apply: func(v *view) error { return p.Balance.Apply(v.set, v.doubts) },
		})
	}
	if p.Ingress != nil {
		second = append(second, &part{
			name: ingressPart, restore: p.Ingress.Restore,
			apply: func(v *view) error { return p.Ingress.Apply(v.set, v.doubts) },
		})
	}
	if p.DNS != nil {
		second = append(second, &part{
			name: "names", restore: func() error { return nil },
			apply: func(v *view) error { p.DNS.Apply(v.set, v.doubts); return nil },
		})
		// Another program may have the port for as long as it likes.
		var at []netip.Addr
		second = append(second, &part{
			name: "resolver", aside: true, restore: func() error { return p.DNS.Listen(at) },
			apply: func(v *view) error {
				at = v.listening
				return p.DNS.Listen(at)
			},
		})
	}
	return first, second
}

func (v *view) doubts(id api.NodeID) bool { return v.suspect[id] }

// due reports whether there is something to do now.
func (p *part) due(now time.Time) bool {
	return (p.behind || p.disturbed) && !now.Before(p.retry)
}

// run does what is due, and notes when to try again where it fails.
func (p *part) run(v *view, now time.Time) error {
	var errs []error
	if p.disturbed {
		err := p.restore()
		p.disturbed = err != nil
		errs = append(errs, err)
	}
	if p.behind {
		err := p.apply(v)
		p.behind = err != nil
		if err == nil || errs == nil || errs[0] == nil || errs[0].Error() != err.Error() { // it is said once
			errs = append(errs, err)
		}
	}
	err := errors.Join(errs...)
	p.err = err
	if p.wait, p.retry = nextWait(p.wait, err), (time.Time{}); err != nil {
		p.retry = now.Add(p.wait)
	}
	return err
}

// nextWait is the delay before what came to err is tried again.
func nextWait(last time.Duration, err error) time.Duration {
	if err == nil {
		return 0
	}
	return min(max(firstRetry, 2*last), lastRetry)
}

// news are to be applied at once, however long ago the last failure was: they
// may be what was missing.
func (p *part) news() { p.behind, p.retry = true, time.Time{} }

// say logs how the part is doing: that it fails, why where that has become
// another reason, and that it works again. What passes within saidAfter is not
// worth a line: the engine is about to let go of something. A reason of many lines
// changes with every attempt, so it is not said more often than once in a while.
func (p *part) say(log *slog.Logger, err error, now time.Time) {
	if err == nil {
		p.ill = time.Time{}
	} else if p.ill.IsZero() {
		p.ill = now
	}
	switch {
	case err != nil && now.Sub(p.ill) >= saidAfter && p.said != err.Error() && now.Sub(p.saidAt) >= lastRetry:
		p.said, p.saidAt = err.Error(), now
		log.Error("a part of the network does not do what it should; it is tried again", "part", p.name, "err", err)
	case err == nil && p.said != "":
		p.said, p.saidAt = "", time.Time{}
		log.Info("a part of the network does what it should again", "part", p.name)
	}
}

// close takes away all that the parts have set, in the reverse order.
func (p Parts) close(ctx context.Context) error {
	var errs []error
	end := func(name string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	if p.DNS != nil {
		end("dns", p.DNS.Close())
	}
	if p.Ingress != nil {
		end("ingress", p.Ingress.Close())
	}
	if p.Balance != nil {
		end("balance", p.Balance.Close())
	}
	if p.Overlay != nil {
		end("overlay", p.Overlay.Close(ctx))
	}
	return errors.Join(errs...)
}
