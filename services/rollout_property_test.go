package services

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/services/rollout"
	"github.com/swarmctl/swarmctl/services/slot"
)

// trial is a service under random updates, canaries and failures.
type trial struct {
	*world
	global     bool
	startFirst bool
	checked    bool
	pairs      bool // left by a blue-green update
	parallel   int
	version    int
}

func (w *trial) service() *api.Service { return w.View().Service("web") }

// TestRolloutLaws drives updates, canaries and blue-green updates of replicated
// and global services through failures of tasks, nodes and leaders, and holds:
// what the rollout itself does never takes more than its parallelism from those
// that serve, nor adds more than that, to both versions of a blue-green update
// together; no slot runs two outside an overlap; a canary that is in its place is
// never more than its share, and a version that is hidden serves nobody; every
// rollout ends when the failures do.
func TestRolloutLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &trial{
			world: newWorld(), global: rapid.Bool().Draw(t, "global"), startFirst: rapid.Bool().Draw(t, "start-first"),
			checked: rapid.Bool().Draw(t, "health-check"), parallel: rapid.IntRange(1, 3).Draw(t, "parallelism"),
		}
		nodes := []string{"a", "b", "c", "d"}
		for _, n := range nodes {
			w.addNode(n)
		}
		w.putService("web", w.first())
		w.settle()
		t.Repeat(map[string]func(*rapid.T){
			"":      func(t *rapid.T) { w.holdSlots(t) },
			"step":  func(t *rapid.T) { w.holdStep(t) },
			"place": func(*rapid.T) { w.place() },
			"work":  func(*rapid.T) { w.work() },
			"wait":  func(t *rapid.T) { w.now = w.now.Add(time.Duration(rapid.IntRange(1, 700).Draw(t, "s")) * time.Second) },
			"end": func(t *rapid.T) {
				if task, ok := drawRunning(t, w.world); ok {
					w.report(task.ID, rapid.SampledFrom([]api.TaskState{api.TaskComplete, api.TaskFailed, api.TaskRejected}).Draw(t, "state"))
				}
			},
			"node": func(t *rapid.T) {
				w.editNode(rapid.SampledFrom(nodes).Draw(t, "node"), rapid.SampledFrom([]string{"down", "ready", "ready", "pause", "active", "active"}).Draw(t, "what"))
			},
			"scale": func(t *rapid.T) {
				if !w.global {
					w.putService("web", []string{fmt.Sprintf("replicas=%d", rapid.IntRange(0, 6).Draw(t, "replicas"))})
				}
			},
			"update": func(t *rapid.T) {
				w.version++
				canary := rapid.SampledFrom([]string{"", "", "1", "2", "40%", "100%"}).Draw(t, "canary")
				action := rapid.SampledFrom([]string{"pause", "continue", "rollback"}).Draw(t, "on-failure")
				w.putService("web", []string{fmt.Sprintf("version=%d", w.version), "on-failure=" + action, "label." + setting.LabelCanary + "=" + canary})
			},
			"promote":  func(*rapid.T) { w.do([]string{"promote", "web"}) },
			"rollback": func(*rapid.T) { w.do([]string{"rollback", "web"}) },
			"settle":   func(*rapid.T) { w.settle() },
			"leader": func(t *rapid.T) {
				w.do([]string{"leader", rapid.SampledFrom([]string{"24h", "-24h", "0s"}).Draw(t, "skew")})
			},
		})
		calmDown(w.world, nodes)
		w.holdEnd(t)
	})
}

func (w *trial) first() []string {
	words := []string{"replicas=4", "version=0", "monitor=1s", "order=stop-first", fmt.Sprintf("parallelism=%d", w.parallel)}
	if w.checked {
		words = append(words, "health-check")
	}
	if w.global {
		words[0] = "global"
	}
	if w.startFirst {
		words[3] = "order=start-first"
	}
	return words
}

// holdSlots: two tasks are meant to run in a slot only where one is to take the
// place of the other, or both are kept.
func (w *trial) holdSlots(t *rapid.T) {
	s := w.service()
	both, pairs := w.everBoth(), 0
	for _, sl := range slot.Group(w.View(), "web") {
		versions := map[uint64]int{}
		for _, task := range sl.Live() {
			if task.Replaces != "" && slices.ContainsFunc(sl.Live(), func(o *api.Task) bool { return o.ID == task.Replaces }) {
				continue // it takes over from one that its node has taken along, or that has to leave
			}
			if versions[task.SpecVersion]++; versions[task.SpecVersion] > 1 && task.Replaces == "" {
				t.Fatalf("slot %v has two live tasks of version %d:\n%s", sl.Key, task.SpecVersion, w.told())
			}
		}
		if len(versions) > 1 {
			pairs++
		}
		if !w.startFirst && !both && len(versions) > 1 {
			t.Fatalf("slot %v has two live tasks:\n%s", sl.Key, w.told())
		}
	}
	w.pairs = both && pairs > 0
	if len(s.Hidden) > 0 && s.Hides(s.SpecVersion) && !slot.Both(s) {
		t.Fatalf("the version that everything goes to is hidden:\n%s", w.told())
	}
}

// everBoth reports whether a blue-green update has left slots with two tasks:
// one that was confirmed and is rolled back at once has them for a moment.
func (w *trial) everBoth() bool {
	return w.pairs || slot.Both(w.service()) || w.service().Canary != nil || len(w.service().Hidden) > 0
}

// holdStep lets the service decide once, and looks at what that does to it.
func (w *trial) holdStep(t *rapid.T) {
	s := w.service()
	servesBefore, liveBefore, newBefore := w.serving(), w.live(), w.fresh()
	surplus := liveSlots(w.world) > w.wanted()
	c := decide(w.View(), "web", w.seen, w.now)
	ops := c.Ops(w.newID)
	if len(ops) == 0 {
		return
	}
	w.apply(ops...)
	if !rollout.UnderWay(s) && !rollout.UnderWay(w.service()) {
		return
	}
	if _, replicated := s.Replicas(); replicated && surplus {
		return // a scaling down, which is no business of the rollout
	}
	share := int(setting.LifecycleOf(s.Spec.Labels).Canary.Of(uint64(w.wanted())))
	if now := w.fresh(); w.service().Canary.Stands() && now > newBefore && now > share {
		t.Fatalf("%d new tasks, there were %d, and %d is the share:\n%s", now, newBefore, share, w.told())
	}
	if now := w.serving(); now < servesBefore && now < w.wanted()-w.parallel-w.tolerated() {
		t.Fatalf("%d serve, there were %d, and %d are wanted, %d at a time:\n%s", now, servesBefore, w.wanted(), w.parallel, w.told())
	}
	most := w.wanted()
	if slot.Both(w.service()) {
		most *= 2
	}
	if now := w.live(); now > liveBefore && now > most+w.parallel {
		t.Fatalf("%d are live, there were %d, and %d are wanted, %d at a time:\n%s", now, liveBefore, most, w.parallel, w.told())
	}
}

// tolerated is how many slots an update that goes on in spite of failures does
// not wait for: their new task has ended, and they serve nobody.
func (w *trial) tolerated() (n int) {
	s := w.service()
	if s.Spec.UpdateConfig.FailureAction != swarm.UpdateFailureActionContinue {
		return 0
	}
	for _, sl := range slot.Group(w.View(), "web") {
		if w.reaches(sl.Node) && !slices.ContainsFunc(sl.Live(), w.serves) &&
			slices.ContainsFunc(sl.Tasks, func(t *api.Task) bool { return t.SpecVersion == s.SpecVersion && t.Status.State.Terminal() }) {
			n++
		}
	}
	return n
}

// wanted is how many slots the service is to have: of a global one, those that
// an update can get at.
func (w *trial) wanted() (n int) {
	if n, ok := w.service().Replicas(); ok {
		return int(n)
	}
	for node := range w.View().Nodes() {
		if w.reaches(node.ID) {
			n++
		}
	}
	return n
}

func (w *trial) reaches(id api.NodeID) bool {
	if !w.global {
		return true
	}
	n := w.View().Node(id)
	return n.Status.State == api.NodeReady && n.Spec.Availability == swarm.NodeAvailabilityActive
}

// serving is how many of these slots have a task that gets connections, and is
// not to stop.
func (w *trial) serving() (n int) {
	for _, sl := range slot.Group(w.View(), "web") {
		if w.reaches(sl.Node) && slices.ContainsFunc(sl.Live(), w.serves) {
			n++
		}
	}
	return n
}

func (w *trial) serves(t *api.Task) bool {
	return t.Status.State == api.TaskRunning && !slot.Down(w.View(), t) && !w.service().Hides(t.SpecVersion)
}

// fresh is how many slots have a task of the service's version.
func (w *trial) fresh() (n int) {
	s := w.service()
	for _, sl := range slot.Group(w.View(), "web") {
		if w.reaches(sl.Node) && slices.ContainsFunc(sl.Live(), func(t *api.Task) bool { return t.SpecVersion == s.SpecVersion }) {
			n++
		}
	}
	return n
}

// live is how many tasks there are to be at the moment, without those that have
// gone down with their nodes and those that take over from them: they are
// replaced at once, however many; and without those that get no connections any
// more, and only have yet to stop.
func (w *trial) live() (n int) {
	s := w.service()
	for t := range w.View().ServiceTasks("web") {
		from := w.View().Task(t.Replaces)
		lost := slot.Down(w.View(), t) || from != nil && from.Live() && slot.Down(w.View(), from)
		if t.Live() && w.reaches(t.NodeID) && !lost && (slot.Both(s) || !s.Hides(t.SpecVersion)) {
			n++
		}
	}
	return n
}

// holdEnd: nothing is under way any more, and everything runs as it should.
func (w *trial) holdEnd(t *rapid.T) {
	s := w.service()
	if u := s.UpdateStatus; u != nil && (u.State == swarm.UpdateStateUpdating || u.State == swarm.UpdateStateRollbackStarted) {
		t.Fatalf("the rollout never ends:\n%s", w.told())
	}
	// A rollback that is paused leaves slots to the version that it has hidden.
	paused := s.UpdateStatus != nil && strings.HasSuffix(string(s.UpdateStatus.State), "paused")
	waits := s.Canary.Stands() && s.Canary.Phase != api.CanaryPlacing
	if now := w.serving(); now != w.wanted() && (waits || !paused || len(s.Hidden) == 0) {
		t.Fatalf("%d serve in the end, %d are wanted:\n%s", now, w.wanted(), w.told())
	}
	old, fresh := 0, 0
	for task := range w.View().ServiceTasks("web") {
		switch {
		case !task.Live():
		case task.SpecVersion == s.SpecVersion:
			fresh++
		default:
			old++
		}
	}
	share := int(setting.LifecycleOf(s.Spec.Labels).Canary.Of(uint64(w.wanted())))
	switch {
	case waits && s.Canary.BlueGreen:
		if fresh != w.wanted() || old != w.wanted() {
			t.Fatalf("%d of both, want %d and %d:\n%s", fresh+old, w.wanted(), w.wanted(), w.told())
		}
	case waits && fresh != share:
		t.Fatalf("%d new tasks, want %d:\n%s", fresh, share, w.told())
	case !waits && !paused && old > 0:
		t.Fatalf("%d old tasks:\n%s", old, w.told())
	case !waits && !paused && (s.Canary != nil || len(s.Hidden) > 0):
		t.Fatalf("a canary is left:\n%s", w.told())
	}
}

func (w *trial) told() string {
	return strings.Join(append(w.inspect("web"), w.ps("web")...), "\n")
}
