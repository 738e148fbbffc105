package overlay

import (
	"fmt"
	"testing"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// BenchmarkPlan plans a node that knows of 10,000 endpoints in a network.
func BenchmarkPlan(b *testing.B) {
	set := threeHosts()
	for i := range 10_000 {
		id := fmt.Sprint("e", i)
		set.Endpoints[id] = &fabric.Endpoint{ID: id, Node: "h2", Networks: []api.Attachment{at(nid, fmt.Sprintf("10.1.%d.%d", i/250, i%250))}}
	}
	b.Run("clone", func(b *testing.B) {
		for b.Loop() {
			set.Clone()
		}
	})
	b.Run("plan", func(b *testing.B) {
		for b.Loop() {
			plan(set, all, "h1", 1500)
		}
	})
}
