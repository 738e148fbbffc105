package gossip

import (
	"context"
	"slices"
	"time"
)

// lonely is how often a node that sees no other tries its seeds again.
const lonely = time.Second

// seekSeeds joins through the seeds: when there are new ones, and while this
// node is alone.
func (g *Gossip) seekSeeds(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.seek:
		case <-t.C:
			if !g.alone() {
				continue // and sleep until there are new seeds: members that are lost are called (nudge)
			}
		}
		g.mu.Lock()
		seeds := slices.Clone(g.seeds)
		g.mu.Unlock()
		for _, addr := range seeds {
			if ctx.Err() != nil {
				return
			}
			if _, err := g.list.Join([]string{addr}); err != nil {
				g.cfg.Log.Debug("seed not reached", "addr", addr, "err", err)
			}
		}
		t.Reset(lonely)
	}
}

// alone reports whether this node sees no other alive.
func (g *Gossip) alone() bool {
	return !slices.ContainsFunc(g.Members(), func(m Member) bool {
		return m.NodeID != g.cfg.NodeID && (m.State == Alive || m.State == Suspect)
	})
}
