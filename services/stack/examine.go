package stack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/template"
	"go.yaml.in/yaml/v4"
)

// document is a Compose file as it is written, for what compose-go does not
// say: where something stands, and how large it gets.
type document struct {
	name string
	root *yaml.Node
}

type documents []document

// words are all keys and values of the files.
func (d documents) words() map[string]bool {
	words := map[string]bool{}
	var add func(*yaml.Node)
	add = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode {
			words[n.Value] = true
		}
		for _, c := range n.Content { // what an alias stands for is among them elsewhere
			add(c)
		}
	}
	for _, doc := range d {
		add(doc.root)
	}
	return words
}

// examine parses the files, and those that they include and extend, and
// refuses what does not parse, what is too large, or is not there.
func (in Input) examine() (documents, error) {
	x := &examiner{in: in, seen: map[string]bool{}}
	for _, f := range in.Files {
		if err := x.file(f.Name, f.Content, in.Dir, true); err != nil {
			return nil, err
		}
	}
	return x.docs, nil
}

type examiner struct {
	in   Input
	docs documents
	seen map[string]bool // the files that were named by others
}

// file examines one file; what it names is relative to dir. What is extended
// may extend in turn, but includes nothing.
func (x *examiner) file(name string, content []byte, dir string, includes bool) error {
	dec := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var root yaml.Node
		err := dec.Decode(&root)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return located(name, err)
		}
		w := weigher{done: map[*yaml.Node]int{}}
		if n := w.weigh(&root); n > maxNodes {
			return fmt.Errorf("%s: it has more than %d values, or an anchor that expands to them", name, maxNodes)
		}
		x.docs = append(x.docs, document{name, &root})
		if err := x.references(name, &root, dir, includes); err != nil {
			return err
		}
	}
}

var yamlError = regexp.MustCompile(`^(?:yaml: )?(?:(.*) at (?:line (\d+)(?:, column (\d+))?|<unknown position>): )?(?:line (\d+)(?:, column (\d+))?: )?(.*)$`)

// located puts file, line and column before what is wrong with a file.
func located(name string, err error) error {
	text := err.Error()
	m := yamlError.FindStringSubmatch(text)
	if m != nil && m[4] == "" {
		m[4], m[5] = m[2], m[3] // it is where its context is
	}
	if m == nil || m[4] == "" {
		return fmt.Errorf("%s: %s", name, strings.TrimPrefix(text, "yaml: "))
	}
	line, _ := strconv.Atoi(m[4])
	kind := fmt.Sprintf("%T", err)
	if strings.HasSuffix(kind, ".ParserError") {
		line++ // NB: the parser counts lines from 0, the scanner from 1
	}
	if m[5] == "" && (strings.HasSuffix(kind, ".ParserError") || strings.HasSuffix(kind, ".ScannerError")) {
		m[5] = "1" // neither says so
	}
	at := fmt.Sprintf("%s:%d", name, line)
	if m[5] != "" {
		at += ":" + m[5]
	}
	if m[1] != "" {
		return fmt.Errorf("%s: %s, %s", at, m[6], m[1])
	}
	return fmt.Errorf("%s: %s", at, m[6])
}

// weigher counts the values of a document with its anchors expanded.
type weigher struct{ done map[*yaml.Node]int }

func (w *weigher) weigh(n *yaml.Node) int {
	if n == nil {
		return 0
	}
	if size, ok := w.done[n]; ok {
		return size
	}
	w.done[n] = maxNodes + 1 // what contains itself never ends
	size := 1 + w.weigh(n.Alias)
	for _, c := range n.Content {
		if size += w.weigh(c); size > maxNodes {
			size = maxNodes + 1
			break
		}
	}
	w.done[n] = size
	return size
}

// references examines the files that a file names.
func (x *examiner) references(name string, root *yaml.Node, dir string, includes bool) error {
	if list := child(root, "include"); list != nil && includes {
		for _, entry := range resolved(list).Content {
			if err := x.include(name, entry, dir); err != nil {
				return err
			}
		}
	}
	services := child(root, "services")
	if services == nil {
		return nil
	}
	for i := 1; i < len(resolved(services).Content); i += 2 {
		extends := child(resolved(services).Content[i], "extends")
		if extends == nil {
			continue
		}
		if file := child(extends, "file"); file != nil {
			if err := x.named(name, file, dir, "", false); err != nil {
				return err
			}
		}
	}
	return nil
}

// include examines the files of one entry: a path, or a path, or several,
// with a project directory.
func (x *examiner) include(name string, entry *yaml.Node, dir string) error {
	path := child(entry, "path")
	if path == nil {
		return x.named(name, entry, dir, "", true)
	}
	base := ""
	if p := child(entry, "project_directory"); p != nil {
		var err error
		if base, err = x.text(p); err != nil {
			return at(name, p, "%v", err)
		}
		if !filepath.IsAbs(base) {
			base = filepath.Join(dir, base)
		}
	}
	paths := []*yaml.Node{path}
	if resolved(path).Kind == yaml.SequenceNode {
		paths = resolved(path).Content
	}
	for _, p := range paths {
		if err := x.named(name, p, dir, base, true); err != nil {
			return err
		}
	}
	return nil
}

// named examines a file that another one names; its own paths begin at base,
// or where it is.
func (x *examiner) named(by string, n *yaml.Node, dir, base string, includes bool) error {
	path, err := x.text(n)
	if err != nil {
		return at(by, n, "%v", err)
	}
	if path == "" {
		return nil // compose-go says what is wrong with it
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if base == "" {
		base = filepath.Dir(path)
	}
	if x.seen[path] {
		return nil
	}
	if x.seen[path] = true; len(x.seen) > maxFiles {
		return at(by, n, "more than %d files are included or extended", maxFiles)
	}
	data, err := x.in.read(path, MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return at(by, n, "there is no file %s", path)
	} else if err != nil {
		return at(by, n, "%v", err)
	}
	return x.file(path, data, base, includes)
}

// text is a scalar with the variables filled in.
func (x *examiner) text(n *yaml.Node) (string, error) {
	n = resolved(n)
	if n.Kind != yaml.ScalarNode {
		return "", nil
	}
	var out string
	_, err := listening(func() (err error) {
		out, err = template.Substitute(n.Value, func(k string) (string, bool) { v, ok := x.in.Env[k]; return v, ok })
		return err
	})
	return out, err
}

// at is an error about a place of a file.
func at(name string, n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%s:%d:%d: %s", name, n.Line, n.Column, fmt.Sprintf(format, args...))
}

// resolved is the node that an alias stands for, or the one in a document.
func resolved(n *yaml.Node) *yaml.Node {
	for {
		switch {
		case n.Kind == yaml.AliasNode && n.Alias != nil:
			n = n.Alias
		case n.Kind == yaml.DocumentNode && len(n.Content) == 1:
			n = n.Content[0]
		default:
			return n
		}
	}
}

// child is the value of a key, one that is merged in included, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	_, value := entry(n, key)
	return value
}

func entry(n *yaml.Node, key string) (k, value *yaml.Node) {
	n = resolved(n)
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				return n.Content[i], n.Content[i+1]
			}
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value != "<<" {
				continue
			}
			merged := []*yaml.Node{n.Content[i+1]}
			if m := resolved(n.Content[i+1]); m.Kind == yaml.SequenceNode {
				merged = m.Content
			}
			for _, m := range merged {
				if k, value := entry(m, key); value != nil {
					return k, value
				}
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
	}
	return nil, nil
}

// find is the last file's key that a path names, or nil.
func (d documents) find(path []string) (string, *yaml.Node) {
	for i := len(d) - 1; i >= 0; i-- {
		n, k := d[i].root, (*yaml.Node)(nil)
		for _, key := range path {
			if k, n = entry(n, key); n == nil {
				break
			}
		}
		if n != nil && k != nil {
			return d[i].name, k
		}
	}
	return "", nil
}
