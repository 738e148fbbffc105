package cli

import (
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/urfave/cli/v2"
)

// usageLine is "swarmctl node rm [OPTIONS] NODE [NODE...]".
func usageLine(path []string, c *cli.Command) string {
	words := strings.Join(append([]string{progName}, path...), " ")
	switch {
	case c == nil:
		return words + " [OPTIONS] COMMAND"
	case len(c.Subcommands) > 0:
		return words + " COMMAND"
	case len(c.Flags) > 0:
		words += " [OPTIONS]"
	}
	return strings.TrimSpace(words + " " + c.ArgsUsage)
}

// usageLines ends every message about a wrong command line.
func usageLines(path []string, c *cli.Command, see string) string {
	words := strings.Join(append([]string{progName}, path...), " ")
	return fmt.Sprintf("\nUsage:  %s\n\n%s '%s --help' for more information", usageLine(path, c), see, words)
}

// printHelp writes a command's help in Docker's layout.
func printHelp(w io.Writer, app *cli.App, path []string, c *cli.Command) {
	usage, commands, flags := app.Usage, app.Commands, app.Flags
	if c != nil {
		usage, commands, flags = c.Usage, c.Subcommands, c.Flags
	}
	fmt.Fprintf(w, "Usage:  %s\n\n%s\n", usageLine(path, c), usage)
	if c == nil {
		fmt.Fprint(w, firstSteps)
	}
	if c != nil && len(c.Aliases) > 0 {
		parent := strings.Join(append([]string{progName}, path[:len(path)-1]...), " ")
		var names []string
		for _, n := range c.Names() {
			names = append(names, parent+" "+n)
		}
		fmt.Fprintf(w, "\nAliases:\n  %s\n", strings.Join(names, ", "))
	}
	if c != nil && c.Description != "" {
		fmt.Fprintf(w, "\n%s\n", c.Description)
	}
	printCommands(w, commands)
	if len(flags) > 0 {
		title := "Options"
		if c == nil {
			title = "Global Options"
		}
		fmt.Fprintf(w, "\n%s:\n", title)
		printFlags(w, flags)
	}
	if len(commands) > 0 {
		fmt.Fprintf(w, "\nRun '%s COMMAND --help' for more information on a command.\n", strings.Join(append([]string{progName}, path...), " "))
	}
}

// firstSteps is what somebody who has never used the program types first.
const firstSteps = `
First steps:
  swarmctl init                                           on the first host; it says what to type on the others
  swarmctl service create --name web --replicas 3 IMAGE   from then on, on any manager
  swarmctl service ps web                                 shows where the replicas run
`

// clusterCommand marks the commands by which a host comes and goes.
const clusterCommand = "cluster"

// groups are the headings that commands are shown under, as Docker's CLI does.
var groups = []struct {
	title string
	has   func(*cli.Command) bool
}{
	{"Cluster Commands", func(c *cli.Command) bool { return c.Category == clusterCommand }},
	{"Management Commands", func(c *cli.Command) bool { return len(c.Subcommands) > 0 }},
	{"Commands", func(c *cli.Command) bool { return c.Category != clusterCommand && len(c.Subcommands) == 0 }},
}

func printCommands(w io.Writer, commands []*cli.Command) {
	wide := 0
	for _, c := range commands {
		wide = max(wide, len(c.Name))
	}
	sorted := append([]*cli.Command(nil), commands...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Name < sorted[j].Name })
	for _, g := range groups {
		title := "\n" + g.title + ":\n"
		for _, c := range sorted {
			if g.has(c) {
				fmt.Fprintf(w, "%s  %-*s   %s\n", title, wide, c.Name, c.Usage)
				title = ""
			}
		}
	}
}

func printFlags(w io.Writer, flags []cli.Flag) {
	wide := 0
	for _, f := range flags {
		wide = max(wide, len(f.String()))
	}
	sorted := append([]cli.Flag(nil), flags...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Names()[0] < sorted[j].Names()[0] })
	for _, f := range sorted {
		o := f.(*opt)
		text := o.usage
		if o.def != "" {
			text += " (default " + o.def + ")"
		}
		if o.env != "" {
			text += " [$" + o.env + "]"
		}
		text = strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", wide+3))
		fmt.Fprintf(w, "%-*s   %s\n", wide, o.String(), text)
	}
}
