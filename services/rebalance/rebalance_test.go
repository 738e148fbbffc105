package rebalance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/api"
)

// TestWhichNodeATaskLeaves: nodes are given as name, zone, rack and tasks.
func TestWhichNodeATaskLeaves(t *testing.T) {
	const zone, rack = "node.labels.zone", "engine.labels.rack"
	for _, tt := range []struct {
		nodes       string
		preferences []string
		want        string
	}{
		{nodes: "", want: ""},
		{nodes: "a:x:1:9", want: ""},
		{nodes: "a:x:1:3 b:x:1:3 c:x:1:0", want: "a"},
		{nodes: "a:x:1:2 b:x:1:3 c:x:1:1", want: "b"},
		{nodes: "a:x:1:2 b:x:1:2 c:x:1:1", want: ""},
		{nodes: "a:x:1:2 b:x:1:2 c:x:1:2 d:y:1:0", preferences: []string{zone}, want: "a"},
		{nodes: "a:x:1:1 b:x:1:1 c:x:1:1 d:y:1:3", preferences: []string{zone}, want: ""},
		{nodes: "a:x:1:0 b:x:1:1 c:x:1:2 d:y:1:3", preferences: []string{zone}, want: "c"},
		{nodes: "a:x:1:1 b:x:2:3 c:y:1:0", preferences: []string{zone, rack}, want: "b"},
		{nodes: "a:x:1:3 b:x:2:1 c:y:1:4", preferences: []string{zone, rack}, want: "a"},
		{nodes: "a:x:1:2 b:x:1:0 c:x:2:2", preferences: []string{zone, rack}, want: "a"},
		{nodes: "a:x:1:2 b:x:1:2", preferences: []string{"node.labels.unknown"}, want: ""},
	} {
		var places []*place
		for _, word := range strings.Fields(tt.nodes) {
			f := strings.Split(word, ":")
			p := &place{node: &api.Node{ID: api.NodeID(f[0])}}
			p.node.Spec.Labels = map[string]string{"zone": f[1]}
			p.node.Description.Engine.Labels = map[string]string{"rack": f[2]}
			for range f[3][0] - '0' {
				p.tasks = append(p.tasks, &api.Task{})
			}
			places = append(places, p)
		}
		got := ""
		if p := (&balance{}).fullest(places, tt.preferences); p != nil {
			got = string(p.node.ID)
		}
		if got != tt.want {
			t.Errorf("%s, spread over %s: a task leaves %q, want %q", tt.nodes, fmt.Sprint(tt.preferences), got, tt.want)
		}
	}
}
