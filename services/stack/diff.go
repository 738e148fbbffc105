package stack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Change is one field that differs; Old or New is empty for what there is not.
type Change struct{ Path, Old, New string }

// String is one line about the field.
func (c Change) String() string {
	switch {
	case c.Old == "":
		return "+ " + c.Path + ": " + c.New
	case c.New == "":
		return "- " + c.Path + ": " + c.Old
	}
	return "~ " + c.Path + ": " + c.Old + " -> " + c.New
}

// Diff compares two values of one type as the API shows them, field by field.
// What is left out and what is empty are the same. Lists of words are compared
// as sets in an order: a word that is there no more, and one that is new.
func Diff(old, next any) []Change {
	a, b := asJSON(old), asJSON(next)
	if bytes.Equal(a, b) {
		return nil // as most of a large stack is, and to decode it takes its time
	}
	d := &fieldDiff{}
	d.compare("", generic(a), generic(b))
	return d.changes
}

type fieldDiff struct{ changes []Change }

func asJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		data, _ = json.Marshal(err.Error())
	}
	return data
}

func generic(data []byte) any {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber() // nanoseconds do not fit a float
	var out any
	if err := dec.Decode(&out); err != nil {
		return err.Error()
	}
	return out
}

// isEmpty holds for what says nothing: but for false and 0, which do where a
// field is optional, and are in both where it is not.
func isEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, e := range v {
			if !isEmpty(e) {
				return false
			}
		}
		return true
	}
	return false
}

func (d *fieldDiff) compare(path string, old, next any) {
	if isEmpty(old) && isEmpty(next) {
		return
	}
	oldMap, oldOK := old.(map[string]any)
	nextMap, nextOK := next.(map[string]any)
	if (oldOK || old == nil) && (nextOK || next == nil) {
		keys := maps.Clone(oldMap)
		if keys == nil {
			keys = map[string]any{}
		}
		maps.Copy(keys, nextMap)
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			d.compare(join(path, k), oldMap[k], nextMap[k])
		}
		return
	}
	oldList, oldOK := old.([]any)
	nextList, nextOK := next.([]any)
	if (oldOK || old == nil) && (nextOK || next == nil) {
		d.lists(path, oldList, nextList)
		return
	}
	if a, b := text(path, old), text(path, next); a != b {
		d.changes = append(d.changes, Change{path, a, b})
	}
}

func (d *fieldDiff) lists(path string, old, next []any) {
	a, b := texts(path, old), texts(path, next)
	if slices.Equal(a, b) {
		return
	}
	gone := without(a, b)
	added := without(b, a)
	if len(gone)+len(added) == 0 || isCommand(path) { // the order alone, or one where it counts
		d.changes = append(d.changes, Change{path, "[" + strings.Join(a, " ") + "]", "[" + strings.Join(b, " ") + "]"})
		return
	}
	for _, s := range gone {
		d.changes = append(d.changes, Change{path, s, ""})
	}
	for _, s := range added {
		d.changes = append(d.changes, Change{path, "", s})
	}
}

// without are those of a list that another one has not.
func without(list, other []string) (out []string) {
	for _, s := range list {
		if !slices.Contains(other, s) {
			out = append(out, s)
		}
	}
	return out
}

func isCommand(path string) bool {
	return strings.HasSuffix(path, ".Command") || strings.HasSuffix(path, ".Args") || strings.HasSuffix(path, ".Test")
}

func texts(path string, list []any) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = text(path, v)
	}
	return out
}

// durations are the fields that hold nanoseconds.
var durations = []string{"Delay", "Window", "Monitor", "Interval", "Timeout", "StartPeriod", "StartInterval", "StopGracePeriod"}

// text is a value as people read it.
func text(path string, v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		if strings.ContainsAny(v, "\n\t\"") {
			return strconv.Quote(v)
		}
		return v
	case json.Number:
		n, err := v.Int64()
		switch field := path[strings.LastIndexByte(path, '.')+1:]; {
		case err == nil && slices.Contains(durations, field):
			return time.Duration(n).String()
		case err == nil && field == "Mode": // of a file
			return fmt.Sprintf("%#o", n)
		}
		return v.String()
	case map[string]any:
		var fields []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if !isEmpty(v[k]) {
				fields = append(fields, k+"="+text(k, v[k]))
			}
		}
		return "{" + strings.Join(fields, " ") + "}"
	case []any:
		return "[" + strings.Join(texts(path, v), " ") + "]"
	}
	return fmt.Sprint(v)
}
