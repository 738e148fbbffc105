package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

func rebalanceVerb() verb {
	return verb{
		name: "rebalance", args: "SERVICE [SERVICE...]", usage: "Spread the tasks of one or more services evenly over the nodes again", max: -1, do: serviceRebalance,
		flags: []*opt{
			{name: "all", kind: boolKind, usage: "Rebalance every replicated service"},
			detachFlag(), timeoutFlag(),
		},
		long: "Moves no more tasks than it takes, as many at once as an update replaces; each serves until the one that takes its\n" +
			"place does. Exit code 1 where a task that should move finds no better node.",
	}
}

func serviceRebalance(ctx context.Context, c *call) error {
	refs := c.args
	switch all := c.flags.yes("all"); {
	case all && len(refs) > 0:
		return errors.New("--all may not be combined with names of services")
	case !all && len(refs) == 0:
		return fmt.Errorf("no service named: give the names of services, or --all.\nSee '%s service rebalance --help'", progName)
	case all:
		var err error
		if refs, err = c.movable(ctx); err != nil {
			return err
		}
	}
	if patience := one(c.flags, "timeout", time.Duration(0)); patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, patience, errTimeout)
		defer cancel()
	}
	var asked []string
	var errs []error
	for _, ref := range refs {
		if err := c.askRebalance(ctx, ref); err != nil {
			if errs = append(errs, c.unlessTimeout(ctx, err)); ctx.Err() != nil {
				return errors.Join(errs...)
			}
			continue
		}
		asked = append(asked, ref)
	}
	for _, ref := range asked {
		if c.flags.yes("detach") {
			fmt.Fprintln(c.out, ref)
		} else if err := c.awaitRebalance(ctx, ref); err != nil {
			if errs = append(errs, c.unlessTimeout(ctx, named(ref, err))); ctx.Err() != nil {
				break
			}
		}
	}
	return errors.Join(errs...)
}

// unlessTimeout is an error, or that the time of --timeout has passed: then it
// says no more than that.
func (c *call) unlessTimeout(ctx context.Context, err error) error {
	if ctx.Err() == nil || !errors.Is(context.Cause(ctx), errTimeout) {
		return err
	}
	return &exitError{code: exitTimeout, msg: fmt.Sprintf("timed out after %s: the cluster works on", one(c.flags, "timeout", time.Duration(0)))}
}

// movable are the names of the services that can be rebalanced.
func (c *call) movable(ctx context.Context) (names []string, err error) {
	list, err := c.api().ServiceList(ctx, swarm.ServiceListOptions{})
	for _, s := range list {
		if s.Spec.Mode.Replicated != nil && s.Spec.Labels[setting.LabelSelfStop] == "" && s.Spec.Labels[setting.LabelPod] == "" {
			names = append(names, s.Spec.Name)
		}
	}
	return names, err
}

func rebalancePath(ref string) string {
	return "/swarmctl/services/" + url.PathEscape(ref) + "/rebalance"
}

func (c *call) askRebalance(ctx context.Context, ref string) (err error) {
	for range attempts {
		if _, err = c.post(ctx, rebalancePath(ref)); !isOutdated(err) {
			break
		}
	}
	return err
}

// awaitRebalance waits until the rebalance of a service has ended, and says how.
func (c *call) awaitRebalance(ctx context.Context, ref string) error {
	s, _, err := c.api().ServiceInspectWithRaw(ctx, ref, swarm.ServiceInspectOptions{})
	if err != nil {
		return err
	}
	wake := c.wakeups(ctx, s.ID)
	for {
		data, err := c.get(ctx, rebalancePath(ref))
		if err != nil {
			return err
		}
		var r api.Rebalance
		if err := json.Unmarshal(data, &r); err != nil {
			return fmt.Errorf("the daemon's answer is not JSON: %w", err)
		}
		switch {
		case r.Stopped:
			return errors.New("rebalance " + r.Outcome)
		case !r.UnderWay():
			fmt.Fprintf(c.out, "%s %s\n", ref, r.Outcome)
			return nil
		}
		if err := pause(ctx, wake, longestLook); err != nil {
			return err
		}
	}
}
