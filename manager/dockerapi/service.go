package dockerapi

import (
	"cmp"
	"fmt"
	"iter"
	"net/http"
	"strconv"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/pkg/namesgenerator"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi/servicespec"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

func (a *API) serviceList(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilters(r, "id", "label", "mode", "name", "runtime")
	if err != nil {
		return err
	}
	if err := oneOf(f, "mode", "replicated", "global", "replicated-job", "global-job"); err != nil {
		return err
	}
	view, err := a.read(r)
	if err != nil {
		return err
	}
	status := queryBool(r, "status")
	return writeList(w, chooseServices(view, f), func(b []byte, s *api.Service) ([]byte, error) {
		out := projectService(view, s)
		if status {
			out.ServiceStatus = serviceStatus(view, s)
		}
		return appendJSON(b, out)
	})
}

// chooseServices yields the services that the filters let through.
func chooseServices(view *state.View, f filters.Args) iter.Seq[*api.Service] {
	return func(yield func(*api.Service) bool) {
		for s := range view.Services() {
			if prefixMatch(f, "id", string(s.ID)) && prefixMatch(f, "name", s.Name()) && labelMatch(f, "label", s.Spec.Labels) &&
				f.ExactMatch("mode", servicespec.ModeName(&s.Spec)) && f.ExactMatch("runtime", string(swarm.RuntimeContainer)) && !yield(s) {
				return
			}
		}
	}
}

func (a *API) serviceInspect(w http.ResponseWriter, r *http.Request) error {
	withDefaults, err := strconv.ParseBool(cmp.Or(r.URL.Query().Get("insertDefaults"), "false"))
	if err != nil {
		return api.Errorf(api.CodeInvalid, "invalid value for insertDefaults: %s: %v", r.URL.Query().Get("insertDefaults"), err)
	}
	view, s, err := found(a, r, (*state.View).FindService)
	if err != nil {
		return err
	}
	out := projectService(view, s)
	if withDefaults {
		out.Spec = servicespec.WithDefaults(out.Spec)
	}
	return writeJSON(w, http.StatusOK, out)
}

// readSpec reads the spec of a request in the shape in which it is stored.
func (a *API) readSpec(w http.ResponseWriter, r *http.Request) (api.ServiceSpec, error) {
	var spec api.ServiceSpec
	if err := readJSON(w, r, &spec); err != nil {
		return spec, err
	}
	if spec.Name == "" {
		spec.Name = namesgenerator.GetRandomName(0)
	}
	servicespec.Normalise(&spec)
	return spec, nil
}

// checkSpec names the networks of a spec by their IDs, and refuses a spec that
// cannot be carried out. Secrets and configs come with their IDs already.
func checkSpec(view *state.View, spec *api.ServiceSpec) error {
	if err := servicespec.ResolveNetworks(spec, view.FindNetwork); err != nil {
		return err
	}
	storedMode(view, spec)
	if err := servicespec.Validate(spec); err != nil {
		return err
	}
	if err := checkPod(view, spec); err != nil {
		return err
	}
	return view.CheckContents(spec)
}

func (a *API) serviceCreate(w http.ResponseWriter, r *http.Request) error {
	spec, err := a.readSpec(w, r)
	if err != nil {
		return err
	}
	auth, err := registryAuth(r)
	if err != nil {
		return err
	}
	view, err := a.read(r)
	if err != nil {
		return err
	}
	if err := checkSpec(view, &spec); err != nil {
		return err
	}
	if err := checkPolicy(view, nil, &spec); err != nil {
		return err
	}
	s := &api.Service{ID: api.ServiceID(a.cfg.NewID()), Spec: spec, RegistryAuth: auth, Image: a.images(r).of(nil, &spec)}
	if err := a.propose(r, state.Op{PutService: s}); err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, swarm.ServiceCreateResponse{ID: string(s.ID), Warnings: specWarnings(view, &spec)})
}

func (a *API) serviceUpdate(w http.ResponseWriter, r *http.Request) error {
	version, err := queryVersion(r, "service")
	if err != nil {
		return err
	}
	rollback := r.URL.Query().Get("rollback")
	if rollback != "" && rollback != "none" && rollback != "previous" {
		return api.Errorf(api.CodeInvalid, "unrecognized rollback option %s: use previous or none", rollback)
	}
	spec, err := a.readSpec(w, r)
	if err != nil {
		return err
	}
	auth, err := registryAuth(r)
	if err != nil {
		return err
	}
	view, old, err := found(a, r, (*state.View).FindService)
	if err != nil {
		return err
	}
	if err := checkSpec(view, &spec); err != nil {
		return err
	}
	next, err := a.updated(r, view, old, spec, rollback == "previous")
	if err != nil {
		return err
	}
	if rollback != "previous" {
		if next.RegistryAuth, err = nextAuth(old, auth, r.URL.Query().Get("registryAuthFrom")); err != nil {
			return err
		}
	}
	if err := checkStillThere(view, &next.Spec); err != nil {
		return err
	}
	if err := checkPolicy(view, &old.Spec, &next.Spec); err != nil {
		return err
	}
	next.Meta.Version.Index = version
	if err := a.propose(r, state.Op{PutService: next}); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, swarm.ServiceUpdateResponse{Warnings: warnings(view, old, next, rollback == "previous")})
}

// updated is the service after an update, or after a rollback to what it was
// before the last one; then the spec that was sent along does not count.
func (a *API) updated(r *http.Request, view *state.View, old *api.Service, spec api.ServiceSpec, rollback bool) (*api.Service, error) {
	if rollback {
		return state.RolledBack(view, old, a.cfg.Now().UTC())
	}
	if err := servicespec.CheckUpdate(&old.Spec, &spec); err != nil {
		return nil, err
	}
	return state.Updated(view, old, spec, a.images(r).of(old, &spec)), nil
}

// checkStillThere refuses to go back to what has been removed.
func checkStillThere(view *state.View, spec *api.ServiceSpec) error {
	for _, n := range spec.TaskTemplate.Networks {
		if !servicespec.NodeNetwork(n.Target) && view.Network(api.NetworkID(n.Target)) == nil {
			return api.Errorf(api.CodeInvalid, "service %s: its previous spec is on network %s, which has been removed: update it with the networks that there are", spec.Name, n.Target)
		}
	}
	if err := view.CheckContents(spec); err != nil {
		return fmt.Errorf("service %s: its previous spec: %w", spec.Name, err)
	}
	return nil
}

func (a *API) serviceDelete(_ http.ResponseWriter, r *http.Request) error {
	_, s, err := found(a, r, (*state.View).FindService)
	if err != nil {
		return err
	}
	return a.propose(r, state.Op{DeleteService: &state.DeleteService{ID: s.ID}})
}
