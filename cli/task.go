package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/docker/client"
	"github.com/docker/go-units"

	"github.com/swarmctl/swarmctl/api"
)

func taskVerbs() []verb {
	return []verb{
		{name: "explain", args: "TASK|SERVICE.SLOT", usage: "Say why a task runs on no node, node by node, or where it is", min: 1, max: 1, do: taskExplain,
			long: "A task that waits is explained node by node, with the rule that each node breaks and what would\n" +
				"satisfy it. A task of a global service is named by SERVICE.NODE as well.",
			flags: []*opt{inspectFormatFlag()}},
	}
}

func taskExplain(ctx context.Context, c *call) error {
	data, err := c.get(ctx, "/swarmctl/tasks/"+url.PathEscape(c.args[0])+"/explain")
	if err != nil {
		return err
	}
	var x api.Explanation
	if err := json.Unmarshal(data, &x); err != nil {
		return fmt.Errorf("the daemon's answer is not JSON: %w", err)
	}
	if format := c.flags.str("format"); format != "" && format != "table" {
		return printOne(c.out, format, x)
	}
	return printExplanation(c.out, x, c.app.now())
}

// printExplanation writes where the task stands, then, for one that waits, the
// table of nodes.
func printExplanation(w io.Writer, x api.Explanation, now time.Time) error {
	unwanted := x.Desired == "shutdown" || x.Desired == "remove"
	fmt.Fprintln(w, standing(x, now))
	if len(x.Resources) > 0 {
		fmt.Fprintf(w, "It has these resources of the node: %s.\n", strings.Join(x.Resources, ", "))
	}
	switch {
	case x.Note == "":
	case x.NodeID == "" || x.Desired == "ready" || x.State == "pending":
		fmt.Fprintf(w, "It may not run yet: %s.\n", x.Note)
	default:
		fmt.Fprintf(w, "It is waited for: %s.\n", x.Note)
	}
	switch {
	case unwanted && x.State == "pending":
		fmt.Fprintln(w, "It is not wanted any more.")
	case x.State != "pending" && x.Err != "":
		fmt.Fprintf(w, "Error: %s\n", x.Err)
	case x.State == "pending" && len(x.Nodes) == 0 && x.NodeID == "":
		fmt.Fprintln(w, "The cluster has no nodes.")
	case x.State == "pending" && len(x.Nodes) == 0:
		fmt.Fprintln(w, "The node is not in the cluster.")
	}
	if len(x.Nodes) == 0 {
		return nil
	}
	tabs := tabwriter.NewWriter(w, 10, 1, 3, ' ', 0)
	if !slices.ContainsFunc(x.Nodes, func(n api.NodeReason) bool { return n.Load != nil }) {
		fmt.Fprintln(tabs, "\nNODE\tREASON")
		for _, n := range x.Nodes {
			fmt.Fprintf(tabs, "%s\t%s\n", n.Hostname, n.Text())
		}
		return tabs.Flush()
	}
	fmt.Fprintln(tabs, "\nNODE\tIN USE\tREASON")
	for _, n := range x.Nodes {
		used := "unknown"
		if n.Load != nil {
			used = n.Load.String()
		}
		fmt.Fprintf(tabs, "%s\t%s\t%s\n", n.Hostname, used, n.Text())
	}
	return tabs.Flush()
}

// standing is "Task web.3.<id> has waited for a node for 5 minutes.".
func standing(x api.Explanation, now time.Time) string {
	since, node := strings.ToLower(units.HumanDuration(now.Sub(x.Since))), cmp.Or(x.Node, string(x.NodeID))
	switch {
	case x.State == "pending" && node == "":
		return fmt.Sprintf("Task %s has waited for a node for %s.", x.Name, since)
	case x.State == "pending":
		return fmt.Sprintf("Task %s has waited for its node, %s, for %s.", x.Name, node, since)
	}
	if state, err := api.ParseTaskState(x.State); err == nil && state.Terminal() {
		return fmt.Sprintf("Task %s: %s on %s, %s ago.", x.Name, x.State, node, since)
	}
	return fmt.Sprintf("Task %s: %s on %s for %s.", x.Name, x.State, node, since)
}

// get asks the daemon for something that is no part of Docker's API; path is escaped.
func (c *call) get(ctx context.Context, path string) ([]byte, error) {
	return c.request(ctx, http.MethodGet, path, nil)
}

// post has the daemon do something that is no part of Docker's API.
func (c *call) post(ctx context.Context, path string) ([]byte, error) {
	return c.request(ctx, http.MethodPost, path, nil)
}

// send is post with a body.
func (c *call) send(ctx context.Context, path string, body, answer any) error {
	data, err := c.request(ctx, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	return readAnswer(data, answer)
}

func readAnswer(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("the daemon's answer is not JSON: %w", err)
	}
	return nil
}

// request puts a question, or has something done; body is nil or becomes JSON.
func (c *call) request(ctx context.Context, method, path string, body any) ([]byte, error) {
	if _, err := c.api().Ping(ctx); err != nil {
		return nil, err // in the client's words, where no daemon answers
	}
	host, err := client.ParseHostURL(c.api().DaemonHost())
	if err != nil {
		return nil, err
	}
	base := "http://swarmctl" // a unix socket is dialled whatever the name
	if host.Scheme == "tcp" {
		base = "http://" + host.Host
	}
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.api().HTTPClient().Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode == http.StatusOK || res.StatusCode == http.StatusNoContent {
		return data, err
	}
	var answer struct{ Message string }
	if json.Unmarshal(data, &answer) != nil || answer.Message == "" {
		answer.Message = res.Status
	}
	return nil, errors.New("Error response from daemon: " + answer.Message)
}
