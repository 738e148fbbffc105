package servicespec

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// checkContents holds the references to secrets and configs against one
// another, and against the mounts. Where Docker Swarm refuses as well, the
// words are its own.
func checkContents(c *swarm.ContainerSpec) error {
	if slices.Contains(c.Secrets, nil) {
		return invalid("malformed secret reference")
	} else if slices.Contains(c.Configs, nil) {
		return invalid("malformed config reference")
	}
	for _, r := range c.Configs {
		if r.Runtime != nil {
			return unsupported("config %s: a target that is no file is for credential specs, which are for Windows: give it a file", r.ConfigName)
		}
	}
	targets, places := map[string]string{}, map[string]string{}
	for _, m := range c.Mounts {
		places[path.Clean(m.Target)] = "a mount"
	}
	for _, r := range api.ContentRefs(c) {
		if err := checkContent(&r); err != nil {
			return err
		}
		target := r.Kind + " " + r.Target
		if other, taken := targets[target]; taken {
			return invalid("%s references '%s' and '%s' have a conflicting target: '%s'", r.Kind, other, r.Name, r.Target)
		}
		if other, taken := places[r.Path]; taken {
			return invalid("ContainerSpec: duplicate mount point: %s: %s and %s cannot both be there", r.Path, other, &r)
		}
		targets[target], places[r.Path] = r.Name, r.String()
	}
	return nil
}

func checkContent(r *api.ContentRef) error {
	switch {
	case r.ID == "" || r.Name == "":
		return invalid("malformed %s reference", r.Kind)
	case r.Path == "":
		return invalid("malformed %s reference, no target provided", r.Kind)
	case r.Target == "" || strings.HasSuffix(r.Target, "/") || path.Base(r.Target) == "." || path.Base(r.Target) == "..":
		return invalid("malformed file %s reference, invalid target file name provided", r.Kind)
	case r.Mode != r.Mode.Perm():
		return invalid("%s: mode %#o: give permissions alone, as in 0440", r, uint32(r.Mode))
	}
	for what, value := range map[string]string{"uid": r.UID, "gid": r.GID} {
		if _, err := strconv.ParseUint(value, 10, 31); err != nil && value != "" {
			return invalid("%s: %s %q: give it as a number: names are the container's own", r, what, value)
		}
	}
	return nil
}
