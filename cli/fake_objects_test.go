package cli

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
)

// matches applies the filters of a list of named objects.
func matches(f filters.Args, id, name string, labels map[string]string) bool {
	prefix := func(key, value string) bool {
		return !f.Contains(key) || slices.ContainsFunc(f.Get(key), func(p string) bool { return strings.HasPrefix(value, p) })
	}
	return prefix("id", id) && prefix("name", name) && f.MatchKVList("label", labels)
}

func (w *world) serveSecrets(rw http.ResponseWriter, r *http.Request, path []string) {
	if len(path) == 0 {
		list := []swarm.Secret{}
		for _, s := range w.secrets {
			if matches(filterOf(r), s.ID, s.Spec.Name, s.Spec.Labels) {
				list = append(list, s)
			}
		}
		answer(rw, list)
		return
	}
	if path[0] == "create" {
		s := swarm.Secret{ID: w.id("secret")}
		_ = json.NewDecoder(r.Body).Decode(&s.Spec)
		if slices.ContainsFunc(w.secrets, func(o swarm.Secret) bool { return o.Spec.Name == s.Spec.Name }) {
			fail(rw, 409, "secret %s already exists", s.Spec.Name)
			return
		}
		s.CreatedAt, s.UpdatedAt = w.now, w.now
		s.Spec.Data = nil
		w.secrets = append(w.secrets, s)
		rw.WriteHeader(201)
		answer(rw, swarm.SecretCreateResponse{ID: s.ID})
		return
	}
	at := slices.IndexFunc(w.secrets, func(s swarm.Secret) bool { return s.ID == path[0] || s.Spec.Name == path[0] })
	switch {
	case at < 0:
		fail(rw, 404, "secret %s not found", path[0])
	case r.Method == http.MethodDelete && w.secrets[at].Spec.Name == "used":
		fail(rw, 400, "secret 'used' is in use by the following service: web")
	case r.Method == http.MethodDelete:
		w.secrets = slices.Delete(w.secrets, at, at+1)
		rw.WriteHeader(204)
	default:
		answer(rw, w.secrets[at])
	}
}

func (w *world) serveConfigs(rw http.ResponseWriter, r *http.Request, path []string) {
	if len(path) == 0 {
		list := []swarm.Config{}
		for _, c := range w.configs {
			if matches(filterOf(r), c.ID, c.Spec.Name, c.Spec.Labels) {
				list = append(list, c)
			}
		}
		answer(rw, list)
		return
	}
	if path[0] == "create" {
		c := swarm.Config{ID: w.id("config")}
		_ = json.NewDecoder(r.Body).Decode(&c.Spec)
		c.CreatedAt, c.UpdatedAt = w.now, w.now
		w.configs = append(w.configs, c)
		rw.WriteHeader(201)
		answer(rw, swarm.ConfigCreateResponse{ID: c.ID})
		return
	}
	at := slices.IndexFunc(w.configs, func(c swarm.Config) bool { return c.ID == path[0] || c.Spec.Name == path[0] })
	switch {
	case at < 0:
		fail(rw, 404, "config %s not found", path[0])
	case r.Method == http.MethodDelete:
		w.configs = slices.Delete(w.configs, at, at+1)
		rw.WriteHeader(204)
	default:
		answer(rw, w.configs[at])
	}
}

func (w *world) serveNetworks(rw http.ResponseWriter, r *http.Request, path []string) {
	verb := strings.Join(path, "/")
	at := slices.IndexFunc(w.networks, func(n network.Inspect) bool { return n.ID == verb || n.Name == verb })
	switch {
	case verb == "":
		list := []network.Inspect{}
		for _, n := range w.networks {
			if matches(filterOf(r), n.ID, n.Name, n.Labels) && filterOf(r).ExactMatch("driver", n.Driver) {
				list = append(list, n)
			}
		}
		answer(rw, list)
	case verb == "create":
		w.createNetwork(rw, r)
	case verb == "prune":
		report := network.PruneReport{}
		for _, n := range w.networks {
			if filterOf(r).MatchKVList("label", n.Labels) {
				report.NetworksDeleted = append(report.NetworksDeleted, n.Name)
			}
		}
		w.networks = slices.DeleteFunc(w.networks, func(n network.Inspect) bool { return slices.Contains(report.NetworksDeleted, n.Name) })
		answer(rw, report)
	case at < 0:
		fail(rw, 404, "network %s not found", verb)
	case r.Method == http.MethodDelete:
		w.networks = slices.Delete(w.networks, at, at+1)
		rw.WriteHeader(204)
	default:
		answer(rw, w.networks[at])
	}
}

// createNetwork keeps what was asked for as what there is.
func (w *world) createNetwork(rw http.ResponseWriter, r *http.Request) {
	var req network.CreateRequest
	_ = json.NewDecoder(r.Body).Decode(&req)
	n := network.Inspect{
		Name: req.Name, ID: w.id("network"), Created: w.now, Driver: req.Driver, Scope: "local", Internal: req.Internal, Attachable: req.Attachable,
		Ingress: req.Ingress, EnableIPv4: true, EnableIPv6: req.EnableIPv6 != nil && *req.EnableIPv6, IPAM: *req.IPAM, Options: req.Options, Labels: req.Labels,
	}
	if req.Driver == "overlay" {
		n.Scope = "swarm"
	}
	w.networks = append(w.networks, n)
	rw.WriteHeader(201)
	answer(rw, network.CreateResponse{ID: n.ID})
}
