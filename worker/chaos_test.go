package worker

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// TestKilledAtAnyInstruction lets a worker, its engine and its managers live
// through random days, and then holds what was promised: no container is
// started twice, none is left behind, every task comes to its end, and what runs
// on networks runs on all of its networks, with their balancers, and what uses
// secrets has them until it ends.
func TestKilledAtAnyInstruction(t *testing.T) {
	for seed := range 60 {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			inWorld(t, 2, func(w *world) {
				d := &day{world: w, rnd: rand.New(rand.NewPCG(uint64(seed), 1))}
				w.start()
				for range 40 {
					d.something()
				}
				d.evening()
			})
		})
	}
}

type day struct {
	*world
	rnd   *rand.Rand
	count int
}

func (d *day) something() {
	d.engine.Pace(time.Duration(d.rnd.IntN(400)) * time.Millisecond)
	switch d.rnd.IntN(12) {
	case 0, 1, 2:
		d.count++
		args := [][]string{nil, nil, {"stubborn"}, {"exit 0"}, {"exit 1"}}[d.rnd.IntN(5)]
		switch d.rnd.IntN(3) {
		case 0:
			d.run(d.id(d.count), args...)
		case 1:
			d.add(d.id(d.count), d.using(fmt.Sprint("s", d.rnd.IntN(3)), args...), api.TaskRunning)
		default:
			d.join(d.id(d.count), args...)
		}
	case 3:
		if id := d.any(); d.store.all()[id] != nil {
			d.want(id, api.TaskShutdown)
		}
	case 4:
		d.drop(d.any())
	case 5:
		d.engine.Exit(d.any(), d.rnd.IntN(2))
	case 6:
		d.engine.Down(d.rnd.IntN(2) == 0)
		d.wait(3000)
		d.engine.Up()
	case 7:
		d.engine.Fail([]string{"create", "start", "stop", "remove", "inspect", "list"}[d.rnd.IntN(6)], api.Errorf(api.CodeUnavailable, "broke off"))
	case 8:
		d.trouble()
	case 9:
		d.managers[d.rnd.IntN(2)].cleared(d.store.index)
	default:
		d.kill()
		if d.rnd.IntN(3) == 0 { // the whole host
			d.engine.Down(false)
			_ = d.files.Close()
			d.engine.Up()
		}
		d.wait(300)
		d.start()
	}
	d.wait(300)
}

// trouble is what happens to networks.
func (d *day) trouble() {
	switch d.rnd.IntN(3) {
	case 0:
		d.engine.CutOff()
	case 1:
		d.engine.Prune()
	default:
		d.network.Fail([]string{"prepare", "attach"}[d.rnd.IntN(2)], api.Errorf(api.CodeUnavailable, "broke off"))
	}
}

func (d *day) wait(ms int) { time.Sleep(time.Duration(d.rnd.IntN(ms)) * time.Millisecond) }

func (d *day) id(n int) api.TaskID { return api.TaskID(fmt.Sprintf("t%03d", n)) }

func (d *day) any() api.TaskID { return d.id(1 + d.rnd.IntN(d.count+1)) }

func (d *day) evening() {
	time.Sleep(2 * time.Minute) // grace periods, retries
	tasks := d.store.all()
	if uses, known := fmt.Sprint(slices.Sorted(maps.Keys(d.store.uses()))), d.known(); uses != known {
		d.Errorf("tasks use secrets and configs %s, in memory are %s", uses, known)
	}
	for _, c := range d.engine.Containers() {
		t := tasks[c.Task]
		switch n := d.engine.Starts(c.Task); {
		case t == nil:
			d.Errorf("container of task %s is left behind", c.Task)
		case n > 1:
			d.Errorf("container of task %s was started %d times", c.Task, n)
		case (c.State == docker.Running) != (t.Status.State == api.TaskRunning):
			d.Errorf("container of task %s, which is %v, is %v", c.Task, t.Status.State, c.State)
		case c.State == docker.Running && len(d.engine.Networks(c.Task)) != len(t.Networks):
			d.Errorf("container of task %s runs on networks %v", c.Task, d.engine.Networks(c.Task))
		case slices.Contains(d.network.Attached(), c.Task) != (c.State == docker.Running && len(t.Networks) > 0):
			d.Errorf("container of task %s is %v; attached are %v", c.Task, c.State, d.network.Attached())
		}
	}
	if held, attached := fmt.Sprint(d.network.Held()), fmt.Sprint(d.network.Attached()); held != attached {
		d.Errorf("the networks keep what they have for tasks %s, and %s run", held, attached)
	}
	filed, _ := d.files.Tasks()
	for id, t := range tasks {
		uses := len(api.ContentRefs(d.store.specs[t.SpecVersion].TaskTemplate.ContainerSpec)) > 0
		if has := slices.Contains(filed, id); has != (uses && !t.Status.State.Terminal()) {
			d.Errorf("task %s, which is %v: it uses secrets: %v, their files are there: %v", id, t.Status.State, uses, has)
		}
		if s := t.Status.State; s < api.TaskRunning || !s.Terminal() && s < t.Desired {
			d.Errorf("task %s wants to be %v and is stuck at %v", id, t.Desired, s)
		}
		if _, ok := d.engine.Of(id); t.Status.State == api.TaskRunning && !ok {
			d.Errorf("task %s runs without a container", id)
		}
	}
}
