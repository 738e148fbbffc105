package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/swarmctl/swarmctl/api"
)

func checkVerb() verb {
	return verb{name: "check", args: "NETWORK", usage: "Send packets of the full size between all nodes of a network", min: 1, max: 1, do: networkCheck,
		long: "Every node that has the network sends packets that nobody may cut to every other one. The exit code\n" +
			"is 1 where one does not arrive.",
		flags: []*opt{inspectFormatFlag()}}
}

func traceVerb() verb {
	return verb{name: "trace", args: "SERVICE[:PORT]", usage: "Say step by step how a connection to a service goes, and where it breaks", min: 1, max: 1, do: networkTrace,
		long:  "The exit code is 1 where a step is not as it should be.",
		flags: []*opt{inspectFormatFlag(), {name: "from", kind: stringKind, usage: "The node where the connection begins (default: the one that is asked)"}}}
}

// askJSON asks the daemon for something that is no part of Docker's API.
func (c *call) askJSON(ctx context.Context, path string, v any) error {
	return c.askWith(ctx, http.MethodGet, path, nil, v)
}

// askWith sends a body and reads the answer.
func (c *call) askWith(ctx context.Context, method, path string, body, v any) error {
	data, err := c.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	return readAnswer(data, v)
}

func networkCheck(ctx context.Context, c *call) error {
	var rows []api.Probe
	if err := c.askJSON(ctx, "/swarmctl/networks/"+url.PathEscape(c.args[0])+"/check", &rows); err != nil {
		return err
	}
	failed := 0
	for _, r := range rows {
		if r.Err != "" {
			failed++
		}
	}
	if format := c.flags.str("format"); format != "" && format != "table" {
		if err := printOne(c.out, format, rows); err != nil {
			return err
		}
	} else if err := printProbes(c.out, c.args[0], rows); err != nil {
		return err
	}
	if failed > 0 {
		return &exitError{code: exitFailure, msg: fmt.Sprintf("network %s: %d of %d ways between nodes do not carry packets of the full size", c.args[0], failed, len(rows))}
	}
	return nil
}

func printProbes(w io.Writer, network string, rows []api.Probe) error {
	if len(rows) == 0 {
		fmt.Fprintf(w, "Network %s is on one node alone: there is no way to check.\n", network)
		return nil
	}
	tabs := tabwriter.NewWriter(w, 10, 1, 3, ' ', 0)
	fmt.Fprintln(tabs, "FROM\tTO\tSIZE\tRESULT")
	for _, r := range rows {
		size, result := "", r.Err
		if r.Size > 0 {
			size = fmt.Sprint(r.Size)
		}
		if r.Err == "" {
			result = "ok, " + r.Took.Round(10*time.Microsecond).String()
		}
		fmt.Fprintf(tabs, "%s\t%s\t%s\t%s\n", r.From, r.To, size, result)
	}
	return tabs.Flush()
}

func networkTrace(ctx context.Context, c *call) error {
	service, port, _ := strings.Cut(c.args[0], ":")
	from := c.flags.str("from")
	if from == "" {
		info, err := c.api().Info(ctx)
		if err != nil {
			return err
		}
		from = info.Swarm.NodeID
	}
	query := url.Values{"port": {port}, "from": {from}}
	var steps []api.TraceStep
	if err := c.askJSON(ctx, "/swarmctl/services/"+url.PathEscape(service)+"/trace?"+query.Encode(), &steps); err != nil {
		return err
	}
	if format := c.flags.str("format"); format != "" && format != "table" {
		if err := printOne(c.out, format, steps); err != nil {
			return err
		}
	} else if err := printSteps(c.out, steps); err != nil {
		return err
	}
	if slices.ContainsFunc(steps, func(s api.TraceStep) bool { return !s.OK }) {
		return &exitError{code: exitFailure} // the steps say it all
	}
	return nil
}

func printSteps(w io.Writer, steps []api.TraceStep) error {
	tabs := tabwriter.NewWriter(w, 6, 1, 2, ' ', 0)
	for _, s := range steps {
		mark := "ok"
		if !s.OK {
			mark = "BREAKS"
		}
		where := s.Node
		if where == "" {
			where = "-"
		}
		fmt.Fprintf(tabs, "%s\t%s\t%s\t%s\n", mark, where, s.What, s.Text)
	}
	return tabs.Flush()
}
