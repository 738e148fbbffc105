package dockerapi

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"regexp"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/expand"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Docker Swarm's bounds.
const (
	maxSecret      = 500 << 10
	maxConfig      = 1000 << 10
	maxContentName = 64
)

var contentName = regexp.MustCompile(`^[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$`)

func (a *API) secretList(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilters(r, "id", "label", "name", "names")
	if err != nil {
		return err
	}
	view, err := a.read(r)
	if err != nil {
		return err
	}
	list := []secretOut{}
	every := view.Secrets()
	if queryBool(r, "superseded") { // ours
		every = view.SecretVersions()
	}
	for s := range every {
		if matchContent(f, string(s.ID), s.Spec.Annotations) {
			list = append(list, projectSecret(s))
		}
	}
	return writeJSON(w, http.StatusOK, list)
}

// matchContent applies the filters of secrets and configs.
func matchContent(f filters.Args, id string, a swarm.Annotations) bool {
	return prefixMatch(f, "id", id) && prefixMatch(f, "name", a.Name) && labelMatch(f, "label", a.Labels) && f.ExactMatch("names", a.Name)
}

type secretOut struct {
	swarm.Secret
	api.ShownVersion
}

// projectSecret leaves the data out: nobody but the tasks ever reads it.
func projectSecret(s *api.Secret) secretOut {
	out := secretOut{swarm.Secret{ID: string(s.ID), Meta: s.Meta, Spec: s.Spec}, s.Version.Shown()}
	out.Spec.Labels, out.Spec.Data = notNil(out.Spec.Labels), nil
	return out
}

func (a *API) secretInspect(w http.ResponseWriter, r *http.Request) error {
	_, s, err := found(a, r, (*state.View).FindSecret)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, projectSecret(s))
}

func (a *API) secretCreate(w http.ResponseWriter, r *http.Request) error {
	var spec api.SecretSpec
	if err := readJSON(w, r, &spec); err != nil {
		return err
	}
	if err := checkSecret(&spec); err != nil {
		return err
	}
	s := &api.Secret{ID: api.SecretID(a.cfg.NewID()), Spec: spec}
	if err := a.propose(r, state.Op{PutSecret: s}); err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, swarm.SecretCreateResponse{ID: string(s.ID)})
}

func checkSecret(s *api.SecretSpec) error {
	if s.Driver != nil {
		return api.Errorf(api.CodeUnsupported, "secret drivers (%q) are not supported: create the secret with its data", s.Driver.Name)
	}
	return checkContent("secret", s.Annotations, s.Data, maxSecret, s.Templating)
}

// checkContent holds the rules that secrets and configs share.
func checkContent(kind string, a swarm.Annotations, data []byte, limit int, templating *swarm.Driver) error {
	switch {
	case a.Name == "":
		return api.Errorf(api.CodeInvalid, "name must be provided")
	case len(a.Name) > maxContentName || !contentName.MatchString(a.Name):
		return api.Errorf(api.CodeInvalid, "invalid name, only %d [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]", maxContentName)
	case len(data) == 0 || len(data) >= limit:
		return api.Errorf(api.CodeInvalid, "%s data must be larger than 0 and less than %d bytes", kind, limit)
	case templating != nil && templating.Name != "" && templating.Name != "golang":
		return api.Errorf(api.CodeInvalid, "unknown template driver %q: use golang", templating.Name)
	}
	if templating != nil && templating.Name != "" {
		if err := expand.CheckFile(data); err != nil {
			return fmt.Errorf("%s %q: %w", kind, a.Name, err)
		}
	}
	return nil
}

func (a *API) secretUpdate(w http.ResponseWriter, r *http.Request) error {
	version, err := queryVersion(r, "secret")
	if err != nil {
		return err
	}
	var spec api.SecretSpec
	if err := readJSON(w, r, &spec); err != nil {
		return err
	}
	_, old, err := found(a, r, (*state.View).FindSecret)
	if err != nil {
		return err
	}
	if spec.Name != old.Spec.Name || spec.Data != nil && !bytes.Equal(spec.Data, old.Spec.Data) {
		return labelsOnly("secret", old.Spec.Name)
	}
	if version == old.Meta.Version.Index && maps.Equal(spec.Labels, old.Spec.Labels) {
		return nil // a deploy asks in this way whether the content is still the same
	}
	next := &api.Secret{ID: old.ID, Spec: api.SecretSpec{Annotations: spec.Annotations}}
	next.Meta.Version.Index = version
	return a.propose(r, state.Op{PutSecret: next})
}

func (a *API) secretDelete(w http.ResponseWriter, r *http.Request) error {
	_, s, err := found(a, r, (*state.View).FindSecret)
	if err != nil {
		return err
	}
	return a.deleted(w, r, state.Op{DeleteSecret: &state.DeleteSecret{ID: s.ID}})
}

// deleted answers a removal as Docker's API does, without content.
func (a *API) deleted(w http.ResponseWriter, r *http.Request, op state.Op) error {
	if err := a.propose(r, op); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
