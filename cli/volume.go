package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/docker/go-units"

	"github.com/swarmctl/swarmctl/api"
)

func volumeVerbs() []verb {
	return []verb{
		{name: "inspect", args: "VOLUME [VOLUME...]", usage: "Display detailed information on all copies of one or more volumes", min: 1, max: -1, do: volumeInspect,
			long:  "What is secret in a driver's options is left out.",
			flags: []*opt{inspectFormatFlag()}},
		{name: "ls", aliases: []string{"list"}, usage: "List the named volumes of all nodes", do: volumeList,
			long: "A task stays with the node that has the data of its volumes. `docker volume ls` lists those of this host.",
			flags: []*opt{filterFlag(), formatFlag(""), {name: "node", kind: stringKind, usage: "Only those of a node"}, quietFlag("Only display volume names"),
				{name: "size", short: "s", kind: boolKind, usage: "Ask the engines how large they are"}}},
		volumeMoveVerb(),
		{name: "rm", aliases: []string{"remove"}, args: "VOLUME [VOLUME...]", usage: "Remove one or more volumes, with what is in them, from all nodes or from one", min: 1, max: -1, do: volumeRemove,
			long: "A volume that a task or a container uses stays. What is on a node that is down can only be given up\n" +
				"(--force): tasks that wait for it start elsewhere with an empty volume, and none starts on that copy\n" +
				"before it is removed.",
			flags: []*opt{{name: "force", short: "f", kind: boolKind, usage: "Give up what is on a node that is down"}, {name: "node", kind: stringKind, usage: "Only the copy of this node"}}},
	}
}

func (c *call) volumes(ctx context.Context, path string, query url.Values) ([]api.VolumeCopy, error) {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	var list []api.VolumeCopy
	err := c.askJSON(ctx, "/swarmctl/volumes"+path, &list)
	return list, err
}

// volumeRow is a line of volume ls.
type volumeRow struct {
	CreatedAt, Driver, Labels, Name, Node, Size, Status, UsedBy string
	labelled
}

func volumeList(ctx context.Context, c *call) error {
	f := c.filters()
	if node := c.flags.str("node"); node != "" {
		f.Add("node", node)
	}
	query, table := filtered(f), "{{.Node}}\t{{.Driver}}\t{{.Name}}\t{{.UsedBy}}\t{{.Status}}"
	if c.flags.yes("size") {
		query.Set("size", "1")
		table = "{{.Node}}\t{{.Driver}}\t{{.Name}}\t{{.Size}}\t{{.UsedBy}}\t{{.Status}}"
	}
	list, err := c.volumes(ctx, "", query)
	if err != nil {
		return err
	}
	l := listing{
		headers: map[string]string{"Node": "NODE", "Driver": "DRIVER", "Name": "VOLUME NAME", "UsedBy": "USED BY", "Size": "SIZE", "Status": "STATUS", "Labels": "LABELS", "CreatedAt": "CREATED"},
		table:   table, quietly: "{{.Name}}",
	}
	hosts := map[api.NodeID]string{}
	for i := range list {
		hosts[list[i].NodeID] = list[i].Hostname
	}
	for i := range list {
		l.rows = append(l.rows, rowOf(&list[i], hosts))
	}
	return c.print(l)
}

func rowOf(v *api.VolumeCopy, hosts map[api.NodeID]string) volumeRow {
	users := make([]string, len(v.Tasks))
	for i, name := range v.Tasks {
		users[i] = name[:max(strings.LastIndexByte(name, '.'), 0)] // without the ID
	}
	row := volumeRow{Node: v.Hostname, Driver: v.Driver, Name: v.Name, UsedBy: strings.Join(users, ", "), Size: "N/A", CreatedAt: v.CreatedAt, Labels: joinLabels(v.Labels), labelled: v.Labels}
	if v.Size >= 0 {
		row.Size = units.HumanSize(float64(v.Size))
	}
	switch moving := moveStatus(v, hosts); {
	case moving != "":
		row.Status = moving
	case v.GivenUp:
		row.Status = "given up"
	case v.Away != "":
		row.Status = v.Away
	case !v.Reported:
		row.Status = "being made"
	}
	return row
}

// volumeInspect prints an object for each copy.
func volumeInspect(ctx context.Context, c *call) error {
	var copies []api.VolumeCopy
	var errs []error
	var refs []string
	for _, name := range c.args {
		list, err := c.volumes(ctx, "/"+url.PathEscape(name), nil)
		if err != nil {
			errs = append(errs, err)
		}
		for range list {
			refs = append(refs, strconv.Itoa(len(refs)))
		}
		copies = append(copies, list...)
	}
	err := c.inspect(refs, func(ref string) (object, error) {
		i, _ := strconv.Atoi(ref) // it is one of ours
		raw, err := json.Marshal(copies[i])
		return object{raw, copies[i]}, err
	}, nil)
	return errors.Join(append(errs, err)...)
}

func volumeRemove(ctx context.Context, c *call) error {
	query := url.Values{}
	if node := c.flags.str("node"); node != "" {
		query.Set("node", node)
	}
	if c.flags.yes("force") {
		query.Set("force", "1")
	}
	var errs []error
	for _, name := range c.args {
		if _, err := c.request(ctx, http.MethodDelete, "/swarmctl/volumes/"+url.PathEscape(name)+"?"+query.Encode(), nil); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(c.out, name)
	}
	return errors.Join(errs...)
}
