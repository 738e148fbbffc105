package scenarios

import (
	"testing"
	"time"
)

// workersPatience is how long a worker runs a task on that must stop, where the
// nodes do not say that they have taken it out of their balancers.
const workersPatience = 2 * time.Second

// The nodes of all managers say so, and soon: nobody has to wait for the end of
// that patience. The best of a few counts; two cores may be busy.
func TestNetATaskStopsAsSoonAsNoBalancerHasIt(t *testing.T) {
	l := newLab(t)
	l.network("front")
	best := time.Hour
	for range 4 {
		l.run("web", len(l.Nodes), "--network", "front")
		start := time.Now()
		l.cli(l.Nodes[0], "service", "scale", "--detach", "web=0")
		l.count("web", 0)
		best = min(best, time.Since(start))
		l.cli(l.Nodes[0], "service", "rm", "web")
	}
	if t.Logf("the quickest end took %.2f s", best.Seconds()); best >= workersPatience {
		t.Errorf("every end took %.2f s or more: the workers wait for a word that does not come", best.Seconds())
	}
}
