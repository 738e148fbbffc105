package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/docker/go-units"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/services/stack"
)

// remembered asks what the cluster remembers of a stack.
func (c *call) remembered(ctx context.Context, name string) (*api.Stack, error) {
	if err := stack.CheckName(name); err != nil {
		return nil, err
	}
	var s api.Stack
	return &s, c.askJSON(ctx, stackPath(name), &s)
}

// deployRow is a line of stack history.
type deployRow struct{ Number, When, Digest, Services, Changes, Outcome string }

// MarshalJSON is as serviceRow's.
func (r deployRow) MarshalJSON() ([]byte, error) {
	type row deployRow
	return json.Marshal(row(r))
}

func stackHistory(ctx context.Context, c *call) error {
	s, err := c.remembered(ctx, c.args[0])
	if err != nil {
		return err
	}
	if len(c.args) > 1 {
		return c.printFile(s, c.args[1])
	}
	l := listing{
		headers: map[string]string{"Number": "NUMBER", "When": "WHEN", "Digest": "DIGEST", "Services": "SERVICES", "Changes": "CHANGES", "Outcome": "OUTCOME"},
		table:   "{{.Number}}\t{{.When}}\t{{.Digest}}\t{{.Services}}\t{{.Changes}}\t{{.Outcome}}",
	}
	for i := range s.Deploys {
		d := &s.Deploys[i]
		l.rows = append(l.rows, deployRow{
			Number: strconv.FormatUint(d.Number, 10), When: units.HumanDuration(c.app.now().Sub(d.At)) + " ago",
			Digest: shortDigest(d.Digest), Services: strconv.Itoa(d.Services), Changes: changesOf(d), Outcome: d.Outcome,
		})
	}
	return c.print(l)
}

// shortDigest is as much of a digest as tells two files apart.
func shortDigest(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return hex[:min(12, len(hex))]
}

// changesOf says where a deploy came from and what it did to services.
func changesOf(d *api.StackDeploy) string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{d.Created, api.StackCreated}, {d.Updated, api.StackUpdated}, {d.Removed, api.StackRemoved}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	text := strings.Join(parts, ", ")
	switch {
	case d.Cause == api.StackFound:
		return "as it was found"
	case text == "":
		text = "no service"
	}
	if d.Cause == api.StackFromRollback {
		return fmt.Sprintf("back to %d: %s", d.Of, text)
	}
	return text
}

// deployNumber finds a deploy by its number as the user gives it.
func deployNumber(s *api.Stack, text string) (*api.StackDeploy, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("%q is no number of a deploy: see `%s stack history %s`", text, progName, s.Name)
	}
	d := s.Deploy(n)
	if d == nil {
		return nil, fmt.Errorf("stack %s: deploy %d is not remembered: there are %d to %d, see `%s stack history %s`", s.Name, n, s.Deploys[0].Number, s.Current().Number, progName, s.Name)
	}
	return d, nil
}

// printFile prints the file of a deploy.
func (c *call) printFile(s *api.Stack, number string) error {
	d, err := deployNumber(s, number)
	if err != nil {
		return err
	}
	if len(d.File) == 0 {
		return fmt.Errorf("stack %s: there is no file of deploy %d: it was found as it is, or was too large to be kept", s.Name, d.Number)
	}
	text, err := unzipped(d.File)
	if err != nil {
		return err
	}
	_, err = c.out.Write(text)
	return err
}

func unzipped(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// contentOf is what a deploy wanted.
func contentOf(d *api.StackDeploy) (*api.StackContent, error) {
	text, err := unzipped(d.Content)
	if err != nil {
		return nil, err
	}
	var content api.StackContent
	return &content, json.Unmarshal(text, &content)
}

// stackDiff says what a deploy would change, or what differs between two.
func stackDiff(ctx context.Context, c *call) error {
	files := len(c.flags.strs("compose-file")) > 0
	switch {
	case len(c.args) == 1 && !files:
		return errors.New("specify a Compose file (with --compose-file), or the numbers of one or two deploys")
	case len(c.args) == 1:
		d, plan, err := c.planned(ctx)
		if err != nil {
			return err
		}
		return d.dryRun(ctx, plan)
	case files:
		return errors.New("--compose-file may not be combined with the numbers of deploys")
	}
	s, err := c.remembered(ctx, c.args[0])
	if err != nil {
		return err
	}
	old, err := deployNumber(s, c.args[1])
	if err != nil {
		return err
	}
	next := s.Current()
	if len(c.args) > 2 {
		if next, err = deployNumber(s, c.args[2]); err != nil {
			return err
		}
	}
	was, err := contentOf(old)
	if err != nil {
		return err
	}
	is, err := contentOf(next)
	if err != nil {
		return err
	}
	c.showContents(was, is)
	return nil
}

func stackRollback(ctx context.Context, c *call) error {
	name := c.args[0]
	if err := stack.CheckName(name); err != nil {
		return err
	}
	req := &api.StackRollback{Prune: c.flags.yes("prune")}
	if len(c.args) > 1 {
		n, err := strconv.ParseUint(c.args[1], 10, 64)
		if err != nil || n == 0 {
			return fmt.Errorf("%q is no number of a deploy: see `%s stack history %s`", c.args[1], progName, name)
		}
		req.To = n
	}
	return (&deploy{call: c, stack: &stack.Stack{Name: name}}).rollBack(ctx, req)
}
