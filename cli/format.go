package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"
)

// Flags that every list has.
func filterFlag() *opt {
	return &opt{name: "filter", short: "f", kind: filterKind, usage: "Filter output based on conditions provided"}
}

func quietFlag(usage string) *opt {
	return &opt{name: "quiet", short: "q", kind: boolKind, usage: usage}
}

func formatFlag(short string) *opt {
	return &opt{name: "format", short: short, kind: stringKind, usage: "Format output using a custom template:\n" +
		"'table':            Print output in table format with column headers (default)\n" +
		"'table TEMPLATE':   Print output in table format using the given Go template\n" +
		"'json':             Print in JSON format\n" +
		"'TEMPLATE':         Print output using the given Go template"}
}

// templateFuncs are the functions Docker offers to templates.
var templateFuncs = template.FuncMap{
	"json": func(v any) (string, error) {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		err := enc.Encode(v)
		return strings.TrimSpace(b.String()), err
	},
	"split": strings.Split,
	"join":  strings.Join,
	"title": titled,
	"lower": strings.ToLower,
	"upper": strings.ToUpper,
	"pad": func(s string, left, right int) string {
		return strings.Repeat(" ", left) + s + strings.Repeat(" ", right)
	},
	"truncate": func(s string, n int) string { return s[:min(n, len(s))] },
}

// headerFuncs stand in for them while a table's header is rendered.
var headerFuncs = template.FuncMap{
	"json":     func(s string) string { return s },
	"split":    func(s, _ string) string { return s },
	"join":     func(s, _ string) string { return s },
	"title":    func(s string) string { return s },
	"lower":    func(s string) string { return s },
	"truncate": func(s string, _ int) string { return s },
}

// listing is a list to print. Rows are structs whose fields are what templates
// may name, declared in alphabetical order, which is how json prints them.
type listing struct {
	rows    []any
	headers map[string]string // column heads by field
	table   string            // the template of the standard table
	raw     string            // the template of --format raw
	quietly string            // the template with -q
}

// labelled gives a row Docker's {{.Label "key"}}.
type labelled map[string]string

// Label is the value of a label, or empty.
func (l labelled) Label(key string) string { return l[key] }

// joinLabels is the LABELS column.
func joinLabels(labels map[string]string) string {
	list := make([]string, 0, len(labels))
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, k+"="+labels[k])
	}
	return strings.Join(list, ",")
}

// heads are a table's column heads by field.
type heads map[string]string

// Label is the head of a label's column: the last part of its key.
func (heads) Label(key string) string {
	return strings.NewReplacer("-", " ", "_", " ").Replace(key[strings.LastIndex(key, ".")+1:])
}

// print writes the list as --format and -q ask.
func (c *call) print(l listing) error {
	format := c.flags.str("format")
	if (format == "" || format == "table") && c.flags.yes("quiet") {
		format = l.quietly
	}
	if format == "" || format == "table" {
		format = "table " + l.table
	}
	isTable := false
	switch {
	case format == "raw" && c.flags.yes("quiet"):
		format, _, _ = strings.Cut(l.raw, `\n`) // its first line is the ID
	case format == "raw":
		format = l.raw
	case format == "json":
		format = "{{json .}}"
	case strings.HasPrefix(format, "table"):
		isTable = true
		format = strings.TrimPrefix(format, "table")
	}
	format = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(strings.Trim(format, " "))
	return writeRows(c.out, l, format, isTable)
}

// writeRows renders everything before it writes anything, so that a template
// that fails prints no half list.
func writeRows(w io.Writer, l listing, format string, isTable bool) error {
	tmpl, err := template.New("").Funcs(templateFuncs).Parse(format)
	if err != nil {
		return fmt.Errorf("template parsing error: %w", err)
	}
	var body bytes.Buffer
	for _, row := range l.rows {
		if err := tmpl.Execute(&body, row); err != nil {
			return fmt.Errorf("template parsing error: %w", err)
		}
		body.WriteByte('\n')
	}
	if !isTable {
		_, err := body.WriteTo(w)
		return err
	}
	tabs := tabwriter.NewWriter(w, 10, 1, 3, ' ', 0)
	head, err := tmpl.Clone()
	if err != nil {
		return err
	}
	var header bytes.Buffer
	if err := head.Funcs(headerFuncs).Execute(&header, heads(l.headers)); err != nil {
		return fmt.Errorf("template parsing error: %w", err)
	}
	fmt.Fprintln(tabs, header.String())
	if _, err := body.WriteTo(tabs); err != nil {
		return err
	}
	return tabs.Flush()
}

// printOne writes one object by a template, as info and version do.
func printOne(w io.Writer, format string, v any) error {
	if format == "json" {
		format = "{{json .}}"
	}
	tmpl, err := template.New("").Funcs(templateFuncs).Parse(format)
	if err != nil {
		return &exitError{code: 64, msg: "template parsing error: " + err.Error()}
	}
	var b bytes.Buffer
	if err := tmpl.Execute(&b, v); err != nil {
		return &exitError{code: exitFailure, msg: "template parsing error: " + err.Error()}
	}
	_, err = fmt.Fprintln(w, b.String())
	return err
}

// titled upper-cases the first letter of every word.
func titled(s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		if w != "" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, " ")
}

// pretty is how Docker shows a state: lower case, the first letter upper.
func pretty(v any) string {
	s := fmt.Sprint(v)
	if reflect.ValueOf(v).Kind() == reflect.String {
		s = reflect.ValueOf(v).String()
	}
	return titled(strings.ToLower(s))
}

const shortIDLength = 12

// shortID cuts an ID to the length people see.
func shortID(id string) string {
	if _, rest, ok := strings.Cut(id, ":"); ok {
		id = rest
	}
	return id[:min(shortIDLength, len(id))]
}

// ellipsis shortens text to n characters, the last being an ellipsis.
func ellipsis(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
