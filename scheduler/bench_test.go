package scheduler

import (
	"fmt"
	"math"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// bigWorld is a cluster of 10,000 nodes, a third in each of three zones, and
// 100,000 tasks that wait, which reserve CPU and memory and have one
// constraint that two thirds of the nodes satisfy.
func bigWorld(b *testing.B, services int) *world {
	const nodes, tasks = 10_000, 100_000
	w := newWorld(b)
	w.cursor = nil
	var lines []string
	for i := range nodes {
		lines = append(lines, fmt.Sprintf("node n%05d cpu=16 mem=64GiB label.zone=%c", i, 'a'+i%3))
	}
	for i := range services {
		lines = append(lines, fmt.Sprintf("service s%05d cpu=0.1 mem=256MiB constraint=node.labels.zone!=c", i))
	}
	w.doAll(lines)
	lines = lines[:0]
	for i := range services {
		lines = append(lines, fmt.Sprintf("tasks s%05d 1-%d", i, tasks/services))
	}
	w.doAll(lines)
	return w
}

// BenchmarkPlan100kTasks10kNodes measures the planner alone: from tasks that
// wait to nodes that have them, reservations taken.
func BenchmarkPlan100kTasks10kNodes(b *testing.B) {
	for _, services := range []int{1, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			w := bigWorld(b, services)
			view := w.state.View()
			placed, took, used := 0, time.Duration(0), time.Duration(0)
			for b.Loop() {
				b.StopTimer()
				c := NewCluster(view)
				runtime.GC()
				b.StartTimer()
				start, cpu := time.Now(), cpuTime(b)
				d := c.Plan(w.now, math.MaxInt)
				took += time.Since(start)
				used += cpuTime(b) - cpu
				placed += len(d.Assign)
				if len(d.Assign) != 100_000 {
					b.Fatalf("placed %d tasks, refused %d", len(d.Assign), len(d.Refuse))
				}
			}
			b.ReportMetric(float64(placed)/took.Seconds(), "placements/s")
			b.ReportMetric(float64(placed)/used.Seconds(), "placements/cpu-s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// cpuTime is the CPU time that the program has used, on all cores: what tells
// the planner's speed on a machine that does other things beside.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFollow100kTasks measures what surrounds a plan: the model made from
// the state, as a new leader does.
func BenchmarkFollow100kTasks(b *testing.B) {
	w := bigWorld(b, 100)
	view := w.state.View()
	for b.Loop() {
		NewCluster(view)
	}
}

// BenchmarkPlanOne measures the answer to a single new task in a cluster of
// 10,000 nodes: the latency that a user sees, commit apart.
func BenchmarkPlanOne(b *testing.B) {
	w := bigWorld(b, 100)
	c := NewCluster(w.state.View())
	d := c.Plan(w.now, 100_000)
	last := d.Assign[len(d.Assign)-1].Task
	b.ResetTimer()
	for b.Loop() {
		c.Withdraw(last)
		if len(c.Plan(w.now, 10).Assign) != 1 {
			b.Fatal("not placed")
		}
	}
}
