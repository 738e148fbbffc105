package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	types "github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/load"
)

var (
	lineLostPort = line{"10 rolling updates, 500 requests/s through ingress: failed", "", "0"}
	lineLostVIP  = line{"10 rolling updates, 500 requests/s through the VIP: failed", "", "0"}
	lineRollout  = line{"a rolling update of 6, two at a time, under that load", "s", ""}
	lineLeaked   = line{"2,000 tasks created and removed on a /24: addresses leaked", "", "0"}
	lineTwice    = line{"2,000 tasks created and removed on a /24: addresses given twice", "", "0"}
)

const (
	updates    = 10
	served     = 6                // replicas: their health checks are processes, and these are two cores
	underLoad  = 500              // requests a second, each way
	slow       = 15 * time.Second // two cores carry the cluster, its load and the updates
	comeAndGo  = 2000
	comeAtOnce = 100
)

// rollout updates a service again and again while it is asked, and counts
// requests that failed.
func (b *bench) rollout(ctx context.Context) error {
	if b.who != ours {
		return nil
	}
	return b.play(ctx, func(ctx context.Context, s *scene) error {
		if err := s.network(ctx, "front"); err != nil {
			return err
		}
		running, err := s.enter(ctx, actor{name: "web", replicas: served, network: "front", publish: demoPort, checked: true})
		if err != nil {
			return err
		}
		callers, err := s.enter(ctx, actor{name: "call", everywhere: true, network: "front", args: []string{"sleep"}})
		if err != nil {
			return err
		}
		virtual, err := s.vip(ctx, "web", "front")
		if err != nil {
			return err
		}
		caller, hall, door := callers[0], demoURL(virtual, demoPort), demoURL(b.c.Nodes[0].Addr, demoPort)
		for from, url := range map[cluster.Place]string{caller: hall, b.c.Outside(): door} {
			if err := answers(ctx, from, url, served); err != nil {
				return err
			}
		}
		loads := map[line][]*cluster.Load{}
		for _, kept := range []bool{true, false} { // half of the requests have a connection each
			inside := load.Config{Rate: underLoad / 2, Clients: 25, KeepAlive: kept, Timeout: slow}
			outside := inside
			inside.URL, outside.URL = hall, door
			loads[lineLostVIP] = append(loads[lineLostVIP], cluster.Keep(ctx, caller, inside))
			loads[lineLostPort] = append(loads[lineLostPort], cluster.Keep(ctx, b.c.Outside(), outside))
		}
		for i := range updates {
			start := time.Now()
			if running, err = s.roll(ctx, running, i); err != nil {
				return err
			}
			b.since(lineRollout, start)
		}
		for l, halves := range loads {
			if err := b.lost(l, halves); err != nil {
				return err
			}
		}
		return nil
	})
}

// roll updates the service and waits until others run in place of all.
func (s *scene) roll(ctx context.Context, before []cluster.Container, i int) ([]cluster.Container, error) {
	err := s.update(ctx, "web", func(spec *types.ServiceSpec) {
		spec.TaskTemplate.ForceUpdate++
		spec.UpdateConfig = &types.UpdateConfig{Parallelism: 2, Monitor: time.Millisecond, Order: []string{types.UpdateOrderStopFirst, types.UpdateOrderStartFirst}[i%2]}
	})
	if err != nil {
		return nil, err
	}
	return s.changed(ctx, "web", before)
}

// leak lets tasks come and go, and compares how many the network has room for
// before and after.
func (b *bench) leak(ctx context.Context) error {
	if b.who != ours {
		return nil
	}
	return b.play(ctx, func(ctx context.Context, s *scene) error {
		if err := s.network(ctx, "small", "10.77.0.0/24"); err != nil {
			return err
		}
		if _, err := s.enter(ctx, actor{name: "web", network: "small", args: []string{"sleep"}}); err != nil {
			return err
		}
		before, err := s.room(ctx)
		if err != nil {
			return err
		}
		made, twice := before, 0
		for made < comeAndGo {
			for _, n := range []int{0, comeAtOnce} {
				if err := s.scale(ctx, "web", uint64(n)); err != nil {
					return err
				}
				if _, err := b.count(ctx, "web", n); err != nil {
					return err
				}
			}
			made += comeAtOnce
			shared, err := b.shared(ctx, "small")
			if err != nil {
				return err
			}
			twice += shared
		}
		after, err := s.room(ctx)
		b.results.add(lineLeaked, b.who, float64(before-after))
		b.results.add(lineTwice, b.who, float64(twice))
		progress("%d tasks fill the network before, %d after %d came and went", before, after, made)
		return err
	})
}

// room is how many tasks of web find an address: the others say that there is none.
func (s *scene) room(ctx context.Context) (int, error) {
	const more = 256 // than a /24 has
	if err := s.scale(ctx, "web", more); err != nil {
		return 0, err
	}
	room := 0
	err := cluster.Eventually(ctx, 5*patience, func(ctx context.Context) error {
		tasks, err := s.at.API.TaskList(ctx, types.TaskListOptions{})
		if err != nil {
			return err
		}
		waiting := 0
		for _, t := range tasks {
			if t.Status.State == types.TaskStatePending && strings.Contains(t.Status.Err, "address") {
				waiting++
			}
		}
		room = more - waiting
		if running := len(s.b.w.Running("web")); waiting == 0 || running != room {
			time.Sleep(time.Second / 2) // asking for all tasks costs something
			return fmt.Errorf("%d run, %d wait for an address, of %d", running, waiting, more)
		}
		return nil
	})
	return room, err
}

// shared counts containers on a network with an address that another one has.
func (b *bench) shared(ctx context.Context, name string) (int, error) {
	seen, shared := map[string]bool{}, 0
	for _, n := range b.c.Nodes {
		list, err := n.Docker.ContainerList(ctx, container.ListOptions{})
		if err != nil {
			return 0, err
		}
		for _, c := range list {
			in := c.NetworkSettings.Networks[name]
			if in == nil {
				continue
			}
			if seen[in.IPAddress] {
				shared++
			}
			seen[in.IPAddress] = true
		}
	}
	return shared, nil
}
