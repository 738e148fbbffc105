package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

const (
	straight = ", of straight to the backend"
	perHalf  = ">= 0.95 x direct"
)

var (
	lineNearKeep = line{"through a VIP, same node, connections kept" + straight, "1/s", perHalf}
	lineNearEach = line{"through a VIP, same node, a connection each" + straight, "1/s", perHalf}
	lineFarKeep  = line{"through a VIP, other node, connections kept" + straight, "1/s", perHalf}
	lineFarEach  = line{"through a VIP, other node, a connection each" + straight, "1/s", perHalf}
	lineMeshKeep = line{"through ingress at a node without a replica, connections kept, of straight over the overlay", "1/s", ">= 0.9 x direct"}
	lineMeshEach = line{"through ingress at a node without a replica, a connection each, of straight over the overlay", "1/s", ">= 0.9 x direct"}
	lineFlow     = line{"overlay, two hosts, one stream, of the same hosts' cable", "Gbit/s", ">= 0.8 x direct, >= Swarm"}
	lineFlows    = line{"overlay, two hosts, four streams, of the same hosts' cable", "Gbit/s", ">= 0.8 x direct, >= Swarm"}
)

const (
	burst        = time.Second // that one way of asking is measured for at a time
	bursts       = 6           // of each way, for one figure: what else slows the machine slows both
	burstClients = 16
	sinkPort     = 9000
)

// way is one of two to the same backend that take turns.
type way struct {
	who  string // whose column
	from cluster.Place
	url  string
}

// race measures requests a second over both ways in turns, with connections
// that are kept and with one for each request.
func (b *bench) race(ctx context.Context, keep, each line, ways ...way) error {
	for _, m := range []struct {
		line      line
		keepAlive bool
	}{{keep, true}, {each, false}} {
		rates := map[string]float64{}
		for i := range bursts * len(ways) {
			w := ways[(i+i/len(ways))%len(ways)] // nobody is always the first
			rate, err := wrk(ctx, w.from, w.url, m.keepAlive)
			if err != nil {
				return err
			}
			rates[w.who] += rate / bursts
		}
		for who, rate := range rates {
			b.results.add(m.line, who, rate)
		}
	}
	return nil
}

// viaVIP measures what a virtual address costs: the same backend, by the
// service's address and by its own, called from its own node and from another.
// Each way has callers of its own: a port that a caller had used to the backend
// lately, and now uses to the service, is one that the backend takes for an old
// connection of the other clock, and has the caller wait a second.
func (b *bench) viaVIP(ctx context.Context) error {
	if b.who != ours {
		return nil
	}
	return b.play(ctx, func(ctx context.Context, s *scene) error {
		back, err := s.backend(ctx, actor{name: "back", network: "vip"})
		if err != nil {
			return err
		}
		callers, err := s.enter(ctx, actor{name: "call", everywhere: true, network: "vip", args: []string{"sleep"}})
		if err != nil {
			return err
		}
		others, err := s.enter(ctx, actor{name: "straight", everywhere: true, network: "vip", args: []string{"sleep"}})
		if err != nil {
			return err
		}
		own, err := addr(ctx, back, "vip")
		if err != nil {
			return err
		}
		virtual, err := s.vip(ctx, "back", "vip")
		if err != nil {
			return err
		}
		near, far := on(callers, back.Node), on(callers, b.c.Nodes[0])
		nearOwn, farOwn := on(others, back.Node), on(others, b.c.Nodes[0])
		for _, from := range []cluster.Container{near, far} {
			if err := answers(ctx, from, demoURL(virtual, demoPort), 1); err != nil {
				return err
			}
		}
		for range b.opt.n {
			err := b.race(ctx, lineNearKeep, lineNearEach, way{direct, nearOwn, demoURL(own, demoPort)}, way{ours, near, demoURL(virtual, demoPort)})
			if err == nil {
				err = b.race(ctx, lineFarKeep, lineFarEach, way{direct, farOwn, demoURL(own, demoPort)}, way{ours, far, demoURL(virtual, demoPort)})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// backend makes the network and puts the one replica of a service on a worker.
func (s *scene) backend(ctx context.Context, a actor) (cluster.Container, error) {
	a.replicas, a.on = 1, s.b.c.Workers()[0]
	if err := s.network(ctx, a.network); err != nil {
		return cluster.Container{}, err
	}
	running, err := s.enter(ctx, a)
	if err != nil {
		return cluster.Container{}, err
	}
	return running[0], nil
}

// on is the one of the containers that runs on a node.
func on(cs []cluster.Container, n *cluster.Node) cluster.Container {
	for _, c := range cs {
		if c.Node == n {
			return c
		}
	}
	return cluster.Container{Node: n}
}

// mesh measures what the way through another node costs: a client outside asks
// a node without a replica, against a container of that node that asks the
// replica itself over the overlay. Both cross two cables and one overlay.
func (b *bench) mesh(ctx context.Context) error {
	if b.who != ours {
		return nil
	}
	return b.play(ctx, func(ctx context.Context, s *scene) error {
		back, err := s.backend(ctx, actor{name: "back", network: "mesh", publish: demoPort})
		if err != nil {
			return err
		}
		door := b.c.Nodes[0]
		callers, err := s.enter(ctx, actor{name: "call", replicas: 1, on: door, network: "mesh", args: []string{"sleep"}})
		if err != nil {
			return err
		}
		own, err := addr(ctx, back, "mesh")
		if err != nil {
			return err
		}
		outside := b.c.Outside()
		through, straight := way{ours, outside, demoURL(door.Addr, demoPort)}, way{direct, callers[0], demoURL(own, demoPort)}
		for _, w := range []way{through, straight} {
			if err := answers(ctx, w.from, w.url, 1); err != nil {
				return err
			}
		}
		for range b.opt.n {
			if err := b.race(ctx, lineMeshKeep, lineMeshEach, straight, through); err != nil {
				return err
			}
		}
		return nil
	})
}

// pipe is a way for a stream: an overlay, or the cable below it.
type pipe struct {
	who  string // whose column
	from cluster.Place
	host string
}

// overlay measures how much flows between two containers on two hosts, and
// between the hosts themselves. Docker Swarm's overlay is up at the same time,
// where it is a contender, and all take turns: a machine's own speed may change by a
// third within minutes.
func (b *bench) overlay(ctx context.Context) error {
	if b.who != ours {
		return nil
	}
	return b.piped(ctx, func(ctx context.Context, own []pipe) error {
		if b.rival == nil {
			return b.flows(ctx, own)
		}
		return b.rival.piped(ctx, func(ctx context.Context, its []pipe) error {
			return b.flows(ctx, append(own, its...))
		})
	})
}

// piped sets up a contender's overlay, and for ours the cable, and runs f with them.
func (b *bench) piped(ctx context.Context, f func(context.Context, []pipe) error) error {
	return b.play(ctx, func(ctx context.Context, s *scene) error {
		sink, err := s.backend(ctx, actor{name: "sink", network: "flow", args: []string{"sink"}})
		if err != nil {
			return err
		}
		from := b.c.Nodes[0]
		callers, err := s.enter(ctx, actor{name: "call", replicas: 1, on: from, network: "flow", args: []string{"sleep"}})
		if err != nil {
			return err
		}
		own, err := addr(ctx, sink, "flow")
		if err != nil {
			return err
		}
		pipes := []pipe{{b.who, callers[0], own}}
		if b.who == ours {
			bare, err := b.c.Workers()[0].Sink()
			if err != nil {
				return err
			}
			defer bare.Kill()
			pipes = append(pipes, pipe{direct, from, b.c.Workers()[0].Addr})
		}
		return f(ctx, pipes)
	})
}

// flows measures the pipes in turns, with one stream and with four. A sample is
// the mean of several bursts.
func (b *bench) flows(ctx context.Context, pipes []pipe) error {
	for range b.opt.n {
		for _, m := range []struct {
			line    line
			streams int
		}{{lineFlow, 1}, {lineFlows, 4}} {
			rates := map[string]float64{}
			for i := range bursts * len(pipes) {
				p := pipes[(i+i/len(pipes))%len(pipes)] // nobody is always the first
				rate, err := p.flow(ctx, m.streams)
				if err != nil {
					return fmt.Errorf("%s: %w", p.who, err)
				}
				rates[p.who] += rate / bursts
			}
			for who, rate := range rates {
				b.results.add(m.line, who, rate)
			}
		}
	}
	return nil
}

// flow is how much flows, in Gbit/s.
func (p pipe) flow(ctx context.Context, streams int) (float64, error) {
	var out string
	err := cluster.Eventually(ctx, patience, func(ctx context.Context) (err error) { // the sink may not listen yet
		out, err = p.from.Demo(ctx, nil, "pump", p.host+":"+strconv.Itoa(sinkPort), "-for", burst.String(), "-c", strconv.Itoa(streams))
		return err
	})
	if err != nil {
		return 0, err
	}
	bytes, err := strconv.ParseFloat(strings.TrimSpace(out), 64)
	return bytes * 8 / 1e9, err
}
