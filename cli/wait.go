package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"github.com/swarmctl/swarmctl/api/setting"
)

// How the cluster is watched: an event of it wakes us at once, at most every
// shortestLook; where events say nothing, looks become rarer up to longestLook.
const (
	shortestLook = 100 * time.Millisecond
	firstLook    = 100 * time.Millisecond
	longestLook  = time.Second
)

// errTimeout is the cause of a context that --timeout ended.
var errTimeout = errors.New("timed out")

// wait shows a service's progress until it has converged, the user interrupts
// or --timeout passes; the cluster works on in every case. With --detach it
// returns at once. A service that was rolled back, or whose update paused, is
// an error.
func (c *call) wait(ctx context.Context, ref string, quiet bool) error {
	return c.waitFor(ctx, &follower{name: ref}, quiet)
}

func (c *call) waitFor(ctx context.Context, f *follower, quiet bool) error {
	if c.flags.yes("detach") {
		return nil
	}
	ctx, cancel, patience := c.patient(ctx)
	defer cancel()
	screen := c.screen()
	if quiet {
		screen.w, screen.tty = io.Discard, false
	}
	return c.standBy(ctx, f, screen, patience)
}

// started is a service that a command has created or changed.
type started struct{ name, id string }

// atOnce is how many images are looked up and services followed at a time: each
// service is watched for the same few seconds after it has come up.
const atOnce = 32

// waitAll follows several services within one --timeout: one alone task by task,
// of several it says when each has converged. ps is the command that shows how
// far they are, for those who do not wait any longer.
func (c *call) waitAll(ctx context.Context, services []started, ps string) error {
	if c.flags.yes("detach") || len(services) == 0 {
		return nil
	}
	if len(services) == 1 {
		return c.waitFor(ctx, &follower{name: services[0].name}, c.flags.yes("quiet"))
	}
	ctx, cancel, patience := c.patient(ctx)
	defer cancel()
	quiet := c.flags.yes("quiet")
	if !quiet {
		fmt.Fprintf(c.out, "Waiting for %d services to converge\n", len(services))
	}
	errs := make([]error, len(services))
	var group errgroup.Group
	var line sync.Mutex
	group.SetLimit(atOnce)
	for i, s := range services {
		group.Go(func() error {
			f := &follower{name: s.name}
			err := c.standBy(ctx, f, &screen{w: io.Discard, shown: map[string]bar{}}, patience)
			if err != nil {
				errs[i] = named(s.name, err)
				if c.flags.yes("atomic") {
					cancel() // all go back, whatever becomes of the others
				}
			} else if f.converged && ctx.Err() == nil && !quiet {
				line.Lock()
				defer line.Unlock()
				fmt.Fprintf(c.out, "Service %s converged\n", s.name)
			}
			return nil
		})
	}
	_ = group.Wait()
	if ctx.Err() != nil && patience == 0 {
		fmt.Fprintf(c.out, "Operation continuing in background.\nUse `%s %s` to check progress.\n", progName, ps)
	}
	return errors.Join(errs...)
}

// patient is a context that ends when --timeout has passed.
func (c *call) patient(ctx context.Context) (context.Context, context.CancelFunc, time.Duration) {
	patience := one(c.flags, "timeout", time.Duration(0))
	if patience <= 0 && c.flags.yes("atomic") {
		patience = setting.DefaultProgressDeadline // what crashes again and again does so for ever
	}
	if patience <= 0 {
		return ctx, func() {}, 0
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errTimeout)
	return ctx, cancel, patience
}

// standBy follows a service and says what becomes of it when the wait ends first.
func (c *call) standBy(ctx context.Context, f *follower, screen *screen, patience time.Duration) error {
	ref := f.name
	err := c.follow(ctx, f, ref, screen)
	if err == nil || ctx.Err() == nil {
		return err
	}
	if errors.Is(context.Cause(ctx), errTimeout) {
		return &exitError{code: exitTimeout, msg: fmt.Sprintf(
			"timed out after %s: service %s has %s; the cluster works on, `%s service ps %s` shows how far it is", patience, ref, f.standing(), progName, ref)}
	}
	if !f.converged {
		screen.say("Operation continuing in background.")
		screen.say("Use `%s service ps %s` to check progress.", progName, ref)
	}
	return nil
}

// follow looks at the service whenever something may have changed.
func (c *call) follow(ctx context.Context, f *follower, ref string, screen *screen) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wake <-chan struct{}
	delay, last := firstLook, ""
	for {
		s, err := c.see(ctx, ref)
		if err != nil {
			return err
		}
		if wake == nil {
			wake = c.wakeups(ctx, s.service.ID)
		}
		v, err := f.look(s, c.app.now())
		screen.draw(v.bars)
		if err != nil || v.done {
			return err
		}
		if now := fmt.Sprint(v.bars); now != last {
			delay, last = firstLook, now
		} else {
			delay = min(delay*2, longestLook)
		}
		due := delay
		if v.due > 0 {
			due = min(v.due, longestLook)
		}
		if err := pause(ctx, wake, due); err != nil {
			return err
		}
	}
}

// pause waits for a wake-up, or for due to pass, and never less than shortestLook.
func pause(ctx context.Context, wake <-chan struct{}, due time.Duration) error {
	gap := time.NewTimer(min(shortestLook, due))
	defer gap.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-gap.C:
	}
	rest := time.NewTimer(due - min(shortestLook, due))
	defer rest.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-wake:
	case <-rest.C:
	}
	return nil
}

// see asks the API for the service, its newest tasks and the nodes.
func (c *call) see(ctx context.Context, ref string) (s seen, err error) {
	s.service, _, err = c.api().ServiceInspectWithRaw(ctx, ref, swarm.ServiceInspectOptions{})
	if err != nil {
		return s, err
	}
	s.tasks, err = c.api().TaskList(ctx, swarm.TaskListOptions{
		Filters: filters.NewArgs(filters.Arg("service", s.service.ID), filters.Arg("_up-to-date", "true")),
	})
	if err != nil {
		return s, err
	}
	if s.up, err = c.upNodes(ctx); err != nil {
		return s, err
	}
	if u := s.service.UpdateStatus; u != nil && u.State == swarm.UpdateStatePaused { // a canary, perhaps
		s.rollout, err = c.rollout(ctx, s.service)
	}
	return s, err
}

// wakeups signals that something happened that may concern a service. It ends
// with ctx, and stays silent where the daemon offers no such events.
func (c *call) wakeups(ctx context.Context, service string) <-chan struct{} {
	wake := make(chan struct{}, 1)
	messages, errs := c.api().Events(ctx, events.ListOptions{Filters: filters.NewArgs(filters.Arg("scope", "swarm"))})
	go func() {
		for {
			select {
			case m := <-messages:
				if !concerns(m, service) {
					continue
				}
				select {
				case wake <- struct{}{}:
				default: // one is waiting already
				}
			case <-errs: // ctx ended, or no events here: the fallback looks suffice
				return
			}
		}
	}()
	return wake
}

// concerns reports whether an event may change how far a service is: one of
// its own, of its tasks, or of a node.
func concerns(m events.Message, service string) bool {
	switch m.Type {
	case events.ServiceEventType:
		return m.Actor.ID == service
	case events.NodeEventType:
		return true
	}
	of := m.Actor.Attributes["service.id"]
	return of == "" || of == service
}
