package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/docker/go-units"
)

func taskFlags() []*opt {
	return []*opt{
		filterFlag(), formatFlag(""), quietFlag("Only display task IDs"),
		{name: "no-resolve", kind: boolKind, usage: "Do not map IDs to Names"},
		{name: "no-trunc", kind: boolKind, usage: "Do not truncate output"},
	}
}

// taskRow is a line of service ps and node ps.
type taskRow struct{ CurrentState, DesiredState, Error, ID, Image, Name, Node, Ports string }

// MarshalJSON is as serviceRow's.
func (r taskRow) MarshalJSON() ([]byte, error) {
	type row taskRow
	return json.Marshal(row(r))
}

// maxErrorLength is how much of an error the table shows.
const maxErrorLength = 30

func servicePs(ctx context.Context, c *call) error {
	args := c.filters()
	missing, err := c.addServices(ctx, args)
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
	whole := c.flags.yes("no-trunc") || c.flags.yes("quiet") // node ps -q shortens IDs, Docker being Docker
	if err := c.printTasks(ctx, tasks, whole); err != nil {
		return err
	}
	return errors.Join(missing...)
}

// addServices turns the services that were named into a filter: by full ID,
// full name, or the start of an ID, in this order. Those that do not exist are
// returned, and are the error where none does.
func (c *call) addServices(ctx context.Context, args filters.Args) (missing []error, err error) {
	byID, byName := filters.NewArgs(), filters.NewArgs()
	for _, ref := range c.args {
		byID.Add("id", ref)
		byName.Add("name", ref)
	}
	ids, err := c.api().ServiceList(ctx, swarm.ServiceListOptions{Filters: byID})
	if err != nil {
		return nil, err
	}
	names, err := c.api().ServiceList(ctx, swarm.ServiceListOptions{Filters: byName})
	if err != nil {
		return nil, err
	}
	for _, ref := range c.args {
		id, err := pickService(ref, ids, names)
		switch {
		case err != nil:
			return nil, err
		case id == "":
			missing = append(missing, fmt.Errorf("no such service: %s", ref))
		default:
			args.Add("service", id)
		}
	}
	if len(missing) == len(c.args) {
		return nil, errors.Join(missing...)
	}
	return missing, nil
}

func pickService(ref string, ids, names []swarm.Service) (id string, err error) {
	for _, s := range ids {
		if s.ID == ref {
			return s.ID, nil
		}
	}
	for _, s := range names {
		if s.Spec.Name == ref {
			return s.ID, nil
		}
	}
	for _, s := range ids {
		if !strings.HasPrefix(s.ID, ref) {
			continue
		}
		if id != "" {
			return "", errors.New("multiple services found with provided prefix: " + ref)
		}
		id = s.ID
	}
	return id, nil
}

// nodeFilter replaces the names in -f node=... by IDs.
func (c *call) nodeFilter(ctx context.Context, args filters.Args) error {
	for _, ref := range args.Get("node") {
		id, err := c.nodeID(ctx, ref)
		if err != nil {
			return err
		}
		args.Del("node", ref)
		args.Add("node", id)
	}
	return nil
}

// printTasks prints the tasks of each slot together, newest first, the older
// ones indented below it; whole leaves IDs and errors as long as they are.
func (c *call) printTasks(ctx context.Context, tasks []swarm.Task, whole bool) error {
	r := c.resolver()
	names := make(map[string]string, len(tasks))
	for _, t := range tasks {
		service, err := r.service(ctx, t.ServiceID)
		if err != nil {
			return err
		}
		names[t.ID] = service + "." + t.NodeID
		if t.Slot != 0 || r.counted[t.ServiceID] {
			names[t.ID] = fmt.Sprintf("%s.%d", service, t.Slot)
		}
	}
	slices.SortStableFunc(tasks, func(a, b swarm.Task) int {
		return cmp.Or(naturalCompare(names[a.ID], names[b.ID]), b.CreatedAt.Compare(a.CreatedAt))
	})
	format := c.flags.str("format")
	indent := ""
	if format == "" || strings.HasPrefix(format, "table") {
		indent = ` \_ `
	}
	l := listing{
		headers: map[string]string{"ID": "ID", "Name": "NAME", "Image": "IMAGE", "Node": "NODE", "DesiredState": "DESIRED STATE", "CurrentState": "CURRENT STATE", "Error": "ERROR", "Ports": "PORTS"},
		table:   "{{.ID}}\t{{.Name}}\t{{.Image}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}\t{{.Ports}}",
		raw:     `id: {{.ID}}\nname: {{.Name}}\nimage: {{.Image}}\nnode: {{.Node}}\ndesired_state: {{.DesiredState}}\ncurrent_state: {{.CurrentState}}\nerror: {{.Error}}\nports: {{.Ports}}\n`,
		quietly: "{{.ID}}",
	}
	last := ""
	for _, t := range tasks {
		node, err := r.node(ctx, t.NodeID)
		if err != nil {
			return err
		}
		name := names[t.ID]
		if name == last {
			name = indent + name
		}
		last = names[t.ID]
		l.rows = append(l.rows, newTaskRow(t, name, node, !whole, c.app.now()))
	}
	return c.print(l)
}

func newTaskRow(t swarm.Task, name, node string, trunc bool, now time.Time) taskRow {
	row := taskRow{
		ID: t.ID, Name: name, Image: image(t.Spec), Node: node, DesiredState: pretty(t.DesiredState),
		CurrentState: pretty(t.Status.State) + " " + strings.ToLower(units.HumanDuration(now.Sub(t.Status.Timestamp))) + " ago",
		Error:        t.Status.Err,
	}
	if trunc {
		row.ID, row.Image, row.Error = shortID(t.ID), familiarImage(row.Image), ellipsis(row.Error, maxErrorLength)
	}
	if row.Error != "" {
		row.Error = `"` + row.Error + `"`
	}
	var ports []string
	for _, p := range t.Status.PortStatus.Ports {
		ports = append(ports, fmt.Sprintf("*:%d->%d/%s", p.PublishedPort, p.TargetPort, p.Protocol))
	}
	row.Ports = strings.Join(ports, ",")
	return row
}

// resolver turns IDs into names, asking once each. With --no-resolve it
// returns the IDs.
type resolver struct {
	api   *client.Client
	off   bool
	names map[string]string
	// counted are the services whose slots begin at 0: replicated jobs.
	counted map[string]bool
}

func (c *call) resolver() *resolver {
	return &resolver{api: c.api(), off: c.flags.yes("no-resolve"), names: map[string]string{}, counted: map[string]bool{}}
}

func (r *resolver) lookup(id string, ask func() (string, error)) (string, error) {
	if r.off || id == "" {
		return id, nil
	}
	if name, ok := r.names[id]; ok {
		return name, nil
	}
	name, err := ask()
	if err != nil {
		if client.IsErrConnectionFailed(err) {
			return "", err
		}
		name = id // gone meanwhile: its ID is what is left of it
	}
	r.names[id] = name
	return name, nil
}

func (r *resolver) service(ctx context.Context, id string) (string, error) {
	return r.lookup(id, func() (string, error) {
		s, _, err := r.api.ServiceInspectWithRaw(ctx, id, swarm.ServiceInspectOptions{})
		r.counted[id] = s.Spec.Mode.ReplicatedJob != nil
		return s.Spec.Name, err
	})
}

func (r *resolver) node(ctx context.Context, id string) (string, error) {
	return r.lookup(id, func() (string, error) {
		n, _, err := r.api.NodeInspectWithRaw(ctx, id)
		return cmp.Or(n.Spec.Name, n.Description.Hostname, n.ID), err
	})
}
