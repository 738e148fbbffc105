package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/schema"

	"github.com/swarmctl/swarmctl/api/edit"
)

var (
	additional = regexp.MustCompile(`^validating [^\n]*?: (\S*) ?additional properties '(.+)' not allowed$`)
	noSchema   = regexp.MustCompile(`^validating [^\n]*?: (\S*) false schema$`)
	aboutPath  = regexp.MustCompile(`^(?:validating [^\n]*?: )?((?:services|networks|volumes|secrets|configs)\.[^\s:]+):? (.*)$`)
)

// explain says where in the files the reason of an error stands, and what an
// unknown key was probably meant to be.
func (d documents) explain(err error) error {
	text := err.Error()
	if m := additional.FindStringSubmatch(text); m != nil {
		return d.unknown(splitPath(m[1]), strings.Split(m[2], "', '"))
	}
	if m := noSchema.FindStringSubmatch(text); m != nil { // where a definition is made of others
		path := splitPath(m[1])
		return d.unknown(path[:len(path)-1], path[len(path)-1:])
	}
	if around := d.circle(text); around != nil {
		return around
	}
	if m := aboutPath.FindStringSubmatch(text); m != nil {
		if file, n := d.find(splitPath(m[1])); n != nil {
			return at(file, n, "%s: %s", m[1], m[2])
		}
	}
	return err
}

var (
	dependsCircle = regexp.MustCompile(`^dependency cycle detected: (.+)$`)
	extendsCircle = regexp.MustCompile(`(?s)^Circular reference:\n(.+)$`)
	includeCircle = regexp.MustCompile(`(?s)^include cycle detected:\n(.+)$`)
)

// circle says where one begins that compose-go has found, and how it goes; nil:
// the text is about something else.
func (d documents) circle(text string) error {
	if m := dependsCircle.FindStringSubmatch(text); m != nil {
		return d.around("depends_on", strings.Split(m[1], " -> "))
	}
	if m := extendsCircle.FindStringSubmatch(text); m != nil {
		var way []string // NB: the files in its lines are those of the services before
		for line := range strings.Lines(m[1]) {
			name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "extends "), " in ")
			way = append(way, name)
		}
		return d.around("extends", way)
	}
	if m := includeCircle.FindStringSubmatch(text); m != nil {
		way := strings.Split(m[1], "\n include ")
		for _, doc := range d {
			if k, _ := entry(doc.root, "include"); k != nil && doc.name == way[0] {
				return at(doc.name, k, "include: a cycle: %s", strings.Join(way, " -> "))
			}
		}
	}
	return nil
}

// around is the error about services that refer to each other by a key.
func (d documents) around(key string, way []string) error {
	if ring := way[1:]; len(ring) > 0 && way[0] == way[len(way)-1] { // it begins anywhere: have it begin with the first name
		i := slices.Index(ring, slices.Min(ring))
		way = append(slices.Concat(ring[i:], ring[:i]), ring[i])
	}
	path := []string{"services", way[0], key}
	text := fmt.Sprintf("%s: a cycle: %s", strings.Join(path, "."), strings.Join(way, " -> "))
	for len(path) > 0 {
		if file, n := d.find(path); n != nil {
			return at(file, n, "%s", text)
		}
		path = path[:len(path)-1]
	}
	return errors.New(text)
}

func splitPath(path string) []string {
	if path == "" {
		return nil
	}
	return strings.Split(path, ".")
}

// unknown is the refusal of keys that Compose does not know.
func (d documents) unknown(path, keys []string) error {
	var errs []error
	for _, key := range keys {
		whole := append(slices.Clone(path), key)
		text := fmt.Sprintf("unknown key %q in %s", key, strings.Join(path, "."))
		if len(path) == 0 {
			text = fmt.Sprintf("unknown key %q", key)
		}
		if near := nearest(key, knownKeys(path)); near != "" {
			text += fmt.Sprintf(": did you mean %q?", near)
		}
		if file, n := d.find(whole); n != nil {
			errs = append(errs, at(file, n, "%s", text))
		} else {
			errs = append(errs, errors.New(text))
		}
	}
	return errors.Join(errs...)
}

// schemaOf is the specification's own schema.
var schemaOf = sync.OnceValue(func() map[string]any {
	var root map[string]any
	if err := json.Unmarshal([]byte(schema.Schema), &root); err != nil {
		panic(err) // it is compiled in
	}
	return root
})

// knownKeys are the keys that may stand at a path.
func knownKeys(path []string) []string {
	at := []map[string]any{schemaOf()}
	for _, key := range path {
		var next []map[string]any
		for _, s := range at {
			next = append(next, below(s, key)...)
		}
		at = expanded(next)
	}
	var keys []string
	for _, s := range expanded(at) {
		if props, ok := s["properties"].(map[string]any); ok {
			for k := range props {
				keys = append(keys, k)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// below are the schemas of what is under a key, or in a list.
func below(s map[string]any, key string) (out []map[string]any) {
	add := func(v any) {
		if m, ok := v.(map[string]any); ok {
			out = append(out, m)
		}
	}
	if props, ok := s["properties"].(map[string]any); ok {
		add(props[key])
	}
	if patterns, ok := s["patternProperties"].(map[string]any); ok {
		for pattern, v := range patterns {
			if re, err := regexp.Compile(pattern); err == nil && re.MatchString(key) {
				add(v)
			}
		}
	}
	add(s["items"])
	return out
}

// expanded follows references and alternatives.
func expanded(list []map[string]any) (out []map[string]any) {
	for len(list) > 0 && len(out) < 100 { // the schema has no cycles that matter here
		s := list[0]
		list = list[1:]
		out = append(out, s)
		if ref, ok := s["$ref"].(string); ok {
			name := ref[strings.LastIndexByte(ref, '/')+1:]
			for _, group := range []string{"definitions", "$defs"} {
				if defs, ok := schemaOf()[group].(map[string]any); ok {
					if m, ok := defs[name].(map[string]any); ok {
						list = append(list, m)
					}
				}
			}
		}
		for _, word := range []string{"oneOf", "anyOf", "allOf"} {
			alternatives, _ := s[word].([]any)
			for _, a := range alternatives {
				if m, ok := a.(map[string]any); ok {
					list = append(list, m)
				}
			}
		}
	}
	return out
}

// nearest is the known key that differs least from an unknown one, or empty.
func nearest(key string, known []string) string {
	furthest := max(1, len(key)/3)
	best, found := furthest+1, ""
	for _, k := range known {
		if d := edit.Distance(strings.ToLower(key), k, furthest); d < best {
			best, found = d, k
		}
	}
	return found
}
