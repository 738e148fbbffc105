package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// secretItem is a secret, and configItem a config, as our API tells of it.
type (
	secretItem struct {
		swarm.Secret
		api.ShownVersion
	}
	configItem struct {
		swarm.Config
		api.ShownVersion
	}
)

// numbered gives a row {{.Version}}. It is a method, since --format json prints
// what Docker's does.
type numbered string

// Version is the number of the version, and whether another has the name now.
func (n numbered) Version() string { return string(n) }

func inNumbers(v api.ShownVersion) string {
	text := strconv.FormatUint(v.Number(), 10)
	if v.Superseded {
		text += ", superseded"
	}
	return text
}

func allVersionsFlag() *opt {
	return &opt{name: "all", short: "a", kind: boolKind, usage: "Show superseded versions too, for as long as something needs them"}
}

// showVersion adds a column to the table once something has a second version:
// until then the table is Docker's.
func (l *listing) showVersion(v api.ShownVersion) {
	const column = "\t{{.Version}}"
	if v != (api.ShownVersion{}) && !strings.HasSuffix(l.table, column) {
		l.table += column
	}
}

// printVersion is a line of inspect --pretty, for what is not the first version.
func printVersion(w io.Writer, head string, v api.ShownVersion) {
	if v != (api.ShownVersion{}) {
		fmt.Fprintf(w, "%s%s\n", head, inNumbers(v))
	}
}

// listPath is the path of a list, with what was asked for.
func (c *call) listPath(path string) string {
	q := filtered(c.filters())
	if c.flags.yes("all") {
		q.Set("superseded", "1")
	}
	return path + "?" + q.Encode()
}

func updateContentVerb(arg, noun string, do func(context.Context, *call) error) verb {
	return verb{
		name: "update", args: arg + " [file|-]", usage: "Give a " + noun + " another content, and roll the services that use it", min: 1, max: 2, do: do,
		flags: []*opt{
			{name: "label-add", kind: labelKind, usage: "Add or update a label"},
			{name: "label-rm", kind: stringsKind, usage: "Remove a label by its key"},
			templateDriverFlag(),
			{name: "dry-run", kind: boolKind, usage: "Say what would be done, and do nothing"},
			detachFlag(), quietFlag("Print the ID alone, and no progress"), timeoutFlag(),
		},
		long: "What it holds is a new version with an ID of its own. The services that use it move to it by their own update\n" +
			"settings, canary and rollback included; `service rollback` has the old content again. Versions that nothing\n" +
			"refers to are collected. Content that is there already writes nothing.\n\n" + exitCodes,
	}
}

func secretUpdate(ctx context.Context, c *call) error {
	return c.updateContent(ctx, "secrets", maxSecret, func(ref string) (content, error) {
		s, _, err := c.api().SecretInspectWithRaw(ctx, ref)
		return content{&s.Spec, &s.Spec.Annotations, &s.Spec.Data, &s.Spec.Templating, s.Version, func() error {
			return c.api().SecretUpdate(ctx, s.ID, s.Version, s.Spec)
		}}, err
	})
}

func configUpdate(ctx context.Context, c *call) error {
	return c.updateContent(ctx, "configs", maxConfig, func(ref string) (content, error) {
		o, _, err := c.api().ConfigInspectWithRaw(ctx, ref)
		return content{&o.Spec, &o.Spec.Annotations, &o.Spec.Data, &o.Spec.Templating, o.Version, func() error {
			return c.api().ConfigUpdate(ctx, o.ID, o.Version, o.Spec)
		}}, err
	})
}

// content is a secret or a config that is to be changed: its spec, with
// pointers to what both have, and how labels alone are written.
type content struct {
	spec        any
	annotations *swarm.Annotations
	data        *[]byte
	templating  **swarm.Driver
	version     swarm.Version
	putLabels   func() error
}

func (c *call) updateContent(ctx context.Context, nouns string, limit int64, inspect func(ref string) (content, error)) error {
	ref := c.args[0]
	if len(c.args) == 1 {
		if !c.flags.has("label-add", "label-rm") || c.flags.has("template-driver", "dry-run") {
			return errors.New("nothing to change: give a file, or - for the input, or --label-add or --label-rm")
		}
		return c.relabel(ref, inspect)
	}
	data, err := c.content(limit)
	if err != nil {
		return err
	}
	var done api.ContentUpdate
	for range attempts {
		var now content
		if now, err = inspect(ref); err != nil {
			return err
		}
		changePairs(&now.annotations.Labels, c.flags, "label-add", "label-rm")
		*now.data = data
		if c.flags.has("template-driver") {
			*now.templating = c.namedDriver("template-driver")
		}
		q := url.Values{"version": {strconv.FormatUint(now.version.Index, 10)}}
		if c.flags.yes("dry-run") {
			q.Set("dryrun", "1")
		}
		if err = c.send(ctx, "/swarmctl/"+nouns+"/"+url.PathEscape(ref)+"/update?"+q.Encode(), now.spec, &done); !isOutdated(err) {
			break
		}
	}
	if err != nil {
		return err
	}
	warn(c.err, done.Warnings)
	c.sayUpdated(ref, &done)
	if c.flags.yes("dry-run") {
		return nil
	}
	var moved []started
	for _, name := range done.Services {
		moved = append(moved, started{name: name})
	}
	return c.waitAll(ctx, moved, "service ls")
}

// sayUpdated says what an update has come to, or would.
func (c *call) sayUpdated(ref string, done *api.ContentUpdate) {
	was := map[bool]string{true: "would be", false: "is"}[c.flags.yes("dry-run")]
	switch {
	case c.flags.yes("quiet"):
		fmt.Fprintln(c.out, done.ID)
		return
	case !done.Rewritten && !done.Labels:
		fmt.Fprintf(c.out, "%s: no changes\n", ref)
		return
	case !done.Rewritten:
		fmt.Fprintf(c.out, "%s %s given other labels; its content is the same\n", ref, was)
		return
	}
	fmt.Fprintf(c.out, "%s %s at version %d\n", ref, was, done.Version)
	for _, name := range done.Services {
		fmt.Fprintf(c.out, "  service %s %s updated\n", name, was)
	}
}

// relabel changes labels alone, as of any secret or config.
func (c *call) relabel(ref string, inspect func(ref string) (content, error)) (err error) {
	for range attempts {
		var now content
		if now, err = inspect(ref); err != nil {
			return err
		}
		changePairs(&now.annotations.Labels, c.flags, "label-add", "label-rm")
		if err = now.putLabels(); !isOutdated(err) {
			break
		}
	}
	if err == nil {
		fmt.Fprintln(c.out, ref)
	}
	return err
}
