package slot

import (
	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/constraint"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// RulesOf returns the constraints of a spec. Those that do not parse are an
// error: the API refuses them, so they come from a newer program.
func RulesOf(spec *api.ServiceSpec) (constraint.List, error) {
	if spec.TaskTemplate.Placement == nil {
		return nil, nil
	}
	return constraint.Parse(spec.TaskTemplate.Placement.Constraints)
}

// Beside tells which nodes satisfy a service's constraints on other services, as
// the scheduler reads them: tasks count that are meant to run on the node, from
// when they are placed. What a service asks of its own tasks is left to the
// scheduler.
type Beside struct {
	others []other
	fixed  bool // some other service goes by this one in turn
}

type other struct {
	not      bool
	here     map[api.NodeID]bool // runs there, or is to
	passing  map[api.NodeID]bool // has not ended there yet, or is about to come back
	unplaced bool                // has tasks that are about to be placed, or followed, on some node
}

// NewBeside looks where the services are that the rules of service s name.
func NewBeside(v *state.View, s *api.Service, rules constraint.List) Beside {
	var b Beside
	for _, named := range rules.Services() {
		if named.Name != s.Name() {
			b.others = append(b.others, otherOf(v, named))
		}
	}
	b.fixed = len(b.others) > 0 && circular(v, s)
	return b
}

func otherOf(v *state.View, named constraint.Service) other {
	o := other{not: named.Not, here: map[api.NodeID]bool{}, passing: map[api.NodeID]bool{}}
	s := v.ServiceByName(named.Name)
	if s == nil {
		return o
	}
	for t := range v.ServiceTasks(s.ID) {
		switch waits := t.Live() && t.Status.State < api.TaskAssigned; {
		case waits && t.Status.Err != "": // no node takes it: that may last
		case (waits || EndedByItself(t)) && KeyOf(t).Node == "":
			o.unplaced = true
		case waits || EndedByItself(t):
			o.passing[t.NodeID] = true
		case t.Live():
			o.here[t.NodeID] = true
		case !t.Status.State.Terminal() && t.NodeID != "":
			o.passing[t.NodeID] = true
		}
	}
	return o
}

// At says whether node id satisfies the constraints. Where it does not, settled
// says that it will not in a moment either. It may while a task of the other
// service is between two nodes, or has not ended on this one; and where services
// go by each other nothing is ever settled: they would chase each other.
func (b Beside) At(id api.NodeID) (met, settled bool) {
	met, settled = true, !b.fixed
	for _, o := range b.others {
		passing := !o.here[id] && (o.unplaced || o.passing[id])
		if passing {
			settled = false
		}
		if passing || o.here[id] == o.not {
			met = false
		}
	}
	return met, met || settled
}

// circular reports whether one of the services that s names, or one that those
// name, and so on, names s.
func circular(v *state.View, s *api.Service) bool {
	seen := map[api.ServiceID]bool{}
	var leads func(from *api.Service) bool
	leads = func(from *api.Service) bool {
		rules, _ := RulesOf(&from.Spec)
		for _, named := range rules.Services() {
			next := v.ServiceByName(named.Name)
			switch {
			case next == nil || next == from || seen[next.ID]:
				continue
			case next.ID == s.ID:
				return true
			}
			seen[next.ID] = true
			if leads(next) {
				return true
			}
		}
		return false
	}
	return leads(s)
}
