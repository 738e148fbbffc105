package services

import (
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/rollout"
	"github.com/swarmctl/swarmctl/services/slot"
)

// relation is which services name which others, by name: these need not exist.
type relation struct {
	names map[api.ServiceID][]string
	by    map[string]map[api.ServiceID]struct{}
}

func newRelation() relation {
	return relation{map[api.ServiceID][]string{}, map[string]map[api.ServiceID]struct{}{}}
}

func (r relation) clear() {
	clear(r.names)
	clear(r.by)
}

// set says which names a service has; none, where it is gone.
func (r relation) set(id api.ServiceID, names []string) {
	for _, name := range r.names[id] {
		if delete(r.by[name], id); len(r.by[name]) == 0 {
			delete(r.by, name)
		}
	}
	delete(r.names, id)
	for _, name := range names {
		if r.by[name] == nil {
			r.by[name] = map[api.ServiceID]struct{}{}
		}
		r.by[name][id] = struct{}{}
		r.names[id] = append(r.names[id], name)
	}
}

// relate notes which services a service names in its constraints, or as the one
// that its tasks are sidecars of, and which it depends on; s is nil once it is gone.
func (l *Loop) relate(id api.ServiceID, s *api.Service) {
	var beside, depends []string
	if s != nil {
		rules, _ := slot.RulesOf(&s.Spec) // those that do not parse are nobody's business
		for _, named := range rules.Services() {
			beside = append(beside, named.Name)
		}
		if pod := setting.PodOf(s.Spec.Labels); pod != "" {
			beside = append(beside, pod)
		}
		for _, d := range setting.DependenciesOf(s.Spec.Labels) {
			depends = append(depends, d.Service)
		}
	}
	l.beside.set(id, beside)
	l.depends.set(id, depends)
}

// wakeNamers wakes the services that name s, in their constraints or as their pod.
func (l *Loop) wakeNamers(s *api.Service) {
	for id := range l.beside.by[s.Name()] {
		l.dirty[id] = struct{}{}
	}
}

// wakeDependents wakes the services that depend on s and are being updated: the
// update stands still for as long as they wait for s. The tasks that wait are the
// scheduler's business.
func (l *Loop) wakeDependents(s *api.Service) {
	if s == nil {
		return
	}
	for id := range l.depends.by[s.Name()] {
		if d := l.view.Service(id); d != nil && rollout.UnderWay(d) {
			l.dirty[id] = struct{}{}
		}
	}
}

// noteHeld notes whether the update of a service stands still because it waits
// for another one: such time is not held against it.
func noteHeld(v *state.View, id api.ServiceID, seen slot.Seen, now time.Time) {
	if s := v.Service(id); s != nil && rollout.UnderWay(s) {
		seen.NoteHeld(id, state.Unmet(v, s) != "", now)
	}
}
