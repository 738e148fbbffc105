package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// concurrencies are how many containers are started at once on each engine;
// the best of them is what an orchestrator is compared with.
var concurrencies = []int{1, 2, 4}

func (b *bench) createDirect(ctx context.Context) error {
	for _, atOnce := range concurrencies {
		took, err := b.startDirect(ctx, atOnce)
		if err != nil {
			return err
		}
		b.results.add(lineCreate, fmt.Sprintf("%s, %d at once", direct, atOnce), took.Seconds())
	}
	return nil
}

// best returns the samples of the concurrency with the least median.
func best(by map[string][]float64) []float64 {
	var least []float64
	for who, samples := range by {
		if strings.HasPrefix(who, direct) && (least == nil || median(samples) < median(least)) {
			least = samples
		}
	}
	return least
}

// startDirect creates and starts as many containers as row create has
// replicas, spread evenly, with no orchestrator between.
func (b *bench) startDirect(ctx context.Context, atOnce int) (time.Duration, error) {
	b.serial++
	service := fmt.Sprintf("direct%d", b.serial)
	work := make(map[*cluster.Node]chan string)
	for _, n := range b.c.Nodes {
		work[n] = make(chan string, many)
	}
	for i := range many {
		work[b.c.Nodes[i%len(b.c.Nodes)]] <- fmt.Sprintf("%s.%d", service, i)
	}
	start := time.Now()
	var g errgroup.Group
	for n, names := range work {
		close(names)
		for range atOnce {
			g.Go(func() error { return startAll(ctx, n, service, names) })
		}
	}
	if _, err := b.count(ctx, service, many); err != nil {
		return 0, err
	}
	took := time.Since(start)
	if err := g.Wait(); err != nil {
		return 0, err
	}
	return took, b.sweep(ctx)
}

func startAll(ctx context.Context, n *cluster.Node, service string, names <-chan string) error {
	for name := range names {
		made, err := n.Docker.ContainerCreate(ctx, &container.Config{
			Image: cluster.Image, Cmd: []string{"sleep"},
			Labels: map[string]string{cluster.ServiceLabel: service, cluster.TaskLabel: name},
		}, nil, nil, nil, name)
		if err != nil {
			return err
		}
		if err := n.Docker.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
			return err
		}
	}
	return nil
}
