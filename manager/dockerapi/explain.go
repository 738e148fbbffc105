package dockerapi

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// taskExplain answers why a task is where it is, or is nowhere. It is no part
// of Docker's API; what is ours is below /swarmctl.
func (a *API) taskExplain(w http.ResponseWriter, r *http.Request) error {
	view, err := a.read(r)
	if err != nil {
		return err
	}
	t, err := findTask(view, r.PathValue("id"), newer)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, a.explain(view, t))
}

func (a *API) explain(view *state.View, t *api.Task) api.Explanation {
	x := api.Explanation{
		ID: t.ID, Name: view.TaskName(t), ServiceID: t.ServiceID, State: t.Status.State.String(), Desired: t.Desired.String(),
		NodeID: t.NodeID, Since: t.Status.At, Err: t.Status.Err, Note: cmp.Or(t.RestartNote(), downNote(view, t, a.cfg.Now()), preparingNote(t)),
	}
	for _, g := range t.GenericResources {
		if n := g.NamedResourceSpec; n != nil {
			x.Resources = append(x.Resources, n.Kind+"="+n.Value)
		} else if d := g.DiscreteResourceSpec; d != nil {
			x.Resources = append(x.Resources, d.Kind+"="+strconv.FormatInt(d.Value, 10))
		}
	}
	if n := view.Node(t.NodeID); n != nil {
		x.Node = n.Hostname()
	}
	if t.Status.State <= api.TaskPending {
		x.Since = t.Meta.CreatedAt
	}
	if t.Status.State == api.TaskPending && t.Desired <= api.TaskComplete {
		x.Note = cmp.Or(waitNote(view, t), x.Note)
		x.Nodes = a.cfg.Explain(view, t)
	}
	return x
}

// waitNote says which services a task waits for before it gets a node.
func waitNote(view *state.View, t *api.Task) string {
	if s := view.Service(t.ServiceID); s != nil {
		return state.Unmet(view, s)
	}
	return ""
}

// preparingNote is what a task waits for that prepares: its image, say.
func preparingNote(t *api.Task) string {
	if text, ok := strings.CutPrefix(t.Status.Message, "preparing: "); ok && t.Status.State == api.TaskPreparing {
		return text
	}
	return ""
}

// findTask returns the task that ref names, as View.FindTask does or by its
// place: SERVICE.SLOT, or SERVICE.NODE of a global service. Of the tasks of
// one place it is the one that speaks for it.
func findTask(view *state.View, ref string, speaks func(a, b *api.Task) bool) (*api.Task, error) {
	t, err := view.FindTask(ref)
	dot := strings.LastIndexByte(ref, '.')
	if err == nil || dot < 0 {
		return t, err
	}
	s, noService := view.FindService(ref[:dot])
	if noService != nil {
		return nil, api.Errorf(api.CodeNotFound, "task %s not found: give an ID, or SERVICE.SLOT as `service ps` lists them", ref)
	}
	place := ref[dot+1:]
	node, _ := view.FindNode(place)
	for c := range view.ServiceTasks(s.ID) {
		there := c.Slot > 0 && api.Place(&s.Spec, c) == place || c.Slot == 0 && node != nil && c.NodeID == node.ID
		if there && (t == nil || speaks(c, t)) {
			t = c
		}
	}
	if t == nil {
		return nil, api.Errorf(api.CodeNotFound, "service %s has no task %s: `service ps %s` lists what it has", s.Name(), place, s.Name())
	}
	return t, nil
}

// newer reports whether a speaks for its place rather than b: the newest that
// is meant to live, or else the newest.
func newer(a, b *api.Task) bool {
	if a.Live() != b.Live() {
		return a.Live()
	}
	return a.Meta.CreatedAt.After(b.Meta.CreatedAt)
}
