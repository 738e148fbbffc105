package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api/setting"
)

// drainFlags are those of node update that concern a drain.
func drainFlags() []*opt {
	return []*opt{
		{name: "drain-deadline", kind: durationKind, usage: `After how long a drain stops tasks that find no other node (default 10m; 0: at once, as Docker Swarm); a label of the node`},
		{name: "wait", kind: boolKind, usage: "Wait until a drained node runs no task any more"},
		{name: "timeout", kind: periodKind, usage: "With --wait: give up waiting after this time, with exit code 124; the cluster works on (ns|us|ms|s|m|h)"},
	}
}

// checkDrainFlags refuses what would wait for nothing.
func checkDrainFlags(g given) error {
	if g.has("timeout") && !g.yes("wait") {
		return errors.New("--timeout is for how long to wait: give --wait as well")
	}
	if to := g.str("availability"); g.yes("wait") && g.has("availability") && to != string(swarm.NodeAvailabilityDrain) {
		return fmt.Errorf("--wait waits until a drained node is empty, and a node that is %s does not get so: give --availability drain, or leave --wait out", to)
	}
	return nil
}

// awaitEmpty waits until a node that is drained runs no task.
func (c *call) awaitEmpty(ctx context.Context, ref string) error {
	patience := one(c.flags, "timeout", time.Duration(0))
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, patience, errTimeout)
		defer cancel()
	}
	left, began, said := 0, c.app.now(), false
	screen, wake := c.screen(), c.wakeups(ctx, "")
	for {
		n, bars, count, err := c.draining(ctx, ref)
		if ctx.Err() != nil && errors.Is(context.Cause(ctx), errTimeout) {
			return &exitError{code: exitTimeout, msg: fmt.Sprintf("timed out after %s: node %s still runs %s; the cluster works on, `%s node ps %s` shows what is left",
				patience, ref, counted(left, "task"), progName, ref)}
		}
		if err != nil {
			return err
		}
		deadline := setting.DrainDeadlineOf(n.Spec.Labels)
		if left = count; !said && left > 0 && deadline > 0 && c.app.now().Sub(began) >= deadline {
			screen.say("The drain deadline of %s has passed: tasks are stopped though no other node runs them.", deadline)
			said = true
		}
		screen.draw(append([]bar{{id: "node " + ref, text: counted(left, "task") + " left"}}, bars...))
		if left == 0 {
			return nil
		}
		// A pause that ctx ends is told of by the next look.
		_ = pause(ctx, wake, longestLook)
	}
}

func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// draining looks at a node that gets empty, if it does.
func (c *call) draining(ctx context.Context, ref string) (n swarm.Node, bars []bar, left int, err error) {
	if n, _, err = c.api().NodeInspectWithRaw(ctx, ref); err != nil {
		return n, nil, 0, err
	}
	if n.Spec.Availability != swarm.NodeAvailabilityDrain {
		return n, nil, 0, fmt.Errorf("node %s is %s: only a drained node gets empty: give --availability drain, or leave --wait out", ref, n.Spec.Availability)
	}
	bars, left, err = c.leaving(ctx, n)
	return n, bars, left, err
}

// leaving counts the tasks that a node still runs, and says of their services
// what waits for another node. What a node that is down was to stop is gone, as far
// as anybody can tell: it says so when it is back, if ever.
func (c *call) leaving(ctx context.Context, node swarm.Node) (bars []bar, left int, err error) {
	tasks, err := c.api().TaskList(ctx, swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("node", node.ID))})
	if err != nil {
		return nil, 0, err
	}
	down := node.Status.State == swarm.NodeStateDown || node.Status.State == swarm.NodeStateDisconnected
	args := filters.NewArgs(filters.Arg("desired-state", "running"))
	for _, t := range tasks {
		if down && (ended(t.DesiredState) || t.DesiredState == swarm.TaskStateRemove) {
			continue
		}
		if !ended(t.Status.State) && taskOrder[t.Status.State] >= taskOrder[swarm.TaskStateAssigned] {
			left++
			args.Add("service", t.ServiceID)
		}
	}
	if left == 0 {
		return nil, 0, nil
	}
	others, err := c.api().TaskList(ctx, swarm.TaskListOptions{Filters: args})
	if err != nil {
		return nil, 0, err
	}
	names := c.resolver()
	for _, t := range others {
		if t.Status.State != swarm.TaskStatePending || t.Status.Err == "" || t.Slot == 0 || len(bars) == maxBars {
			continue
		}
		name, err := names.service(ctx, t.ServiceID)
		if err != nil {
			return nil, 0, err
		}
		bars = append(bars, bar{id: fmt.Sprintf("%s.%d", name, t.Slot), text: "waits: " + strings.TrimSpace(t.Status.Err)})
	}
	return bars, left, nil
}
