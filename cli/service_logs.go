package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/pkg/stdcopy"
)

func logFlags() []*opt {
	return []*opt{
		{name: "details", kind: boolKind, usage: "Show extra details provided to logs"},
		{name: "follow", short: "f", kind: boolKind, usage: "Follow log output"},
		{name: "no-resolve", kind: boolKind, usage: "Do not map IDs to Names in output"},
		{name: "no-task-ids", kind: boolKind, usage: "Do not include task IDs in output"},
		{name: "no-trunc", kind: boolKind, usage: "Do not truncate output"},
		{name: "raw", kind: boolKind, usage: "Do not neatly format logs"},
		{name: "since", kind: stringKind, usage: `Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`},
		{name: "tail", short: "n", kind: stringKind, def: `"all"`, usage: "Number of lines to show from the end of the logs"},
		{name: "timestamps", short: "t", kind: boolKind, usage: "Show timestamps"},
	}
}

func serviceLogs(ctx context.Context, c *call) error {
	body, tty, width, err := c.openLogs(ctx, c.args[0])
	if err != nil {
		return err
	}
	defer body.Close()
	if tty {
		_, err = io.Copy(c.out, body)
	} else if c.flags.yes("raw") {
		_, err = stdcopy.StdCopy(c.out, c.err, body)
	} else {
		p := &logPrinter{call: c, ctx: ctx, width: width, names: c.resolver(), heads: map[logOrigin]string{}}
		_, err = stdcopy.StdCopy(p.to(c.out), p.to(c.err), body)
	}
	if ctx.Err() != nil {
		return nil // the user has read enough
	}
	return err
}

// openLogs opens the logs of a service or, where there is none, of a task.
// width is how many digits the slots may have.
func (c *call) openLogs(ctx context.Context, ref string) (body io.ReadCloser, tty bool, width int, err error) {
	opts := container.LogsOptions{
		ShowStdout: true, ShowStderr: true, Since: c.flags.str("since"), Timestamps: c.flags.yes("timestamps"),
		Follow: c.flags.yes("follow"), Tail: one(c.flags, "tail", "all"),
		// without --raw the details say which task a line is of
		Details: c.flags.yes("details") || !c.flags.yes("raw"),
	}
	needsRaw := errors.New("tty service logs only supported with --raw")
	s, _, err := c.api().ServiceInspectWithRaw(ctx, ref, swarm.ServiceInspectOptions{})
	if err == nil {
		spec := s.Spec.TaskTemplate.ContainerSpec
		if tty = spec != nil && spec.TTY; tty && !c.flags.yes("raw") {
			return nil, tty, 0, needsRaw
		}
		width = 1
		if r := s.Spec.Mode.Replicated; r != nil && r.Replicas != nil {
			width = len(strconv.FormatUint(*r.Replicas, 10))
		}
		body, err = c.api().ServiceLogs(ctx, ref, opts)
		return body, tty, width, err
	}
	if !cerrdefs.IsNotFound(err) {
		return nil, false, 0, err
	}
	t, _, err := c.api().TaskInspectWithRaw(ctx, ref)
	if cerrdefs.IsNotFound(err) {
		return nil, false, 0, fmt.Errorf("no such task or service: %s", ref)
	}
	if err != nil {
		return nil, false, 0, err
	}
	if tty = t.Spec.ContainerSpec != nil && t.Spec.ContainerSpec.TTY; tty && !c.flags.yes("raw") {
		return nil, tty, 0, needsRaw
	}
	body, err = c.api().TaskLogs(ctx, ref, opts)
	return body, tty, len(strconv.Itoa(t.Slot)), err
}

// logOrigin says which task a line is of.
type logOrigin struct{ node, service, task string }

// logPrinter puts the task's name before every line.
type logPrinter struct {
	*call
	ctx   context.Context
	width int
	names *resolver
	heads map[logOrigin]string
}

// to returns a writer that expects one line of the log a call, as stdcopy writes.
func (p *logPrinter) to(w io.Writer) io.Writer {
	return writerFunc(func(line []byte) (int, error) {
		out, err := p.format(line)
		if err != nil {
			return 0, err
		}
		_, err = w.Write(out)
		return len(line), err
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// format turns "[time ]key=value,... text" into "[time ]web.1.id@host    | text".
func (p *logPrinter) format(line []byte) ([]byte, error) {
	rest, stamp := line, []byte(nil)
	if p.flags.yes("timestamps") {
		head, tail, ok := bytes.Cut(rest, []byte(" "))
		if !ok {
			return nil, fmt.Errorf("invalid context in log message: %s", line)
		}
		stamp, rest = append(slices.Clone(head), ' '), tail
	}
	context, text, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		return nil, fmt.Errorf("invalid context in log message: %s", line)
	}
	details, err := parseDetails(string(context))
	if err != nil {
		return nil, err
	}
	origin, err := takeOrigin(details)
	if err != nil {
		return nil, err
	}
	head, err := p.head(origin)
	if err != nil {
		return nil, err
	}
	out := append(stamp, head+"    | "...)
	if p.flags.yes("details") {
		var list []string
		for _, k := range slices.Sorted(maps.Keys(details)) {
			list = append(list, k+"="+details[k])
		}
		out = append(out, strings.Join(list, ",")+" "...)
	}
	return append(out, text...), nil
}

// parseDetails reads key=value,key=value, each part escaped as in a URL.
func parseDetails(s string) (map[string]string, error) {
	details := map[string]string{}
	if s == "" {
		return details, nil
	}
	for _, pair := range strings.Split(s, ",") {
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, errors.New("invalid details format")
		}
		key, err1 := url.QueryUnescape(k)
		val, err2 := url.QueryUnescape(v)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		details[key] = val
	}
	return details, nil
}

func takeOrigin(details map[string]string) (o logOrigin, err error) {
	for what, at := range map[string]*string{"node": &o.node, "service": &o.service, "task": &o.task} {
		key := "com.docker.swarm." + what + ".id"
		v, ok := details[key]
		if !ok {
			return o, fmt.Errorf("missing %s id in details: %v", what, details)
		}
		*at = v
		delete(details, key)
	}
	return o, nil
}

// head is "web.1.xkzvmr7if7ga@h1", padded for the widest slot.
func (p *logPrinter) head(o logOrigin) (string, error) {
	if s, ok := p.heads[o]; ok {
		return s, nil
	}
	node, err1 := p.names.node(p.ctx, o.node)
	service, err2 := p.names.service(p.ctx, o.service)
	if err := cmp.Or(err1, err2); err != nil {
		return "", err
	}
	slot, id := 0, o.task
	if t, _, err := p.api().TaskInspectWithRaw(p.ctx, o.task); err == nil {
		slot = t.Slot
	} else if !cerrdefs.IsNotFound(err) {
		return "", err
	}
	name := fmt.Sprintf("%s.%d", service, slot)
	if !p.flags.yes("no-task-ids") {
		if !p.flags.yes("no-trunc") {
			id = shortID(id)
		}
		name += "." + id
	}
	s := name + "@" + node + strings.Repeat(" ", max(0, p.width-len(strconv.Itoa(slot))))
	p.heads[o] = s
	return s, nil
}
