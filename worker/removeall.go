package worker

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/swarmctl/swarmctl/worker/docker"
)

// RemoveAll stops and removes every container of the cluster on this node, as
// Docker does when a node leaves its swarm. Call it when Run has returned, or
// the worker would make new ones. What it cannot remove it names, and goes on.
// The node's part of the networks and the tasks' secrets and configs go last:
// containers need them to their end.
func (w *Worker) RemoveAll(ctx context.Context) error {
	list, err := w.cfg.Engine.List(ctx, w.cfg.ClusterID)
	if err != nil {
		return errors.Join(fmt.Errorf("remove the cluster's containers: %w", err), w.close(ctx))
	}
	errs := make([]error, len(list), len(list)+1)
	group := new(errgroup.Group)
	group.SetLimit(32) // most of the time they wait for grace periods
	for i, c := range list {
		group.Go(func() error {
			errs[i] = w.removeOne(ctx, c)
			return nil
		})
	}
	_ = group.Wait()
	return errors.Join(append(errs, w.close(ctx))...)
}

func (w *Worker) removeOne(ctx context.Context, c docker.Container) error {
	if c.State == docker.Running {
		if err := w.cfg.Engine.Stop(ctx, c.ID); err != nil && !errors.Is(err, docker.ErrNoContainer) {
			return fmt.Errorf("stop container %s: %w", c.Name, err)
		}
	}
	if err := w.cfg.Engine.Remove(ctx, c.ID); err != nil {
		return fmt.Errorf("remove container %s: %w", c.Name, err)
	}
	return nil
}

func (w *Worker) close(ctx context.Context) error {
	var errs []error
	if err := w.cfg.Network.Close(ctx); err != nil {
		errs = append(errs, fmt.Errorf("remove the cluster's networks: %w", err))
	}
	if err := w.cfg.Files.Close(); err != nil {
		errs = append(errs, fmt.Errorf("remove secrets and configs: %w", err))
	}
	return errors.Join(errs...)
}
