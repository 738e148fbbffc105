package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/services/stack"
)

func stackRemove(ctx context.Context, c *call) error {
	for _, name := range c.args {
		if strings.Trim(name, " \t\r\n\"'") == "" {
			return fmt.Errorf("invalid stack name: %q", name)
		}
	}
	ctx, cancel, _ := c.patient(ctx)
	defer cancel()
	var errs []error
	for _, name := range c.args {
		errs = append(errs, c.removeStack(ctx, name))
	}
	return errors.Join(errs...)
}

// removeStack removes what is of a stack: services first, what they use then.
// A network stays until the tasks on it are gone, so with --detach one may be
// left over, which is said.
func (c *call) removeStack(ctx context.Context, name string) error {
	have, err := c.ofStack(ctx, name)
	if err != nil {
		return err
	}
	if len(have.Services)+len(have.Networks)+len(have.Secrets)+len(have.Configs) == 0 {
		fmt.Fprintln(c.err, "Nothing found in stack:", name)
		return nil
	}
	failed := false
	remove := func(kind, name, id string, do func(ctx context.Context, id string) error) {
		fmt.Fprintf(c.out, "Removing %s %s\n", kind, name)
		if err := do(ctx, id); err != nil {
			failed = true
			fmt.Fprintf(c.err, "Failed to remove %s %s: %v\n", kind, name, err)
		}
	}
	gone := map[string]bool{}
	for _, s := range have.Services {
		remove("service", s.Spec.Name, s.ID, c.api().ServiceRemove)
		gone[s.ID] = true
	}
	for _, s := range have.Secrets {
		remove("secret", s.Spec.Name, s.ID, c.api().SecretRemove)
	}
	for _, o := range have.Configs {
		remove("config", o.Spec.Name, o.ID, c.api().ConfigRemove)
	}
	if !c.flags.yes("detach") {
		if err := c.untilGone(ctx, name, gone); err != nil {
			return err
		}
	}
	for _, n := range have.Networks {
		remove("network", n.Name, n.ID, c.api().NetworkRemove)
	}
	if failed {
		return fmt.Errorf("failed to remove some resources from stack: %s", name)
	}
	return nil
}

func (c *call) ofStack(ctx context.Context, name string) (have stack.Cluster, err error) {
	f := stackFilter(name)
	if have.Services, err = c.api().ServiceList(ctx, swarm.ServiceListOptions{Filters: f}); err != nil {
		return have, err
	}
	if have.Networks, err = c.api().NetworkList(ctx, network.ListOptions{Filters: f}); err != nil {
		return have, err
	}
	if have.Secrets, err = c.api().SecretList(ctx, swarm.SecretListOptions{Filters: f}); err != nil {
		return have, err
	}
	have.Configs, err = c.api().ConfigList(ctx, swarm.ConfigListOptions{Filters: f})
	slices.SortFunc(have.Services, func(a, b swarm.Service) int { return naturalCompare(a.Spec.Name, b.Spec.Name) })
	return have, err
}

// untilGone waits for the last task of services that have been removed: those
// that are to be removed are all that is left of them.
func (c *call) untilGone(ctx context.Context, name string, services map[string]bool) error {
	return c.untilNone(ctx, name, fmt.Sprintf(", then `%s stack rm %s` removes its networks", progName, name), func(ctx context.Context) ([]swarm.Task, error) { return c.lasting(ctx, services, removedTasks) })
}

// untilNone waits until no task of a stack is left over. Those on nodes that are
// down are passed over: when they end nobody can say.
func (c *call) untilNone(ctx context.Context, name, then string, lasting func(context.Context) ([]swarm.Task, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wake := make(chan struct{}, 1)
	messages, errs := c.api().Events(ctx, events.ListOptions{Filters: filters.NewArgs(filters.Arg("scope", "swarm"))})
	go func() {
		for {
			select {
			case m := <-messages:
				if m.Type == events.ServiceEventType {
					continue
				}
				select {
				case wake <- struct{}{}:
				default: // one is waiting already
				}
			case <-errs:
				return
			}
		}
	}()
	for delay := firstLook; ; delay = min(delay*2, longestLook) {
		tasks, err := lasting(ctx)
		left, away := len(tasks), map[string]int{}
		if err == nil && left > 0 {
			left, away, err = c.awaited(ctx, tasks)
		}
		if err == nil && left == 0 {
			for _, host := range slices.Sorted(maps.Keys(away)) {
				fmt.Fprintf(c.err, "node %s is down: %d %s of stack %s end when it is back\n", host, away[host], plural("task", away[host]), name)
			}
			return nil
		}
		if err == nil {
			err = pause(ctx, wake, delay)
		}
		switch {
		case err == nil:
		case errors.Is(context.Cause(ctx), errTimeout):
			return &exitError{code: exitTimeout, msg: fmt.Sprintf("timed out after %s: %d %s of stack %s still to stop; the cluster works on%s",
				one(c.flags, "timeout", time.Duration(0)), left, plural("task", left), name, then)}
		default:
			return fmt.Errorf("failed to wait on tasks of stack: %s: %w", name, err)
		}
	}
}

// awaited counts the tasks that will end soon and, by the names of their nodes,
// those on nodes that are down.
func (c *call) awaited(ctx context.Context, tasks []swarm.Task) (left int, away map[string]int, err error) {
	nodes, err := c.api().NodeList(ctx, swarm.NodeListOptions{})
	away = map[string]int{}
	for _, t := range tasks {
		i := slices.IndexFunc(nodes, func(n swarm.Node) bool { return n.ID == t.NodeID })
		if i >= 0 && nodes[i].Status.State == swarm.NodeStateDown {
			away[nodes[i].Description.Hostname]++
		} else {
			left++
		}
	}
	return left, away, err
}
