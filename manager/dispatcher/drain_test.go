package dispatcher

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// serving is a cluster of nodes with a service, one task on each.
func serving(nodes ...api.NodeID) *fakeStore {
	s := networked(nodes...)
	s.put(state.Op{PutService: onNetworks("web", 0, "front")})
	for i, id := range nodes {
		task := api.TaskID(fmt.Sprint("t", i+1))
		s.tasks("web", id, task)
		s.report(task, api.TaskRunning)
	}
	return s
}

// lead has the dispatcher's manager lead until the function that it returns is called.
func (r *rig) lead() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.d.LeadClearance(ctx)
	}()
	synctest.Wait() // it does
	end = func() { cancel(); <-done }
	r.t.Cleanup(end)
	return end
}

// follow has it follow another manager.
func (r *rig) follow(leader *rig) (end func() error) {
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "peer", string(r.d.cfg.NodeID)))
	done := make(chan error, 1)
	go func() {
		stream, err := wire.NewManagersClient(leader.conn).Applied(ctx)
		if err == nil {
			err = r.d.FollowClearance(stream)
		}
		done <- err
	}()
	var err error
	over := false
	end = func() error {
		if cancel(); !over {
			over, err = true, <-done
		}
		return err
	}
	r.t.Cleanup(func() { _ = end() })
	return end
}

// settled opens sessions and waits until all that their beginning asks for is over.
func settled(workers ...*worker) {
	for _, w := range workers {
		w.greeted()
		w.applies(true)
	}
	time.Sleep(10 * time.Millisecond)
	for _, w := range workers {
		w.told()
	}
}

func TestANodeKnowsTheFabricBeforeItsTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serving("n1", "n2")
		r := newRig(t, s)
		w, other := r.open("n1"), r.open("n2")
		w.greeted()
		log := w.told() // the other node's session may have changed the fabric meanwhile
		if tasks := slices.IndexFunc(log, func(s string) bool { return strings.HasPrefix(s, "assignments") }); tasks < 1 ||
			log[tasks-1] != strings.Replace(log[tasks], "assignments", "fabric", 1) {
			t.Errorf("at first: %v", log)
		}
		settled(other)
		w.told()
		for i := range 20 {
			id := api.TaskID(fmt.Sprint("x", i))
			s.tasks("web", "n1", id)
			if i%2 == 0 {
				s.desire(id, api.TaskShutdown)
			}
		}
		soon()
		for _, w := range []*worker{w, other} {
			want := fabric.NewSet()
			want.Apply(fabricOf(s.View()))
			w.mu.Lock()
			if len(w.fabric.Endpoints) != len(want.Endpoints) || len(want.Endpoints) != 22 {
				t.Errorf("%s knows %d endpoints, the state %d", w.id, len(w.fabric.Endpoints), len(want.Endpoints))
			}
			w.mu.Unlock()
		}
	})
}

// A change that concerns no network is not told of networks, and a task's own
// report only where it changes who may use the task.
func TestWhatChangesNothingOfTheFabricIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serving("n1")
		s.service("plain", "n1", "p1")
		r := newRig(t, s)
		r.lead()
		w := r.open("n1")
		settled(w)
		s.report("p1", api.TaskRunning)
		s.report("t1", api.TaskRunning)
		s.put(state.Op{PutNode: &api.Node{ID: "n9"}}) // is nowhere yet
		time.Sleep(time.Second)
		if log := w.told(); len(log) > 0 {
			t.Errorf("told %v", log)
		}
		w.beatFor(5 * time.Minute)
		if log := w.told(); len(log) > 0 {
			t.Errorf("an idle cluster says %v", log)
		}
	})
}

func TestATaskIsClearedWhenAllNodesHaveLetGoOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serving("n1", "n2", "n3")
		r := newRig(t, s)
		r.lead()
		w, slow, other := r.open("n1"), r.open("n2"), r.open("n3")
		settled(w, slow, other)

		slow.applies(false)
		s.desire("t1", api.TaskShutdown)
		stop := s.View().Index()
		if got := w.clearedUpTo(); got >= stop {
			t.Fatalf("cleared up to %d before all nodes have applied %d", got, stop)
		}
		// Changes that follow do not move the goal.
		s.tasks("web", "n3", "x1")
		synctest.Wait()
		time.Sleep(time.Second)
		slow.applies(true)
		if got := w.clearedUpTo(); got < stop {
			t.Errorf("cleared up to %d, want %d", got, stop)
		}
		// The others have nothing to wait for, and were told nothing.
		for _, w := range []*worker{slow, other} {
			for _, line := range w.told() {
				if strings.HasPrefix(line, "cleared") {
					t.Errorf("%s is told %s", w.id, line)
				}
			}
		}
	})
}

func TestADrainGoesOnWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serving("n1", "n2", "n3")
		r := newRig(t, s)
		r.lead()
		w, hung, lost := r.open("n1"), r.open("n2"), r.open("n3")
		settled(w, hung, lost)
		// One falls silent and is lost: nobody waits for it any more.
		lost.applies(false)
		beatFor(4*time.Second, w, hung)
		if !lost.status().SessionLost {
			t.Fatal("not lost")
		}
		s.desire("t1", api.TaskShutdown)
		if got, want := w.clearedUpTo(), s.View().Index(); got < want {
			t.Errorf("one is lost: cleared up to %d, want %d", got, want)
		}
		// One is there and does not apply: it has its time, once.
		hung.applies(false)
		s.tasks("web", "n1", "x1", "x2")
		s.report("x1", api.TaskRunning)
		s.report("x2", api.TaskRunning)
		s.desire("x1", api.TaskShutdown)
		want := s.View().Index()
		beatFor(drainPatience-500*time.Millisecond, w, hung)
		if got := w.clearedUpTo(); got >= want {
			t.Errorf("one hangs: cleared up to %d at once", got)
		}
		beatFor(time.Second, w, hung)
		s.desire("x2", api.TaskShutdown)
		if got, want := w.clearedUpTo(), s.View().Index(); got < want {
			t.Errorf("one has hung for longer than its time: cleared up to %d, want %d", got, want)
		}
	})
}

// What a node is told to stop that no balancer has waits for nobody.
func TestWhatServesNobodyIsClearedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serving("n1", "n2")
		s.tasks("web", "n1", "x1")
		s.report("x1", api.TaskStarting)
		r := newRig(t, s)
		r.lead()
		w, slow := r.open("n1"), r.open("n2")
		settled(w, slow)
		slow.applies(false)
		s.desire("x1", api.TaskShutdown)
		if got, want := w.clearedUpTo(), s.View().Index(); got < want {
			t.Errorf("cleared up to %d, want %d", got, want)
		}
	})
}

func TestANodeThatComesBackIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serving("n1", "n2")
		r := newRig(t, s)
		r.lead()
		w, other := r.open("n1"), r.open("n2")
		settled(w, other)
		other.cancel()
		synctest.Wait()
		s.desire("t1", api.TaskShutdown)
		stop := s.View().Index()
		if got := w.clearedUpTo(); got >= stop {
			t.Errorf("its balancers are as they were: cleared up to %d", got)
		}
		again := r.open("n2")
		settled(again)
		if got := w.clearedUpTo(); got < stop {
			t.Errorf("cleared up to %d, want %d", got, stop)
		}
	})
}

// trio is a cluster of three managers with a node at each.
type trio struct {
	s       *fakeStore
	rigs    []*rig
	workers []*worker
}

func newTrio(t *testing.T) *trio {
	c := &trio{s: serving("n1", "n2", "n3")}
	for i, id := range []api.NodeID{"m1", "m2", "m3"} {
		if i > 0 {
			c.s.put(state.Op{PutNode: &api.Node{ID: id, ManagerAddr: fmt.Sprintf("10.0.0.%d:2377", i+1)}})
		}
		c.rigs = append(c.rigs, newRigOf(t, c.s, id))
	}
	for i, r := range c.rigs {
		c.workers = append(c.workers, r.open(api.NodeID(fmt.Sprint("n", i+1))))
	}
	return c
}

// stop has the task of a node stop, and returns the index up to which it must be cleared.
func (c *trio) stop(task api.TaskID) uint64 {
	c.s.desire(task, api.TaskShutdown)
	synctest.Wait()
	return c.s.View().Index()
}

func TestAllManagersAgreeThatATaskIsCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		endTerm := c.rigs[0].lead()
		end2 := c.rigs[1].follow(c.rigs[0])
		c.rigs[2].follow(c.rigs[0])
		settled(c.workers...)

		// A node of one follower holds a task of another's up, and the leader's too.
		c.workers[1].applies(false)
		stop3, stop1 := c.stop("t3"), c.stop("t1")
		if a, b := c.workers[2].clearedUpTo(), c.workers[0].clearedUpTo(); a >= stop3 || b >= stop1 {
			t.Errorf("cleared up to %d and %d before all have applied", a, b)
		}
		c.workers[1].applies(true)
		if a, b := c.workers[2].clearedUpTo(), c.workers[0].clearedUpTo(); a < stop3 || b < stop1 {
			t.Errorf("cleared up to %d and %d, want %d and %d", a, b, stop3, stop1)
		}

		// Another one leads in the middle of a drain.
		c.s.tasks("web", "n3", "x1")
		c.s.report("x1", api.TaskRunning)
		c.workers[0].applies(false)
		stop := c.stop("x1")
		endTerm()
		synctest.Wait()
		if err := end2(); api.CodeOf(err) != api.CodeNotLeader {
			t.Errorf("the stream to a manager that leads no longer ended with %v", err)
		}
		c.rigs[1].lead()
		c.rigs[2].follow(c.rigs[1])
		c.rigs[0].follow(c.rigs[1])
		if got := c.workers[2].clearedUpTo(); got >= stop {
			t.Errorf("the new leader cleared %d unheard", got)
		}
		c.workers[0].applies(true)
		if got := c.workers[2].clearedUpTo(); got < stop {
			t.Errorf("under the new leader cleared up to %d, want %d", got, stop)
		}
	})
}

func TestAManagerThatDoesNotAnswerHoldsNothingUpForLong(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*trio)
		atOnce bool
	}{
		"silent":             {func(*trio) {}, false},
		"down":               {func(c *trio) { c.s.verdict("m2", api.NodeDown) }, true},
		"its node is down":   {func(c *trio) { c.s.verdict("n2", api.NodeDown) }, true},
		"its node has moved": {func(c *trio) { c.workers[1] = c.rigs[2].open("n2"); settled(c.workers[1]) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl := newTrio(t)
				cl.rigs[0].lead() // the second manager follows nobody
				cl.rigs[2].follow(cl.rigs[0])
				settled(cl.workers...)
				c.before(cl)
				synctest.Wait()
				stop := cl.stop("t1")
				if got := cl.workers[0].clearedUpTo(); (got >= stop) != c.atOnce {
					t.Errorf("cleared up to %d at once, the drain is at %d", got, stop)
				}
				beatFor(drainPatience+500*time.Millisecond, cl.workers...)
				stop = cl.stop("t3")
				if got := cl.workers[2].clearedUpTo(); got < stop {
					t.Errorf("cleared up to %d later, want %d", got, stop)
				}
			})
		})
	}
}

// A manager with a node that hangs goes on answering for its others.
func TestANodeThatHangsDoesNotSpeakForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serving("n1", "n2", "n3")
		s.put(state.Op{PutNode: &api.Node{ID: "m2", ManagerAddr: "10.0.0.2:2377"}})
		leader, r := newRig(t, s), newRigOf(t, s, "m2")
		leader.lead() // has no nodes to wait for
		r.follow(leader)
		hung, well := r.open("n1"), r.open("n2")
		settled(hung, well)

		hung.applies(false)
		s.desire("t1", api.TaskShutdown)
		beatFor(drainPatience+500*time.Millisecond, hung, well)
		well.applies(false)
		s.desire("t2", api.TaskShutdown)
		stop := s.View().Index()
		if got := well.clearedUpTo(); got >= stop {
			t.Errorf("cleared up to %d before a node that is well has applied %d", got, stop)
		}
		well.applies(true)
		if got := well.clearedUpTo(); got < stop {
			t.Errorf("cleared up to %d, want %d", got, stop)
		}
	})
}

func TestAManagerThatDoesNotLeadSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		end := c.rigs[1].follow(c.rigs[0])
		synctest.Wait()
		if err := end(); api.CodeOf(err) != api.CodeNotLeader {
			t.Errorf("got %v", err)
		}
	})
}

// With thousands of sessions a change waits a little, and then all that came
// meanwhile travels at once; a node with a task of its own is not kept waiting.
func TestManySessionsAreToldOfChangesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serving("n1", "n2")
		r := newRig(t, s)
		w, other := r.open("n1"), r.open("n2")
		settled(w, other)
		r.d.mu.Lock()
		for i := range 5000 { // sessions whose nodes are away
			id := api.NodeID(fmt.Sprint("away", i))
			r.d.sessions[id] = newSession(id, api.NodeStatus{})
		}
		r.d.mu.Unlock()
		time.Sleep(time.Second)
		s.report("t1", api.TaskFailed) // goes at once: the last one was long ago
		if log := other.told(); len(log) != 1 {
			t.Errorf("told %v of the first change", log)
		}
		w.told()
		for i := range 10 {
			s.tasks("web", "n1", api.TaskID(fmt.Sprint("x", i)))
		}
		if log := other.told(); len(log) > 0 {
			t.Errorf("told %v at once", log)
		}
		if log := w.told(); !slices.ContainsFunc(log, func(l string) bool { return strings.HasPrefix(l, "assignments") }) {
			t.Errorf("the node of the tasks was told %v", log)
		}
		time.Sleep(2 * spreadCost * 5010)
		if log := other.told(); len(log) != 1 {
			t.Errorf("told %v later", log)
		}
	})
}
