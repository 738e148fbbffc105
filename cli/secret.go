package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/go-units"
)

func secretVerbs() []verb {
	return []verb{
		{name: "create", args: "SECRET [file|-]", usage: "Create a secret from a file or STDIN as content", min: 1, max: 2, do: secretCreate, flags: []*opt{
			{name: "driver", short: "d", kind: stringKind, usage: "Secret driver"}, contentLabelFlag("Secret"), templateDriverFlag(),
		}},
		{name: "inspect", args: "SECRET [SECRET...]", usage: "Display detailed information on one or more secrets", min: 1, max: -1, do: secretInspect, flags: []*opt{inspectFormatFlag(), prettyFlag()}},
		updateContentVerb("SECRET", "secret", secretUpdate),
		{name: "ls", aliases: []string{"list"}, usage: "List secrets", do: secretList, flags: []*opt{allVersionsFlag(), filterFlag(), formatFlag(""), quietFlag("Only display IDs")}},
		{name: "rm", aliases: []string{"remove"}, args: "SECRET [SECRET...]", usage: "Remove one or more secrets", min: 1, max: -1, do: secretRemove},
	}
}

func configVerbs() []verb {
	return []verb{
		{name: "create", args: "CONFIG file|-", usage: "Create a config from a file or STDIN", min: 2, max: 2, do: configCreate, flags: []*opt{contentLabelFlag("Config"), templateDriverFlag()}},
		{name: "inspect", args: "CONFIG [CONFIG...]", usage: "Display detailed information on one or more configs", min: 1, max: -1, do: configInspect, flags: []*opt{inspectFormatFlag(), prettyFlag()}},
		updateContentVerb("CONFIG", "config", configUpdate),
		{name: "ls", aliases: []string{"list"}, usage: "List configs", do: configList, flags: []*opt{allVersionsFlag(), filterFlag(), formatFlag(""), quietFlag("Only display IDs")}},
		{name: "rm", aliases: []string{"remove"}, args: "CONFIG [CONFIG...]", usage: "Remove one or more configs", min: 1, max: -1, do: configRemove},
	}
}

func contentLabelFlag(of string) *opt {
	return &opt{name: "label", short: "l", kind: labelKind, usage: of + " labels"}
}

func templateDriverFlag() *opt {
	return &opt{name: "template-driver", kind: stringKind, usage: "Template driver"}
}

// annotations are the name and the labels of what is to be created.
func (c *call) annotations() swarm.Annotations {
	return swarm.Annotations{Name: c.args[0], Labels: pairs(c.flags.strs("label"))}
}

// content reads what a secret or a config is to hold: a file, or - for the
// input. Of what is far too large it reads enough for the daemon to say so.
func (c *call) content(limit int64) ([]byte, error) {
	name, in := c.args[1], c.in
	if name == "-" {
		name = "STDIN"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("error reading from %s: %w", name, err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, limit))
	if err == nil && len(data) == 0 {
		err = errors.New("data is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("error reading from %s: %w", name, err)
	}
	return data, nil
}

// namedDriver is a driver that a flag names, or nil.
func (c *call) namedDriver(flag string) *swarm.Driver {
	if name := c.flags.str(flag); name != "" {
		return &swarm.Driver{Name: name}
	}
	return nil
}

// What is as long as this is refused.
const (
	maxSecret = 500 << 10
	maxConfig = 1000 << 10
)

func secretCreate(ctx context.Context, c *call) error {
	spec := swarm.SecretSpec{Annotations: c.annotations(), Driver: c.namedDriver("driver"), Templating: c.namedDriver("template-driver")}
	switch {
	case len(c.args) == 1 && spec.Driver == nil:
		return errors.New("secret file is required")
	case len(c.args) == 2 && spec.Driver != nil:
		return errors.New("When using secret driver secret data must be empty") //nolint:staticcheck // Docker's words
	case len(c.args) == 2:
		var err error
		if spec.Data, err = c.content(maxSecret); err != nil {
			return err
		}
	}
	made, err := c.api().SecretCreate(ctx, spec)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, made.ID)
	return nil
}

func configCreate(ctx context.Context, c *call) error {
	data, err := c.content(maxConfig)
	if err != nil {
		return fmt.Errorf("Error reading content from %q: %w", c.args[1], err) //nolint:staticcheck // Docker's words
	}
	made, err := c.api().ConfigCreate(ctx, swarm.ConfigSpec{Annotations: c.annotations(), Data: data, Templating: c.namedDriver("template-driver")})
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, made.ID)
	return nil
}

// inspectContent is inspect, with --pretty going before --format as in Docker's CLI.
func (c *call) inspectContent(fetch func(ref string) (object, error), human func(io.Writer, any)) error {
	if c.flags.yes("pretty") {
		delete(c.flags, "format")
	}
	return c.inspect(c.args, fetch, human)
}

func secretInspect(ctx context.Context, c *call) error {
	return c.inspectContent(func(ref string) (object, error) {
		var s secretItem
		_, raw, err := c.api().SecretInspectWithRaw(ctx, ref)
		if err == nil {
			err = json.Unmarshal(raw, &s)
		}
		return object{raw, s}, err
	}, func(w io.Writer, v any) {
		s := v.(secretItem)
		fmt.Fprintf(w, "ID:              %s\nName:              %s\n", s.ID, s.Spec.Name)
		printLabels(w, "Labels:", " - ", s.Spec.Labels)
		printVersion(w, "Version:           ", s.ShownVersion)
		fmt.Fprintf(w, "Driver:            %s\nCreated at:        %s\nUpdated at:        %s\n", driverName(s.Spec), inWords(s.CreatedAt), inWords(s.UpdatedAt))
	})
}

func configInspect(ctx context.Context, c *call) error {
	return c.inspectContent(func(ref string) (object, error) {
		var o configItem
		_, raw, err := c.api().ConfigInspectWithRaw(ctx, ref)
		if err == nil {
			err = json.Unmarshal(raw, &o)
		}
		return object{raw, o}, err
	}, func(w io.Writer, v any) {
		o := v.(configItem)
		fmt.Fprintf(w, "ID:\t\t\t%s\nName:\t\t\t%s\n", o.ID, o.Spec.Name)
		printLabels(w, "Labels:", " - ", o.Spec.Labels)
		printVersion(w, "Version:\t\t", o.ShownVersion)
		fmt.Fprintf(w, "Created at:            \t%s\nUpdated at:            \t%s\nData:\n%s\n", inWords(o.CreatedAt), inWords(o.UpdatedAt), o.Spec.Data)
	})
}

// inWords is a time as inspect --pretty shows it.
func inWords(t time.Time) string { return strings.ToLower(t.String()) }

func driverName(s swarm.SecretSpec) string {
	if s.Driver == nil {
		return ""
	}
	return s.Driver.Name
}

// secretRow is a line of secret ls, configRow one of config ls.
type (
	secretRow struct {
		CreatedAt, Driver, ID, Labels, Name, UpdatedAt string
		labelled
		numbered
	}
	configRow struct {
		CreatedAt, ID, Labels, Name, UpdatedAt string
		labelled
		numbered
	}
)

func secretList(ctx context.Context, c *call) error {
	var secrets []secretItem
	if err := c.askJSON(ctx, c.listPath("/secrets"), &secrets); err != nil {
		return err
	}
	slices.SortFunc(secrets, func(a, b secretItem) int {
		return cmp.Or(naturalCompare(a.Spec.Name, b.Spec.Name), cmp.Compare(b.Number(), a.Number()))
	})
	l := listing{
		headers: map[string]string{"ID": "ID", "Name": "NAME", "Driver": "DRIVER", "CreatedAt": "CREATED", "UpdatedAt": "UPDATED", "Labels": "LABELS", "Version": "VERSION"},
		table:   "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.CreatedAt}}\t{{.UpdatedAt}}",
		quietly: "{{.ID}}",
	}
	for _, s := range secrets {
		l.showVersion(s.ShownVersion)
		l.rows = append(l.rows, secretRow{
			ID: s.ID, Name: s.Spec.Name, Driver: driverName(s.Spec), CreatedAt: c.ago(s.CreatedAt), UpdatedAt: c.ago(s.UpdatedAt),
			Labels: joinLabels(s.Spec.Labels), labelled: s.Spec.Labels, numbered: numbered(inNumbers(s.ShownVersion)),
		})
	}
	return c.print(l)
}

func configList(ctx context.Context, c *call) error {
	var configs []configItem
	if err := c.askJSON(ctx, c.listPath("/configs"), &configs); err != nil {
		return err
	}
	slices.SortFunc(configs, func(a, b configItem) int {
		return cmp.Or(naturalCompare(a.Spec.Name, b.Spec.Name), cmp.Compare(b.Number(), a.Number()))
	})
	l := listing{
		headers: map[string]string{"ID": "ID", "Name": "NAME", "CreatedAt": "CREATED", "UpdatedAt": "UPDATED", "Labels": "LABELS", "Version": "VERSION"},
		table:   "{{.ID}}\t{{.Name}}\t{{.CreatedAt}}\t{{.UpdatedAt}}",
		quietly: "{{.ID}}",
	}
	for _, o := range configs {
		l.showVersion(o.ShownVersion)
		l.rows = append(l.rows, configRow{
			ID: o.ID, Name: o.Spec.Name, CreatedAt: c.ago(o.CreatedAt), UpdatedAt: c.ago(o.UpdatedAt),
			Labels: joinLabels(o.Spec.Labels), labelled: o.Spec.Labels, numbered: numbered(inNumbers(o.ShownVersion)),
		})
	}
	return c.print(l)
}

// ago is how long ago a time was: "2 minutes ago".
func (c *call) ago(t time.Time) string { return units.HumanDuration(c.app.now().Sub(t)) + " ago" }

func secretRemove(ctx context.Context, c *call) error {
	return c.eachArg(func(ref string) error { return c.api().SecretRemove(ctx, ref) })
}

func configRemove(ctx context.Context, c *call) error {
	return c.eachArg(func(ref string) error { return c.api().ConfigRemove(ctx, ref) })
}
