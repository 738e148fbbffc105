package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/services/stack"
)

// stackRow is a line of stack ls.
type stackRow struct{ Name, Services, State string }

// MarshalJSON is as serviceRow's.
func (r stackRow) MarshalJSON() ([]byte, error) {
	type row stackRow
	return json.Marshal(row(r))
}

// stackSizes are the stacks of the cluster, with how many services each has.
func (c *call) stackSizes(ctx context.Context) (map[string]int, error) {
	services, err := c.api().ServiceList(ctx, swarm.ServiceListOptions{Filters: filters.NewArgs(filters.Arg("label", stack.LabelNamespace))})
	count := map[string]int{}
	for _, s := range services {
		count[s.Spec.Labels[stack.LabelNamespace]]++
	}
	return count, err
}

func stackList(ctx context.Context, c *call) error {
	services, err := c.api().ServiceList(ctx, swarm.ServiceListOptions{Filters: filters.NewArgs(filters.Arg("label", stack.LabelNamespace)), Status: true})
	if err != nil {
		return err
	}
	of := map[string][]swarm.Service{}
	for _, s := range services {
		name := s.Spec.Labels[stack.LabelNamespace]
		of[name] = append(of[name], s)
	}
	l := listing{headers: map[string]string{"Name": "NAME", "Services": "SERVICES", "State": "STATE"}, table: "{{.Name}}\t{{.Services}}\t{{.State}}"}
	for _, name := range slices.SortedFunc(maps.Keys(of), naturalCompare) {
		l.rows = append(l.rows, stackRow{name, strconv.Itoa(len(of[name])), stackState(of[name])})
	}
	return c.print(l)
}

// stackState says in a word or two how the services of a stack are.
func stackState(services []swarm.Service) string {
	var stopped, paused, updating int
	var running, wanted uint64
	for _, s := range services {
		if s.Spec.Labels[api.LabelStopped] == "true" {
			stopped++
			continue
		}
		if u := s.UpdateStatus; u != nil {
			switch u.State {
			case swarm.UpdateStatePaused, swarm.UpdateStateRollbackPaused:
				paused++
			case swarm.UpdateStateUpdating, swarm.UpdateStateRollbackStarted:
				updating++
			}
		}
		if st := s.ServiceStatus; st != nil && s.JobStatus == nil {
			running, wanted = running+min(st.RunningTasks, st.DesiredTasks), wanted+st.DesiredTasks
		}
	}
	switch {
	case stopped == len(services):
		return "stopped"
	case stopped > 0:
		return fmt.Sprintf("%d of %d stopped", stopped, len(services))
	case paused > 0:
		return "paused"
	case updating > 0:
		return "updating"
	case running < wanted:
		return fmt.Sprintf("%d of %d tasks run", running, wanted)
	}
	return "running"
}

// stackFilters are the filters of -f, and that for the stack that is named.
func (c *call) stackFilters() (filters.Args, error) {
	args := c.filters()
	args.Add("label", stack.LabelNamespace+"="+c.args[0])
	return args, stack.CheckName(c.args[0])
}

func stackPs(ctx context.Context, c *call) error {
	args, err := c.stackFilters()
	if err != nil {
		return err
	}
	if err := c.nodeFilter(ctx, args); err != nil {
		return err
	}
	tasks, err := c.api().TaskList(ctx, swarm.TaskListOptions{Filters: args})
	if err != nil {
		return err
	}
	if len(tasks) == 0 {
		return fmt.Errorf("nothing found in stack: %s", c.args[0])
	}
	return c.printTasks(ctx, tasks, c.flags.yes("no-trunc") || c.flags.yes("quiet"))
}

func stackServices(ctx context.Context, c *call) error {
	args, err := c.stackFilters()
	if err != nil {
		return err
	}
	services, err := c.api().ServiceList(ctx, swarm.ServiceListOptions{Filters: args, Status: true})
	if err != nil {
		return err
	}
	if len(services) == 0 {
		fmt.Fprintln(c.err, "Nothing found in stack:", c.args[0])
		return nil
	}
	return c.printServices(ctx, services)
}
