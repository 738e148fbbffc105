package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// The contenders.
const (
	ours   = "ours"
	swarm  = "swarm"
	direct = "direct"
)

var (
	contenders = []string{direct, swarm, ours}
	kinds      = map[string]cluster.Kind{ours: cluster.Ours, swarm: cluster.DockerSwarm, direct: cluster.EnginesOnly}
)

// line is one line of the table: a figure that each contender has samples of.
type line struct {
	title, unit, limit string
}

// table holds the samples: by line, then by contender.
type table map[line]map[string][]float64

func (t table) add(l line, who string, sample float64) {
	if t[l] == nil {
		t[l] = map[string][]float64{}
	}
	t[l][who] = append(t[l][who], sample)
	progress("%s: %s: %.2f %s", who, l.title, sample, l.unit)
}

func (t table) render(opt options) string {
	var out strings.Builder
	fmt.Fprintf(&out, "\nMachine: %s\nFive hosts, three managers; medians of %d (min-max); ratios are medians of those of each round.\n\n", machine(), opt.n)
	fmt.Fprintln(&out, "| measured | must reach | ours | Docker Swarm | direct Engine calls | ours : Swarm | ours : direct | Swarm : direct |")
	fmt.Fprintln(&out, "|---|---|---|---|---|---|---|---|")
	for _, l := range lines {
		by, ok := t[l]
		if !ok {
			continue
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", l.title, l.limit,
			cell(by[ours], l.unit), cell(by[swarm], l.unit), cell(best(by), l.unit),
			ratio(by[ours], by[swarm]), ratio(by[ours], best(by)), ratio(by[swarm], best(by)))
	}
	return out.String()
}

func cell(samples []float64, unit string) string {
	if len(samples) == 0 {
		return ""
	}
	text := strings.TrimSpace(fmt.Sprintf("%.3g %s", median(samples), unit))
	if len(samples) > 1 {
		text += fmt.Sprintf(" (%.3g-%.3g)", slices.Min(samples), slices.Max(samples))
	}
	return text
}

// ratio is the median of what the samples of each round make. They were taken in
// turns: what a machine's own speed does from round to round hits both alike.
func ratio(a, b []float64) string {
	n := min(len(a), len(b))
	each := make([]float64, 0, n)
	for i := range n {
		if b[i] == 0 {
			return ""
		}
		each = append(each, a[i]/b[i])
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", median(each))
}

// median of an even number of samples is the mean of the middle two.
func median(samples []float64) float64 {
	s := slices.Sorted(slices.Values(samples))
	m := len(s) / 2
	if len(s)%2 == 1 {
		return s[m]
	}
	return (s[m-1] + s[m]) / 2
}

// machine names what the figures were measured on.
func machine() string {
	var uts unix.Utsname
	var mem unix.Sysinfo_t
	_, _ = unix.Uname(&uts), unix.Sysinfo(&mem)
	const one = 1 << 16 // load averages are in fixed point
	return fmt.Sprintf("%d x %s, %d GB, Linux %s, load %.1f over the last 5 minutes", runtime.NumCPU(), cpuModel(),
		mem.Totalram*uint64(mem.Unit)>>30, unix.ByteSliceToString(uts.Release[:]), float64(mem.Loads[1])/one)
}

func cpuModel() string {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for text := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(text, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
