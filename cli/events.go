package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/docker/docker/api/types/events"
)

func eventsVerb() verb {
	format := inspectFormatFlag()
	format.short = "" // -f is the filter's
	return verb{
		name: "events", usage: "Get real time events of the cluster and of this host's engine", do: showEvents,
		flags: []*opt{
			filterFlag(), format,
			{name: "since", kind: stringKind, usage: "Show all events created since timestamp"},
			{name: "until", kind: stringKind, usage: "Stream events until this timestamp"},
		},
	}
}

func showEvents(ctx context.Context, c *call) error {
	tmpl, err := eventTemplate(c.flags.str("format"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages, errs := c.api().Events(ctx, events.ListOptions{Since: c.flags.str("since"), Until: c.flags.str("until"), Filters: c.filters()})
	for {
		select {
		case m := <-messages:
			if err := printEvent(c.out, tmpl, m); err != nil {
				return err
			}
		case err := <-errs:
			if errors.Is(err, io.EOF) || ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// eventTemplate is nil where no format is asked for.
func eventTemplate(format string) (*template.Template, error) {
	switch format {
	case "":
		return nil, nil
	case "json":
		format = "{{json .}}"
	}
	tmpl, err := template.New("").Funcs(templateFuncs).Parse(format)
	if err == nil {
		err = tmpl.Execute(io.Discard, &events.Message{}) // a field that no event has
	}
	if err != nil {
		return nil, &exitError{code: 64, msg: "Error parsing format: " + err.Error()}
	}
	return tmpl, nil
}

// eventTime is RFC 3339 with all nine digits, in local time.
const eventTime = "2006-01-02T15:04:05.000000000Z07:00"

// printEvent writes an event as Docker's CLI does: time, type, action, ID and
// attributes.
func printEvent(w io.Writer, tmpl *template.Template, m events.Message) error {
	if tmpl != nil {
		if err := tmpl.Execute(w, m); err != nil {
			return err
		}
		_, err := fmt.Fprintln(w)
		return err
	}
	line := fmt.Sprintf("%s %s %s", m.Type, m.Action, m.Actor.ID)
	if m.TimeNano != 0 {
		line = time.Unix(0, m.TimeNano).Format(eventTime) + " " + line
	} else if m.Time != 0 {
		line = time.Unix(m.Time, 0).Format(eventTime) + " " + line
	}
	var attributes []string
	for _, k := range slices.Sorted(maps.Keys(m.Actor.Attributes)) {
		attributes = append(attributes, k+"="+m.Actor.Attributes[k])
	}
	if len(attributes) > 0 {
		line += " (" + strings.Join(attributes, ", ") + ")"
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
