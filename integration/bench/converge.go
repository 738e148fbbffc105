package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/integration/cluster"
)

var (
	lineAdded   = line{"a replica runs: every node's balancers have it, p99", "ms", "<= 200 ms"}
	lineRemoved = line{"a replica is to go: no node's balancer has it, p99", "ms", "<= 200 ms"}
)

// comings is how often a replica comes and goes.
const comings = 25

// snapshot is the rules of a network namespace after a change of them.
type snapshot struct {
	at    time.Time
	rules string
}

// balancer follows the rules of one network namespace: the kernel tells of every
// change, and they are listed after each. What is listed may be newer than the
// change it is noted for, never older by more than the next one.
type balancer struct {
	node *cluster.Node
	pid  string // of a process in the namespace, as its host counts; empty: the host itself

	mu      sync.Mutex
	seen    []snapshot
	changed chan struct{} // closed and replaced with every snapshot
}

func (b *balancer) enter(args ...string) []string {
	if b.pid == "" {
		return args
	}
	return append([]string{"nsenter", "-t", b.pid, "-n"}, args...)
}

// follow notes every change until ctx ends.
func (b *balancer) follow(ctx context.Context) {
	times := make(chan time.Time, 1000)
	go func() {
		defer close(times)
		_ = b.node.Follow(ctx, func(text string) {
			if strings.Contains(text, "new generation") {
				times <- time.Now()
			}
		}, b.enter("nft", "monitor")...)
	}()
	for at := range times {
		for len(times) > 0 {
			at = <-times
		}
		rules, err := b.node.Run(ctx, b.enter("nft", "-s", "list", "ruleset")...)
		if err == nil {
			b.note(snapshot{at, rules})
		}
	}
}

func (b *balancer) note(s snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen = append(b.seen, s)
	close(b.changed)
	b.changed = make(chan struct{})
}

// when waits for the first change since a time after which the rules are as asked.
func (b *balancer) when(ctx context.Context, since time.Time, ok func(rules string) bool) (time.Time, error) {
	for {
		b.mu.Lock()
		i := slices.IndexFunc(b.seen, func(s snapshot) bool { return !s.at.Before(since) && ok(s.rules) })
		seen, changed := b.seen, b.changed
		b.mu.Unlock()
		if i >= 0 {
			return seen[i].at, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("the balancer of %s (process %s) has not changed as it should: %w", b.node.Name, b.pid, ctx.Err())
		}
	}
}

// converge lets replicas of a service come and go, and measures until the
// balancers of all nodes know: those of a caller on each, and those of its
// published port.
func (b *bench) converge(ctx context.Context) error {
	if b.who != ours {
		return nil
	}
	return b.play(ctx, func(ctx context.Context, s *scene) error {
		following, stop := context.WithCancel(ctx)
		defer stop()
		if err := s.network(ctx, "front"); err != nil {
			return err
		}
		callers, err := s.enter(ctx, actor{name: "call", everywhere: true, network: "front", args: []string{"sleep"}})
		if err != nil {
			return err
		}
		if _, err := s.enter(ctx, actor{name: "web", replicas: 2, network: "front", publish: demoPort}); err != nil {
			return err
		}
		inside, atPort, err := b.balancers(following, callers)
		if err != nil {
			return err
		}
		var added, removed []float64
		for range comings {
			came, err := s.comes(ctx, inside, atPort)
			if err != nil {
				return err
			}
			went, err := s.goes(ctx, inside, atPort)
			if err != nil {
				return err
			}
			added, removed = append(added, ms(came)), append(removed, ms(went))
		}
		b.results.add(lineAdded, b.who, p99(added))
		b.results.add(lineRemoved, b.who, p99(removed))
		progress("added %.0f ms, removed %.0f ms", added, removed)
		return nil
	})
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// p99 of fewer than a hundred samples is the largest.
func p99(samples []float64) float64 {
	s := slices.Sorted(slices.Values(samples))
	return s[(len(s)*99-1)/100]
}

// balancers follows those of the callers and of all nodes.
func (b *bench) balancers(ctx context.Context, callers []cluster.Container) (inside, atPort []*balancer, err error) {
	for _, c := range callers {
		info, err := c.Node.Docker.ContainerInspect(ctx, c.ID)
		if err != nil {
			return nil, nil, err
		}
		inside = append(inside, &balancer{node: c.Node, pid: strconv.Itoa(info.State.Pid), changed: make(chan struct{})})
		atPort = append(atPort, &balancer{node: c.Node, changed: make(chan struct{})})
	}
	for _, follower := range slices.Concat(inside, atPort) {
		go follower.follow(ctx)
	}
	time.Sleep(time.Second) // nft says nothing when it begins to listen
	return inside, atPort, nil
}

// comes adds a replica and returns how long after its start all know it.
func (s *scene) comes(ctx context.Context, inside, atPort []*balancer) (time.Duration, error) {
	before := s.b.w.Running("web")
	if err := s.scale(ctx, "web", uint64(len(before)+1)); err != nil {
		return 0, err
	}
	after, err := s.b.count(ctx, "web", len(before)+1)
	if err != nil {
		return 0, err
	}
	one := missing(after, before)
	info, err := one.Node.Docker.ContainerInspect(ctx, one.ID)
	if err != nil {
		return 0, err
	}
	started, err := time.Parse(time.RFC3339Nano, info.State.StartedAt)
	if err != nil {
		return 0, err
	}
	return all(ctx, started, one, true, inside, atPort)
}

// goes removes a replica and returns how long after the order nobody knows it.
func (s *scene) goes(ctx context.Context, inside, atPort []*balancer) (time.Duration, error) {
	before := s.b.w.Running("web")
	known := map[string][2]string{}
	for _, c := range before {
		pair, err := addrs(ctx, c)
		if err != nil {
			return 0, err
		}
		known[c.ID] = pair
	}
	ordered := time.Now()
	if err := s.scale(ctx, "web", uint64(len(before)-1)); err != nil {
		return 0, err
	}
	after, err := s.b.count(ctx, "web", len(before)-1)
	if err != nil {
		return 0, err
	}
	return allOf(ctx, ordered, known[missing(before, after).ID], false, inside, atPort)
}

// missing is the container of more that is not in less.
func missing(more, less []cluster.Container) cluster.Container {
	i := slices.IndexFunc(more, func(c cluster.Container) bool { return !slices.Contains(less, c) })
	return more[i]
}

// addrs are a container's addresses for callers and for published ports.
func addrs(ctx context.Context, c cluster.Container) ([2]string, error) {
	front, err := addr(ctx, c, "front")
	if err != nil {
		return [2]string{}, err
	}
	ingress, err := addr(ctx, c, api.IngressNetwork)
	return [2]string{front, ingress}, err
}

func all(ctx context.Context, since time.Time, c cluster.Container, there bool, inside, atPort []*balancer) (time.Duration, error) {
	pair, err := addrs(ctx, c)
	if err != nil {
		return 0, err
	}
	return allOf(ctx, since, pair, there, inside, atPort)
}

// allOf is how long after a time the last balancer has, or has not, the address.
func allOf(ctx context.Context, since time.Time, pair [2]string, there bool, inside, atPort []*balancer) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var last time.Time
	for i, group := range [][]*balancer{inside, atPort} {
		address := regexp.MustCompile(`\b` + regexp.QuoteMeta(pair[i]) + `\b`)
		for _, b := range group {
			at, err := b.when(ctx, since, func(rules string) bool { return address.MatchString(rules) == there })
			if err != nil {
				return 0, err
			}
			if at.After(last) {
				last = at
			}
		}
	}
	return last.Sub(since), nil
}
