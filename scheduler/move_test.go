package scheduler

import (
	"math"
	"testing"
)

// TestWaitingMoveIsPlannedAgainOnlyWhereItMatters: in a full cluster containers
// come and go all the time, and each time all that waits would be ranked on all
// nodes anew.
func TestWaitingMoveIsPlannedAgainOnlyWhereItMatters(t *testing.T) {
	w := newWorld(t)
	w.do("node h1", "node h2 cpu=2", "node h3 cpu=2", "service web cpu=3", "service small cpu=0.5",
		"tasks web 1 on=h1 state=running", "node h1 availability=drain", "tasks web 1 id=web.1b replaces=web.1",
		"tasks small 1 on=h2 state=running")
	w.carryOut(w.cluster.Plan(w.now, math.MaxInt))
	g := w.cluster.entries["web.1b"].group
	for _, tt := range []struct {
		change string
		want   stage
	}{
		{"report small.1 failed", blocked},
		{"node h3 cpu=2 label.zone=a", ready}, // perhaps it says something else now
		{"node h2 availability=pause", ready},
		{"tasks small 2 on=h3 state=running", blocked},
		{"report small.2 failed", blocked},
		{"desire web.1 shutdown", blocked},
		{"report web.1 shutdown", blocked}, // its node is as drained as before
		{"node h3 cpu=4", ready},
	} {
		w.do(tt.change)
		p := &planner{Cluster: w.cluster}
		p.feed()
		p.recheck()
		if g.stage != tt.want {
			t.Errorf("after %q the group is in stage %d, want %d", tt.change, g.stage, tt.want)
		}
		w.carryOut(w.cluster.Plan(w.now, math.MaxInt))
	}
	if got := w.state.View().Task("web.1b").NodeID; got != "h3" {
		t.Errorf("web.1b is on %q", got)
	}
}
