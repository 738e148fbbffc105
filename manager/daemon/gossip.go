package daemon

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/network/gossip"
)

// runGossip waits for the keys, which come with the first ClusterInfo, and
// gossips from then on.
func (m *member) runGossip(ctx context.Context) error {
	info, updated := m.watchCluster()
	for len(info.GetGossipKeys()) == 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-updated:
			info, updated = m.watchCluster()
		}
	}
	id := m.ids.Current()
	g, err := gossip.New(gossip.Config{
		NodeID:        id.NodeID,
		ClusterID:     id.ClusterID,
		Meta:          gossipMeta(id),
		AdvertiseAddr: m.advertiseHost(),
		Keys:          info.GetGossipKeys(),
		Log:           m.component("gossip"),
	})
	if err != nil {
		return err
	}
	m.setGossip(g)
	defer m.setGossip(nil)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.Run(ctx) })
	group.Go(func() error { return m.feedGossip(ctx, g) })
	group.Go(func() error { return m.followSuspects(ctx, g) })
	return group.Wait()
}

// gossipMeta is what the others should know of this node.
func gossipMeta(id *identity.Identity) gossip.Meta { return gossip.Meta{Role: id.Role} }

// feedGossip hands on keys, addresses and the node's role as they come.
func (m *member) feedGossip(ctx context.Context, g *gossip.Gossip) error {
	for {
		info, updated := m.watchCluster()
		id, renewed := m.ids.Watch()
		g.SetMeta(gossipMeta(id))
		if err := g.SetKeys(info.GetGossipKeys()); err != nil {
			return err
		}
		g.Join(info.GetGossipPeers()...)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-updated:
		case <-renewed:
		}
	}
}

// watchGossip returns the gossip, or nil and a channel that is closed when
// there is one.
func (m *member) watchGossip() (*gossip.Gossip, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gossip, m.gossiping
}

func (m *member) setGossip(g *gossip.Gossip) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gossip = g
	close(m.gossiping)
	m.gossiping = make(chan struct{})
}

// reachable says whether the gossip sees a manager alive.
func (m *member) reachable(id nodeID) bool { return id == m.id() || !m.suspect(id) }

// suspect tells the worker which managers the gossip doubts.
func (m *member) suspect(id nodeID) bool {
	g, _ := m.watchGossip()
	if g == nil {
		return false
	}
	return slices.ContainsFunc(g.Members(), func(p gossip.Member) bool { return p.NodeID == id && p.State != gossip.Alive })
}

// gossipView is the gossip as the leader's liveness sees it. Until it has
// started, or while it is started again, it knows nobody.
type gossipView struct{ m *member }

// Changed implements liveness.Gossip.
func (v gossipView) Changed() <-chan struct{} {
	g, changed := v.m.watchGossip()
	if g != nil {
		return g.Changed()
	}
	return changed
}

// Members implements liveness.Gossip.
func (v gossipView) Members() []gossip.Member {
	if g, _ := v.m.watchGossip(); g != nil {
		return g.Members()
	}
	return nil
}
