package expand

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

// MaxExpanded bounds what all templates of a spec make together. It is far more
// than the kernel lets a process be given.
const MaxExpanded = 1 << 20

// maxFormat bounds a format of printf, each of whose verbs may be a megabyte wide.
const maxFormat = 256

// limits keeps templates small and short: they come from whoever creates
// services, and run in the worker of every node. So what text/template lends
// them is counted, and what repeats itself is refused.
type limits struct{ left int }

var errTooMuch = fmt.Errorf("templates of one service may make %d KiB together, and these make more", MaxExpanded>>10)

// spend counts what has been made.
func (l *limits) spend(s string) (string, error) {
	if l.left -= len(s); l.left < 0 {
		return "", errTooMuch
	}
	return s, nil
}

// funcs are the functions of templates: Docker Swarm's join, and those of
// text/template that make text.
func (l *limits) funcs() template.FuncMap {
	counted := func(f func(...any) string) func(...any) (string, error) {
		return func(args ...any) (string, error) { return l.spend(f(args...)) }
	}
	return template.FuncMap{
		"join":     func(sep string, parts ...string) (string, error) { return l.spend(strings.Join(parts, sep)) },
		"print":    counted(fmt.Sprint),
		"println":  counted(fmt.Sprintln),
		"html":     counted(template.HTMLEscaper),
		"js":       counted(template.JSEscaper),
		"urlquery": counted(template.URLQueryEscaper),
		"printf": func(format string, args ...any) (string, error) {
			if len(format) > maxFormat {
				return "", fmt.Errorf("the format is longer than %d characters", maxFormat)
			}
			return l.spend(fmt.Sprintf(format, args...))
		},
	}
}

var errRepeats = errors.New("neither range nor template can be used here")

// render expands one template.
func (l *limits) render(text string, data any) (string, error) {
	return l.renderWith(text, data, nil)
}

func (l *limits) renderWith(text string, data any, more template.FuncMap) (string, error) {
	t, err := l.parse(text, more)
	if err != nil {
		return "", err
	}
	out := &counter{limits: l}
	err = t.Execute(out, data)
	return out.String(), err
}

func (l *limits) parse(text string, more template.FuncMap) (*template.Template, error) {
	t, err := template.New("expansion").Option("missingkey=error").Funcs(l.funcs()).Funcs(more).Parse(text)
	if err != nil {
		return nil, err
	}
	if t.Tree != nil && repeats(t.Root) {
		return nil, errRepeats
	}
	return t, nil
}

// counter is a strings.Builder within limits.
type counter struct {
	strings.Builder
	limits *limits
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	if _, err := c.limits.spend(string(p)); err != nil {
		return 0, err
	}
	return c.Builder.Write(p)
}

// repeats reports whether a part of a template may run more than once.
func repeats(n parse.Node) bool {
	switch n := n.(type) {
	case *parse.RangeNode, *parse.TemplateNode:
		return true
	case *parse.IfNode:
		return repeats(n.List) || repeats(n.ElseList)
	case *parse.WithNode:
		return repeats(n.List) || repeats(n.ElseList)
	case *parse.ListNode:
		return n != nil && slices.ContainsFunc(n.Nodes, repeats)
	}
	return false
}
