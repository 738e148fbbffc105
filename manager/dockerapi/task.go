package dockerapi

import (
	"cmp"
	"iter"
	"maps"
	"net/http"
	"slices"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

func (a *API) taskList(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilters(r, "_up-to-date", "desired-state", "id", "label", "name", "node", "runtime", "service")
	if err != nil {
		return err
	}
	for _, s := range f.Get("desired-state") {
		if _, err := api.ParseTaskState(s); err != nil {
			return api.Errorf(api.CodeInvalid, "invalid desired-state filter: '%s'", s)
		}
	}
	view, err := a.read(r)
	if err != nil {
		return err
	}
	tasks, err := chooseTasks(view, f)
	if err != nil {
		return err
	}
	return writeList(w, tasks, newTaskRows(view, a.cfg.Now()).append)
}

// chooseTasks yields the tasks that the filters let through. Services and
// nodes may be given by name or by the beginning of an ID.
func chooseTasks(view *state.View, f filters.Args) (iter.Seq[*api.Task], error) {
	services, nodes := map[api.ServiceID]bool{}, map[api.NodeID]bool{}
	for _, ref := range f.Get("service") {
		s, err := view.FindService(ref)
		if err != nil {
			return nil, err
		}
		services[s.ID] = true
	}
	for _, ref := range f.Get("node") {
		n, err := view.FindNode(ref)
		if err != nil {
			return nil, err
		}
		nodes[n.ID] = true
	}
	return func(yield func(*api.Task) bool) {
		for t := range candidates(view, f, services, nodes) {
			if (len(services) == 0 || services[t.ServiceID]) && (len(nodes) == 0 || nodes[t.NodeID]) && matchTask(view, f, t) && !yield(t) {
				return
			}
		}
	}, nil
}

// candidates yields, by way of the narrowest index that the filters name, all
// tasks that may pass them. NB: there is none by desired state: tasks are
// written far more often than they are listed by that alone.
func candidates(view *state.View, f filters.Args, services map[api.ServiceID]bool, nodes map[api.NodeID]bool) iter.Seq[*api.Task] {
	switch {
	case len(services) > 0:
		return tasksOf(services, view.ServiceTasks)
	case len(nodes) > 0:
		return tasksOf(nodes, view.NodeTasks)
	case f.Contains("label"):
		labelled := map[api.ServiceID]bool{}
		for s := range view.Services() {
			if labelMatch(f, "label", s.Spec.Labels) {
				labelled[s.ID] = true
			}
		}
		return tasksOf(labelled, view.ServiceTasks)
	}
	return view.Tasks()
}

func tasksOf[ID cmp.Ordered](ids map[ID]bool, tasks func(ID) iter.Seq[*api.Task]) iter.Seq[*api.Task] {
	return func(yield func(*api.Task) bool) {
		for _, id := range slices.Sorted(maps.Keys(ids)) {
			for t := range tasks(id) {
				if !yield(t) {
					return
				}
			}
		}
	}
}

func matchTask(view *state.View, f filters.Args, t *api.Task) bool {
	if !prefixMatch(f, "id", string(t.ID)) || !f.ExactMatch("desired-state", t.Desired.String()) ||
		!f.ExactMatch("runtime", string(swarm.RuntimeContainer)) {
		return false
	}
	if f.Contains("name") && !prefixMatch(f, "name", view.TaskName(t)) {
		return false
	}
	if !f.Contains("label") && !f.Contains("_up-to-date") {
		return true
	}
	service := view.Service(t.ServiceID)
	if f.Contains("label") && (service == nil || !labelMatch(f, "label", service.Spec.Labels)) {
		return false
	}
	return !f.Contains("_up-to-date") || service != nil && t.SpecVersion == service.SpecVersion
}

func (a *API) taskInspect(w http.ResponseWriter, r *http.Request) error {
	view, t, err := found(a, r, (*state.View).FindTask)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, projectTask(view, t, a.cfg.Now()))
}
