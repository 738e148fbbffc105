package dockerapi

import (
	"net/http"

	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// registryAuth reads the credentials of a request: what nodes pull the
// service's image with. They are kept as they came, and never told to anybody
// but nodes that have tasks of the service.
func registryAuth(r *http.Request) (api.RegistryAuth, error) {
	value := r.Header.Get(registry.AuthHeader)
	if value == "" {
		return "", nil
	}
	if _, err := registry.DecodeAuthConfig(value); err != nil {
		// The client's own words could quote the credentials.
		return "", api.Errorf(api.CodeInvalid, "invalid %s header: it must be the JSON of an AuthConfig in URL-safe base64", registry.AuthHeader)
	}
	return api.RegistryAuth(value), nil
}

// nextAuth are the credentials of a service after an update: those that came
// with it, or else those it had, with this spec or with the one before.
func nextAuth(old *api.Service, given api.RegistryAuth, from string) (api.RegistryAuth, error) {
	switch {
	case from != "" && from != swarm.RegistryAuthFromSpec && from != swarm.RegistryAuthFromPreviousSpec:
		return "", api.Errorf(api.CodeInvalid, "unsupported registryAuthFrom value %q: use %s or %s", from, swarm.RegistryAuthFromSpec, swarm.RegistryAuthFromPreviousSpec)
	case given != "":
		return given, nil
	case from != swarm.RegistryAuthFromPreviousSpec:
		return old.RegistryAuth, nil
	case old.PreviousSpec == nil:
		return "", api.Errorf(api.CodeInvalid, "service %s does not have a previous spec to take credentials from", old.Name())
	}
	return old.PreviousRegistryAuth, nil
}
