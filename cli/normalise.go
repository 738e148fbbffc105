package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/swarmctl/swarmctl/api/edit"
)

// line is a command line in the one order urfave/cli understands: global
// flags, the words of the command, its flags, "--", its arguments.
type line struct {
	command *cli.Command // the command that was named; nil for swarmctl itself
	path    []string     // its words
	help    bool         // help was asked for
	global  []string
	flags   []string
	args    []string
}

// argv puts the line together for urfave/cli.
func (l *line) argv() []string {
	out := append([]string{progName}, l.global...)
	out = append(out, l.path...)
	if l.command == nil || len(l.command.Subcommands) > 0 {
		return out
	}
	out = append(out, l.flags...)
	return append(append(out, "--"), l.args...)
}

// takesRest marks a command whose arguments end its flags: everything after
// the first one belongs to the container's command.
const takesRest = "rest"

// normalise reads args (without the program's name) the way Docker's CLI
// does: flags before or after arguments, short flags combined (-qf x), with
// their value attached (-p80:80) or apart, "--" ending them. Values are
// checked here, so that a wrong one is reported in Docker's words.
func normalise(app *cli.App, args []string) (*line, error) {
	l := &line{}
	flagsEnded := false
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if !flagsEnded && len(arg) > 1 && arg[0] == '-' {
			if arg == "--" {
				flagsEnded = true
				continue
			}
			used, err := l.flag(app, arg, args[i+1:])
			if err != nil {
				return l, err
			}
			i += used
			continue
		}
		if l.command == nil || len(l.command.Subcommands) > 0 {
			if arg == "help" {
				l.help = true
				continue
			}
			if err := l.descend(app, arg); err != nil {
				return l, err
			}
			continue
		}
		l.args = append(l.args, arg)
		if l.command.Category == takesRest {
			flagsEnded = true
		}
	}
	return l, nil
}

// descend takes the next word of the command.
func (l *line) descend(app *cli.App, word string) error {
	commands := app.Commands
	if l.command != nil {
		commands = l.command.Subcommands
	}
	for _, c := range commands {
		if c.HasName(word) {
			l.command = c
			l.path = append(l.path, c.Name)
			return nil
		}
	}
	return l.unknownCommand(word, commands)
}

// unknownCommand words the refusal, with the likeliest command that exists.
func (l *line) unknownCommand(word string, commands []*cli.Command) error {
	at := strings.Join(append([]string{progName}, l.path...), " ")
	msg := fmt.Sprintf("%s: unknown command: %s %s\n", progName, at, word)
	if near := nearest(word, commands); near != "" {
		msg += fmt.Sprintf("\nDid you mean '%s %s'?\n", at, near)
	}
	if l.command != nil {
		msg += fmt.Sprintf("\nUsage:  %s\n", at)
	}
	return &exitError{code: 1, msg: msg + fmt.Sprintf("\nRun '%s --help' for more information", at)}
}

// nearest returns the command at the smallest edit distance, if it is near.
func nearest(word string, commands []*cli.Command) string {
	const furthest = 2
	best, at := "", furthest+1
	for _, c := range commands {
		for _, name := range c.Names() {
			d := edit.Distance(word, name, furthest)
			if strings.HasPrefix(name, word) && len(word) > 1 {
				d = 0
			}
			if d < at && d < len(name) {
				best, at = c.Name, d
			}
		}
	}
	return best
}

// flag takes one argument that starts with a dash, and says how many of the
// following arguments it used up.
func (l *line) flag(app *cli.App, arg string, next []string) (used int, err error) {
	if !strings.HasPrefix(arg, "--") {
		return l.shortFlags(app, arg, next)
	}
	name, value, attached := strings.Cut(arg[2:], "=")
	if name == "help" {
		l.help = true
		return 0, nil
	}
	o, global := l.find(app, func(o *opt) bool { return o.name == name })
	switch {
	case o == nil:
		return 0, l.bad("unknown flag: --%s", name)
	case attached:
		return 0, l.add(o, global, value)
	case o.kind.isBool():
		return 0, l.add(o, global, "true")
	case len(next) == 0:
		return 0, l.bad("flag needs an argument: --%s", name)
	}
	return 1, l.add(o, global, next[0])
}

// shortFlags takes -q, -qf x, -p80:80, -p=80:80.
func (l *line) shortFlags(app *cli.App, arg string, next []string) (used int, err error) {
	for i := 1; i < len(arg); i++ {
		letter, rest := arg[i:i+1], arg[i+1:]
		o, global := l.find(app, func(o *opt) bool { return o.short == letter })
		switch {
		case o == nil && letter == "h":
			l.help = true
			continue
		case o == nil:
			return 0, l.bad("unknown shorthand flag: '%s' in %s", letter, arg)
		case o.kind.isBool() && strings.HasPrefix(rest, "="):
			return 0, l.add(o, global, rest[1:])
		case o.kind.isBool():
			if err := l.add(o, global, "true"); err != nil {
				return 0, err
			}
			continue
		case rest != "":
			return 0, l.add(o, global, strings.TrimPrefix(rest, "="))
		case len(next) == 0:
			return 0, l.bad("flag needs an argument: '%s' in %s", letter, arg)
		}
		return 1, l.add(o, global, next[0])
	}
	return 0, nil
}

// find looks a flag up in the command, then among the global ones.
func (l *line) find(app *cli.App, is func(*opt) bool) (o *opt, global bool) {
	if l.command != nil {
		for _, f := range l.command.Flags {
			if o := f.(*opt); is(o) {
				return o, false
			}
		}
	}
	for _, f := range app.Flags {
		if o := f.(*opt); is(o) {
			return o, true
		}
	}
	return nil, false
}

// add checks a value and keeps the flag in its long, attached form.
func (l *line) add(o *opt, global bool, value string) error {
	if _, err := o.kind.parse(value); err != nil {
		return l.bad("invalid argument %q for %q flag: %w", value, o.spelling(), err)
	}
	word := "--" + o.name + "=" + value
	if global {
		l.global = append(l.global, word)
	} else {
		l.flags = append(l.flags, word)
	}
	return nil
}

func (l *line) bad(format string, args ...any) error {
	return &badFlag{msg: fmt.Errorf(format, args...).Error(), usage: usageLines(l.path, l.command, "Run")}
}
