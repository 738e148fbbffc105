package dockerapi

import (
	"net/http"

	"github.com/docker/docker/api/types/network"
)

// nodeNetwork reports whether every engine has a network of that name: what a
// service can be put into although it spans no nodes.
func nodeNetwork(name string) bool {
	return name == network.NetworkHost || name == network.NetworkBridge || name == network.NetworkNone
}

// networkInspect answers for the networks that each node has for itself.
// Clients ask for them within the swarm's scope before they put a service into
// one, and send the ID that they are told: it must be true on every node, so it
// is the name. Otherwise the question is the engine's.
func (a *API) networkInspect(w http.ResponseWriter, r *http.Request) error {
	if name := r.PathValue("id"); r.URL.Query().Get("scope") == "swarm" {
		driver := name
		if name == network.NetworkNone {
			driver = "null"
		}
		return writeJSON(w, http.StatusOK, network.Inspect{Name: name, ID: name, Scope: "swarm", Driver: driver})
	}
	if v := apiVersion(r); v != "" {
		r.URL.Path = "/v" + v + r.URL.Path
	}
	a.engine.ServeHTTP(w, r)
	return nil
}
