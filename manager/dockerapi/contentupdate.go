package dockerapi

import (
	"net/http"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// secretRewrite gives a secret what the request says, whatever that changes: its
// content, and the services that use it roll; its labels; or nothing, and then
// nothing is written. With dryrun it only says what would become of it, which
// is how whoever may not read a secret learns whether it holds what they have.
func (a *API) secretRewrite(w http.ResponseWriter, r *http.Request) error {
	var spec api.SecretSpec
	if err := readJSON(w, r, &spec); err != nil {
		return err
	}
	view, current, err := found(a, r, (*state.View).FindSecret)
	if err != nil {
		return err
	}
	if err := checkRewrite(r, "secret", &spec.Name, current.Spec.Name, current.Meta, current.Version); err != nil {
		return err
	}
	if err := checkSecret(&spec); err != nil {
		return err
	}
	op, next, rewritten, ok := view.ChangeSecret(current, spec, api.SecretID(a.cfg.NewID()), except(r)...)
	if !ok {
		next = current
	}
	return a.rewrite(w, r, view, op, ok, api.ContentUpdate{ID: string(next.ID), Version: numberAfter(current.Version, rewritten), Rewritten: rewritten})
}

// configRewrite is as secretRewrite.
func (a *API) configRewrite(w http.ResponseWriter, r *http.Request) error {
	var spec api.ConfigSpec
	if err := readJSON(w, r, &spec); err != nil {
		return err
	}
	view, current, err := found(a, r, (*state.View).FindConfig)
	if err != nil {
		return err
	}
	if err := checkRewrite(r, "config", &spec.Name, current.Spec.Name, current.Meta, current.Version); err != nil {
		return err
	}
	if err := checkContent("config", spec.Annotations, spec.Data, maxConfig, spec.Templating); err != nil {
		return err
	}
	op, next, rewritten, ok := view.ChangeConfig(current, spec, api.ConfigID(a.cfg.NewID()), except(r)...)
	if !ok {
		next = current
	}
	return a.rewrite(w, r, view, op, ok, api.ContentUpdate{ID: string(next.ID), Version: numberAfter(current.Version, rewritten), Rewritten: rewritten})
}

// checkRewrite refuses to write to another object than the caller means. A spec
// without a name takes the one that it has.
func checkRewrite(r *http.Request, kind string, given *string, name string, meta api.Meta, version api.ContentVersion) error {
	if *given == "" {
		*given = name
	}
	if *given != name {
		return api.Errorf(api.CodeInvalid, "%s %s: its name cannot be changed to %q: create another %s", kind, name, *given, kind)
	}
	if version.Superseded {
		return api.Errorf(api.CodeConflict, "%s %s: this is version %d, and another has taken its place: update it by its name", kind, name, version.Number())
	}
	if r.URL.Query().Has("version") {
		read, err := queryVersion(r, kind)
		if err == nil && read != meta.Version.Index {
			err = api.Errorf(api.CodeOutdated, "%s %s: update out of sequence: it has changed since it was read; read it again and retry", kind, name)
		}
		return err
	}
	return nil
}

// except are the services that the caller updates itself.
func except(r *http.Request) (ids []api.ServiceID) {
	for _, id := range r.URL.Query()["except"] {
		ids = append(ids, api.ServiceID(id))
	}
	return ids
}

func numberAfter(v api.ContentVersion, rewritten bool) uint64 {
	if rewritten {
		return v.Number() + 1
	}
	return v.Number()
}

// rewrite carries an update out, and answers with what became of it.
func (a *API) rewrite(w http.ResponseWriter, r *http.Request, view *state.View, op state.Op, ok bool, out api.ContentUpdate) error {
	out.Labels = ok && !out.Rewritten
	if op.PutVersion != nil {
		for _, s := range view.MovedBy(op.PutVersion) {
			out.Services = append(out.Services, s.Name())
			out.Warnings = append(out.Warnings, moveWarnings(s)...)
		}
	}
	switch {
	case queryBool(r, "dryrun"):
		if out.Rewritten {
			out.ID = "" // nobody has it yet
		}
	case ok:
		if err := a.propose(r, op); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

// moveWarnings are those about a service that gets another version of a secret or
// a config, which nobody has named.
func moveWarnings(s *api.Service) []string {
	if s.IsJob() {
		return []string{"service " + s.Name() + " is a job: it begins anew with this version"}
	}
	return takeover(s)
}

// labelsOnly refuses another content in Docker's words, and says the way.
func labelsOnly(kind, name string) error {
	return api.Errorf(api.CodeInvalid, "only updates to Labels are allowed: `swarmctl %s update %s FILE` makes a new version, and the services that use it roll", kind, name)
}
