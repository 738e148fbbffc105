package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	types "github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/load"
)

var (
	lineUpdate   = line{"rolling update of 20, 4 at a time, stop signal KILL: all replaced", "s", "<= 0.5 x Swarm"}
	lineLostSlow = line{"10 updates under 200 requests/s, start-first, an app that needs 2 s: failed", "", "0"}
	lineBad      = line{"a version that crashes at once: 10 healthy old ones again", "s", "<= 10 s"}
	lineBadLeast = line{"a version that crashes at once: the fewest of 10 that served", "", ">= 9"}
	lineDrain    = line{"a node with 20 replicas is drained: all healthy elsewhere", "s", ""}
	lineLeast    = line{"a node with 20 replicas is drained: the fewest of 20 that served", "", "20"}
)

const (
	full    = 20 // replicas that are updated, or drained
	trial   = 10 // replicas that a bad version is given to
	getsUp  = 2 * time.Second
	perTurn = 4
)

// updateAll measures a rolling update of containers that stop at once.
func (b *bench) updateAll(ctx context.Context) error {
	return b.play(ctx, func(ctx context.Context, s *scene) error {
		before, err := s.enter(ctx, actor{name: "web", replicas: full, args: []string{"sleep"}, stopSignal: "KILL"})
		if err != nil {
			return err
		}
		start := time.Now()
		err = s.update(ctx, "web", func(spec *types.ServiceSpec) {
			spec.TaskTemplate.ForceUpdate++
			spec.UpdateConfig = &types.UpdateConfig{Parallelism: perTurn, Monitor: 1} // 0 would stand for 5 s
		})
		if err == nil {
			_, err = s.changed(ctx, "web", before)
		}
		if err != nil {
			return err
		}
		b.since(lineUpdate, start)
		return nil
	})
}

// updateSlow updates an app that is not ready when it runs, again and again,
// while it is asked through its port, and counts requests that failed.
func (b *bench) updateSlow(ctx context.Context) error {
	if b.who != ours {
		return nil
	}
	return b.play(ctx, func(ctx context.Context, s *scene) error {
		running, err := s.enter(ctx, actor{name: "web", replicas: served, publish: demoPort, checked: true, args: []string{"serve", "--ready-after", getsUp.String()}})
		if err != nil {
			return err
		}
		door := demoURL(b.c.Nodes[0].Addr, demoPort)
		if err := answers(ctx, b.c.Outside(), door, served); err != nil {
			return err
		}
		var halves []*cluster.Load
		for _, kept := range []bool{true, false} {
			halves = append(halves, cluster.Keep(ctx, b.c.Outside(), load.Config{URL: door, Rate: 100, Clients: 20, KeepAlive: kept}))
		}
		for range updates {
			err := s.update(ctx, "web", func(spec *types.ServiceSpec) {
				spec.TaskTemplate.ForceUpdate++
				spec.UpdateConfig = &types.UpdateConfig{Parallelism: 2, Monitor: 1, Order: types.UpdateOrderStartFirst}
			})
			if err == nil {
				running, err = s.changed(ctx, "web", running)
			}
			if err != nil {
				return err
			}
		}
		return b.lost(lineLostSlow, halves)
	})
}

// lost stops to ask and adds up the requests that failed.
func (b *bench) lost(l line, asking []*cluster.Load) error {
	failed := 0
	for _, one := range asking {
		r, err := one.Stop()
		if err != nil {
			return err
		}
		progress("%s", r)
		failed += r.Failed
	}
	b.results.add(l, b.who, float64(failed))
	return nil
}

// badVersion deploys a version that crashes, with the order to go back, and
// measures how long that takes and how many served all the while.
func (b *bench) badVersion(ctx context.Context) error {
	return b.play(ctx, func(ctx context.Context, s *scene) error {
		if _, err := s.enter(ctx, actor{name: "web", replicas: trial, checked: true}); err != nil {
			return err
		}
		v, err := b.watchHealth(ctx, "web", trial)
		if err != nil {
			return err
		}
		defer v.stop()
		start := time.Now()
		err = s.update(ctx, "web", func(spec *types.ServiceSpec) {
			spec.TaskTemplate.ContainerSpec.Args = []string{"serve", "--exit-after", "1ms", "--exit-code", "1"}
			spec.UpdateConfig = &types.UpdateConfig{Parallelism: 1, FailureAction: types.UpdateFailureActionRollback}
		})
		if err != nil {
			return err
		}
		if err := v.fell(ctx, trial); err != nil {
			return err
		}
		if err := v.reach(ctx, trial); err != nil {
			return err
		}
		b.since(lineBad, start)
		if err := s.state(ctx, "web", types.UpdateStateRollbackCompleted); err != nil {
			return err
		}
		b.results.add(lineBadLeast, b.who, float64(v.least()))
		return nil
	})
}

// state waits until a service's last update is in a state.
func (s *scene) state(ctx context.Context, name string, want types.UpdateState) error {
	return cluster.Eventually(ctx, patience, func(ctx context.Context) error {
		made, _, err := s.at.API.ServiceInspectWithRaw(ctx, name, types.ServiceInspectOptions{})
		if err == nil && (made.UpdateStatus == nil || made.UpdateStatus.State != want) {
			err = fmt.Errorf("service %s: its update is %+v, not %s", name, made.UpdateStatus, want)
		}
		return err
	})
}

// drain drains a node that runs all replicas of a service, and measures how
// many of them served all the while.
func (b *bench) drain(ctx context.Context) error {
	return b.play(ctx, func(ctx context.Context, s *scene) error {
		last := b.c.Workers()[1]
		others := slices.DeleteFunc(slices.Clone(b.c.Nodes), func(n *cluster.Node) bool { return n == last })
		if err := s.available(ctx, types.NodeAvailabilityPause, others...); err != nil {
			return err
		}
		_, err := s.enter(ctx, actor{name: "web", replicas: full, checked: true})
		if e := s.available(ctx, types.NodeAvailabilityActive, others...); err == nil {
			err = e
		}
		if err != nil {
			return err
		}
		v, err := b.watchHealth(ctx, "web", full)
		if err != nil {
			return err
		}
		defer v.stop()
		start := time.Now()
		if err := s.available(ctx, types.NodeAvailabilityDrain, last); err != nil {
			return err
		}
		if err := b.elsewhere(ctx, "web", full, last); err != nil {
			return err
		}
		if err := v.reach(ctx, full); err != nil {
			return err
		}
		b.since(lineDrain, start)
		b.results.add(lineLeast, b.who, float64(v.least()))
		return s.available(ctx, types.NodeAvailabilityActive, last)
	})
}

func (s *scene) available(ctx context.Context, a types.NodeAvailability, nodes ...*cluster.Node) error {
	for _, n := range nodes {
		node, _, err := s.at.API.NodeInspectWithRaw(ctx, n.ID)
		if err != nil {
			return err
		}
		node.Spec.Availability = a
		if err := s.at.API.NodeUpdate(ctx, n.ID, node.Version, node.Spec); err != nil {
			return err
		}
	}
	return nil
}

// changed waits until others run in place of all.
func (s *scene) changed(ctx context.Context, name string, before []cluster.Container) ([]cluster.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.b.w.Until(ctx, name, "all replaced", func(cs []cluster.Container) bool {
		return len(cs) == len(before) && !slices.ContainsFunc(cs, func(c cluster.Container) bool { return slices.Contains(before, c) })
	})
}
