package setting

import (
	"slices"
	"strings"

	"github.com/swarmctl/swarmctl/api"
)

// LabelDependsOn is the label of a service whose tasks wait for other services:
// NAME[:CONDITION][:optional], several with commas. Its containers are not made
// from it.
const LabelDependsOn = Prefix + "depends-on"

// Condition is what a service waits for with another one.
type Condition string

// The conditions, as Compose has them with "service_" before each.
const (
	Started   Condition = "started"   // a task of it has been started
	Healthy   Condition = "healthy"   // a task of it runs, and is healthy where it has a health check
	Completed Condition = "completed" // all of its tasks have ended by themselves with exit code 0
)

const optional = "optional"

// Dependency is one service that another one waits for.
type Dependency struct {
	Service   string // its full name
	Condition Condition
	// Optional says that it is not waited for where it does not exist, or can
	// not come to that without somebody's doing.
	Optional bool
}

// String is the dependency as its label spells it.
func (d Dependency) String() string {
	text := d.Service + ":" + string(d.Condition)
	if d.Optional {
		text += ":" + optional
	}
	return text
}

// FormatDependencies is a list as its label spells it, in the order of the names.
func FormatDependencies(list []Dependency) string {
	texts := make([]string, len(list))
	for i, d := range list {
		texts[i] = d.String()
	}
	slices.Sort(texts)
	return strings.Join(texts, ",")
}

// ParseDependencies reads the list of a label: db:healthy,migrate:completed,cache.
// Without a condition it is enough that the service has been started.
func ParseDependencies(v string) ([]Dependency, error) {
	var list []Dependency
	for text := range strings.SplitSeq(v, ",") {
		d, err := parseDependency(text)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list, func(o Dependency) bool { return o.Service == d.Service }) {
			return nil, api.Errorf(api.CodeInvalid, "service %s is there twice: leave one of them out", d.Service)
		}
		list = append(list, d)
	}
	return list, nil
}

func parseDependency(text string) (Dependency, error) {
	parts := strings.Split(text, ":")
	d := Dependency{Service: parts[0], Condition: Started}
	if rest := len(parts) - 1; rest > 0 && parts[rest] == optional {
		d.Optional, parts = true, parts[:rest]
	}
	if strings.Trim(d.Service, nameRunes) != "" || d.Service == "" {
		return d, api.Errorf(api.CodeInvalid, "%q names no service: give NAME[:CONDITION][:optional], as in db:healthy, and several with commas", text)
	}
	if len(parts) == 1 {
		return d, nil
	}
	d.Condition = Condition(strings.Join(parts[1:], ":"))
	if d.Condition != Started && d.Condition != Healthy && d.Condition != Completed {
		return d, api.Errorf(api.CodeInvalid, "%q: %q is no condition: use started, healthy or completed", text, d.Condition)
	}
	return d, nil
}

// nameRunes are what names of services are made of.
const nameRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."

// DependenciesOf are those that a service's labels give; none where they give
// none that parse: the API refuses those, so they come from a newer program.
func DependenciesOf(labels map[string]string) []Dependency {
	v, ok := labels[LabelDependsOn]
	if !ok {
		return nil
	}
	list, err := ParseDependencies(v)
	if err != nil {
		return nil
	}
	return list
}
