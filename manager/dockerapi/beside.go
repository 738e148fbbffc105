package dockerapi

import (
	"fmt"
	"slices"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/constraint"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/manager/dockerapi/servicespec"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// specWarnings are what a valid spec asks for and does not get, or not yet.
// Services that are to be there with it are named.
func specWarnings(view *state.View, s *api.ServiceSpec, with ...string) []string {
	there := func(name string) bool { return view.ServiceByName(name) != nil || slices.Contains(with, name) }
	return slices.Concat(servicespec.Warnings(s), alone(there, s), forNobody(there, s), podless(view, there, s))
}

// forNobody warns of services that the spec depends on, and that do not exist. It
// is no mistake yet: they may be created later.
func forNobody(there func(string) bool, s *api.ServiceSpec) (list []string) {
	for _, d := range setting.DependenciesOf(s.Labels) {
		if !d.Optional && !there(d.Service) {
			list = append(list, fmt.Sprintf("label %s: there is no service %s: the tasks of service %s wait until there is", setting.LabelDependsOn, d.Service, s.Name))
		}
	}
	return list
}

// alone warns of services that the spec's constraints ask to be beside, and that
// do not exist. It is no mistake yet: they may be created later.
func alone(there func(string) bool, s *api.ServiceSpec) (list []string) {
	if s.TaskTemplate.Placement == nil {
		return nil
	}
	rules, _ := constraint.Parse(s.TaskTemplate.Placement.Constraints) // valid ones parse
	for _, named := range rules.Services() {
		if !named.Not && named.Name != s.Name && !there(named.Name) {
			list = append(list, fmt.Sprintf("constraint %s: there is no service %s: service %s runs nowhere until there is", named, named.Name, s.Name))
		}
	}
	return list
}
