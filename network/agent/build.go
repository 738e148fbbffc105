package agent

import (
	"context"
	"maps"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// order is what the engine's bridges have to agree with.
type order struct {
	set    *fabric.Set
	self   *fabric.Host
	need   map[api.NetworkID]bool
	nets   map[api.NetworkID]*fabric.Network
	lookAt bool // what the engine has may be other than what was built
}

// order tells the builder what is needed, where that is not what it was told last.
func (l *loop) order(lookAt bool) {
	if l.a.cfg.Parts.Overlay == nil || l.view == nil {
		return
	}
	o := order{set: l.view.set, self: l.view.set.Hosts[l.a.cfg.Self], need: l.view.need, nets: map[api.NetworkID]*fabric.Network{}, lookAt: lookAt}
	for id := range o.need {
		o.nets[id] = o.set.Networks[id]
	}
	if !lookAt && l.ordered.set != nil && o.self == l.ordered.self && maps.Equal(o.need, l.ordered.need) && maps.Equal(o.nets, l.ordered.nets) {
		return
	}
	l.ordered = o
	select {
	case old := <-l.a.orders: // overtaken
		o.lookAt = o.lookAt || old.lookAt
	default:
	}
	l.a.orders <- o // has room: nobody else sends
}

// build talks to the engine beside the loop: that takes as long as it takes,
// and what other nodes wait for does not wait with it.
func (a *Agent) build(ctx context.Context) {
	var o order
	var retry <-chan time.Time
	p := &part{name: "bridges"}
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.closed:
			return
		case o = <-a.orders:
		case <-retry:
		}
		changed, err := a.cfg.Parts.Overlay.Build(ctx, o.set, o.need, o.lookAt)
		if ctx.Err() != nil {
			return
		}
		p.say(a.cfg.Log, err, time.Now())
		if retry, p.wait = nil, nextWait(p.wait, err); err != nil {
			o.lookAt, retry = true, time.After(p.wait)
		}
		if changed || err != nil {
			poke(a.built) // and whoever waits in Prepare hears of the error
		}
	}
}
