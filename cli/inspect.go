package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/template"
)

func inspectFormatFlag() *opt {
	return &opt{name: "format", short: "f", kind: stringKind, usage: "Format output using a custom template:\n" +
		"'json':             Print in JSON format\n" +
		"'TEMPLATE':         Print output using the given Go template"}
}

func prettyFlag() *opt {
	return &opt{name: "pretty", kind: boolKind, usage: "Print the information in a human friendly format"}
}

// object is something inspect shows: as the API's own bytes, and as its type.
type object struct {
	raw   []byte
	typed any
}

// inspect fetches every ref and prints what was found; what was not found is
// the error.
func (c *call) inspect(refs []string, fetch func(ref string) (object, error), human func(io.Writer, any)) error {
	format := c.flags.str("format")
	if format != "" && c.flags.yes("pretty") {
		return errors.New("--format is incompatible with human friendly format")
	}
	tmpl, err := inspectTemplate(format)
	if err != nil {
		return err
	}
	var found []object
	var errs []error
	for _, ref := range refs {
		o, err := fetch(ref)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, o)
	}
	switch {
	case c.flags.yes("pretty"):
		for _, o := range found {
			human(c.out, o.typed)
		}
	case format == "" || format == "json":
		if err := printArray(c.out, found, format == ""); err != nil {
			return err
		}
	default:
		errs = append(errs, printEach(c.out, tmpl, found))
	}
	return errors.Join(errs...)
}

func inspectTemplate(format string) (*template.Template, error) {
	if format == "json" {
		format = ""
	}
	tmpl, err := template.New("").Funcs(templateFuncs).Parse(format)
	if err != nil {
		return nil, fmt.Errorf("template parsing error: %w", err)
	}
	return tmpl, nil
}

// printArray writes the API's own JSON, so that fields this program does not
// know are shown too.
func printArray(w io.Writer, found []object, indent bool) error {
	raws := make([]json.RawMessage, len(found))
	for i, o := range found {
		raws[i] = o.raw
	}
	all, err := json.Marshal(raws)
	if err != nil {
		return fmt.Errorf("the daemon's answer is not JSON: %w", err)
	}
	var b bytes.Buffer
	if indent {
		err = json.Indent(&b, all, "", "    ")
	} else {
		err = json.Compact(&b, all)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, b.String())
	return err
}

// printEach applies a template to each object: to its type first, then to its
// JSON, which may have fields the type lacks.
func printEach(w io.Writer, tmpl *template.Template, found []object) error {
	var out bytes.Buffer
	var errs []error
	for _, o := range found {
		var one bytes.Buffer
		err := tmpl.Execute(&one, o.typed)
		if err != nil {
			var generic any
			dec := json.NewDecoder(bytes.NewReader(o.raw))
			dec.UseNumber()
			if dec.Decode(&generic) == nil {
				one.Reset()
				if tmpl.Option("missingkey=error").Execute(&one, generic) == nil {
					err = nil
				}
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("template parsing error: %w", err))
			continue
		}
		out.Write(one.Bytes())
		out.WriteByte('\n')
	}
	if out.Len() == 0 {
		out.WriteByte('\n')
	}
	if _, err := out.WriteTo(w); err != nil {
		return err
	}
	return errors.Join(errs...)
}
