package worker

import (
	"fmt"
	"testing"
	"testing/fstest"
	"time"

	"github.com/swarmctl/swarmctl/api"
)

// fakeProc is a host of two cores that are used as the test says.
type fakeProc struct {
	files      fstest.MapFS
	busy, idle uint64
	load       *load
	now        time.Time
}

func newFakeProc() *fakeProc {
	p := &fakeProc{files: fstest.MapFS{}, now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), busy: 5000, idle: 90000}
	p.load = newLoad(p.files)
	return p
}

// run lets time pass, with so many percent of the CPU and of the memory in use,
// and a heartbeat every 800 ms. It returns what was told.
func (p *fakeProc) run(d time.Duration, cpu, memory int) (told []api.NodeLoad) {
	for end := p.now.Add(d); p.now.Before(end); {
		p.now = p.now.Add(800 * time.Millisecond)
		p.busy, p.idle = p.busy+uint64(160*cpu/100), p.idle+uint64(160-160*cpu/100)
		// user nice system idle iowait irq softirq steal guest guest_nice
		p.files["stat"] = &fstest.MapFile{Data: fmt.Appendf(nil, "cpu  %d 0 10 %d 7 0 0 0 %d 0\ncpu0 1 2 3 4\nintr 5\n", p.busy, p.idle, p.busy)}
		p.files["meminfo"] = &fstest.MapFile{Data: fmt.Appendf(nil, "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable: %d kB\n", 1000-10*memory)}
		if l := p.load.news(p.now); l != nil {
			told = append(told, *l)
		}
	}
	return told
}

func TestLoadIsToldWhereItChanges(t *testing.T) {
	p := newFakeProc()
	for _, step := range []struct {
		name        string
		d           time.Duration
		cpu, memory int
		want        string
	}{
		{"what there is is told once", 2 * time.Minute, 20, 30, "[{20 30}]"},
		{"nine points are no news", 2 * time.Minute, 28, 39, "[]"},
		{"memory counts at once", 16 * time.Second, 28, 45, "[{28 45}]"},
		{"a burst of two seconds is averaged away", 2 * time.Second, 100, 45, "[]"},
		{"and so it stays", 2 * time.Minute, 28, 45, "[]"},
		{"load that comes is told in steps, as the average rises", time.Minute, 100, 45, "[{39 45} {61 45} {82 45} {100 45}]"},
		{"until it is there", time.Minute, 100, 45, "[]"},
	} {
		if got := fmt.Sprint(p.run(step.d, step.cpu, step.memory)); got != step.want {
			t.Errorf("%s: told %s, want %s", step.name, got, step.want)
		}
	}
	p.load.untold()
	if got := fmt.Sprint(p.run(6*time.Second, 100, 45)); got != "[{100 45}]" {
		t.Errorf("a new session: told %s", got)
	}
}

func TestLoadThatCannotBeReadIsNone(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no files":       {},
		"no memory":      {"stat": "cpu 1 2 3 4 5 6 7 8\n"},
		"old kernel":     {"stat": "cpu 1 2 3 4 5 6 7 8\n", "meminfo": "MemTotal: 1 kB\n"},
		"garbage":        {"stat": "cpu a b c d e f g h\n", "meminfo": "MemTotal: 1 kB\nMemAvailable: 1 kB\n"},
		"another line":   {"stat": "cpu0 1 2 3 4 5 6 7 8\n", "meminfo": "MemTotal: 1 kB\nMemAvailable: 1 kB\n"},
		"too few fields": {"stat": "cpu 1 2 3\n", "meminfo": "MemTotal: 1 kB\nMemAvailable: 1 kB\n"},
	} {
		proc := fstest.MapFS{}
		for file, text := range files {
			proc[file] = &fstest.MapFile{Data: []byte(text)}
		}
		l := newLoad(proc)
		now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		for range 20 {
			now = now.Add(loadEvery)
			if got := l.news(now); got != nil {
				t.Errorf("%s: told %+v", name, got)
			}
		}
	}
}

// A core that is taken away takes its ticks along.
func TestLoadOfAHostThatShrinks(t *testing.T) {
	p := newFakeProc()
	p.run(2*time.Minute, 50, 10)
	p.busy, p.idle = p.busy/2, p.idle/2
	if got := p.run(2*time.Minute, 50, 10); got != nil {
		t.Errorf("told %v of a load that has not changed", got)
	}
}
