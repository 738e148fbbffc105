package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

var (
	lineLogs  = line{"`docker logs` of 100 MB, through our socket or at the engine's", "s", "<= 1.05 x direct"}
	linePings = line{"1,000 pings, one after the other", "s", "<= 1.05 x direct"}
	linePss   = line{"1,000 container lists, ten running, one after the other", "s", "<= 1.05 x direct"}
)

const (
	logBytes  = 100_000_000
	logLine   = 100 // bytes, its end included
	asked     = 1000
	neighbour = 10 // containers that run beside
)

// through measures what it costs that a request for the engine passes through
// our daemon: against the socket of the same engine, in turns. It is a worker's,
// where the daemon has little else to do.
func (b *bench) through(ctx context.Context) error {
	if b.who != ours {
		return nil
	}
	node := b.c.Workers()[0]
	talker, err := b.furnish(ctx, node)
	if err != nil {
		return err
	}
	for range b.opt.n {
		for _, m := range []struct {
			line line
			f    func(context.Context, *client.Client) error
		}{
			{lineLogs, func(ctx context.Context, c *client.Client) error { return readLogs(ctx, c, talker) }},
			{linePings, func(ctx context.Context, c *client.Client) error {
				return repeat(func() error { _, err := c.Ping(ctx); return err })
			}},
			{linePss, func(ctx context.Context, c *client.Client) error {
				return repeat(func() error { _, err := c.ContainerList(ctx, container.ListOptions{}); return err })
			}},
		} {
			for _, who := range []string{direct, ours} {
				c := map[string]*client.Client{direct: node.Docker, ours: node.API}[who]
				start, used := time.Now(), b.used(node)
				if err := m.f(ctx, c); err != nil {
					return fmt.Errorf("%s: %w", who, err)
				}
				b.results.add(m.line, who, time.Since(start).Seconds())
				now := b.used(node)
				progress("  %.2f s of a core for the engine, %.2f s for our daemon", now[0]-used[0], now[1]-used[1])
			}
		}
	}
	return b.sweep(ctx)
}

// used is what the engine and our daemon have used of the CPU, in seconds.
func (b *bench) used(node *cluster.Node) (used [2]float64) {
	for i, pid := range []int{node.EnginePID(), node.DaemonPID()} {
		t, _ := cpuTime(pid) // a process that has gone is another's failure
		used[i] = t.Seconds()
	}
	return used
}

func repeat(f func() error) error {
	for range asked {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// furnish runs containers on the node: some that sleep, and one that has
// written its log and ended.
func (b *bench) furnish(ctx context.Context, node *cluster.Node) (talker string, err error) {
	for i := range neighbour {
		if _, err := runDirect(ctx, node, fmt.Sprintf("neighbour%d", i), "sleep"); err != nil {
			return "", err
		}
	}
	if talker, err = runDirect(ctx, node, "talker", "lines", fmt.Sprint(logBytes/logLine)); err != nil {
		return "", err
	}
	ended, failed := node.Docker.ContainerWait(ctx, talker, container.WaitConditionNotRunning)
	select {
	case end := <-ended:
		if end.StatusCode != 0 {
			err = fmt.Errorf("the container that writes %d bytes ended with %d", logBytes, end.StatusCode)
		}
	case err = <-failed:
	}
	return talker, err
}

func runDirect(ctx context.Context, node *cluster.Node, name string, args ...string) (id string, err error) {
	made, err := node.Docker.ContainerCreate(ctx, &container.Config{Image: cluster.Image, Cmd: args}, nil, nil, nil, name)
	if err != nil {
		return "", err
	}
	return made.ID, node.Docker.ContainerStart(ctx, made.ID, container.StartOptions{})
}

// readLogs does with the log what `docker logs` does.
func readLogs(ctx context.Context, c *client.Client, id string) error {
	logs, err := c.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return err
	}
	defer logs.Close()
	n, err := stdcopy.StdCopy(io.Discard, io.Discard, logs)
	if err == nil && n != logBytes {
		err = fmt.Errorf("the log has %d bytes, not %d", n, logBytes)
	}
	return err
}
