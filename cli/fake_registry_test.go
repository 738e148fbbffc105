package cli

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/docker/docker/api/types/registry"

	"github.com/swarmctl/swarmctl/api"
)

// serveRegistries keeps where the cluster is logged in. The registry wrong.io
// takes nobody, and away.io does not answer.
func (w *world) serveRegistries(rw http.ResponseWriter, r *http.Request, rest []string) {
	at := func(host string) int {
		return slices.IndexFunc(w.registries, func(l api.RegistryLogin) bool { return l.Host == host })
	}
	switch {
	case r.Method == http.MethodGet:
		answer(rw, append([]api.RegistryLogin{}, w.registries...))
	case r.Method == http.MethodDelete && at(rest[0]) < 0:
		fail(rw, 404, "registry %s: the cluster is not logged in there", rest[0])
	case r.Method == http.MethodDelete:
		w.registries = slices.Delete(w.registries, at(rest[0]), at(rest[0])+1)
		rw.WriteHeader(http.StatusNoContent)
	default:
		var auth registry.AuthConfig
		_ = json.NewDecoder(r.Body).Decode(&auth)
		w.login(rw, api.RegistryLogin{Host: auth.ServerAddress, Username: auth.Username, CreatedAt: w.now.Add(-time.Hour), UpdatedAt: w.now.Add(-time.Minute)}, auth.Password)
	}
}

func (w *world) login(rw http.ResponseWriter, l api.RegistryLogin, password string) {
	if l.Host == "wrong.io" || password != "secret-word" {
		fail(rw, 403, "registry %s refuses %s: unauthorized", l.Host, l.Username)
		return
	}
	w.registries = append(w.registries, l)
	if l.Status = "Login Succeeded"; l.Host == "away.io" {
		l.Status, l.Warning = "", "the leader could not ask registry away.io"
	}
	answer(rw, l)
}
