package dockerapi

import (
	"net/http"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/filters"

	"github.com/swarmctl/swarmctl/api"
)

// parseFilters reads the filters of a list; others than the accepted are refused.
func parseFilters(r *http.Request, accepted ...string) (filters.Args, error) {
	f, err := filters.FromJSON(r.URL.Query().Get("filters"))
	if err != nil {
		return f, api.Errorf(api.CodeInvalid, `invalid filters: they are given as JSON, as in {"name":["web"]}`)
	}
	for _, key := range f.Keys() {
		if !slices.Contains(accepted, key) {
			return f, api.Errorf(api.CodeInvalid, "invalid filter '%s': use one of %s", key, strings.Join(visible(accepted), ", "))
		}
	}
	return f, nil
}

// visible leaves out the filters that tools use among themselves.
func visible(keys []string) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return strings.HasPrefix(k, "_") })
}

// oneOf refuses values of a filter that can never match.
func oneOf(f filters.Args, key string, values ...string) error {
	for _, v := range f.Get(key) {
		if !slices.Contains(values, v) {
			return api.Errorf(api.CodeInvalid, "invalid %s filter: '%s': use one of %s", key, v, strings.Join(values, ", "))
		}
	}
	return nil
}

// prefixMatch reports whether s begins with one of the filter's values; a
// filter that is not there, or has no values, matches everything.
func prefixMatch(f filters.Args, key, s string) bool {
	values := f.Get(key)
	return len(values) == 0 || slices.ContainsFunc(values, func(p string) bool { return strings.HasPrefix(s, p) })
}

// labelMatch reports whether the labels satisfy all of the filter's values:
// "key" asks that it is there, "key=value" for the value as well.
func labelMatch(f filters.Args, key string, labels map[string]string) bool {
	for _, want := range f.Get(key) {
		k, v, _ := strings.Cut(want, "=")
		if have, ok := labels[k]; !ok || v != "" && v != have {
			return false
		}
	}
	return true
}
