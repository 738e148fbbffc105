package scheduler

import (
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// claim is a named resource of a node that a task has. How many of a kind are
// taken is counted by slot.genericTaken, named or not; claims say which.
type claim struct {
	task        api.TaskID
	kind, value string
}

// assignGeneric sets resources of node i aside for a task of the group that is
// placed there, in the order in which the node names them: of each kind the
// first names that nobody has, and a number where it has no names.
func (c *Cluster) assignGeneric(i int32, g *group, id api.TaskID) []api.GenericResource {
	if len(g.needs.generic) == 0 {
		return nil
	}
	s := &c.slots[i]
	var out []api.GenericResource
	for _, a := range g.needs.generic {
		names := s.freeNames(a.kind)
		names = names[:min(len(names), int(a.n))]
		for _, value := range names {
			s.claims = append(s.claims, claim{id, a.kind, value})
			out = append(out, api.GenericResource{NamedResourceSpec: &swarm.NamedGenericResource{Kind: a.kind, Value: value}})
		}
		if rest := a.n - int64(len(names)); rest > 0 {
			out = append(out, api.GenericResource{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: a.kind, Value: rest}})
		}
	}
	return out
}

// freeNames are the names of a kind that no task has. A name that the node
// lists twice is there twice.
func (s *slot) freeNames(kind string) []string {
	taken := map[string]int{}
	for _, c := range s.claims {
		if c.kind == kind {
			taken[c.value]++
		}
	}
	var free []string
	for _, r := range s.node.Description.Resources.GenericResources {
		n := r.NamedResourceSpec
		switch {
		case n == nil || n.Kind != kind:
		case taken[n.Value] > 0:
			taken[n.Value]--
		default:
			free = append(free, n.Value)
		}
	}
	return free
}

// adoptClaims takes in which named resources a task has according to the state.
func (s *slot) adoptClaims(t *api.Task) {
	s.dropClaims(t.ID)
	for _, r := range t.GenericResources {
		if n := r.NamedResourceSpec; n != nil {
			s.claims = append(s.claims, claim{t.ID, n.Kind, n.Value})
		}
	}
}

// dropClaims forgets those of a task that has left the node.
func (s *slot) dropClaims(id api.TaskID) {
	if len(s.claims) > 0 {
		s.claims = slices.DeleteFunc(s.claims, func(c claim) bool { return c.task == id })
	}
}
