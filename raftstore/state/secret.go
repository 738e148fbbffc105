package state

import (
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// putSecret creates a secret, or gives one other labels: its data stays, so
// that every task which was given it reads the same.
func (x *tx) putSecret(s *api.Secret) error {
	old := x.view().Secret(s.ID)
	if err := x.checkVersion("secret", string(s.ID), version(old, func(s *api.Secret) api.Meta { return s.Meta }), s.Meta); err != nil {
		return err
	}
	next := *s
	if old != nil {
		next.Spec = old.Spec
		next.Spec.Labels = s.Spec.Labels
		next.Meta.CreatedAt = old.Meta.CreatedAt
	} else if first[api.Secret](x.view(), tableSecrets, byName, key(s.Spec.Name)) != nil {
		return api.Errorf(api.CodeConflict, "secret %s already exists", s.Spec.Name)
	}
	next.Meta = x.meta(old != nil, next.Meta)
	x.put(tableSecrets, &next)
	x.secrets = append(x.secrets, Pair[api.Secret]{Before: old, After: &next})
	return nil
}

func (x *tx) deleteSecret(id api.SecretID) error {
	old := x.view().Secret(id)
	if old == nil {
		return api.Errorf(api.CodeNotFound, "secret %s not found", id)
	}
	if err := inUse("secret", old.Spec.Name, x.view().SecretUsers(id)); err != nil {
		return err
	}
	x.deleteRow(tableSecrets, old)
	x.secrets = append(x.secrets, Pair[api.Secret]{Before: old})
	return nil
}

// putConfig creates a config, or gives one other labels.
func (x *tx) putConfig(c *api.Config) error {
	old := x.view().Config(c.ID)
	if err := x.checkVersion("config", string(c.ID), version(old, func(c *api.Config) api.Meta { return c.Meta }), c.Meta); err != nil {
		return err
	}
	next := *c
	if old != nil {
		next.Spec = old.Spec
		next.Spec.Labels = c.Spec.Labels
		next.Meta.CreatedAt = old.Meta.CreatedAt
	} else if first[api.Config](x.view(), tableConfigs, byName, key(c.Spec.Name)) != nil {
		return api.Errorf(api.CodeConflict, "config %s already exists", c.Spec.Name)
	}
	next.Meta = x.meta(old != nil, next.Meta)
	x.put(tableConfigs, &next)
	x.configs = append(x.configs, Pair[api.Config]{Before: old, After: &next})
	return nil
}

func (x *tx) deleteConfig(id api.ConfigID) error {
	old := x.view().Config(id)
	if old == nil {
		return api.Errorf(api.CodeNotFound, "config %s not found", id)
	}
	if err := inUse("config", old.Spec.Name, x.view().ConfigUsers(id)); err != nil {
		return err
	}
	x.deleteRow(tableConfigs, old)
	x.configs = append(x.configs, Pair[api.Config]{Before: old})
	return nil
}

// CheckContents refuses a spec with references to secrets and configs that there
// are not, or whose name and ID are not of the same one; in Docker's words.
func (v *View) CheckContents(s *api.ServiceSpec) error {
	return v.checkContents(s, func(r *api.ContentRef) bool {
		name, ok := v.contentName(r)
		return ok && name == r.Name
	})
}

// checkRemoved refuses a spec whose proposer has seen a secret or a config that
// has been removed since. What the service refers to already it may go on
// referring to: a rollback by itself may have gone back to it.
func (v *View) checkRemoved(s *api.ServiceSpec, old *api.Service) error {
	return v.checkContents(s, func(r *api.ContentRef) bool {
		same := func(o api.ContentRef) bool { return o.Kind == r.Kind && o.ID == r.ID }
		_, ok := v.contentName(r)
		return ok || old != nil && slices.ContainsFunc(api.ContentRefs(old.Spec.TaskTemplate.ContainerSpec), same)
	})
}

func (v *View) checkContents(s *api.ServiceSpec, ok func(*api.ContentRef) bool) error {
	missing := map[string][]string{}
	for _, r := range api.ContentRefs(s.TaskTemplate.ContainerSpec) {
		if !ok(&r) && !slices.Contains(missing[r.Kind], r.Name) {
			missing[r.Kind] = append(missing[r.Kind], r.Name)
		}
	}
	if err := notFound("secret", missing["secret"]); err != nil {
		return err
	}
	return notFound("config", missing["config"])
}

func (v *View) contentName(r *api.ContentRef) (name string, ok bool) {
	if r.Kind == "secret" {
		if s := v.Secret(api.SecretID(r.ID)); s != nil {
			return s.Spec.Name, true
		}
	} else if c := v.Config(api.ConfigID(r.ID)); c != nil {
		return c.Spec.Name, true
	}
	return "", false
}

// Content is what nodes are told of a secret or a config that a task refers to.
func (v *View) Content(r *api.ContentRef) *api.Content {
	if r.Kind == "secret" {
		if s := v.Secret(api.SecretID(r.ID)); s != nil {
			return &api.Content{ID: r.ID, Data: s.Spec.Data, Template: s.Spec.Templating != nil && s.Spec.Templating.Name != ""}
		}
	} else if c := v.Config(api.ConfigID(r.ID)); c != nil {
		return &api.Content{ID: r.ID, Data: c.Spec.Data, Template: c.Spec.Templating != nil && c.Spec.Templating.Name != ""}
	}
	return &api.Content{ID: r.ID, Gone: true}
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

// SecretUsers are the names of the services that use a secret.
func (v *View) SecretUsers(id api.SecretID) []string {
	return v.users(func(s *api.ServiceSpec) bool {
		c := s.TaskTemplate.ContainerSpec
		return c != nil && slices.ContainsFunc(c.Secrets, func(r *swarm.SecretReference) bool { return r != nil && r.SecretID == string(id) })
	})
}

// ConfigUsers are the names of the services that use a config.
func (v *View) ConfigUsers(id api.ConfigID) []string {
	return v.users(func(s *api.ServiceSpec) bool {
		c := s.TaskTemplate.ContainerSpec
		return c != nil && slices.ContainsFunc(c.Configs, func(r *swarm.ConfigReference) bool { return r != nil && r.ConfigID == string(id) })
	})
}

func (v *View) users(uses func(*api.ServiceSpec) bool) []string {
	var names []string
	for s := range v.Services() {
		if uses(&s.Spec) {
			names = append(names, s.Name())
		}
	}
	return names
}

// inUse refuses the removal of what services use, in Docker's words.
func inUse(kind, name string, users []string) error {
	switch len(users) {
	case 0:
		return nil
	case 1:
		return api.Errorf(api.CodeInvalid, "%s '%s' is in use by the following service: %s", kind, name, users[0])
	}
	return api.Errorf(api.CodeInvalid, "%s '%s' is in use by the following services: %s", kind, name, strings.Join(users, ", "))
}
