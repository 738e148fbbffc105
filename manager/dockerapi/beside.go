package dockerapi

import (
	"fmt"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/constraint"
	"github.com/swarmctl/swarmctl/manager/dockerapi/servicespec"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// specWarnings are what a valid spec asks for and does not get, or not yet.
func specWarnings(view *state.View, s *api.ServiceSpec) []string {
	return append(servicespec.Warnings(s), alone(view, s)...)
}

// alone warns of services that the spec's constraints ask to be beside, and that
// do not exist. It is no mistake yet: they may be created later.
func alone(view *state.View, s *api.ServiceSpec) (list []string) {
	if s.TaskTemplate.Placement == nil {
		return nil
	}
	rules, _ := constraint.Parse(s.TaskTemplate.Placement.Constraints) // valid ones parse
	for _, named := range rules.Services() {
		if !named.Not && named.Name != s.Name && view.ServiceByName(named.Name) == nil {
			list = append(list, fmt.Sprintf("constraint %s: there is no service %s: service %s runs nowhere until there is", named, named.Name, s.Name))
		}
	}
	return list
}
