package daemon

import (
	"testing"

	"github.com/swarmctl/swarmctl/api"
)

// TestKeysChangeWithoutAGap walks three changes: any two neighbouring steps
// must be able to read each other, since nodes take a step at different times.
func TestKeysChangeWithoutAGap(t *testing.T) {
	made := byte('b')
	fresh := func() []byte { made++; return []byte{made} }
	c := &api.Cluster{GossipKeys: [][]byte{{'b'}}}
	for range 9 {
		next, after := nextKeys(c, fresh)
		if after <= 0 {
			t.Fatalf("step %d is not rested", c.GossipStep)
		}
		if !reads(next, c.GossipKeys[0]) || !reads(c, next.GossipKeys[0]) {
			t.Fatalf("step %d with %q and step %d with %q cannot read each other", c.GossipStep, c.GossipKeys, next.GossipStep, next.GossipKeys)
		}
		c = next
	}
	if len(c.GossipKeys) != 1 || c.GossipKeys[0][0] != 'e' || c.GossipStep != api.GossipSettled {
		t.Errorf("after three changes: %q, step %d", c.GossipKeys, c.GossipStep)
	}
}

func reads(c *api.Cluster, key []byte) bool {
	for _, k := range c.GossipKeys {
		if string(k) == string(key) {
			return true
		}
	}
	return false
}
