package expand

import (
	"errors"
	"regexp"
	"text/template"

	"github.com/swarmctl/swarmctl/api"
)

// Sources are what the template of a secret or a config may ask for beside the
// facts: what the same task has. An error of Secret or Config is that there is
// none of that name.
type Sources struct {
	Secret, Config func(name string) (string, error)
	Env            func(name string) string // empty where it is not set
}

// ErrNoSource says that a template asks for what its service does not have.
var ErrNoSource = errors.New("it asks for a secret or a config that the service does not have")

// File fills in the template of a secret or a config: the facts and functions of
// every template, and {{secret "name"}}, {{config "name"}} and {{env "NAME"}}.
// Errors have code invalid. They say where, and never what: text/template would
// quote the template, and values of secrets with it.
func File(text []byte, f *Facts, s *Sources) ([]byte, error) {
	l := limits{left: MaxExpanded}
	out, err := l.renderWith(string(text), f, template.FuncMap{"secret": s.Secret, "config": s.Config, "env": s.Env})
	if err != nil {
		return nil, withoutText(err)
	}
	return []byte(out), nil
}

// CheckFile refuses what is no template of a secret or a config, with errors as File's.
func CheckFile(text []byte) error {
	l := limits{left: MaxExpanded}
	none := func(string) (string, error) { return "", nil }
	if _, err := l.parse(string(text), template.FuncMap{"secret": none, "config": none, "env": none}); err != nil {
		return withoutText(err)
	}
	return nil
}

var position = regexp.MustCompile(`^template: expansion:(\d+)`)

func withoutText(err error) error {
	line := "its template fails"
	if m := position.FindStringSubmatch(err.Error()); m != nil {
		line += " in line " + m[1]
	}
	for _, known := range []error{ErrNoSource, errTooMuch, errRepeats} {
		if errors.Is(err, known) {
			return api.Errorf(api.CodeInvalid, "%s: %v", line, known)
		}
	}
	return api.Errorf(api.CodeInvalid, "%s", line)
}
