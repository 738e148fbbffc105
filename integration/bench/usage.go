package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	types "github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// idle looks at what the daemons of a manager that does not lead and of a
// worker use while nothing happens. Docker Swarm's part cannot be told apart
// from its engine, so its figures include that; ours are the daemon's alone.
func (b *bench) idle(ctx context.Context) error {
	manager, err := b.c.Leader(ctx)
	if err != nil {
		return err
	}
	worker := b.c.Workers()[0]
	time.Sleep(10 * time.Second) // let what came before settle
	before := map[*cluster.Node]time.Duration{}
	for _, n := range []*cluster.Node{manager, worker} {
		if before[n], err = cpuTime(pid(n)); err != nil {
			return err
		}
	}
	time.Sleep(b.opt.idle)
	for n, l := range map[*cluster.Node][2]line{manager: {lineMgrRSS, lineMgrCPU}, worker: {lineWorkRSS, lineWorkCPU}} {
		after, err := cpuTime(pid(n))
		if err != nil {
			return err
		}
		rss, err := resident(pid(n))
		if err != nil {
			return err
		}
		b.results.add(l[0], b.who, rss)
		b.results.add(l[1], b.who, 100*float64(after-before[n])/float64(b.opt.idle))
	}
	return nil
}

func pid(n *cluster.Node) int {
	if p := n.DaemonPID(); p != 0 {
		return p
	}
	return n.EnginePID()
}

// cpuTime is what a process has used of the CPU, in user and kernel mode.
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	// Fields are counted from behind the name, which may hold spaces.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick, nil
}

// resident is a process's resident memory in MB.
func resident(pid int) (float64, error) {
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, err
	}
	for text := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(text, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kb) / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d shows no resident memory", pid)
}

// hog keeps every core busy with twice as many processes as there are cores,
// and counts nodes that were declared down and elections.
func (b *bench) hog(ctx context.Context) error {
	return b.with(ctx, some, func(ctx context.Context, _ string, _ []cluster.Container) error {
		before, err := b.elections()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, b.opt.hog)
		defer cancel()
		for range 2 * runtime.NumCPU() {
			hog := exec.CommandContext(ctx, "sh", "-c", "while :; do :; done")
			if err := hog.Start(); err != nil {
				return err
			}
			defer func() { _ = hog.Wait() }() // killed by ctx
		}
		down, changes := b.observe(ctx)
		after, err := b.elections()
		b.results.add(lineDown, b.who, float64(down))
		b.results.add(lineElect, b.who, float64(max(changes, after-before)))
		return err
	})
}

// elected is what a daemon of ours logs when it has won an election. Docker
// Swarm's engines log nothing of the kind at the level they run at.
const elected = "this node leads the cluster"

// elections counts the elections that daemons of ours have logged: those that
// the same manager wins again are not seen from outside.
func (b *bench) elections() (int, error) {
	if b.who != ours {
		return 0, nil
	}
	count := 0
	for _, n := range b.c.Nodes {
		log, err := os.ReadFile(n.Log("swarmctl"))
		if err != nil {
			return 0, err
		}
		count += strings.Count(string(log), elected)
	}
	if count == 0 {
		return 0, fmt.Errorf("no daemon logged %q, though there was an election: has the text changed?", elected)
	}
	return count, nil
}

// observe looks at the cluster twice a second until ctx ends, and counts the
// nodes that are down and the changes of the leader.
func (b *bench) observe(ctx context.Context) (down, changes int) {
	isDown, leader := map[string]bool{}, ""
	for ; ctx.Err() == nil; time.Sleep(500 * time.Millisecond) {
		list, err := b.c.List(ctx)
		if err != nil {
			continue
		}
		for _, n := range list {
			now := n.Status.State == types.NodeStateDown
			if now && !isDown[n.ID] {
				down++
			}
			isDown[n.ID] = now
			if n.ManagerStatus != nil && n.ManagerStatus.Leader && n.ID != leader {
				if leader != "" {
					changes++
				}
				leader = n.ID
			}
		}
	}
	return down, changes
}
