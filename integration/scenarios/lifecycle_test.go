package scenarios

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// extremes follows how many containers of a service count, until it is called
// again: the fewest and the most at any time.
func (l *lab) extremes(service string, count func([]cluster.Container) int) func() (fewest, most int) {
	ctx, stop := context.WithCancel(l.ctx)
	fewest, done := count(l.w.Running(service)), make(chan struct{})
	most := fewest
	go func() {
		defer close(done)
		_, _ = l.w.Until(ctx, service, "nothing", func(cs []cluster.Container) bool { // called at every change
			n := count(cs)
			fewest, most = min(fewest, n), max(most, n)
			return false
		})
	}()
	return func() (int, int) {
		stop()
		<-done
		return fewest, most
	}
}

// A singleton that stops itself never runs twice: where it is cut off it has
// ended before its successor begins.
func TestASingletonThatIsCutOffStopsItself(t *testing.T) {
	l := newLab(t)
	first := l.run("one", 1, "--label", "swarmctl.self-stop=5s", "--stop-grace-period", "1s", "--constraint", "node.role==worker")
	ends := l.extremes("one", func(cs []cluster.Container) int { return len(cs) })
	cut := first[0].Node
	l.must(cut.Cut())
	now := l.until("one", 2*soon, "the successor runs alone", func(cs []cluster.Container) bool { return len(cs) == 1 && cs[0].Node != cut })
	l.must(cut.Heal())
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	l.still("one", 3*time.Second, now)
	if fewest, most := ends(); fewest != 0 || most != 1 {
		t.Errorf("between %d and %d ran at once, and not 0 and 1", fewest, most)
	}
}

// Tasks of a service that may wait for their node do, and find their containers
// when it is back in time; they are replaced when it is not.
func TestTasksWaitForTheirNodeAsLongAsTheyMay(t *testing.T) {
	l := newLab(t)
	patient := l.run("patient", 1, "--label", "swarmctl.reschedule.after=10m", "--constraint", "node.role==worker")
	l.run("hasty", 2, "--label", "swarmctl.reschedule.after=6s", "--constraint", "node.role==worker")
	cut, began := patient[0].Node, time.Now()
	l.must(cut.Cut())
	l.until("hasty", 2*soon, "the one that is cut off is replaced", func(cs []cluster.Container) bool { return len(cs) == 3 })
	if took := time.Since(began); took < 6*time.Second {
		t.Errorf("replaced after %s, and not after 6 s", took)
	}
	l.must(cut.Heal())
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	l.count("hasty", 2)
	l.still("patient", 3*time.Second, patient)
}

// A node that was away keeps what was not replaced meanwhile.
func TestANodeThatReturnsKeepsWhatWasNotReplaced(t *testing.T) {
	l := newLab(t)
	cut := l.Workers()[0]
	bound := l.run("bound", 2, "--constraint", "node.hostname=="+cut.Name)
	web := l.run("web", 2*len(l.Nodes))
	l.must(cut.Cut())
	l.until("web", soon, "those that were cut off are replaced", func(cs []cluster.Container) bool { return len(cs) == len(web)+2 })
	l.must(cut.Heal())
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	now := l.count("web", len(web))
	if got := cluster.Spread(now)[cut]; got != 0 {
		t.Errorf("%s runs %d replicas of web that were replaced meanwhile", cut.Name, got)
	}
	l.still("bound", 3*time.Second, bound)
}

// What finds no other node runs on until the deadline of the drain.
func TestADrainStopsWhatItCannotMoveAtItsDeadline(t *testing.T) {
	l := newLab(t)
	node := l.Workers()[0]
	l.run("bound", 1, "--constraint", "node.hostname=="+node.Name, "--stop-grace-period", "1s")
	began := time.Now()
	l.cli(l.leader(), "node", "update", "--availability", "drain", "--drain-deadline", "4s", "--wait", "--timeout", "60s", node.Name)
	took := time.Since(began)
	if len(l.w.Running("bound")) != 0 || took < 4*time.Second {
		t.Errorf("drained after %s with %d containers left, and not after 4 s with none", took, len(l.w.Running("bound")))
	}
	ps := l.cli(l.leader(), "service", "ps", "--no-trunc", "bound")
	if !strings.Contains(ps, node.Name) || !strings.Contains(strings.ToLower(ps), "drain") {
		t.Errorf("service ps does not say why the next one waits:\n%s", ps)
	}
	l.cli(l.leader(), "node", "update", "--availability", "active", node.Name)
	l.count("bound", 1)
	l.cli(l.leader(), "node", "update", "--label-rm", "swarmctl.drain.deadline", node.Name)
}
