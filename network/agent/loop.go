package agent

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// loop is the one goroutine that applies. Nothing in it is shared.
type loop struct {
	a             *Agent
	set           *fabric.Set // changed in place; the parts get copies
	view          *view       // nil until the first update
	came          int
	first, second []*part
	doubted       <-chan struct{} // closed when the suspects are others
	ordered       order
}

func newLoop(a *Agent) *loop {
	l := &loop{a: a, set: fabric.NewSet()}
	l.first, l.second = a.cfg.Parts.list()
	for _, p := range l.parts() {
		p.look = time.Now().Add(lookAgain)
	}
	return l
}

func (l *loop) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.a.closed:
			return
		case <-l.a.wake:
		case <-l.doubted:
		case <-l.a.built:
			l.news()
		case <-l.a.upset:
			l.upset(l.a.takeUpset(), time.Now().Add(settle))
		case <-timer.C:
		}
		l.pass(time.Now())
		timer.Reset(l.pause(time.Now()))
	}
}

// pass takes over what has come and runs the parts that have something to do.
func (l *loop) pass(now time.Time) {
	l.takeOver()
	l.look(now)
	if l.view == nil {
		return // nothing is known of the fabric: what is there stays as it is
	}
	l.runGroup(l.first, now)
	l.runGroup(l.second, now)
	l.a.diagnose()
	l.a.publish(state{l.came, l.view.set, l.troubles()})
	l.a.attachEarly() // they have what an earlier daemon has set, which is not this view
	if l.complete() {
		l.a.acknowledge(l.view.set.Index)
	}
}

// takeOver makes a new view of what has come.
func (l *loop) takeOver() {
	updates, came, holds := l.a.take()
	for _, u := range updates {
		l.set.Apply(u)
	}
	l.came = came
	if l.view == nil && len(updates) == 0 {
		return
	}
	suspect, changed := l.a.suspects()
	l.doubted = changed
	next := &view{need: needed(l.set, l.a.cfg.Self, holds), suspect: suspect}
	next.listening = gateways(l.set, l.a.cfg.Self, next.need)
	if l.view != nil && len(updates) == 0 {
		next.set = l.view.set
	} else {
		next.set = l.set.Clone()
	}
	old := l.view
	l.view = next
	if old == nil || old.set != next.set || !maps.Equal(old.suspect, suspect) || !maps.Equal(old.need, next.need) {
		l.news()
	}
	l.order(false)
}

func (l *loop) parts() []*part { return append(l.first[:len(l.first):len(l.first)], l.second...) }

func (l *loop) news() {
	for _, p := range l.parts() {
		p.news()
	}
}

// upset has the named parts look at what others have changed.
func (l *loop) upset(names map[string]bool, when time.Time) {
	for _, p := range l.parts() {
		if names[p.name] {
			p.look = earlier(p.look, when)
		}
	}
}

// look finds the parts that are to look now. Where bridges were changed, the
// engine may have them no more.
func (l *loop) look(now time.Time) {
	for _, p := range l.parts() {
		if now.Before(p.look) {
			continue
		}
		p.disturbed, p.look = true, now.Add(lookAgain)
		if p.name == overlayPart {
			l.order(true)
		}
	}
}

// runGroup runs the parts that have something to do, all at a time.
func (l *loop) runGroup(parts []*part, now time.Time) {
	var wg sync.WaitGroup
	for _, p := range parts {
		if p.due(now) {
			wg.Go(func() { p.say(l.a.cfg.Log, p.run(l.view, now), now) })
		}
	}
	wg.Wait()
}

// complete reports whether all parts that others wait for agree with the view.
func (l *loop) complete() bool {
	for _, p := range l.parts() {
		if p.behind && !p.aside {
			return false
		}
	}
	return true
}

// troubles are what is in the way of the parts.
func (l *loop) troubles() (list []trouble) {
	for _, p := range l.parts() {
		if p.err != nil {
			list = append(list, trouble{p.name, p.err})
		}
	}
	return list
}

// pause is how long there is nothing to do, unless something comes.
func (l *loop) pause(now time.Time) time.Duration {
	next := now.Add(lookAgain)
	for _, p := range l.parts() {
		next = earlier(next, p.look)
		if !p.retry.IsZero() {
			next = earlier(next, p.retry)
		}
	}
	return max(0, next.Sub(now))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// suspects are the other nodes that this one doubts.
func (a *Agent) suspects() (map[api.NodeID]bool, <-chan struct{}) {
	list, changed := a.cfg.Suspects()
	if list[a.cfg.Self] {
		list = maps.Clone(list)
		delete(list, a.cfg.Self)
	}
	return list, changed
}
