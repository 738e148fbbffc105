package state

import (
	"iter"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// shelf is the table of secrets, or that of configs: whatever is done to them
// is done to both alike.
type shelf[T any] struct {
	kind, table string
	open        func(*T) opened
	pairs       func(*tx) *[]Pair[T]
}

// opened is a secret or a config with what both have; the pointers point into it.
type opened struct {
	id         string
	name       *swarm.Annotations
	data       []byte
	templating *swarm.Driver
	meta       *api.Meta
	version    *api.ContentVersion
}

var secrets = shelf[api.Secret]{
	kind: "secret", table: tableSecrets, pairs: func(x *tx) *[]Pair[api.Secret] { return &x.secrets },
	open: func(s *api.Secret) opened {
		return opened{string(s.ID), &s.Spec.Annotations, s.Spec.Data, s.Spec.Templating, &s.Meta, &s.Version}
	},
}

var configs = shelf[api.Config]{
	kind: "config", table: tableConfigs, pairs: func(x *tx) *[]Pair[api.Config] { return &x.configs },
	open: func(c *api.Config) opened {
		return opened{string(c.ID), &c.Spec.Annotations, c.Spec.Data, c.Spec.Templating, &c.Meta, &c.Version}
	},
}

func (s shelf[T]) byID(v *View, id string) *T { return first[T](v, s.table, byID, key(id)) }

// byName is the version that has the name, or nil.
func (s shelf[T]) byName(v *View, name string) *T { return first[T](v, s.table, byName, key(name)) }

// versions yields what has a name and what had it.
func (s shelf[T]) versions(v *View, name string) iter.Seq[*T] {
	return where[T](v, s.table, byLine, key(name))
}

// versionIDs are the IDs of those.
func (s shelf[T]) versionIDs(v *View, name string) (ids []string) {
	for obj := range s.versions(v, name) {
		ids = append(ids, s.open(obj).id)
	}
	return ids
}

func (s shelf[T]) version(obj *T) uint64 {
	return version(obj, func(obj *T) api.Meta { return *s.open(obj).meta })
}

func (s shelf[T]) store(x *tx, old, next *T) {
	meta := s.open(next).meta
	*meta = x.meta(old != nil, *meta)
	x.put(s.table, next)
	*s.pairs(x) = append(*s.pairs(x), Pair[T]{Before: old, After: next})
}

func (s shelf[T]) drop(x *tx, obj *T) {
	x.deleteRow(s.table, obj)
	*s.pairs(x) = append(*s.pairs(x), Pair[T]{Before: obj})
}

// put creates a secret or a config, or gives one other labels: its data stays,
// so that every task which was given it reads the same.
func (s shelf[T]) put(x *tx, given *T) error {
	next := *given
	o := s.open(&next)
	old := s.byID(x.view(), o.id)
	if err := x.checkVersion(s.kind, o.id, s.version(old), *o.meta); err != nil {
		return err
	}
	switch labels := o.name.Labels; {
	case old == nil && s.byName(x.view(), o.name.Name) != nil:
		return api.Errorf(api.CodeConflict, "%s %s already exists", s.kind, o.name.Name)
	case old == nil:
		*o.version = api.ContentVersion{}
	case s.open(old).version.Superseded:
		return s.superseded(old)
	default:
		next = *old
		o.name.Labels = labels
	}
	s.store(x, old, &next)
	return nil
}

// superseded refuses to change what has no name any more.
func (s shelf[T]) superseded(obj *T) error {
	o := s.open(obj)
	return api.Errorf(api.CodeConflict, "%s %s: this is version %d, and another has taken its place: read it by its name", s.kind, o.name.Name, o.version.Number())
}

// remove removes a name with all its versions, or one version that has been
// superseded. What a service uses stays; what only its previous spec refers to,
// or an update that was not finished, does not hold anybody up.
func (s shelf[T]) remove(x *tx, id string) error {
	old := s.byID(x.view(), id)
	if old == nil {
		return api.Errorf(api.CodeNotFound, "%s %s not found", s.kind, id)
	}
	gone, o := []*T{old}, s.open(old)
	if !o.version.Superseded {
		gone = slices.Collect(s.versions(x.view(), o.name.Name))
	}
	var ids []string
	for _, obj := range gone {
		ids = append(ids, s.open(obj).id)
	}
	if err := inUse(s.kind, o.name.Name, x.view().users(func(spec *api.ServiceSpec) bool {
		return refers(refsOf(spec), s.kind, ids...)
	})); err != nil {
		return err
	}
	for _, obj := range gone {
		s.drop(x, obj)
	}
	return nil
}

// supersede gives a name another content: see PutVersion.
func (s shelf[T]) supersede(x *tx, given *T, except []api.ServiceID) error {
	next := *given
	o := s.open(&next)
	name, labels := o.name.Name, o.name.Labels
	current := s.byName(x.view(), name)
	if current == nil {
		return api.Errorf(api.CodeNotFound, "%s %s not found", s.kind, name)
	}
	if err := x.checkVersion(s.kind, name, s.version(current), *o.meta); err != nil {
		return err
	}
	kept := s.byID(x.view(), o.id)
	switch {
	case kept == nil:
	case kept == current, s.open(kept).name.Name != name:
		return api.Errorf(api.CodeConflict, "%s %s exists", s.kind, o.id)
	default:
		next = *kept
		o.name.Labels = labels
	}
	was := *current
	w := s.open(&was)
	*o.version = api.ContentVersion{Before: w.version.Before + 1}
	w.version.Superseded = true
	s.store(x, current, &was)
	s.store(x, kept, &next)
	x.moveServices(s.kind, s.versionIDs(x.view(), name), o.id, except)
	x.loosen([]api.ContentRef{{Kind: s.kind, ID: w.id}})
	return nil
}

// collect drops a version that is superseded and that nothing refers to.
func (s shelf[T]) collect(x *tx, id string) {
	if obj := s.byID(x.view(), id); obj != nil && s.open(obj).version.Superseded && !x.view().refersTo(s.kind, id) {
		s.drop(x, obj)
	}
}
