package dockerapi

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"

	"github.com/swarmctl/swarmctl/api"
)

// checkKnown refuses JSON that says more than v can hold, which decoding drops
// without a word: a newer API's setting that a container would run without.
// Fields that are unknown and empty pass: clients of newer versions of the API
// send them all the time. The JSON must have been decoded into v before.
func checkKnown(body []byte, v any) error {
	w := &walker{dec: json.NewDecoder(bytes.NewReader(body))}
	w.dec.UseNumber()
	w.value(reflect.TypeOf(v))
	return w.err
}

// walker reads JSON beside the type it is decoded into, token by token: a tree
// of it would take ten times the memory of the text. It does not recurse
// further than decoding did.
type walker struct {
	dec  *json.Decoder
	path []string // of where it is: .Field, [0]
	err  error    // the first complaint
}

// value walks one value and reports whether it is empty: null, false, 0, "",
// or made of such alone. Without a type nothing in it is looked up.
func (w *walker) value(t reflect.Type) (empty bool) {
	token, err := w.dec.Token()
	if err != nil {
		w.complain("%v", err)
		return true
	}
	switch v := token.(type) {
	case json.Delim:
		return w.members(v == '{', holder(t))
	case string:
		w.text(v)
		return v == ""
	case json.Number:
		f, _ := v.Float64()
		return f == 0
	case bool:
		return !v
	}
	return true
}

// members walks what an object or a list holds, and its end.
func (w *walker) members(object bool, t reflect.Type) (empty bool) {
	empty = true
	for i := 0; w.err == nil && w.dec.More(); i++ {
		name, inner, known := "["+strconv.Itoa(i)+"]", t, true
		if object {
			key, _ := w.dec.Token()
			name = "." + key.(string)
			inner, known = member(t, key.(string))
		} else if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
			inner = t.Elem()
		}
		w.path = append(w.path, name)
		w.text(name)
		if !w.value(inner) {
			empty = false
			if !known {
				w.complain("this version of swarmctl knows no such field and would drop it: leave it out")
			}
		}
		w.path = w.path[:len(w.path)-1]
	}
	_, _ = w.dec.Token()
	return empty
}

// text refuses what ends a string for the kernel: neither a name nor an
// argument nor a variable of a container can hold it.
func (w *walker) text(s string) {
	if strings.ContainsRune(s, 0) {
		w.complain("it contains a NUL character, which no container can be given")
	}
}

func (w *walker) complain(format string, args ...any) {
	if w.err == nil {
		where := strings.TrimPrefix(strings.Join(w.path, ""), ".")
		w.err = api.Errorf(api.CodeInvalid, strconv.Quote(where)+": "+format, args...)
	}
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// holder is the type behind pointers; nil where it decodes itself, or is open.
func holder(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() == reflect.Interface || reflect.PointerTo(t).Implements(unmarshaler) {
		return nil
	}
	return t
}

// member is the type of what an object holds under a key.
func member(t reflect.Type, key string) (inner reflect.Type, known bool) {
	switch {
	case t == nil:
		return nil, true
	case t.Kind() == reflect.Map:
		return t.Elem(), true
	case t.Kind() != reflect.Struct:
		return nil, true
	}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		inlined := f.Anonymous && f.Tag.Get("json") == ""
		if f.IsExported() && !inlined && f.Tag.Get("json") != "-" && strings.EqualFold(name, key) {
			return f.Type, true
		}
	}
	return nil, false
}
