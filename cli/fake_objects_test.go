package cli

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
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
		list := []secretItem{}
		every := w.secrets
		if r.URL.Query().Get("superseded") != "" {
			every = slices.Concat(w.superseded, w.secrets)
		}
		for _, s := range every {
			if matches(filterOf(r), s.ID, s.Spec.Name, s.Spec.Labels) {
				list = append(list, s)
			}
		}
		answer(rw, list)
		return
	}
	if path[0] == "create" {
		s := secretItem{Secret: swarm.Secret{ID: w.id("secret")}}
		_ = json.NewDecoder(r.Body).Decode(&s.Spec)
		if slices.ContainsFunc(w.secrets, func(o secretItem) bool { return o.Spec.Name == s.Spec.Name }) {
			fail(rw, 409, "secret %s already exists", s.Spec.Name)
			return
		}
		s.CreatedAt, s.UpdatedAt = w.now, w.now
		w.content[s.ID] = string(s.Spec.Data)
		s.Spec.Data = nil
		w.secrets = append(w.secrets, s)
		rw.WriteHeader(201)
		answer(rw, swarm.SecretCreateResponse{ID: s.ID})
		return
	}
	at := slices.IndexFunc(w.secrets, func(s secretItem) bool { return s.ID == path[0] || s.Spec.Name == path[0] })
	switch {
	case at < 0:
		fail(rw, 404, "secret %s not found", path[0])
	case len(path) == 2:
		var spec swarm.SecretSpec
		_ = json.NewDecoder(r.Body).Decode(&spec)
		if spec.Data != nil && w.content[w.secrets[at].ID] != string(spec.Data) {
			fail(rw, 400, "only updates to Labels are allowed")
			return
		}
		if !maps.Equal(w.secrets[at].Spec.Labels, spec.Labels) {
			w.writes++
		}
		w.secrets[at].Spec.Labels = spec.Labels
	case r.Method == http.MethodDelete && w.secrets[at].Spec.Name == "used":
		fail(rw, 400, "secret 'used' is in use by the following service: web")
	case r.Method == http.MethodDelete:
		w.secrets = slices.Delete(w.secrets, at, at+1)
		rw.WriteHeader(204)
	default:
		answer(rw, w.secrets[at])
	}
}

// rewriteContent gives a secret or a config another content, and moves the
// services that use it.
func (w *world) rewriteContent(rw http.ResponseWriter, r *http.Request, nouns, ref string) {
	var spec swarm.ConfigSpec // which has all that a secret's has, and is to be known
	_ = json.NewDecoder(r.Body).Decode(&spec)
	var a *swarm.Annotations
	var v *api.ShownVersion
	var id, data string
	secret := slices.IndexFunc(w.secrets, func(s secretItem) bool { return s.Spec.Name == ref })
	config := slices.IndexFunc(w.configs, func(c configItem) bool { return c.Spec.Name == ref })
	switch {
	case nouns == "secrets" && secret >= 0:
		s := &w.secrets[secret]
		a, v, id, data = &s.Spec.Annotations, &s.ShownVersion, s.ID, w.content[s.ID]
	case nouns == "configs" && config >= 0:
		c := &w.configs[config]
		a, v, id, data = &c.Spec.Annotations, &c.ShownVersion, c.ID, string(c.Spec.Data)
	default:
		fail(rw, 404, "%s %s not found", strings.TrimSuffix(nouns, "s"), ref)
		return
	}
	if r.URL.Query().Get("dryrun") == "" && w.refuse(rw) {
		return
	}
	out := api.ContentUpdate{ID: id, Version: v.Number(), Rewritten: data != string(spec.Data), Labels: data == string(spec.Data) && !maps.Equal(a.Labels, spec.Labels)}
	dry := r.URL.Query().Get("dryrun") != ""
	if out.Rewritten {
		out.ID, out.Version = "", out.Version+1
		if !dry {
			out.ID = w.id(strings.TrimSuffix(nouns, "s"))
		}
		for i := range w.services {
			if w.moveTo(&w.services[i], nouns, id, out.ID, dry) && !slices.Contains(r.URL.Query()["except"], w.services[i].ID) {
				out.Services = append(out.Services, w.services[i].Spec.Name)
			}
		}
	}
	if !dry && (out.Rewritten || out.Labels) {
		w.writes++
		a.Labels = spec.Labels
		if nouns == "secrets" {
			was := w.secrets[secret]
			was.ContentVersion, was.Superseded = was.Number(), true
			w.superseded = append(w.superseded, was)
		}
		if v.ContentVersion = out.Version; nouns == "secrets" {
			w.secrets[secret].ID, w.content[out.ID] = out.ID, string(spec.Data)
		} else {
			w.configs[config].ID, w.configs[config].Spec.Data = out.ID, spec.Data
		}
	}
	answer(rw, out)
}

// moveTo has a service refer to another version, where it refers to the old one.
func (w *world) moveTo(s *swarm.Service, nouns, from, to string, dry bool) (moved bool) {
	c := s.Spec.TaskTemplate.ContainerSpec
	for _, ref := range c.Secrets {
		if nouns == "secrets" && ref.SecretID == from {
			if moved = true; !dry {
				ref.SecretID = to
			}
		}
	}
	for _, ref := range c.Configs {
		if nouns == "configs" && ref.ConfigID == from {
			if moved = true; !dry {
				ref.ConfigID = to
			}
		}
	}
	return moved
}

func (w *world) serveConfigs(rw http.ResponseWriter, r *http.Request, path []string) {
	if len(path) == 0 {
		list := []configItem{}
		for _, c := range w.configs {
			if matches(filterOf(r), c.ID, c.Spec.Name, c.Spec.Labels) {
				list = append(list, c)
			}
		}
		answer(rw, list)
		return
	}
	if path[0] == "create" {
		c := configItem{Config: swarm.Config{ID: w.id("config")}}
		_ = json.NewDecoder(r.Body).Decode(&c.Spec)
		c.CreatedAt, c.UpdatedAt = w.now, w.now
		w.configs = append(w.configs, c)
		rw.WriteHeader(201)
		answer(rw, swarm.ConfigCreateResponse{ID: c.ID})
		return
	}
	at := slices.IndexFunc(w.configs, func(c configItem) bool { return c.ID == path[0] || c.Spec.Name == path[0] })
	switch {
	case at < 0:
		fail(rw, 404, "config %s not found", path[0])
	case len(path) == 2:
		w.writes++
		var spec swarm.ConfigSpec // not what it is: labels would stay
		_ = json.NewDecoder(r.Body).Decode(&spec)
		w.configs[at].Spec.Labels = spec.Labels
	case r.Method == http.MethodDelete:
		w.configs = slices.Delete(w.configs, at, at+1)
		rw.WriteHeader(204)
	default:
		answer(rw, w.configs[at])
	}
}

func (w *world) serveNetworks(rw http.ResponseWriter, r *http.Request, path []string) {
	verb := strings.Join(path, "/")
	if len(path) == 2 {
		verb = path[0]
	}
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
	case len(path) == 2:
		w.changeContainers(rw, r, &w.networks[at], path[1])
	case r.Method == http.MethodDelete:
		w.networks = slices.Delete(w.networks, at, at+1)
		rw.WriteHeader(204)
	default:
		answer(rw, w.networks[at])
	}
}

// changeContainers connects a container to a network, or disconnects it.
func (w *world) changeContainers(rw http.ResponseWriter, r *http.Request, n *network.Inspect, verb string) {
	var req network.ConnectOptions
	_ = json.NewDecoder(r.Body).Decode(&req)
	_, on := n.Containers[req.Container]
	switch {
	case verb == "connect" && on:
		fail(rw, 403, "endpoint with name %s already exists in network %s", req.Container, n.Name)
	case verb == "connect":
		if n.Containers == nil {
			n.Containers = map[string]network.EndpointResource{}
		}
		n.Containers[req.Container] = network.EndpointResource{Name: strings.Join(req.EndpointConfig.Aliases, ","), IPv4Address: req.EndpointConfig.IPAMConfig.IPv4Address}
	case !on:
		fail(rw, 403, "container %s is not connected to network %s", req.Container, n.Name)
	default:
		delete(n.Containers, req.Container)
	}
}

// probe answers about the ways in a network, or to a service: of those called
// sound all are, of the others one is not.
func (w *world) probe(rw http.ResponseWriter, r *http.Request, name, what string) {
	sound := name == "sound"
	switch {
	case name == "nosuch":
		fail(rw, 404, "%s nosuch not found", map[string]string{"check": "network", "trace": "service"}[what])
	case what == "check" && name == "alone":
		answer(rw, []api.Probe{})
	case what == "check":
		rows := []api.Probe{{From: "h1", To: "h2", Size: 1450, Took: 312 * time.Microsecond}, {From: "h2", To: "h1", Size: 1450, Took: 1204 * time.Microsecond}}
		if !sound {
			rows[1] = api.Probe{From: "h2", To: "h1", Err: "node h2 is down"}
		}
		answer(rw, rows)
	default:
		q := r.URL.Query()
		answer(rw, []api.TraceStep{
			{What: "name", OK: true, Text: "asked from " + q.Get("from") + " for port " + q.Get("port")},
			{Node: "h2", What: "backend", OK: sound, Text: name + ".1 runs"},
		})
	}
}

// createNetwork keeps what was asked for as what there is.
func (w *world) createNetwork(rw http.ResponseWriter, r *http.Request) {
	var req network.CreateRequest
	_ = json.NewDecoder(r.Body).Decode(&req)
	id := w.addNetwork(req)
	rw.WriteHeader(201)
	answer(rw, network.CreateResponse{ID: id})
}

func (w *world) addNetwork(req network.CreateRequest) (id string) {
	if req.IPAM == nil {
		req.IPAM = &network.IPAM{}
	}
	n := network.Inspect{
		Name: req.Name, ID: w.id("network"), Created: w.now, Driver: req.Driver, Scope: "local", Internal: req.Internal, Attachable: req.Attachable,
		Ingress: req.Ingress, EnableIPv4: true, EnableIPv6: req.EnableIPv6 != nil && *req.EnableIPv6, IPAM: *req.IPAM, Options: req.Options, Labels: req.Labels,
	}
	if req.Driver == "overlay" {
		n.Scope = "swarm"
	}
	w.networks = append(w.networks, n)
	return n.ID
}

// holdCanary has every service be in a canary's phase; "none" ends it.
func (w *world) holdCanary(words []string) {
	began := w.now.Add(-time.Hour)
	w.rollout = nil
	for i := range w.services {
		w.services[i].UpdateStatus = nil
	}
	if words[0] == "none" {
		return
	}
	promoteIn := 7 * time.Minute
	w.rollout = &api.Rollout{Phase: api.CanaryPhase(words[0]), HeldFor: 3 * time.Minute, PromoteIn: &promoteIn}
	for i, at := range []*uint64{&w.rollout.New, &w.rollout.Old, &w.rollout.Wanted, &w.rollout.Replicas} {
		*at, _ = strconv.ParseUint(words[i+1], 10, 64)
	}
	w.rollout.BlueGreen = w.rollout.Wanted == w.rollout.Replicas
	status := swarm.UpdateStatus{State: swarm.UpdateStatePaused, StartedAt: &began, Message: "canary: waits"}
	if len(words) > 5 {
		w.rollout.Failed, w.rollout.PromoteIn = strings.Join(words[5:], " "), nil
		status.Message = "canary: " + w.rollout.Failed
	}
	if !w.rollout.Waits() {
		status.State, w.rollout.HeldFor, w.rollout.PromoteIn = swarm.UpdateStateUpdating, 0, nil
	}
	for i := range w.services {
		w.services[i].UpdateStatus = &status
	}
}

// serveRollout answers where a service's canary stands, or promotes it.
func (w *world) serveRollout(rw http.ResponseWriter, r *http.Request, ref string) {
	at := slices.IndexFunc(w.services, func(s swarm.Service) bool { return s.ID == ref || s.Spec.Name == ref })
	switch {
	case at < 0:
		fail(rw, 404, "service %s not found", ref)
	case r.Method == http.MethodGet && w.rollout != nil:
		answer(rw, w.rollout)
	case r.Method == http.MethodGet:
		answer(rw, api.Rollout{})
	case w.refuse(rw):
	case w.rollout == nil || !w.rollout.Waits():
		fail(rw, 409, "service %s has no canary that waits to be promoted: update it with the label swarmctl.canary=1, or a percentage, to get one", ref)
	case w.rollout.BlueGreen && w.rollout.Phase == api.CanaryHeld:
		w.rollout.Phase = api.CanarySwitched
		answer(rw, swarm.ServiceUpdateResponse{})
	default:
		w.holdCanary([]string{"none"})
		answer(rw, swarm.ServiceUpdateResponse{})
	}
}
