package dispatcher

import (
	"encoding/json"
	"fmt"
	"net"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// sharedInfo is the part of ClusterInfo that is the same for all nodes: made
// once a change, not once a node.
type sharedInfo struct{ wire *wire.ClusterInfo }

func (c *Config) shareInfo(v *state.View) *sharedInfo {
	heartbeat, _ := c.times(v)
	info := &wire.ClusterInfo{Heartbeat: durationpb.New(heartbeat)}
	if c := v.Cluster(); c != nil {
		info.ClusterId, info.GossipKeys, info.RootsPem = c.ID, c.GossipKeys, c.RootsPEM()
	}
	for n := range v.Nodes() {
		if !n.IsManager() {
			continue
		}
		info.Managers = append(info.Managers, &wire.Peer{NodeId: string(n.ID), Addr: n.ManagerAddr})
		if host, _, err := net.SplitHostPort(n.ManagerAddr); err == nil {
			info.GossipPeers = append(info.GossipPeers, host)
		}
	}
	return &sharedInfo{info}
}

func (s *sharedInfo) equal(o *sharedInfo) bool { return o != nil && proto.Equal(s.wire, o.wire) }

// forNode completes the shared part with what concerns one node alone.
func (s *sharedInfo) forNode(n *api.Node) (*wire.ClusterInfo, error) {
	spec, err := json.Marshal(n.Spec)
	if err != nil {
		return nil, fmt.Errorf("encode spec of node %s: %w", n.ID, err)
	}
	return &wire.ClusterInfo{
		ClusterId: s.wire.ClusterId, Managers: s.wire.Managers, GossipKeys: s.wire.GossipKeys,
		GossipPeers: s.wire.GossipPeers, RootsPem: s.wire.RootsPem, Heartbeat: s.wire.Heartbeat, NodeSpecJson: spec,
	}, nil
}

// concernsManagers reports whether a change of a node can change the shared part.
func concernsManagers(p state.Pair[api.Node]) bool {
	addr := func(n *api.Node) string {
		if n == nil {
			return ""
		}
		return n.ManagerAddr
	}
	return addr(p.Before) != addr(p.After)
}
