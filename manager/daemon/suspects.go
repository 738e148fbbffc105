package daemon

import (
	"context"
	"maps"

	"github.com/swarmctl/swarmctl/network/gossip"
)

// followSuspects keeps the list of nodes that the gossip doubts.
func (m *member) followSuspects(ctx context.Context, g *gossip.Gossip) error {
	defer m.setDoubted(nil) // who does not gossip doubts nobody
	for {
		changed := g.Changed()
		m.setDoubted(doubted(g.Members()))
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// doubted are the nodes to which nothing new should be sent. Where the host is up
// and its daemon alone is gone, containers go on: such a node is trusted again
// once its kernel has said so.
func doubted(members []gossip.Member) map[nodeID]bool {
	list := map[nodeID]bool{}
	for _, p := range members {
		if p.State != gossip.Alive && p.Host != gossip.HostRefuses {
			list[p.NodeID] = true
		}
	}
	return list
}

func (m *member) setDoubted(list map[nodeID]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if maps.Equal(list, m.doubted) {
		return
	}
	m.doubted = list
	close(m.doubting)
	m.doubting = make(chan struct{})
}

// suspects are the nodes that the gossip doubts, and a channel that is closed
// when they are others. The list is not changed afterwards.
func (m *member) suspects() (map[nodeID]bool, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.doubted, m.doubting
}
