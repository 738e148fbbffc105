package cli

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// serveStacks is the world's part of what whole stacks are asked with: NAME, and
// a verb.
func (w *world) serveStacks(rw http.ResponseWriter, r *http.Request, path []string) {
	name, s := path[0], w.stacks[path[0]]
	var a api.StackAnswer
	switch verb := append(path, "")[1]; {
	case verb == "stop" || verb == "start":
		if a = w.pauseStack(name, verb == "stop"); a.Deploy == 0 {
			fail(rw, 404, "stack %s not found", name)
			return
		}
	case verb == "" && r.Method == http.MethodPost:
		var req api.StackRequest
		_ = json.NewDecoder(r.Body).Decode(&req)
		if w.refuse(rw) {
			return
		}
		a = w.deployStack(name, &req, api.StackDeploy{Cause: api.StackFromFile, Digest: req.Digest, File: req.File})
	case verb == "dryrun":
		if w.denied != "" {
			fail(rw, 403, "%s", w.denied)
			return
		}
		a.Changes = w.rebuilt
	case s == nil:
		fail(rw, 404, "stack %s not found", name)
		return
	case verb == "rollback":
		if a = w.rollBackStack(rw, r, s); a.Deploy == 0 {
			return
		}
	default:
		answer(rw, s)
		return
	}
	answer(rw, a)
}

func (w *world) deployStack(name string, req *api.StackRequest, d api.StackDeploy) (a api.StackAnswer) {
	did := func(action, kind, name, id string) {
		a.Changes = append(a.Changes, api.StackChange{Action: action, Kind: kind, Name: name, ID: id})
	}
	var content api.StackContent
	for _, gone := range req.Remove {
		at := slices.IndexFunc(w.services, func(s swarm.Service) bool { return s.ID == gone.ID })
		did(api.StackRemoved, "service", w.services[at].Spec.Name, gone.ID)
		d.Removed++
		w.removeService(at)
	}
	for _, n := range req.Networks {
		content.Networks = append(content.Networks, n)
		if !slices.ContainsFunc(w.networks, func(o network.Inspect) bool { return o.Name == n.Name }) {
			did(api.StackCreated, "network", n.Name, w.addNetwork(n))
		}
	}
	for _, s := range req.Secrets {
		at := slices.IndexFunc(w.secrets, func(o secretItem) bool { return o.Spec.Name == s.Spec.Name })
		if at < 0 {
			one := secretItem{Secret: swarm.Secret{ID: w.id("secret"), Spec: s.Spec}}
			w.content[one.ID], one.Spec.Data = string(s.Spec.Data), nil
			w.secrets = append(w.secrets, one)
			did(api.StackCreated, "secret", s.Spec.Name, one.ID)
		} else if have := &w.secrets[at]; w.content[have.ID] != string(s.Spec.Data) {
			have.ContentVersion, have.ID = have.Number()+1, w.id("secret")
			w.content[have.ID] = string(s.Spec.Data)
			w.writes++
			did(api.StackUpdated, "secret", s.Spec.Name, have.ID)
		} else if !maps.Equal(w.secrets[at].Spec.Labels, s.Spec.Labels) {
			w.secrets[at].Spec.Labels = s.Spec.Labels
			w.writes++
			did(api.StackUpdated, "secret", s.Spec.Name, w.secrets[at].ID)
		}
	}
	for _, o := range req.Configs {
		if at := slices.IndexFunc(w.configs, func(have configItem) bool { return have.Spec.Name == o.Spec.Name }); at >= 0 && !bytes.Equal(w.configs[at].Spec.Data, o.Spec.Data) {
			have := &w.configs[at]
			have.ContentVersion, have.ID, have.Spec.Data = have.Number()+1, w.id("config"), o.Spec.Data
			w.writes++
			did(api.StackUpdated, "config", o.Spec.Name, have.ID)
		} else if at < 0 {
			w.configs = append(w.configs, configItem{Config: swarm.Config{ID: w.id("config"), Spec: o.Spec}})
			did(api.StackCreated, "config", o.Spec.Name, w.configs[len(w.configs)-1].ID)
		}
		content.Configs = append(content.Configs, api.StackRef{Name: o.Spec.Name, Labels: o.Spec.Labels})
	}
	for _, s := range req.Services {
		w.identify(&s.Spec)
		content.Services = append(content.Services, s.Spec)
		at := slices.IndexFunc(w.services, func(o swarm.Service) bool { return o.Spec.Name == s.Spec.Name })
		switch {
		case at < 0:
			d.Created++
			did(api.StackCreated, "service", s.Spec.Name, w.addService(s.Spec))
			a.Warnings = append(a.Warnings, "this is a warning")
		case !sameJSON(w.services[at].Spec, s.Spec):
			d.Updated++
			w.putSpec(&w.services[at], s.Spec)
			did(api.StackUpdated, "service", s.Spec.Name, w.services[at].ID)
		}
	}
	d.Services = len(content.Services)
	w.record(name, d, content, &a)
	return a
}

func (w *world) record(name string, d api.StackDeploy, content api.StackContent, a *api.StackAnswer) {
	s := w.stacks[name]
	if s == nil {
		s = &api.Stack{Name: name}
		w.stacks[name] = s
	}
	if len(a.Changes) > 0 || len(s.Deploys) == 0 {
		text, _ := json.Marshal(content)
		d.Content, _ = compressed(text)
		d.Number, d.At, d.Outcome = uint64(len(s.Deploys)+1), w.now.Add(-3*time.Hour), "completed"
		s.Deploys = append(s.Deploys, d)
	}
	a.Deploy = s.Current().Number
	a.Before = a.Deploy - 1
}

// identify puts IDs in the place of names.
func (w *world) identify(spec *swarm.ServiceSpec) {
	for _, ref := range spec.TaskTemplate.ContainerSpec.Secrets {
		for _, s := range w.secrets {
			if s.Spec.Name == ref.SecretName {
				ref.SecretID = s.ID
			}
		}
	}
	for _, ref := range spec.TaskTemplate.ContainerSpec.Configs {
		for _, c := range w.configs {
			if c.Spec.Name == ref.ConfigName {
				ref.ConfigID = c.ID
			}
		}
	}
}

func sameJSON(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

func (w *world) rollBackStack(rw http.ResponseWriter, r *http.Request, s *api.Stack) (a api.StackAnswer) {
	var back api.StackRollback
	_ = json.NewDecoder(r.Body).Decode(&back)
	if back.To == 0 {
		back.To = s.Current().Number - 1
	}
	target := s.Deploy(back.To)
	if target == nil {
		fail(rw, 400, "stack %s: deploy %d is not remembered", s.Name, back.To)
		return a
	}
	content, _ := contentOf(target)
	req := api.StackRequest{Networks: content.Networks}
	for _, spec := range content.Services {
		req.Services = append(req.Services, api.StackService{Spec: spec})
	}
	var kept []string
	for _, have := range w.services {
		if have.Spec.Labels[api.LabelNamespace] != s.Name || slices.ContainsFunc(content.Services, func(o swarm.ServiceSpec) bool { return o.Name == have.Spec.Name }) {
			continue
		}
		if back.Prune {
			req.Remove = append(req.Remove, api.StackRemoval{ID: have.ID})
		} else {
			kept = append(kept, have.Spec.Name)
		}
	}
	a = w.deployStack(s.Name, &req, api.StackDeploy{Cause: api.StackFromRollback, Of: back.To, Digest: target.Digest, File: target.File})
	a.Kept = kept
	return a
}

func (w *world) pauseStack(name string, stop bool) (a api.StackAnswer) {
	for i := range w.services {
		s := &w.services[i]
		if s.Spec.Labels[api.LabelNamespace] != name {
			continue
		}
		if a.Deploy = 1; (s.Spec.Labels[api.LabelStopped] == "true") == stop {
			continue
		}
		spec := s.Spec
		spec.Labels = maps.Clone(spec.Labels)
		if delete(spec.Labels, api.LabelStopped); stop {
			spec.Labels[api.LabelStopped] = "true"
		}
		w.putSpec(s, spec)
		a.Changes = append(a.Changes, api.StackChange{Action: api.StackUpdated, Kind: "service", Name: spec.Name, ID: s.ID})
	}
	return a
}
