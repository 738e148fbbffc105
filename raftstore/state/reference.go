package state

import (
	"iter"
	"slices"
	"strings"

	"github.com/swarmctl/swarmctl/api"
)

// references yields all references to secrets and configs that there are, in
// lists: what is superseded stays for as long as it is in one of them. Tasks have
// theirs in the version of the spec that they run, which is kept with them.
//
// A table whose rows refer to contents yields them here, and calls tx.loosen
// with those of a row that it changes or drops.
func (v *View) references() iter.Seq[[]api.ContentRef] {
	return func(yield func([]api.ContentRef) bool) {
		for s := range v.Services() {
			if !yield(refsOf(&s.Spec)) || !yield(refsOf(s.PreviousSpec)) {
				return
			}
		}
		for s := range all[api.SpecVersion](v, tableSpecs, byID) {
			if !yield(refsOf(&s.Spec)) {
				return
			}
		}
		for s := range v.Stacks() {
			if !yield(refsOfDeploys(s.Deploys)) {
				return
			}
		}
	}
}

// refsOfDeploys are what there is to go back to.
func refsOfDeploys(deploys []api.StackDeploy) (list []api.ContentRef) {
	for i := range deploys {
		for _, id := range deploys[i].Secrets {
			list = append(list, api.ContentRef{Kind: secrets.kind, ID: string(id)})
		}
		for _, id := range deploys[i].Configs {
			list = append(list, api.ContentRef{Kind: configs.kind, ID: string(id)})
		}
	}
	return list
}

func refsOf(s *api.ServiceSpec) []api.ContentRef {
	if s == nil {
		return nil
	}
	return api.ContentRefs(s.TaskTemplate.ContainerSpec)
}

func (v *View) refersTo(kind, id string) bool {
	for list := range v.references() {
		if refers(list, kind, id) {
			return true
		}
	}
	return false
}

// loosen notes references that the command has taken out of the state, or may
// have: at its end, what was superseded and is in no other goes.
func (x *tx) loosen(list []api.ContentRef) {
	for _, r := range list {
		if !refers(x.loose, r.Kind, r.ID) {
			x.loose = append(x.loose, r)
		}
	}
}

// collectContents drops what was superseded and has lost its last reference.
// Whether it has is asked of the whole state, and only for what is superseded:
// the counters that would make it quicker would have to be right for ever.
func (x *tx) collectContents() {
	for _, r := range x.loose {
		if r.Kind == secrets.kind {
			secrets.collect(x, r.ID)
		} else {
			configs.collect(x, r.ID)
		}
	}
}

// moveServices has every service that refers to one of the versions refer to
// another, but for those that somebody else puts: an update like any other, by
// the service's own policy and with the way back, also where one was under way.
func (x *tx) moveServices(kind string, from []string, to string, except []api.ServiceID) {
	for _, s := range slices.Collect(x.view().Services()) {
		if slices.Contains(except, s.ID) {
			continue
		}
		if spec, moved := retargeted(s.Spec, kind, from, to); moved {
			x.updateService(s, spec)
		}
	}
}

// updateService puts another spec into force, as Updated has it.
func (x *tx) updateService(old *api.Service, spec api.ServiceSpec) {
	next := *old
	if next.Spec = spec; old.SpecVersion != x.index {
		next = *Updated(x.view(), old, spec, old.Image)
	} // else: it is new with this very entry of the log, and has its way back already
	next.Meta = x.meta(true, old.Meta)
	x.chooseSpecVersion(old, &next)
	x.settle(old, &next)
}

// retargeted is a spec in which references to some secrets, or configs, are
// references to another one. What the spec shares with others is not touched.
func retargeted(spec api.ServiceSpec, kind string, from []string, to string) (_ api.ServiceSpec, moved bool) {
	stale := func(id string) bool { return id != to && slices.Contains(from, id) }
	if spec.TaskTemplate.ContainerSpec == nil {
		return spec, false
	}
	c := *spec.TaskTemplate.ContainerSpec
	if kind == secrets.kind {
		c.Secrets = slices.Clone(c.Secrets)
		for i, r := range c.Secrets {
			if r != nil && stale(r.SecretID) {
				ref := *r
				ref.SecretID, c.Secrets[i], moved = to, &ref, true
			}
		}
	} else {
		c.Configs = slices.Clone(c.Configs)
		for i, r := range c.Configs {
			if r != nil && stale(r.ConfigID) {
				ref := *r
				ref.ConfigID, c.Configs[i], moved = to, &ref, true
			}
		}
	}
	spec.TaskTemplate.ContainerSpec = &c
	return spec, moved
}

// CheckContents refuses a spec with references to secrets and configs that there
// are not, or whose name and ID are not of the same one; in Docker's words.
func (v *View) CheckContents(s *api.ServiceSpec) error { return v.CheckContentsWith(s, nil) }

// CheckContentsWith is CheckContents where some are still to be created: names
// by ID.
func (v *View) CheckContentsWith(s *api.ServiceSpec, more map[string]string) error {
	return v.checkContents(s, func(r *api.ContentRef) bool {
		name, ok := v.contentName(r)
		if !ok {
			name, ok = more[r.ID]
		}
		return ok && name == r.Name
	})
}

// checkRemoved refuses a spec whose proposer has seen a secret or a config that
// has been removed since. What the service refers to already it may go on
// referring to: a rollback by itself may have gone back to it.
func (v *View) checkRemoved(s *api.ServiceSpec, old *api.Service) error {
	return v.checkContents(s, func(r *api.ContentRef) bool {
		_, ok := v.contentName(r)
		return ok || old != nil && refers(refsOf(&old.Spec), r.Kind, r.ID)
	})
}

func (v *View) checkContents(s *api.ServiceSpec, ok func(*api.ContentRef) bool) error {
	missing := map[string][]string{}
	for _, r := range refsOf(s) {
		if !ok(&r) && !slices.Contains(missing[r.Kind], r.Name) {
			missing[r.Kind] = append(missing[r.Kind], r.Name)
		}
	}
	if err := notFound(secrets.kind, missing[secrets.kind]); err != nil {
		return err
	}
	return notFound(configs.kind, missing[configs.kind])
}

func (v *View) contentName(r *api.ContentRef) (name string, ok bool) {
	if r.Kind == secrets.kind {
		if s := v.Secret(api.SecretID(r.ID)); s != nil {
			return s.Spec.Name, true
		}
	} else if c := v.Config(api.ConfigID(r.ID)); c != nil {
		return c.Spec.Name, true
	}
	return "", false
}

func notFound(kind string, names []string) error {
	switch len(names) {
	case 0:
		return nil
	case 1:
		return api.Errorf(api.CodeInvalid, "%s not found: %s", kind, names[0])
	}
	return api.Errorf(api.CodeInvalid, "%ss not found: %s", kind, strings.Join(names, ", "))
}
