package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/services/stack"
)

// stackStop takes the tasks away and leaves everything else; it returns when the
// last one has ended.
func stackStop(ctx context.Context, c *call) error {
	answer, err := c.pauseStack(ctx, "stop")
	if err != nil {
		return err
	}
	stopped := map[string]bool{}
	for _, change := range answer.Changes {
		fmt.Fprintf(c.out, "Stopping service %s\n", change.Name)
		stopped[change.ID] = true
	}
	if len(stopped) == 0 {
		fmt.Fprintln(c.out, "no changes")
	}
	if len(stopped) == 0 || c.flags.yes("detach") {
		return nil
	}
	ctx, cancel, _ := c.patient(ctx)
	defer cancel()
	return c.untilNone(ctx, c.args[0], "", func(ctx context.Context) ([]swarm.Task, error) {
		tasks, err := c.lasting(ctx, stopped, stackFilter(c.args[0]))
		if err != nil {
			return nil, err
		}
		gone, err := c.lasting(ctx, stopped, removedTasks)
		return append(tasks, gone...), err
	})
}

// removedTasks are those of services that there are no more, and those that
// nobody is to remember.
var removedTasks = filters.NewArgs(filters.Arg("desired-state", "remove"))

// lasting are the tasks of services that have not ended.
func (c *call) lasting(ctx context.Context, services map[string]bool, f filters.Args) ([]swarm.Task, error) {
	tasks, err := c.api().TaskList(ctx, swarm.TaskListOptions{Filters: f})
	return slices.DeleteFunc(tasks, func(t swarm.Task) bool { return !services[t.ServiceID] || ended(t.Status.State) }), err
}

func stackStart(ctx context.Context, c *call) error {
	answer, err := c.pauseStack(ctx, "start")
	if err != nil {
		return err
	}
	d := &deploy{call: c, stack: &stack.Stack{Name: c.args[0]}}
	for _, change := range answer.Changes {
		fmt.Fprintf(c.out, "Starting service %s\n", change.Name)
		d.started = append(d.started, started{change.Name, change.ID})
	}
	if len(answer.Changes) == 0 {
		fmt.Fprintln(c.out, "no changes")
	}
	return d.wait(ctx)
}

func (c *call) pauseStack(ctx context.Context, verb string) (*api.StackAnswer, error) {
	if err := stack.CheckName(c.args[0]); err != nil {
		return nil, err
	}
	var answer api.StackAnswer
	data, err := c.post(ctx, stackPath(c.args[0], verb))
	if err != nil {
		return nil, err
	}
	return &answer, readAnswer(data, &answer)
}
