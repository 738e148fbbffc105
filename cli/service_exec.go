package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/signal"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/moby/term"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api"
)

func execVerb() verb {
	return verb{
		name: "exec", args: "SERVICE.SLOT|SERVICE.NODE|SERVICE|TASK [--] COMMAND [ARG...]", usage: "Run a command in a task's container, on whichever node it is",
		min: 2, max: -1, rest: true, do: serviceExec,
		long: "The task is named by its place, SERVICE.SLOT, or SERVICE.NODE in a global service; by its ID; or by the\n" +
			"service alone where that runs one task. The exit code is the command's; 126 or 127, as the engine says,\n" +
			"where the command cannot be run.",
		flags: []*opt{
			{name: "detach", short: "d", kind: boolKind, usage: "Run the command in the background"},
			{name: "detach-keys", kind: stringKind, usage: "Keys that leave the command alone and running (default ctrl-p,ctrl-q)"},
			{name: "env", short: "e", kind: envKind, usage: "Set environment variables"},
			{name: "env-file", kind: listKind, usage: "Read in a file of environment variables"},
			{name: "interactive", short: "i", kind: boolKind, usage: "Keep STDIN open"},
			{name: "tty", short: "t", kind: boolKind, usage: "Allocate a pseudo-TTY"},
			{name: "user", short: "u", kind: stringKind, usage: "Username or UID (format: <name|uid>[:<group|gid>])"},
			{name: "workdir", short: "w", kind: stringKind, usage: "Working directory inside the container"},
		},
	}
}

func serviceExec(ctx context.Context, c *call) error {
	options, err := execOptions(c.flags, c.args)
	if err != nil {
		return err
	}
	if options.AttachStdin && options.Tty && !isTerminal(c.in) {
		return errors.New("the input device is not a TTY")
	}
	keys, err := detachKeys(&options)
	if err != nil {
		return err
	}
	data, err := c.get(ctx, "/swarmctl/tasks/"+url.PathEscape(c.args[0])+"/exec")
	if err != nil {
		return err
	}
	x := &execution{call: c, options: options, keys: keys}
	if err := json.Unmarshal(data, &x.at); err != nil {
		return fmt.Errorf("the daemon's answer is not JSON: %w", err)
	}
	if x.engine, err = c.engineOf(x.at.Task); err != nil {
		return err
	}
	defer x.engine.Close() //nolint:errcheck // nothing is left to say
	return x.run(ctx)
}

// execOptions turns the flags and the command into the API's request.
func execOptions(g given, args []string) (container.ExecOptions, error) {
	cmd := args[1:]
	if cmd[0] == "--" {
		cmd = cmd[1:]
	}
	if len(cmd) == 0 {
		return container.ExecOptions{}, errors.New("there is no command after --")
	}
	env, err := readEnv(g.strs("env-file"), g.strs("env"))
	o := container.ExecOptions{
		User: g.str("user"), WorkingDir: g.str("workdir"), Env: env, Cmd: cmd, Tty: g.yes("tty"), DetachKeys: g.str("detach-keys"),
	}
	if !g.yes("detach") {
		o.AttachStdout, o.AttachStderr, o.AttachStdin = true, true, g.yes("interactive")
	}
	return o, err
}

// defaultDetachKeys are those of Docker's CLI.
const defaultDetachKeys = "ctrl-p,ctrl-q"

// detachKeys are the bytes that leave a command alone, which only a terminal
// sends: those of the flag, or of Docker's config.json, or the usual ones.
func detachKeys(o *container.ExecOptions) ([]byte, error) {
	if !o.Tty {
		return nil, nil
	}
	cfg, err := readDockerConfig()
	if err != nil {
		return nil, err
	}
	o.DetachKeys = cmp.Or(o.DetachKeys, cfg.DetachKeys, defaultDetachKeys)
	keys, err := term.ToBytes(o.DetachKeys)
	if err != nil {
		return nil, fmt.Errorf("invalid detach keys (%s): %w", o.DetachKeys, err)
	}
	return keys, nil
}

// engineOf is a client of the part of a task's engine that runs commands.
func (c *call) engineOf(task api.TaskID) (*client.Client, error) {
	dial := c.api().Dialer()
	return client.NewClientWithOpts(
		client.WithHost("tcp://swarmctl/swarmctl/tasks/"+string(task)+"/engine"),
		client.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }))
}

// execution is one command being run.
type execution struct {
	*call
	options container.ExecOptions
	keys    []byte
	at      api.ExecTarget
	engine  *client.Client
	id      string
}

func (x *execution) run(ctx context.Context) error {
	x.options.ConsoleSize = x.size()
	made, err := x.engine.ContainerExecCreate(ctx, x.at.Container, x.options)
	if err != nil {
		return err
	}
	x.id = made.ID
	how := container.ExecStartOptions{Detach: !x.options.AttachStdout, Tty: x.options.Tty, ConsoleSize: x.options.ConsoleSize}
	if how.Detach {
		return x.engine.ContainerExecStart(ctx, x.id, how)
	}
	conn, err := x.engine.ContainerExecAttach(ctx, x.id, how)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Close)()
	restore := x.raw()
	defer restore()
	resizing, stop := context.WithCancel(ctx)
	defer stop()
	go x.resize(resizing)
	err = x.talk(&conn)
	restore()
	switch {
	case ctx.Err() != nil:
		return &exitError{code: exitInterrupted, msg: fmt.Sprintf("interrupted; the command may go on in task %s on node %s", x.at.Name, x.at.Node)}
	case errors.As(err, new(term.EscapeError)):
		fmt.Fprintf(x.err, "left the command running in task %s on node %s\n", x.at.Name, x.at.Node)
		return nil
	}
	return x.end(ctx, err)
}

// exitInterrupted is what shells have for a command that Ctrl-C ended.
const exitInterrupted = 130

// talk copies input and output to the end of the output, or until the user
// presses the detach keys.
func (x *execution) talk(conn *types.HijackedResponse) error {
	ended := make(chan error, 2)
	go func() {
		if x.options.AttachStdin {
			in := x.in
			if x.keys != nil {
				in = term.NewEscapeProxy(in, x.keys)
			}
			if _, err := io.Copy(conn.Conn, in); errors.As(err, new(term.EscapeError)) {
				ended <- err
				return
			}
		}
		_ = conn.CloseWrite()
	}()
	go func() {
		var err error
		if x.options.Tty {
			_, err = io.Copy(x.out, conn.Reader)
		} else {
			_, err = stdcopy.StdCopy(x.out, x.err, conn.Reader)
		}
		ended <- err
	}()
	return <-ended
}

// How long a command may take to be known as ended after its output is, and
// how often it is asked for.
const (
	endPatience = 3 * time.Second
	endLook     = 50 * time.Millisecond
)

// end turns the command's exit code into ours. broke is what ended the output early.
func (x *execution) end(ctx context.Context, broke error) error {
	for deadline := time.Now().Add(endPatience); ; {
		state, err := x.engine.ContainerExecInspect(ctx, x.id)
		switch {
		case err != nil:
			return errors.Join(broke, err)
		case !state.Running && broke == nil && state.ExitCode == 0:
			return nil
		case !state.Running && broke == nil:
			return &exitError{code: state.ExitCode}
		case broke != nil:
			return fmt.Errorf("the output of task %s on node %s broke off: %w", x.at.Name, x.at.Node, broke)
		case time.Now().After(deadline):
			return fmt.Errorf("the connection to task %s on node %s has ended; the command goes on there", x.at.Name, x.at.Node)
		}
		if err := pause(ctx, nil, endLook); err != nil {
			return err
		}
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(f.Fd())
}

// raw hands every key to the command, where it has a terminal and so do we. It
// returns how that is undone, at most once.
func (x *execution) raw() (restore func()) {
	if !x.options.Tty || !x.options.AttachStdin || !isTerminal(x.in) {
		return func() {}
	}
	fd := x.in.(*os.File).Fd()
	old, err := term.SetRawTerminal(fd)
	if err != nil {
		return func() {}
	}
	done := false
	return func() {
		if !done {
			_ = term.RestoreTerminal(fd, old)
		}
		done = true
	}
}

// size is our terminal's, as the API wants it; nil where the command has none.
func (x *execution) size() *[2]uint {
	f, ok := x.out.(*os.File)
	if !ok || !x.options.Tty {
		return nil
	}
	size, err := term.GetWinsize(f.Fd())
	if err != nil || size.Height == 0 && size.Width == 0 {
		return nil
	}
	return &[2]uint{uint(size.Height), uint(size.Width)}
}

// firstSizes is how often the size is told again until the command's terminal
// is there to take it.
const firstSizes = 10

// resize tells the command's terminal the size of ours: now and whenever it changes.
func (x *execution) resize(ctx context.Context) {
	if x.size() == nil {
		return
	}
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, unix.SIGWINCH)
	defer signal.Stop(changes)
	tell := func() error {
		size := x.size()
		if size == nil {
			return nil
		}
		return x.engine.ContainerExecResize(ctx, x.id, container.ResizeOptions{Height: size[0], Width: size[1]})
	}
	for range firstSizes {
		if tell() == nil || pause(ctx, nil, endLook) != nil {
			break
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
			_ = tell()
		}
	}
}
