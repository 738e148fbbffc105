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
			detachFlag(), &opt{name: "dry-run", kind: boolKind, usage: "Show what would be created, changed and removed, and do nothing"},
			&opt{name: "prune", kind: boolKind, usage: "Prune services that are no longer referenced"}, quietFlag("Suppress progress output"),
			&opt{name: "resolve-image", kind: resolveKind, def: `"always"`, usage: `Query the registry to resolve image digest and supported platforms ("always", "changed", "never")`},
			timeoutFlag(), &opt{name: "with-registry-auth", kind: boolKind, usage: "Send registry authentication details to the nodes"})},
		{name: "ls", aliases: []string{"list"}, usage: "List stacks", do: stackList, flags: []*opt{formatFlag("")}},
		{name: "ps", args: "STACK", usage: "List the tasks in the stack", min: 1, max: 1, do: stackPs, flags: taskFlags()},
		{name: "rm", aliases: []string{"remove", "down"}, args: "STACK [STACK...]", usage: "Remove one or more stacks", min: 1, max: -1, do: stackRemove, flags: []*opt{
			{name: "detach", short: "d", kind: boolKind, usage: "Do not wait for stack removal"}, timeoutFlag(),
		}},
		{name: "services", args: "STACK", usage: "List the services in the stack", min: 1, max: 1, do: stackServices, flags: []*opt{filterFlag(), formatFlag(""), quietFlag("Only display IDs")}},
	}
}

const deployHelp = `Everything is checked before the first change. Waits until the services have
converged; exit codes are those of "service update". What a file has that means
nothing in a cluster is named; --strict refuses it.`

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
