package daemon

import (
	"maps"
	"testing"

	"github.com/swarmctl/swarmctl/network/gossip"
)

func TestNodesThatNothingNewIsSentTo(t *testing.T) {
	got := doubted([]gossip.Member{
		{NodeID: "lives"},
		{NodeID: "does not answer", State: gossip.Suspect},
		{NodeID: "lost its cable", State: gossip.Dead, Host: gossip.HostSilent},
		{NodeID: "has its daemon restarted", State: gossip.Dead, Host: gossip.HostRefuses},
		{NodeID: "hangs", State: gossip.Dead, Host: gossip.HostListens},
		{NodeID: "has left", State: gossip.Left},
	})
	want := map[nodeID]bool{"does not answer": true, "lost its cable": true, "hangs": true, "has left": true}
	if !maps.Equal(got, want) {
		t.Errorf("doubted are %v, want %v", got, want)
	}
}
