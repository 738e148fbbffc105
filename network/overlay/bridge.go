package overlay

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// Engine makes bridges.
type Engine interface {
	// Bridges are those of a cluster.
	Bridges(ctx context.Context, cluster string) ([]fabric.Bridge, error)
	// CreateBridge makes one and sets its ID.
	CreateBridge(context.Context, *fabric.Bridge) error
	// RemoveBridge removes one, unless containers are on it: a conflict then.
	RemoveBridge(ctx context.Context, id string) error
}

// bridges is what the engine is known to have.
type bridges struct {
	known  map[api.NetworkID]fabric.Bridge
	listed bool
	why    map[api.NetworkID]error // why a network has no bridge, or the wrong one
	going  map[api.NetworkID]bool  // that it is told to remove just now
}

// Build makes the engine have a bridge for each network that is needed and no
// other, and reports whether it has made or removed one. It asks the engine
// what it has at the first time and where look is set. It may take as long as
// the engine does; nobody else calls it meanwhile.
func (o *Overlay) Build(ctx context.Context, set *fabric.Set, need map[api.NetworkID]bool, look bool) (changed bool, err error) {
	var errs []error
	if first := !o.built().listed; first || look {
		if err := o.list(ctx); err != nil {
			err = fmt.Errorf("ask the container engine for its bridges: %w", err)
			o.explain(need, err)
			return false, err
		}
		if first {
			errs = append(errs, o.sweep())
		}
	}
	why := map[api.NetworkID]error{}
	for _, step := range steps(o.built().known, o.wanted(set, need), need) {
		did, err := o.take(ctx, step)
		changed = changed || did
		if err != nil {
			why[step.network] = err
			errs = append(errs, err)
		}
	}
	o.mu.Lock()
	o.engine.why = why
	o.mu.Unlock()
	return changed, errors.Join(errs...)
}

// explain tells those who wait for bridges that are not there why.
func (o *Overlay) explain(need map[api.NetworkID]bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id := range need {
		if _, ok := o.engine.known[id]; !ok && o.ready[id] != nil {
			o.engine.why[id] = err
		}
	}
}

// step is one thing to do about the bridge of a network: remove the old one,
// make the new one, or both in this order.
type step struct {
	network  api.NetworkID
	old, now *fabric.Bridge
}

// steps decides what to do. A bridge whose network is needed, but of which this
// host does not know what it should be, stays: the host's address in it may
// come with the next update, and containers may be on it.
func steps(known, wanted map[api.NetworkID]fabric.Bridge, need map[api.NetworkID]bool) []step {
	var out []step
	for id, b := range known {
		w, ok := wanted[id]
		switch {
		case ok && !b.SameAs(&w):
			out = append(out, step{id, &b, &w})
		case !ok && !need[id]:
			out = append(out, step{id, &b, nil})
		}
	}
	for id, w := range wanted {
		if _, ok := known[id]; !ok {
			out = append(out, step{id, nil, &w})
		}
	}
	// What goes makes room for what comes: a network may have been deleted and
	// made again with the same name and subnet.
	slices.SortStableFunc(out, func(a, b step) int { return rank(a) - rank(b) })
	return out
}

func rank(s step) int {
	if s.old != nil {
		return 0
	}
	return 1
}

// take does what the step says and remembers what the engine has then.
func (o *Overlay) take(ctx context.Context, s step) (changed bool, err error) {
	if s.old != nil {
		o.unexpect(s.old.Interface)
		o.goes(s.network, true)
		err := o.cfg.Engine.RemoveBridge(ctx, s.old.ID)
		if err != nil {
			o.goes(s.network, false)
		}
		switch {
		case errors.Is(err, api.ErrConflict):
			return false, api.Errorf(api.CodeUnavailable, "network %q: its bridge on this host goes once no container is on it: %v", s.old.Name, err)
		case err != nil:
			return false, fmt.Errorf("network %q: remove its bridge: %w", s.old.Name, err)
		}
		o.remember(s.network, nil)
		changed = true
		// One that was made again is another to the engine, which leaves it.
		if err := o.deleteBridge(s.old.Interface); err != nil {
			return changed, fmt.Errorf("network %q: %w", s.old.Name, err)
		}
	}
	if s.now != nil {
		if err := o.cfg.Engine.CreateBridge(ctx, s.now); err != nil {
			return changed, err
		}
		o.remember(s.network, s.now)
		changed = true
	}
	return changed, nil
}

// wanted are the bridges that are needed and of which all is known.
func (o *Overlay) wanted(set *fabric.Set, need map[api.NetworkID]bool) map[api.NetworkID]fabric.Bridge {
	host, out := set.Hosts[o.cfg.Self], map[api.NetworkID]fabric.Bridge{}
	if host == nil {
		return out
	}
	room := o.room(set)
	for id := range need {
		n := set.Networks[id]
		if n == nil {
			continue
		}
		if b := bridge(n, host, mtu(n, host.Addr, room)); len(b.Subnets) > 0 {
			b.Cluster = o.cfg.Cluster
			out[id] = b
		}
	}
	return out
}

// bridge is what a network's bridge on a host should be. It has no subnets
// where the host has no address in the network.
func bridge(n *fabric.Network, host *fabric.Host, mtu int) fabric.Bridge {
	b := fabric.Bridge{Network: n.ID, Name: n.Name, Interface: fabric.BridgeName(n.ID), MTU: mtu, Internal: n.Internal}
	at := fabric.In(host.Gateways, n.ID)
	if at == nil {
		return b
	}
	for _, s := range n.Subnets {
		if i := slices.IndexFunc(at.Addrs, s.Prefix.Contains); i >= 0 {
			b.Subnets = append(b.Subnets, fabric.BridgeSubnet{Prefix: s.Prefix, Gateway: at.Addrs[i]})
		}
	}
	return b
}

// list asks the engine what it has.
func (o *Overlay) list(ctx context.Context) error {
	list, err := o.cfg.Engine.Bridges(ctx, o.cfg.Cluster)
	if err != nil {
		return err
	}
	known := map[api.NetworkID]fabric.Bridge{}
	for _, b := range list {
		known[b.Network] = b
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.engine.known, o.engine.listed = known, true
	return nil
}

// built is a copy of what the engine is known to have.
func (o *Overlay) built() bridges {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.engine
	b.known = map[api.NetworkID]fabric.Bridge{}
	for id, one := range o.engine.known {
		b.known[id] = one
	}
	return b
}

func (o *Overlay) goes(id api.NetworkID, going bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if going {
		o.engine.going[id] = true
	} else {
		delete(o.engine.going, id)
	}
}

func (o *Overlay) remember(id api.NetworkID, b *fabric.Bridge) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.replaced[id] = true
	delete(o.engine.going, id)
	delete(o.ready, id) // it was the old one that was connected
	if b == nil {
		delete(o.engine.known, id)
		delete(o.frames, id)
	} else {
		o.engine.known[id] = *b
	}
}
