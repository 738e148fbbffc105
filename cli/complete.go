package cli

import (
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// candidate is a word that may stand where the cursor is.
type candidate struct{ value, help string }

// wantFiles is the answer that leaves it to the shell to offer files.
var wantFiles = []candidate{{value: ":files"}}

// names looks live objects up: those of a kind such as SERVICE.
type names func(kind string) []candidate

// place is where on a command line a word is to be completed.
type place struct {
	line
	word  string            // what of the word is there
	stem  string            // "--filter=", where the flag is in the same word
	flag  *opt              // the flag whose value it is, or nil
	given map[string]string // the flags before it, each with its last value
	ended bool              // no flag can stand here any more
	lost  bool              // something before it makes no sense
}

// locate reads the words before the cursor as normalise does, but forgives
// what is not complete or not right yet.
func locate(app *cli.App, words []string) *place {
	p := &place{given: map[string]string{}}
	before, word := words[:len(words)-1], words[len(words)-1]
	for i := 0; i < len(before) && !p.lost; i++ {
		arg := before[i]
		switch {
		case !p.ended && arg == "--":
			p.ended = true
		case !p.ended && len(arg) > 1 && arg[0] == '-':
			o := p.expects(app, arg)
			if o != nil && i+1 == len(before) {
				p.flag = o
			} else if o != nil {
				i++
				p.given[o.name] = before[i]
			}
		case p.atVerb():
			p.args = append(p.args, arg)
			p.ended = p.ended || p.command.Category == takesRest
		default:
			p.lost = p.descend(app, arg) != nil
		}
	}
	p.word = word
	if name, value, ok := strings.Cut(word, "="); ok && p.flag == nil && !p.ended && strings.HasPrefix(name, "--") {
		p.flag, _ = p.find(app, func(o *opt) bool { return o.name == name[2:] })
		p.stem, p.word = name+"=", value
		p.lost = p.lost || p.flag == nil
	}
	return p
}

// atVerb reports whether the command is complete: what follows are its arguments.
func (p *place) atVerb() bool { return p.command != nil && len(p.command.Subcommands) == 0 }

// expects notes the flags of a word, and returns the one whose value is the
// next word, if there is one.
func (p *place) expects(app *cli.App, arg string) *opt {
	if name, long := strings.CutPrefix(arg, "--"); long {
		name, value, attached := strings.Cut(name, "=")
		o, _ := p.find(app, func(o *opt) bool { return o.name == name })
		if o == nil {
			return nil
		}
		p.given[o.name] = value
		if attached || o.kind.isBool() {
			return nil
		}
		return o
	}
	for i := 1; i < len(arg); i++ {
		o, _ := p.find(app, func(o *opt) bool { return o.short == arg[i:i+1] })
		if o == nil {
			return nil
		}
		p.given[o.name] = strings.TrimPrefix(arg[i+1:], "=")
		switch {
		case o.kind.isBool():
		case i+1 < len(arg):
			return nil
		default:
			return o
		}
	}
	return nil
}

// complete returns what may stand at a place.
func (p *place) complete(app *cli.App, live names) []candidate {
	var all []candidate
	switch {
	case p.lost:
		return nil
	case p.flag != nil:
		all = p.flagValues(live)
	case !p.ended && strings.HasPrefix(p.word, "-"):
		all = p.flagNames(app)
	case !p.atVerb():
		all = p.commandNames(app)
	default:
		all = p.argValues(live)
	}
	if len(all) > 0 && all[0] == wantFiles[0] {
		return wantFiles
	}
	var fit []candidate
	for _, c := range all {
		if strings.HasPrefix(c.value, p.word) && !slices.Contains(p.args, c.value) {
			fit = append(fit, candidate{p.stem + c.value, c.help})
		}
	}
	slices.SortFunc(fit, func(a, b candidate) int { return naturalCompare(a.value, b.value) })
	return slices.CompactFunc(fit, func(a, b candidate) bool { return a.value == b.value })
}

func (p *place) commandNames(app *cli.App) (out []candidate) {
	commands := app.Commands
	if p.command != nil {
		commands = p.command.Subcommands
	}
	for _, c := range commands {
		out = append(out, candidate{c.Name, c.Usage})
	}
	return out
}

func (p *place) flagNames(app *cli.App) (out []candidate) {
	flags := app.Flags
	if p.command != nil {
		flags = append(slices.Clone(p.command.Flags), flags...)
	}
	for _, f := range flags {
		o := f.(*opt)
		if _, there := p.given[o.name]; !there || o.kind.many {
			help, _, _ := strings.Cut(o.usage, "\n")
			out = append(out, candidate{"--" + o.name, help})
		}
	}
	return append(out, candidate{"--help", "Print usage"})
}

// flagValues are the values that are known of a flag: from the table, or as
// its help lists them.
func (p *place) flagValues(live names) []candidate {
	switch name := p.flag.name; name {
	case "filter":
		return p.filters(live)
	case "format":
		return plain(formats(p.flag.usage)...)
	case "env-file", "compose-file", "socket", "state-dir", "ca-cert", "ca-key":
		return wantFiles
	case "node", "from", "to":
		return live("NODE")
	default:
		if kind, ok := liveFlags[strings.TrimSuffix(strings.TrimSuffix(name, "-add"), "-rm")]; ok {
			return live(kind)
		}
		if known, ok := knownValues[strings.TrimSuffix(strings.TrimSuffix(name, "-add"), "-rm")]; ok {
			return plain(known...)
		}
	}
	return plain(choices(p.flag.usage)...)
}

// liveFlags are the flags whose values are objects of the cluster.
var liveFlags = map[string]string{"network": "NETWORK", "secret": "SECRET", "config": "CONFIG", "image": "IMAGE"}

// knownValues are the flags whose values, or beginnings of values, Docker knows.
var knownValues = map[string][]string{
	"constraint":     {"node.id==", "node.hostname==", "node.role==manager", "node.role==worker", "node.ip==", "node.platform.os==", "node.platform.arch==", "node.labels.", "engine.labels.", "service.name=="},
	"placement-pref": {"spread=node.labels.", "spread=engine.labels.", "spread=node.hostname", "spread=node.id"},
	"log-driver":     {"fluentd", "gelf", "journald", "json-file", "local", "none", "syslog"},
	"isolation":      {"default", "hyperv", "process"},
	"stop-signal":    {"SIGHUP", "SIGINT", "SIGKILL", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2"},
	"update-canary":  {"1", "10%", "100%"},
	"mount":          {"type=bind,", "type=tmpfs,", "type=volume,"},
	"cap":            capabilityNames,
	"cap-drop":       capabilityNames,
	"driver":         {"bridge", "host", "ipvlan", "macvlan", "none", "overlay"},
	"scope":          {"local", "swarm"},
	"since":          {"10m", "1h", "24h"},
	"until":          {"10m", "1h", "24h"},
	"tail":           {"10", "100", "1000", "all"},
}

var capabilityNames = []string{
	"ALL", "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD", "CAP_NET_ADMIN",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_ADMIN", "CAP_SYS_CHROOT",
	"CAP_SYS_NICE", "CAP_SYS_PTRACE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
}

var quoted = regexp.MustCompile(`"([a-z][a-z-]*)"`)

// choices are the values that a flag's help names, as in ("worker", "manager").
func choices(usage string) (out []string) {
	for _, m := range quoted.FindAllStringSubmatch(usage, -1) {
		out = append(out, m[1])
	}
	if len(out) < 2 {
		return nil // one alone is an example
	}
	return out
}

var formatName = regexp.MustCompile(`'([a-z]+)'`)

// formats are the formats that have a name, as help lists them: 'json', 'table'.
func formats(usage string) (out []string) {
	for _, m := range formatName.FindAllStringSubmatch(usage, -1) {
		out = append(out, m[1])
	}
	return out
}

func plain(values ...string) (out []candidate) {
	for _, v := range values {
		out = append(out, candidate{value: v})
	}
	return out
}

// filterKeys are the filters of each list, as the API takes them.
var filterKeys = map[string][]string{
	"node ls":        {"id", "label", "membership", "name", "node.label", "role"},
	"node ps":        {"desired-state", "id", "label", "name"},
	"service ls":     {"id", "label", "mode", "name"},
	"stack services": {"id", "label", "mode", "name"},
	"service ps":     {"desired-state", "id", "name", "node"},
	"stack ps":       {"desired-state", "id", "name", "node"},
	"secret ls":      {"id", "label", "name"},
	"config ls":      {"id", "label", "name"},
	"volume ls":      {"dangling", "driver", "label", "name", "node"},
	"network ls":     {"dangling", "driver", "id", "label", "name", "scope", "type"},
	"events":         {"config", "container", "event", "image", "label", "network", "node", "scope", "secret", "service", "task", "type", "volume"},
}

// filterValues are those of filters with few of them.
var filterValues = map[string][]string{
	"role": {"manager", "worker"}, "membership": {"accepted", "pending"}, "mode": {"global", "global-job", "replicated", "replicated-job"},
	"desired-state": {"accepted", "ready", "running", "shutdown"}, "scope": {"local", "swarm"},
	"type":  {"builder", "config", "container", "daemon", "image", "network", "node", "plugin", "secret", "service", "task", "volume"},
	"event": {"create", "die", "health_status", "kill", "oom", "pull", "remove", "restart", "start", "stop", "update"},
}

func (p *place) filters(live names) (out []candidate) {
	words := strings.Join(p.path, " ")
	key, _, chosen := strings.Cut(p.word, "=")
	if !chosen {
		for _, k := range filterKeys[words] {
			out = append(out, candidate{value: k + "="})
		}
		return out
	}
	values := plain(filterValues[key]...)
	switch {
	case key == "name" && len(p.path) > 1:
		values = live(strings.ToUpper(p.path[0]))
	case key == "node", key == "service", key == "secret", key == "config", key == "network":
		values = live(strings.ToUpper(key))
	}
	for _, v := range values {
		out = append(out, candidate{key + "=" + v.value, v.help})
	}
	return out
}

// argValues are what the command's usage says that an argument is: SERVICE,
// NODE and their like are looked up, words in lower case stand for themselves.
func (p *place) argValues(live names) (out []candidate) {
	for _, kind := range strings.Split(argKind(p.command.ArgsUsage, len(p.args)), "|") {
		object, _, assigned := strings.Cut(kind, "=")
		switch {
		case kind == "":
		case kind == "file":
			return wantFiles
		case len(p.path) == 2 && p.path[1] == "create" && kind == strings.ToUpper(p.path[0]):
			return nil // a name that is new
		case kind == strings.ToLower(kind):
			out = append(out, candidate{value: kind})
		case assigned:
			for _, c := range live(object) {
				if word := c.value + "="; word != p.word {
					out = append(out, candidate{word, c.help})
				}
			}
		default:
			out = append(out, live(kind)...)
		}
	}
	return out
}

// argKind is the i-th argument of a usage such as "SERVICE [SERVICE...]"; the
// last one may stand for any number.
func argKind(usage string, i int) string {
	fields := slices.DeleteFunc(strings.Fields(usage), func(f string) bool { return f == "[--]" })
	if len(fields) == 0 {
		return ""
	}
	last := fields[len(fields)-1]
	if i >= len(fields) {
		if !strings.Contains(last, "...") {
			return ""
		}
		i = len(fields) - 1
	}
	return strings.Trim(strings.ReplaceAll(fields[i], "...", ""), "[]()")
}
