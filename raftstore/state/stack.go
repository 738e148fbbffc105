package state

import (
	"iter"
	"slices"

	"github.com/swarmctl/swarmctl/api"
)

// Stack returns what is remembered of a stack, or nil.
func (v *View) Stack(name string) *api.Stack {
	return first[api.Stack](v, tableStacks, byID, key(name))
}

// Stacks yields what is remembered of all stacks in the order of their names.
func (v *View) Stacks() iter.Seq[*api.Stack] { return all[api.Stack](v, tableStacks, byID) }

// StackServices yields the services of a stack in the order of their names.
func (v *View) StackServices(name string) iter.Seq[*api.Service] {
	return func(yield func(*api.Service) bool) {
		for s := range v.Services() {
			if s.Spec.Labels[api.LabelNamespace] == name && !yield(s) {
				return
			}
		}
	}
}

func (v *View) hasServices(stack string) bool {
	for range v.StackServices(stack) {
		return true
	}
	return false
}

// recordDeploy remembers a deploy, and forgets those that there is no room for.
func (x *tx) recordDeploy(r *RecordDeploy) error {
	old := x.view().Stack(r.Stack)
	given := api.Meta{}
	given.Version.Index = r.Version
	if err := x.checkVersion("stack", r.Stack, version(old, func(s *api.Stack) api.Meta { return s.Meta }), given); err != nil {
		return err
	}
	for _, ref := range refsOfDeploys(r.Deploys) {
		if _, ok := x.view().contentName(&ref); !ok { // there would be no way back to it
			return api.Errorf(api.CodeOutdated, "stack %s: update out of sequence: %s %s has been removed meanwhile; read it again and retry", r.Stack, ref.Kind, ref.ID)
		}
	}
	next := &api.Stack{Name: r.Stack}
	if old != nil {
		next.Deploys = slices.Clone(old.Deploys)
		next.Meta = old.Meta
		if c := next.Current(); c != nil {
			c.Outcome = r.Outcome
		}
	}
	every := append(next.Deploys, r.Deploys...)
	next.Deploys = remembered(every)
	x.loosen(refsOfDeploys(every[:len(every)-len(next.Deploys)]))
	next.Meta = x.meta(old != nil, next.Meta)
	x.put(tableStacks, next)
	if x.recorded == nil {
		x.recorded = map[string]bool{}
	}
	x.recorded[r.Stack] = true
	return nil
}

// remembered are those of the deploys that there is room for: the last ones.
func remembered(list []api.StackDeploy) []api.StackDeploy {
	size, from := 0, len(list)
	for from > 0 && len(list)-from < api.MaxDeploys {
		size += list[from-1].Size()
		if size > api.MaxHistory && from < len(list) {
			break
		}
		from--
	}
	return slices.Clone(list[from:])
}

// forgetStacks forgets the stacks whose last service this command has removed,
// however it came: Docker's `stack rm` knows nothing of what is remembered, and
// it would stay for ever. A deploy that leaves a stack without services records
// that, and is remembered.
func (x *tx) forgetStacks() {
	for _, p := range x.services {
		if p.Before == nil {
			continue
		}
		name := p.Before.Spec.Labels[api.LabelNamespace]
		if name == "" || x.recorded[name] || p.After != nil && p.After.Spec.Labels[api.LabelNamespace] == name {
			continue
		}
		if old := x.view().Stack(name); old != nil && !x.view().hasServices(name) {
			x.loosen(refsOfDeploys(old.Deploys))
			x.deleteRow(tableStacks, old)
		}
	}
}
