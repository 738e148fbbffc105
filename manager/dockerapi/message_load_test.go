package dockerapi

import (
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

func TestLoadAloneIsNoEvent(t *testing.T) {
	idle := &api.Node{ID: "n", Load: &api.NodeLoad{CPU: 10}}
	busy := &api.Node{ID: "n", Load: &api.NodeLoad{CPU: 90}}
	down := &api.Node{ID: "n", Load: busy.Load, Status: api.NodeStatus{State: api.NodeDown}}
	both := &api.Node{ID: "n", Load: &api.NodeLoad{CPU: 10}, Status: api.NodeStatus{State: api.NodeReady}}
	for _, tt := range []struct {
		before, after *api.Node
		want          int
	}{
		{nil, idle, 1}, {idle, busy, 0}, {busy, down, 1}, {down, both, 1}, {both, nil, 1},
	} {
		got := messagesOf(&state.Event{Nodes: []state.Pair[api.Node]{{Before: tt.before, After: tt.after}}}, time.Time{})
		if len(got) != tt.want {
			t.Errorf("from %+v to %+v: %v", tt.before, tt.after, got)
		}
	}
}
