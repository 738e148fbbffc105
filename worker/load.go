package worker

import (
	"bytes"
	"io/fs"
	"strconv"
	"time"

	"github.com/swarmctl/swarmctl/api"
)

const (
	// loadEvery is how often the host's load is read. It happens with a heartbeat,
	// so that it wakes nobody for itself.
	loadEvery = 5 * time.Second
	// loadWindow is over how long use of the CPU is averaged: a short burst is
	// over before a task that was placed elsewhere for it has started.
	loadWindow = time.Minute
	// loadStep is by how many percent the load must have changed to be told,
	// loadPause how long nothing more is told then. Both keep the writes of a large
	// cluster few: 300 nodes that change all the time make 20 a second, together
	// with others of the same moment.
	loadStep  = 10
	loadPause = 15 * time.Second
)

// load measures how busy the host is, with whatever runs there, and says when
// that is news. It belongs to the goroutine of the session.
type load struct {
	proc    fs.FS
	samples []cpuSample // the last loadWindow, oldest first
	memory  uint8
	told    *api.NodeLoad // in this session; nil: nothing yet
	toldAt  time.Time
}

// cpuSample is what the cores have done since the host started, in ticks.
type cpuSample struct {
	at         time.Time
	busy, idle uint64
}

func newLoad(proc fs.FS) *load { return &load{proc: proc} }

// untold makes the next news due: there is a new session.
func (l *load) untold() { l.told = nil }

// news is the load if there is something to tell. A host that does not say how
// busy it is has none.
func (l *load) news(now time.Time) *api.NodeLoad {
	if n := len(l.samples); n > 0 && now.Sub(l.samples[n-1].at) < loadEvery || !l.sample(now) {
		return nil
	}
	first, last := l.samples[0], l.samples[len(l.samples)-1]
	if last.at.Sub(first.at) < loadPause || l.told != nil && now.Sub(l.toldAt) < loadPause {
		return nil
	}
	is := api.NodeLoad{CPU: percent(last.busy-first.busy, last.busy-first.busy+last.idle-first.idle), Memory: l.memory}
	if l.told != nil && apart(is.CPU, l.told.CPU) < loadStep && apart(is.Memory, l.told.Memory) < loadStep {
		return nil
	}
	l.told, l.toldAt = &is, now
	return &is
}

// sample reads the host's load.
func (l *load) sample(now time.Time) bool {
	s := cpuSample{at: now}
	if !s.read(l.proc) || !l.readMemory() {
		return false
	}
	if n := len(l.samples); n > 0 && (s.busy < l.samples[n-1].busy || s.idle < l.samples[n-1].idle) {
		l.samples = l.samples[:0] // a core has gone; kernels have counted backwards, too
	}
	l.samples = append(l.samples, s)
	for now.Sub(l.samples[0].at) > loadWindow {
		l.samples = l.samples[1:]
	}
	return true
}

// The columns of the line "cpu" in /proc/stat: see proc(5). Guests are counted
// in user already.
const (
	columnIdle   = 3
	columnIOWait = 4
	columns      = 8
)

func (s *cpuSample) read(proc fs.FS) bool {
	data, err := fs.ReadFile(proc, "stat")
	if err != nil {
		return false
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 1+columns || string(fields[0]) != "cpu" {
		return false
	}
	for i, f := range fields[1 : 1+columns] {
		n, err := strconv.ParseUint(string(f), 10, 64)
		switch {
		case err != nil:
			return false
		case i == columnIdle || i == columnIOWait:
			s.idle += n
		default:
			s.busy += n
		}
	}
	return true
}

// readMemory takes what the kernel reckons could be had without swapping as free.
func (l *load) readMemory() bool {
	data, err := fs.ReadFile(l.proc, "meminfo")
	if err != nil {
		return false
	}
	all, okAll := memoryOf(data, "MemTotal:")
	free, okFree := memoryOf(data, "MemAvailable:")
	l.memory = percent(all-min(all, free), all)
	return okAll && okFree
}

// memoryOf is a line of /proc/meminfo, in KiB.
func memoryOf(data []byte, name string) (uint64, bool) {
	for line := range bytes.Lines(data) {
		if f := bytes.Fields(line); len(f) >= 2 && string(f[0]) == name {
			n, err := strconv.ParseUint(string(f[1]), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

func percent(part, of uint64) uint8 {
	if of == 0 {
		return 0
	}
	return uint8(min(100, float64(part)/float64(of)*100+0.5))
}

func apart(a, b uint8) uint8 { return max(a, b) - min(a, b) }
