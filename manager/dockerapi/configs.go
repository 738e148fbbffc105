package dockerapi

import (
	"bytes"
	"maps"
	"net/http"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

func (a *API) configList(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilters(r, "id", "label", "name", "names")
	if err != nil {
		return err
	}
	view, err := a.read(r)
	if err != nil {
		return err
	}
	list := []configOut{}
	every := view.Configs()
	if queryBool(r, "superseded") { // ours
		every = view.ConfigVersions()
	}
	for c := range every {
		if matchContent(f, string(c.ID), c.Spec.Annotations) {
			list = append(list, projectConfig(c))
		}
	}
	return writeJSON(w, http.StatusOK, list)
}

type configOut struct {
	swarm.Config
	api.ShownVersion
}

// projectConfig shows a config whole, its data included, as Docker does.
func projectConfig(c *api.Config) configOut {
	out := configOut{swarm.Config{ID: string(c.ID), Meta: c.Meta, Spec: c.Spec}, c.Version.Shown()}
	out.Spec.Labels = notNil(out.Spec.Labels)
	return out
}

func (a *API) configInspect(w http.ResponseWriter, r *http.Request) error {
	_, c, err := found(a, r, (*state.View).FindConfig)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, projectConfig(c))
}

func (a *API) configCreate(w http.ResponseWriter, r *http.Request) error {
	var spec api.ConfigSpec
	if err := readJSON(w, r, &spec); err != nil {
		return err
	}
	if err := checkContent("config", spec.Annotations, spec.Data, maxConfig, spec.Templating); err != nil {
		return err
	}
	c := &api.Config{ID: api.ConfigID(a.cfg.NewID()), Spec: spec}
	if err := a.propose(r, state.Op{PutConfig: c}); err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, swarm.ConfigCreateResponse{ID: string(c.ID)})
}

func (a *API) configUpdate(w http.ResponseWriter, r *http.Request) error {
	version, err := queryVersion(r, "config")
	if err != nil {
		return err
	}
	var spec api.ConfigSpec
	if err := readJSON(w, r, &spec); err != nil {
		return err
	}
	_, old, err := found(a, r, (*state.View).FindConfig)
	if err != nil {
		return err
	}
	if spec.Name != old.Spec.Name || spec.Data != nil && !bytes.Equal(spec.Data, old.Spec.Data) {
		return labelsOnly("config", old.Spec.Name)
	}
	if version == old.Meta.Version.Index && maps.Equal(spec.Labels, old.Spec.Labels) {
		return nil // a deploy asks in this way whether the content is still the same
	}
	next := &api.Config{ID: old.ID, Spec: api.ConfigSpec{Annotations: spec.Annotations}}
	next.Meta.Version.Index = version
	return a.propose(r, state.Op{PutConfig: next})
}

func (a *API) configDelete(w http.ResponseWriter, r *http.Request) error {
	_, c, err := found(a, r, (*state.View).FindConfig)
	if err != nil {
		return err
	}
	return a.deleted(w, r, state.Op{DeleteConfig: &state.DeleteConfig{ID: c.ID}})
}
