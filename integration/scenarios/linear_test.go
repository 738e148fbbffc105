package scenarios

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

const (
	registers     = 24 // services, each a register of one label
	clients       = 9  // three at each manager
	register      = "v"
	opPatience    = 3 * time.Second
	nemesisPause  = 4 * time.Second
	historyChecks = 2 * time.Minute
)

// What a client did to a register, and what it saw.
type input struct {
	register string
	write    bool
	version  uint64 // of the service, that the write replaces
	value    string // that is written
}

type output struct {
	version uint64 // that was read
	value   string // that was read
	refused bool   // the write: somebody else was faster
	unknown bool   // the write: no answer came, so it may happen at any time, or never
}

// state is a register: its value, and the least version it can have. The
// cluster may raise a service's version by itself, never lower it.
type state struct {
	version uint64
	value   string
}

// model is what a client may see of a linearizable register with
// compare-and-swap by version, which is what ServiceUpdate is.
var model = porcupine.Model{
	Partition: byRegister,
	Init:      func() any { return state{value: "0"} },
	Step: func(s, in, out any) (bool, any) {
		now, i, o := s.(state), in.(input), out.(output)
		switch {
		case !i.write:
			return o.value == now.value && o.version >= now.version, state{o.version, now.value}
		case o.refused:
			return true, now
		case i.version < now.version: // it would undo a write that it never saw
			return o.unknown, now
		default:
			return true, state{i.version + 1, i.value}
		}
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

func byRegister(history []porcupine.Operation) [][]porcupine.Operation {
	parts := map[string][]porcupine.Operation{}
	for _, op := range history {
		name := op.Input.(input).register
		parts[name] = append(parts[name], op)
	}
	var out [][]porcupine.Operation
	for _, part := range parts {
		out = append(out, part)
	}
	return out
}

// An acknowledged write is never lost and never undone, and no read is stale,
// at whichever manager, while leaders die and cables are pulled.
func TestClusterIsLinearizable(t *testing.T) {
	l := newLab(t)
	wanted := int64(fromEnv(t, "CHAOS_OPS", 10_000))
	for i := range registers {
		l.must(l.createRegister("r" + strconv.Itoa(i)))
	}
	h := &history{start: time.Now()}
	ctx, cancel := context.WithTimeout(l.ctx, 5*time.Minute)
	defer cancel()
	var running sync.WaitGroup
	for id := range clients {
		running.Go(func() { h.client(ctx, id, l.Nodes[id%managers], func() bool { return h.done.Load() >= wanted }) })
	}
	faults := l.nemesis(ctx, func() bool { return h.done.Load() >= wanted })
	running.Wait()
	t.Logf("%d operations in %.0f s, %d of them writes, %d without an answer, over %d faults", h.done.Load(), time.Since(h.start).Seconds(), h.writes, h.unknown, faults)
	if h.done.Load() < wanted || faults < 2 || h.writes < int(wanted)/10 {
		t.Fatalf("that is not enough to show anything: want %d operations, a tenth of them writes, and 2 faults", wanted)
	}
	if result := porcupine.CheckOperationsTimeout(model, h.ops, historyChecks); result != porcupine.Ok {
		_, info := porcupine.CheckOperationsVerbose(model, h.ops, historyChecks)
		file := t.ArtifactDir() + "/history.html"
		_ = porcupine.VisualizePath(model, info, file)
		t.Fatalf("the history of operations is not linearizable (%s): see %s", result, file)
	}
}

func (l *lab) createRegister(name string) error {
	var none uint64
	_, err := l.Nodes[0].API.ServiceCreate(l.ctx, swarm.ServiceSpec{
		Annotations:  swarm.Annotations{Name: name, Labels: map[string]string{register: "0"}},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: cluster.Image}},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &none}},
	}, swarm.ServiceCreateOptions{})
	return err
}

// nemesis breaks one thing after the other, two managers being whole at any time.
func (l *lab) nemesis(ctx context.Context, enough func() bool) (faults int) {
	l.t.Helper()
	for ; ctx.Err() == nil && !enough(); faults++ {
		leader := l.leader()
		switch faults % 3 {
		case 0:
			leader.KillDaemon()
			time.Sleep(nemesisPause)
			l.must(leader.StartDaemon(ctx))
		case 1:
			l.must(leader.Cut())
			time.Sleep(nemesisPause)
			l.must(leader.Heal())
		case 2:
			leader.PowerOff()
			time.Sleep(nemesisPause)
			l.must(leader.PowerOn(ctx))
		}
		l.must(l.AwaitManagers(ctx))
	}
	return faults
}

// history is what all clients did.
type history struct {
	start time.Time
	done  atomic.Int64 // operations whose outcome is known

	mu      sync.Mutex
	ops     []porcupine.Operation
	writes  int
	unknown int
}

func (h *history) now() int64 { return int64(time.Since(h.start)) }

// client reads registers at one manager and writes what it read plus its own
// mark, one operation after the other.
func (h *history) client(ctx context.Context, id int, at *cluster.Node, enough func() bool) {
	dice := rand.New(rand.NewPCG(uint64(id), 1))
	for serial := 0; ctx.Err() == nil && !enough(); serial++ {
		name := "r" + strconv.Itoa(dice.IntN(registers))
		service, err := h.read(ctx, id, at, name)
		if err == nil && dice.IntN(2) == 0 {
			err = h.write(ctx, id, at, service, fmt.Sprintf("%d-%d", id, serial))
		}
		if err != nil {
			time.Sleep(20 * time.Millisecond) // its manager is down, or has no leader
		}
	}
}

func (h *history) read(ctx context.Context, id int, at *cluster.Node, name string) (swarm.Service, error) {
	ctx, cancel := context.WithTimeout(ctx, opPatience)
	defer cancel()
	call := h.now()
	service, _, err := at.API.ServiceInspectWithRaw(ctx, name, swarm.ServiceInspectOptions{})
	if err == nil { // a read that failed saw nothing and did nothing
		h.add(id, call, h.now(), input{register: name}, output{version: service.Version.Index, value: service.Spec.Labels[register]})
	}
	return service, err
}

func (h *history) write(ctx context.Context, id int, at *cluster.Node, s swarm.Service, value string) error {
	ctx, cancel := context.WithTimeout(ctx, opPatience)
	defer cancel()
	in := input{register: s.Spec.Name, write: true, version: s.Version.Index, value: value}
	s.Spec.Labels = map[string]string{register: value}
	call := h.now()
	_, err := at.API.ServiceUpdate(ctx, s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{})
	switch {
	case err == nil:
		h.add(id, call, h.now(), in, output{})
	case outOfSequence(err):
		h.add(id, call, h.now(), in, output{refused: true})
		return nil
	default:
		h.add(id, call, math.MaxInt64, in, output{unknown: true})
	}
	return err
}

func (h *history) add(id int, call, ret int64, in input, out output) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: id, Input: in, Call: call, Output: out, Return: ret})
	if out.unknown {
		h.unknown++
		return
	}
	if in.write && !out.refused {
		h.writes++
	}
	h.done.Add(1)
}

// outOfSequence tells a write that lost a race from one that had no answer:
// Docker's API answers 400 or 409 with these words, as the version decides.
func outOfSequence(err error) bool {
	return strings.Contains(err.Error(), "out of sequence")
}

// What the model must refuse, so that the test above shows something.
func TestModelRefusesWhatMustNotHappen(t *testing.T) {
	read := func(v uint64, value string) (input, output) {
		return input{register: "r"}, output{version: v, value: value}
	}
	write := func(over uint64, value string, out output) (input, output) {
		return input{register: "r", write: true, version: over, value: value}, out
	}
	for _, c := range []struct {
		story string
		fine  bool
		steps []func() (input, output)
	}{
		{"a write is read", true, steps(read(1, "0")).then(write(1, "a", output{})).then(read(2, "a"))},
		{"an acknowledged write is lost", false, steps(read(1, "0")).then(write(1, "a", output{})).then(read(2, "0"))},
		{"a read is stale", false, steps(read(1, "0")).then(write(1, "a", output{})).then(read(3, "a")).then(read(2, "a"))},
		{"a write undoes one it never saw", false, steps(read(1, "0")).then(write(1, "a", output{})).then(write(1, "b", output{}))},
		{"a refused write was done", false, steps(read(1, "0")).then(write(1, "a", output{refused: true})).then(read(2, "a"))},
		{"a write without an answer was done", true, steps(read(1, "0")).then(write(1, "a", output{unknown: true})).then(read(2, "a"))},
		{"a write without an answer was not done", true, steps(read(1, "0")).then(write(1, "a", output{unknown: true})).then(read(1, "0"))},
	} {
		var ops []porcupine.Operation
		for i, step := range c.steps {
			in, out := step()
			op := porcupine.Operation{Input: in, Call: int64(10 * i), Output: out, Return: int64(10*i + 5)}
			if out.unknown {
				op.Return = math.MaxInt64
			}
			ops = append(ops, op)
		}
		if fine := porcupine.CheckOperations(model, ops); fine != c.fine {
			t.Errorf("%s: linearizable is %v", c.story, fine)
		}
	}
}

type stepList []func() (input, output)

func steps(in input, out output) stepList { return stepList{}.then(in, out) }

func (s stepList) then(in input, out output) stepList {
	return append(s, func() (input, output) { return in, out })
}
