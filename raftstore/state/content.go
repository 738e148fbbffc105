package state

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// change is how a secret or a config comes to hold what is wanted: at once a
// label's change, or another version, or nothing (ok is false) where it does so
// already. Where a kept version has that very content it is taken up again, so
// that the tasks which still run it, or have gone back to it, are left alone.
func (s shelf[T]) change(v *View, current, want *T) (next *T, rewritten, ok bool) {
	made := *want
	m, c := s.open(&made), s.open(current)
	m.name.Name, m.meta.Version = c.name.Name, c.meta.Version
	switch {
	case !sameContent(m, c):
		for kept := range s.versions(v, c.name.Name) {
			if k := s.open(kept); sameContent(m, k) {
				labels := m.name.Labels
				made = *kept
				m.name.Labels, m.meta.Version = labels, c.meta.Version
				break
			}
		}
		return &made, true, true
	case maps.Equal(m.name.Labels, c.name.Labels):
		return nil, false, false
	}
	labels := m.name.Labels
	made = *current
	m.name.Labels = labels
	return &made, false, true
}

func sameContent(a, b opened) bool {
	driver := func(d *swarm.Driver) swarm.Driver {
		if d == nil {
			return swarm.Driver{}
		}
		return *d
	}
	return bytes.Equal(a.data, b.data) && reflect.DeepEqual(driver(a.templating), driver(b.templating))
}

// ChangeSecret returns the operation after which a secret that has its name
// holds what spec says, and the secret as it then is: next has the given ID
// where it is a new version, and rewritten says that it is another than current.
// ok is false where nothing is to be written. Services that the same command
// puts anyhow are named in except.
func (v *View) ChangeSecret(current *api.Secret, spec api.SecretSpec, id api.SecretID, except ...api.ServiceID) (op Op, next *api.Secret, rewritten, ok bool) {
	next, rewritten, ok = secrets.change(v, current, &api.Secret{ID: id, Spec: spec})
	if rewritten {
		return Op{PutVersion: &PutVersion{Secret: next, Except: except}}, next, true, true
	}
	return Op{PutSecret: next}, next, false, ok
}

// ChangeConfig is as ChangeSecret.
func (v *View) ChangeConfig(current *api.Config, spec api.ConfigSpec, id api.ConfigID, except ...api.ServiceID) (op Op, next *api.Config, rewritten, ok bool) {
	next, rewritten, ok = configs.change(v, current, &api.Config{ID: id, Spec: spec})
	if rewritten {
		return Op{PutVersion: &PutVersion{Config: next, Except: except}}, next, true, true
	}
	return Op{PutConfig: next}, next, false, ok
}

// Content is what nodes are told of a secret or a config that a task refers to.
func (v *View) Content(r *api.ContentRef) *api.Content {
	var o opened
	if r.Kind == secrets.kind {
		if s := v.Secret(api.SecretID(r.ID)); s != nil {
			o = secrets.open(s)
		}
	} else if c := v.Config(api.ConfigID(r.ID)); c != nil {
		o = configs.open(c)
	}
	if o.id == "" {
		return &api.Content{ID: r.ID, Gone: true}
	}
	return &api.Content{ID: r.ID, Data: o.data, Template: o.templating != nil && o.templating.Name != ""}
}

// MovedBy are the services that a new version of a secret or a config moves to it.
func (v *View) MovedBy(p *PutVersion) (list []*api.Service) {
	kind, to, from := secrets.kind, "", []string(nil)
	if p.Secret != nil {
		to, from = string(p.Secret.ID), secrets.versionIDs(v, p.Secret.Spec.Name)
	} else {
		kind, to, from = configs.kind, string(p.Config.ID), configs.versionIDs(v, p.Config.Spec.Name)
	}
	from = slices.DeleteFunc(from, func(id string) bool { return id == to })
	for s := range v.Services() {
		if refers(refsOf(&s.Spec), kind, from...) && !slices.Contains(p.Except, s.ID) {
			list = append(list, s)
		}
	}
	return list
}

// users are the names of the services whose specs are as uses wants them.
func (v *View) users(uses func(*api.ServiceSpec) bool) (names []string) {
	for s := range v.Services() {
		if uses(&s.Spec) {
			names = append(names, s.Name())
		}
	}
	return names
}

func refers(list []api.ContentRef, kind string, ids ...string) bool {
	return slices.ContainsFunc(list, func(r api.ContentRef) bool { return r.Kind == kind && slices.Contains(ids, r.ID) })
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
