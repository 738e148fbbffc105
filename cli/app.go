package cli

import (
	"fmt"
	"io"
	"net/url"

	"github.com/docker/docker/api/types/filters"
	"github.com/urfave/cli/v2"
)

// commands is the whole command line.
func (a App) commands(s *streams) *cli.App {
	app := &cli.App{
		Name: progName, HelpName: progName, Version: a.Version,
		Usage:    "Runs containers on a cluster of Docker hosts and keeps them running",
		HideHelp: true, HideHelpCommand: true, HideVersion: true,
		DisableSliceFlagSeparator: true,
		Writer:                    s.out, ErrWriter: s.err, Reader: s.in,
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   func(_ *cli.Context, err error, _ bool) error { return err },
	}
	app.Flags = []cli.Flag{
		&opt{name: "socket", short: "H", kind: stringKind, env: socketEnv, def: defaultSocket, usage: "The daemon's socket: unix:///path or tcp://host:port"},
		&opt{name: "version", short: "v", kind: boolKind, usage: "Print version information and quit"},
	}
	app.Action = func(c *cli.Context) error {
		if givenTo(c).yes("version") {
			fmt.Fprintf(s.out, "%s version %s\n", progName, a.Version)
			return nil
		}
		printHelp(s.out, app, nil, nil)
		return nil
	}
	for _, v := range swarmVerbs() {
		c := a.command(s, v)
		c.Category = clusterCommand
		app.Commands = append(app.Commands, c)
	}
	app.Commands = append(app.Commands,
		a.noun(s, "swarm", "The cluster commands, spelled as in Docker's CLI", swarmVerbs()),
		a.noun(s, "node", "Manage nodes", nodeVerbs()),
		a.noun(s, "service", "Manage services", serviceVerbs()),
		a.noun(s, "stack", "Manage stacks", stackVerbs()),
		a.noun(s, "secret", "Manage secrets", secretVerbs()),
		a.noun(s, "config", "Manage configs", configVerbs()),
		a.noun(s, "network", "Manage networks", networkVerbs()),
		a.noun(s, "registry", "Manage the cluster's credentials for registries of images", registryVerbs()),
		a.noun(s, "task", "Ask about single tasks", taskVerbs()),
		a.noun(s, "volume", "Manage the volumes of all nodes", volumeVerbs()),
		a.command(s, infoVerb()), a.command(s, versionVerb()), a.command(s, daemonVerb()), a.command(s, completionVerb()), a.command(s, eventsVerb()))
	return app
}

// noun groups verbs.
func (a App) noun(s *streams, name, usage string, verbs []verb) *cli.Command {
	n := &cli.Command{Name: name, Usage: usage, HideHelp: true, HideHelpCommand: true}
	for _, v := range verbs {
		n.Subcommands = append(n.Subcommands, a.command(s, v, name))
	}
	return n
}

// filters turns -f flags into the API's.
func (c *call) filters() filters.Args {
	args := filters.NewArgs()
	for _, f := range all[[2]string](c.flags, "filter") {
		args.Add(f[0], f[1])
	}
	return args
}

// filtered is a path's query with filters, as the API takes them.
func filtered(f filters.Args) url.Values {
	q := url.Values{}
	if text, err := filters.ToJSON(f); err == nil && text != "" {
		q.Set("filters", text)
	}
	return q
}

// warn prints the API's warnings where they do not disturb the data.
func warn(w io.Writer, warnings []string) {
	for _, s := range warnings {
		fmt.Fprintln(w, s)
	}
}
