package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/swarmctl/swarmctl/services/stack"
)

func stackVerbs() []verb {
	return []verb{
		{name: "config", usage: "Output the final file, after merges and interpolations", do: stackConfig, flags: append(composeFlags(),
			&opt{name: "skip-interpolation", kind: boolKind, usage: "Skip interpolation and output only the merged file"})},
		{name: "deploy", aliases: []string{"up"}, args: "STACK", usage: "Deploy a new stack or update an existing stack", min: 1, max: 1, do: stackDeploy, long: deployHelp, flags: append(composeFlags(),
			&opt{name: "atomic", kind: boolKind, usage: "Put the whole stack back to the deploy before if a service of it fails"},
			detachFlag(), &opt{name: "dry-run", kind: boolKind, usage: "Show what would be created, changed and removed, and do nothing"},
			&opt{name: "prune", kind: boolKind, usage: "Prune services that are no longer referenced"}, quietFlag("Suppress progress output"),
			resolveFlag(),
			timeoutFlag(), &opt{name: "with-registry-auth", kind: boolKind, usage: "Send registry authentication details to the nodes"})},
		{name: "diff", args: "STACK [N [M]]", usage: "Show what a deploy would change, or what differs between two deploys", min: 1, max: 3, do: stackDiff, long: diffHelp, flags: append(composeFlags(),
			&opt{name: "prune", kind: boolKind, usage: "Show services that are no longer referenced as removed"}, resolveFlag(),
			&opt{name: "with-registry-auth", kind: boolKind, usage: "Ask the registries with your credentials"})},
		{name: "history", args: "STACK [N]", usage: "List the deploys of a stack, or print the file of one", min: 1, max: 2, do: stackHistory, flags: []*opt{formatFlag("")}},
		{name: "ls", aliases: []string{"list"}, usage: "List stacks", do: stackList, flags: []*opt{formatFlag("")}},
		{name: "ps", args: "STACK", usage: "List the tasks in the stack", min: 1, max: 1, do: stackPs, flags: taskFlags()},
		{name: "rm", aliases: []string{"remove", "down"}, args: "STACK [STACK...]", usage: "Remove one or more stacks", min: 1, max: -1, do: stackRemove, flags: []*opt{
			{name: "detach", short: "d", kind: boolKind, usage: "Do not wait for stack removal"}, timeoutFlag(),
		}},
		{name: "rollback", args: "STACK [N]", usage: "Put a stack back to the deploy before, or to deploy N", min: 1, max: 2, do: stackRollback, long: rollbackHelp, flags: []*opt{
			detachFlag(), {name: "prune", kind: boolKind, usage: "Remove services that deploy N did not have"}, quietFlag("Suppress progress output"), timeoutFlag(),
		}},
		{name: "services", args: "STACK", usage: "List the services in the stack", min: 1, max: 1, do: stackServices, flags: []*opt{filterFlag(), formatFlag(""), quietFlag("Only display IDs")}},
		{name: "start", args: "STACK", usage: "Start the services of a stack that was stopped", min: 1, max: 1, do: stackStart, flags: []*opt{detachFlag(), quietFlag("Suppress progress output"), timeoutFlag()}},
		{name: "stop", args: "STACK", usage: "Stop all services of a stack, and keep everything else of it", min: 1, max: 1, do: stackStop, long: stopHelp, flags: []*opt{detachFlag(), timeoutFlag()}},
	}
}

const deployHelp = `Everything is checked first and then written as one change: all of it, or nothing.
Waits until the services have converged; exit codes are those of "service update".
What a file has that means nothing in a cluster is named; --strict refuses it.
With --atomic a service that fails, or --timeout (10 minutes if it is not given), puts
the whole stack back to the deploy before, with exit code 3; a first one is removed.`

const diffHelp = `With -c it is "stack deploy --dry-run": what is there, against the files. With a
number it is deploy N against the one in force, with two N against M.`

const rollbackHelp = `One change, as a deploy is: networks and services as that deploy had them, with the
secrets and configs that it used. It becomes a deploy of its own, so that there is a
way back from it too. Without N it is the one before that in force.`

const stopHelp = `Each service gets the label swarmctl.stopped=true, under which it has no tasks;
"stack start" takes it off again, and everything is as it was. Jobs go on with what
was not complete. Deploying starts what it deploys. Returns when the last task has ended.`

func resolveFlag() *opt {
	return &opt{name: "resolve-image", kind: resolveKind, def: `"always"`, usage: `Query the registry to resolve image digest and supported platforms ("always", "changed", "never")`}
}

func composeFlags() []*opt {
	return []*opt{
		{name: "compose-file", short: "c", kind: stringsKind, usage: `Path to a Compose file, or "-" to read from stdin`},
		{name: "env-file", kind: stringsKind, usage: "File with variables for the Compose file (default .env beside it)"},
		{name: "profile", kind: stringsKind, usage: "Profile to enable"},
		{name: "strict", kind: boolKind, usage: "Refuse files with keys that have no effect"},
	}
}

// How images are pinned to their digests.
const (
	resolveAlways  = "always"
	resolveChanged = "changed"
	resolveNever   = "never"
)

var resolveKind = kind{"string", false, parser(func(s string) (string, error) {
	if s != resolveAlways && s != resolveChanged && s != resolveNever {
		return "", fmt.Errorf("use %s, %s or %s", resolveAlways, resolveChanged, resolveNever)
	}
	return s, nil
})}

// readLimited reads a file, and of one that is larger than limit just enough
// to show it. What is no file, such as a device, has no end.
func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if info.IsDir() {
		return nil, fmt.Errorf("%s is a directory", name)
	}
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// composeInput reads the files of -c.
func (c *call) composeInput(name string) (stack.Input, error) {
	in := stack.Input{Name: name, Env: map[string]string{}, Read: readLimited, Profiles: c.flags.strs("profile")}
	paths := c.flags.strs("compose-file")
	if len(paths) == 0 {
		return in, errors.New("specify a Compose file (with --compose-file)")
	}
	for _, pair := range os.Environ() {
		key, value, _ := strings.Cut(pair, "=")
		in.Env[key] = value
	}
	dir, err := os.Getwd()
	if err != nil {
		return in, err
	}
	for _, f := range c.flags.strs("env-file") {
		if !filepath.IsAbs(f) {
			f = filepath.Join(dir, f)
		}
		in.EnvFiles = append(in.EnvFiles, f)
	}
	if in.Dir = dir; paths[0] != "-" {
		first, err := filepath.Abs(paths[0])
		if err != nil {
			return in, err
		}
		in.Dir = filepath.Dir(first)
	}
	stdin := false
	for _, path := range paths {
		f := stack.File{Name: path}
		switch {
		case path == "-" && stdin:
			return in, errors.New(`--compose-file: "-" can be given once`)
		case path == "-":
			stdin, f.Name = true, "<stdin>"
			f.Content, err = io.ReadAll(io.LimitReader(c.in, stack.MaxFile+1))
		default:
			f.Content, err = readLimited(path, stack.MaxFile)
		}
		if err != nil {
			return in, err
		}
		in.Files = append(in.Files, f)
	}
	return in, nil
}

// loadStack loads the files, and says what of them has no effect.
func (c *call) loadStack(ctx context.Context, name string) (*stack.Model, error) {
	in, err := c.composeInput(name)
	if err != nil {
		return nil, err
	}
	m, err := stack.Load(ctx, in)
	if err != nil {
		return nil, err
	}
	for _, w := range m.Warnings {
		fmt.Fprintln(c.err, w)
	}
	if len(m.Ignored) == 0 {
		return m, nil
	}
	lines := make([]string, len(m.Ignored))
	for i, ignored := range m.Ignored {
		lines[i] = "  " + ignored.String()
	}
	text := strings.Join(lines, "\n")
	if c.flags.yes("strict") {
		return nil, fmt.Errorf("the files have keys without effect, which --strict refuses:\n%s", text)
	}
	fmt.Fprintf(c.err, "Ignoring keys without effect:\n%s\n\n", text)
	return m, nil
}

func stackConfig(ctx context.Context, c *call) error {
	if c.flags.yes("skip-interpolation") {
		in, err := c.composeInput("")
		if err != nil {
			return err
		}
		text, err := stack.Merged(ctx, in)
		if err != nil {
			return err
		}
		_, err = c.out.Write(text)
		return err
	}
	m, err := c.loadStack(ctx, "")
	if err != nil {
		return err
	}
	text, err := m.YAML()
	if err != nil {
		return err
	}
	_, err = c.out.Write(text)
	return err
}
