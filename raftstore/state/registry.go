package state

import (
	"iter"

	"github.com/swarmctl/swarmctl/api"
)

// Registry returns the registry of that host, or nil.
func (v *View) Registry(host string) *api.Registry {
	return first[api.Registry](v, tableRegistries, byID, key(host))
}

// Registries yields all registries in the order of their hosts.
func (v *View) Registries() iter.Seq[*api.Registry] {
	return all[api.Registry](v, tableRegistries, byID)
}

// putRegistry has the last word win: who logs in means the credentials that he
// gives, whoever has given others before.
func (x *tx) putRegistry(r *api.Registry) {
	old := x.view().Registry(r.Host)
	next := *r
	if next.Meta = x.meta(old != nil, r.Meta); old != nil {
		next.Meta.CreatedAt = old.Meta.CreatedAt
	}
	x.put(tableRegistries, &next)
	x.registries = append(x.registries, Pair[api.Registry]{Before: old, After: &next})
}

func (x *tx) deleteRegistry(host string) error {
	old := x.view().Registry(host)
	if old == nil {
		return api.Errorf(api.CodeNotFound, "registry %s: the cluster is not logged in there: `swarmctl registry ls` shows where it is", host)
	}
	x.deleteRow(tableRegistries, old)
	x.registries = append(x.registries, Pair[api.Registry]{Before: old})
	return nil
}
