package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/client"
	"github.com/moby/term"
	"github.com/urfave/cli/v2"
)

const progName = "swarmctl"

// Exit codes: those of Docker's CLI and of coreutils' timeout, and one of ours
// for an update that the cluster has undone.
const (
	exitFailure    = 1
	exitRolledBack = 3
	exitTimeout    = 124
	exitBadFlag    = 125
)

// DaemonConfig is what the daemon command hands on.
type DaemonConfig struct {
	StateDir   string       // where the node keeps its identity, its log and its state
	Socket     string       // where the API is served: unix:///path or tcp://host:port
	EngineHost string       // the Docker Engine of this host
	Nice       int          // the process's scheduling priority, -20 (first) to 19 (last)
	Starts     int          // how many containers are started at once; 0 leaves it to the worker
	Version    string       // the program's own
	Log        *slog.Logger // where the daemon's log goes
}

// App is the command line. Its zero value serves every command but daemon.
type App struct {
	// Daemon runs a node until ctx ends. It is the composition root of the
	// program, handed in by main.
	Daemon func(ctx context.Context, cfg DaemonConfig) error
	// Version is what swarmctl --version prints.
	Version string

	// For tests: whether stdout is a terminal, and the time.
	tty *bool
	now func() time.Time
}

// Run runs one command line, args being without the program's name, and
// returns the exit code: 0, 1 for an error or an update that paused, 3 for an
// update that was rolled back, 124 where a wait timed out, 125 for a wrong flag. When ctx ends while a command waits for the cluster, the
// wait ends and the cluster works on.
func (a App) Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if a.now == nil {
		a.now = time.Now
	}
	if a.Version == "" {
		a.Version = "dev"
	}
	app := a.commands(&streams{in: stdin, out: stdout, err: stderr})
	if len(args) > 0 && args[0] == completeCommand {
		a.complete(ctx, app, &streams{in: stdin, out: stdout, err: stderr}, args[1:])
		return 0
	}
	l, err := normalise(app, args)
	if err == nil && (l.help || l.command == nil && len(l.global) == 0) {
		printHelp(stdout, app, l.path, l.command)
		return 0
	}
	if err == nil && l.command != nil && len(l.command.Subcommands) > 0 {
		printHelp(stderr, app, l.path, l.command)
		return 0
	}
	if err == nil {
		err = app.RunContext(ctx, l.argv())
	}
	return report(stderr, err)
}

// Run is App.Run for callers that need no daemon.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return App{}.Run(ctx, args, stdin, stdout, stderr)
}

// streams are the three a command talks through.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// exitError is an error with an exit code of its own. An empty message prints nothing.
type exitError struct {
	code int
	msg  string
}

func (e *exitError) Error() string { return e.msg }

// badFlag is a command line that does not parse: exit code 125.
type badFlag struct{ msg, usage string }

func (e *badFlag) Error() string { return e.msg }

// report prints the error that ended a command and returns the exit code.
func report(stderr io.Writer, err error) int {
	var exit *exitError
	var bad *badFlag
	switch {
	case err == nil:
		return 0
	case errors.As(err, &bad):
		fmt.Fprintln(stderr, bad.msg)
		if bad.usage != "" {
			fmt.Fprintln(stderr, bad.usage)
		}
		return exitBadFlag
	case errors.As(err, &exit):
		if err.Error() != "" { // all of it: there may be several, of which one has a code
			fmt.Fprintln(stderr, err)
		}
		return exit.code
	}
	fmt.Fprintln(stderr, err)
	return exitFailure
}

// call is one command being run.
type call struct {
	app   App
	flags given
	args  []string
	path  []string
	*streams
	socket string
	client *client.Client
}

// api returns the client of the daemon's socket.
func (c *call) api() *client.Client { return c.client }

// terminal reports whether stdout is one, and its size where it is known.
func (c *call) terminal() (width, height int, ok bool) {
	if c.app.tty != nil {
		return 80, 24, *c.app.tty
	}
	f, isFile := c.out.(*os.File)
	if !isFile || !term.IsTerminal(f.Fd()) {
		return 0, 0, false
	}
	size, err := term.GetWinsize(f.Fd())
	if err != nil || size.Width == 0 {
		return 80, 24, true
	}
	return int(size.Width), int(size.Height), true
}

// verb is one command, as the tables of the nouns' files declare it.
type verb struct {
	name    string
	aliases []string
	args    string // how usage shows the arguments
	usage   string
	long    string
	flags   []*opt
	min     int  // how many arguments it needs
	max     int  // how many it takes; -1 for any number
	rest    bool // the first argument ends the flags
	asks    bool // without any of its flags it shows its help
	do      func(ctx context.Context, c *call) error
}

// command makes urfave/cli's command of a verb.
func (a App) command(s *streams, v verb, path ...string) *cli.Command {
	path = append(path, v.name)
	c := &cli.Command{
		Name: v.name, Aliases: v.aliases, Usage: v.usage, ArgsUsage: v.args, Description: v.long,
		HideHelp: true, HideHelpCommand: true, BashComplete: func(*cli.Context) {},
	}
	if v.rest {
		c.Category = takesRest
	}
	for _, o := range v.flags {
		c.Flags = append(c.Flags, o)
	}
	c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return err }
	c.Action = func(ctx *cli.Context) error {
		call := &call{app: a, streams: s, flags: givenTo(ctx), args: ctx.Args().Slice(), path: path}
		if err := checkArgs(v, call.args, path, c); err != nil {
			return err
		}
		if v.asks && !slices.ContainsFunc(v.flags, func(o *opt) bool { return call.flags.has(o.name) }) {
			printHelp(s.out, ctx.App, path, c)
			return nil
		}
		if err := call.connect(); err != nil {
			return err
		}
		return call.explain(v.do(ctx.Context, call))
	}
	return c
}

// checkArgs holds the number of arguments against what the verb takes.
func checkArgs(v verb, args []string, path []string, c *cli.Command) error {
	n, want, see := len(args), "", "Run"
	switch {
	case v.max == 0 && n > 0:
		want = "accepts no arguments"
	case n >= v.min && (v.max < 0 || n <= v.max):
		return nil
	case v.max > v.min && v.min > 0:
		want = fmt.Sprintf("requires at least %d and at most %d %s", v.min, v.max, plural("argument", v.max))
	case v.min == v.max:
		want = fmt.Sprintf("requires %d %s", v.min, plural("argument", v.min))
	case n < v.min:
		want = fmt.Sprintf("requires at least %d %s", v.min, plural("argument", v.min))
		see = "See" // here alone, Docker being Docker
	default:
		want = fmt.Sprintf("requires at most %d %s", v.max, plural("argument", v.max))
	}
	words := strings.Join(append([]string{progName}, path...), " ")
	return &exitError{code: exitFailure, msg: fmt.Sprintf("%s: '%s' %s\n%s", progName, words, want, usageLines(path, c, see))}
}

func plural(word string, n int) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
