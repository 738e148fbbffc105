package fabric

import (
	"maps"
	"slices"

	"github.com/swarmctl/swarmctl/api"
)

// Set is the fabric as a node knows it. The maps belong to the Set; what they
// hold is shared and never changes.
type Set struct {
	Index     uint64
	Networks  map[api.NetworkID]*Network
	Hosts     map[api.NodeID]*Host
	Services  map[api.ServiceID]*Service
	Endpoints map[string]*Endpoint
}

// NewSet is an empty fabric.
func NewSet() *Set {
	return &Set{
		Networks: map[api.NetworkID]*Network{}, Hosts: map[api.NodeID]*Host{},
		Services: map[api.ServiceID]*Service{}, Endpoints: map[string]*Endpoint{},
	}
}

// Apply makes the change. An older one than the set is passed over, unless it
// is full: the word of a manager that lags is complete at least.
func (s *Set) Apply(u *Update) {
	if u.Full {
		*s = *NewSet()
	} else if u.Index < s.Index {
		return
	}
	s.Index = u.Index
	for _, id := range u.Removed {
		delete(s.Networks, api.NetworkID(id))
		delete(s.Hosts, api.NodeID(id))
		delete(s.Services, api.ServiceID(id))
		delete(s.Endpoints, id)
	}
	for _, n := range u.Networks {
		s.Networks[n.ID] = n
	}
	for _, h := range u.Hosts {
		s.Hosts[h.ID] = h
	}
	for _, v := range u.Services {
		s.Services[v.ID] = v
	}
	for _, e := range u.Endpoints {
		s.Endpoints[e.ID] = e
	}
}

// Whole is an update that makes any set this one.
func (s *Set) Whole() *Update {
	return &Update{
		Index: s.Index, Full: true,
		Networks: slices.Collect(maps.Values(s.Networks)), Hosts: slices.Collect(maps.Values(s.Hosts)),
		Services: slices.Collect(maps.Values(s.Services)), Endpoints: slices.Collect(maps.Values(s.Endpoints)),
	}
}

// Clone is a set of its own with the same contents, for a reader in another goroutine.
func (s *Set) Clone() *Set {
	return &Set{
		Index: s.Index, Networks: maps.Clone(s.Networks), Hosts: maps.Clone(s.Hosts),
		Services: maps.Clone(s.Services), Endpoints: maps.Clone(s.Endpoints),
	}
}
