package cli

import (
	"flag"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

// opt is one flag as Docker's CLI knows it. It is a cli.Flag whose values are
// parsed by its kind; the normaliser resolves the short form before urfave/cli
// sees it, so that one name is enough there.
type opt struct {
	name  string
	short string // one letter, or empty
	kind  kind
	usage string
	def   string // the default as help shows it; the code that reads the flag applies it
	env   string // environment variable that stands in for the flag, or empty
}

var _ cli.Flag = (*opt)(nil)

// Apply registers the flag, with the environment's value where it has one.
func (o *opt) Apply(set *flag.FlagSet) error {
	h := &held{kind: o.kind}
	set.Var(h, o.name, o.usage)
	if o.env == "" {
		return nil
	}
	if v, ok := os.LookupEnv(o.env); ok && v != "" {
		if err := h.Set(v); err != nil {
			return &badFlag{msg: "invalid value " + strquote(v) + " in environment variable " + o.env + ": " + err.Error()}
		}
	}
	return nil
}

// Names returns the flag's one name.
func (o *opt) Names() []string { return []string{o.name} }

// IsSet is answered by given, not by the flag.
func (o *opt) IsSet() bool { return false }

// String returns the flag's line in help, without its usage.
func (o *opt) String() string {
	s := "      --" + o.name
	if o.short != "" {
		s = "  -" + o.short + ", --" + o.name
	}
	if o.kind.name != "" {
		s += " " + o.kind.name
	}
	return s
}

// spelling is how error messages name the flag: "-q, --quiet" or "--quiet".
func (o *opt) spelling() string {
	if o.short != "" {
		return "-" + o.short + ", --" + o.name
	}
	return "--" + o.name
}

// held keeps a flag's parsed values.
type held struct {
	kind   kind
	values []any
}

// Set parses one value; a flag that is not a list keeps the last one.
func (h *held) Set(s string) error {
	v, err := h.kind.parse(s)
	if err != nil {
		return err
	}
	if !h.kind.many {
		h.values = h.values[:0]
	}
	h.values = append(h.values, v)
	return nil
}

// Get returns the values as []any.
func (h *held) Get() any { return h.values }

// String is empty: nothing reads it.
func (h *held) String() string { return "" }

// IsBoolFlag tells the flag package that --flag alone is --flag=true.
func (h *held) IsBoolFlag() bool { return h.kind.isBool() }

// given is what the user gave: the parsed values of each flag, in order.
// A flag that was not given is not in it.
type given map[string][]any

// givenTo reads the flags of the command that runs.
func givenTo(c *cli.Context) given {
	g := given{}
	for _, f := range append(c.Command.Flags, c.App.Flags...) {
		name := f.Names()[0]
		if v, ok := c.Value(name).([]any); ok && len(v) > 0 {
			g[name] = v
		}
	}
	return g
}

// has reports whether any of the flags was given.
func (g given) has(names ...string) bool {
	for _, n := range names {
		if len(g[n]) > 0 {
			return true
		}
	}
	return false
}

// str, yes and strs read the commonest kinds.
func (g given) str(name string) string    { return one(g, name, "") }
func (g given) yes(name string) bool      { return one(g, name, false) }
func (g given) strs(name string) []string { return all[string](g, name) }

// one returns a flag's value, or def where it was not given.
func one[T any](g given, name string, def T) T {
	if v := g[name]; len(v) > 0 {
		return v[len(v)-1].(T)
	}
	return def
}

// ptr returns a pointer to a flag's value, or nil where it was not given.
func ptr[T any](g given, name string) *T {
	if !g.has(name) {
		return nil
	}
	v := one(g, name, *new(T))
	return &v
}

// all returns every value of a flag that may be repeated.
func all[T any](g given, name string) []T {
	var out []T
	for _, v := range g[name] {
		out = append(out, v.(T))
	}
	return out
}

// put overwrites *to where the flag was given.
func put[T any](g given, name string, to *T) {
	if g.has(name) {
		*to = one(g, name, *to)
	}
}

// putPtr is put for optional fields.
func putPtr[T any](g given, name string, to **T) {
	if p := ptr[T](g, name); p != nil {
		*to = p
	}
}

// set is a set of the strings given to a flag, mostly one that removes.
func (g given) set(name string) map[string]bool {
	m := map[string]bool{}
	for _, s := range g.strs(name) {
		m[s] = true
	}
	return m
}

// pairs turns key=value strings into a map; a key alone has an empty value.
func pairs(list []string) map[string]string {
	m := make(map[string]string, len(list))
	for _, s := range list {
		k, v, _ := strings.Cut(s, "=")
		m[k] = v
	}
	return m
}
