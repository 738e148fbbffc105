package dockerapi

import (
	"context"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// How busy a node is tells nobody anything, and is no new version for whoever
// has read the node. A write is an event even where it changes nothing.
func TestLoadAloneIsNoEvent(t *testing.T) {
	s := state.New()
	_, cursor := s.Follow()
	var version uint64
	for i, tt := range []struct {
		op     state.Op
		events int
	}{
		{state.Op{PutNode: &api.Node{ID: "n"}}, 1},
		{state.Op{ObserveNode: &state.ObserveNode{ID: "n", Load: &api.NodeLoad{CPU: 90}}}, 0},
		{state.Op{ObserveNode: &state.ObserveNode{ID: "n", Load: &api.NodeLoad{CPU: 10}, Status: &api.NodeStatus{State: api.NodeReady}}}, 1},
		{state.Op{ObserveNode: &state.ObserveNode{ID: "n", Load: &api.NodeLoad{CPU: 20}}}, 0},
		{state.Op{PutNode: &api.Node{ID: "n"}}, 1},
		{state.Op{PutNode: &api.Node{ID: "n"}}, 1},
	} {
		if n := tt.op.PutNode; n != nil {
			n.Meta.Version.Index = version
		}
		if err := s.Apply(uint64(i+1), []state.Command{{At: time.Unix(int64(i), 0), Ops: []state.Op{tt.op}}})[0].Err(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		e, err := cursor.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		n := e.View.Node("n")
		if got := messagesOf(e, time.Time{}); len(got) != tt.events || (n.Meta.Version.Index != version) != (tt.events == 1) {
			t.Errorf("step %d: %v; version %d, was %d", i, got, n.Meta.Version.Index, version)
		}
		version = n.Meta.Version.Index
	}
	if load := s.View().Node("n").Load; load == nil || load.CPU != 20 {
		t.Errorf("a write of what was read has put back the load to %v", load)
	}
}
