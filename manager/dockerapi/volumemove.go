package dockerapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/constraint"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/manager/mover"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// volumeMove begins the move of a volume from one node to another, once it is
// sure that it can be made and what it is good for; the leader carries it out.
// The answer is the move, whose end the volume's copies tell.
func (a *API) volumeMove(w http.ResponseWriter, r *http.Request) error {
	view, err := a.read(r)
	if err != nil {
		return err
	}
	name, q := r.PathValue("id"), r.URL.Query()
	from, err := moveSource(view, name, q.Get("from"))
	if err != nil {
		return err
	}
	to, err := view.FindNode(q.Get("to"))
	if err != nil {
		return err
	}
	if err := mayMove(view, name, from, to); err != nil {
		return err
	}
	if err := mayFollow(view, name, from, to, q.Get("force") != ""); err != nil {
		return err
	}
	if err := a.askBothEnds(r.Context(), name, from, to); err != nil {
		return err
	}
	move := &api.VolumeMove{ID: a.cfg.NewID(), From: from.ID, To: to.ID}
	if err := a.propose(r, state.Op{BeginMove: &state.BeginMove{ID: move.ID, Name: name, From: from.ID, To: to.ID}}); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, move)
}

// moveSource is the node whose copy is meant: the only one, where none is named.
func moveSource(view *state.View, name, node string) (*api.Node, error) {
	list, err := copiesNamed(view, name, node)
	if err != nil {
		return nil, err
	}
	if node == "" {
		list = slices.DeleteFunc(list, func(c api.VolumeCopy) bool { return c.GivenUp })
	}
	switch len(list) {
	case 0:
		return nil, api.Errorf(api.CodeConflict, "volume %s: all of its copies were given up", name)
	case 1:
		return view.Node(list[0].NodeID), nil
	}
	hosts := make([]string, len(list))
	for i := range list {
		hosts[i] = list[i].Hostname
	}
	return nil, api.Errorf(api.CodeConflict, "volume %s is on nodes %s: say which copy with --from", name, strings.Join(hosts, ", "))
}

// mayMove looks at the nodes and the volume, as far as the cluster knows them.
func mayMove(view *state.View, name string, from, to *api.Node) error {
	if from.ID == to.ID {
		return api.Errorf(api.CodeConflict, "volume %s is on node %s already", name, to.Hostname())
	}
	for _, n := range []*api.Node{from, to} {
		if away := awayWhy(n); away != "" {
			return api.Errorf(api.CodeConflict, "volume %s cannot be moved: %s", name, away)
		}
		if n.Description.Engine.EngineVersion == "" {
			return api.Errorf(api.CodeConflict, "volume %s cannot be moved: the container engine of node %s does not answer", name, n.Hostname())
		}
	}
	v := from.Volume(name)
	switch other := to.Volume(name); {
	case v == nil:
		return api.Errorf(api.CodeConflict, "volume %s on node %s is being made: try again", name, from.Hostname())
	case v.Move.UnderWay():
		return api.Errorf(api.CodeConflict, "volume %s is being moved from %s to %s already: `swarmctl volume ls` shows it", name, view.NodeName(v.Move.From), view.NodeName(v.Move.To))
	case v.GivenUp:
		return api.Errorf(api.CodeConflict, "the copy of volume %s on node %s was given up", name, from.Hostname())
	case other != nil && other.Move != nil && other.Move.Left:
		return api.Errorf(api.CodeConflict, "node %s still has what an earlier move of volume %s has left: it is removed as soon as its engine lets it go", to.Hostname(), name)
	case other != nil || len(view.TasksWithVolume(to, name)) > 0:
		return api.Errorf(api.CodeConflict, "node %s has a volume %s already, and nothing is mixed: `swarmctl volume rm --node %s %s` removes that one with what is in it", to.Hostname(), name, to.Hostname(), name)
	}
	if !setting.PinsVolume(v.Driver, v.Options, nil) {
		return api.Errorf(api.CodeConflict, "volume %s is the same on every node (%s): it needs no move", name, api.ShowOptions(v.Driver, v.Options))
	}
	return mover.Movable(v)
}

// mayFollow looks at the services whose tasks are to follow the volume.
func mayFollow(view *state.View, name string, from, to *api.Node, force bool) error {
	if to.Spec.Availability != swarm.NodeAvailabilityActive && to.Spec.Availability != "" && !force {
		return api.Errorf(api.CodeConflict, "node %s takes no new tasks (its availability is %s): those of volume %s would wait: `swarmctl node update --availability active %s`, or --force", to.Hostname(), to.Spec.Availability, name, to.Hostname())
	}
	tasks := view.TasksWithVolume(from, name)
	for _, t := range tasks {
		if t.PodOf != "" && !slices.ContainsFunc(tasks, func(o *api.Task) bool { return o.ID == t.PodOf }) {
			return api.Errorf(api.CodeConflict, "volume %s is used by %s, a sidecar of a task that does not use it and stays where it is: remove the sidecar's service first", name, view.TaskName(t))
		}
	}
	for s := range view.Services() {
		uses := mountsNamed(s, name) || slices.ContainsFunc(tasks, func(t *api.Task) bool { return t.ServiceID == s.ID })
		if !uses {
			continue
		}
		if s.Spec.Mode.Global != nil || s.Spec.Mode.GlobalJob != nil {
			return api.Errorf(api.CodeConflict, "service %s is global: each node has its own volume %s, and a task of it that stays would begin with an empty one", s.Name(), name)
		}
		if why := excludes(s, to); why != "" && !force {
			return api.Errorf(api.CodeConflict, "service %s uses volume %s and cannot run on node %s: %s: change its constraints or the node's labels, or give --force and its tasks wait", s.Name(), name, to.Hostname(), why)
		}
	}
	return nil
}

// mountsNamed reports whether a service mounts the volume by this very name.
func mountsNamed(s *api.Service, name string) bool {
	c := s.Spec.TaskTemplate.ContainerSpec
	return c != nil && slices.ContainsFunc(c.Mounts, func(m mount.Mount) bool { return m.Type == mount.TypeVolume && m.Source == name })
}

// excludes says which constraint of a service a node does not meet, or "".
func excludes(s *api.Service, n *api.Node) string {
	p := s.Spec.TaskTemplate.Placement
	if p == nil {
		return ""
	}
	rules, err := constraint.Parse(p.Constraints)
	if err != nil {
		return err.Error()
	}
	return rules.Explain(n)
}

// askBothEnds has the nodes say what they know and the cluster does not.
func (a *API) askBothEnds(ctx context.Context, name string, from, to *api.Node) error {
	l, err := mover.LookAt(ctx, a.cfg.Tunnel.Daemon, from, name)
	if err != nil {
		return err
	}
	if len(l.Others) > 0 {
		return api.Errorf(api.CodeConflict, "container %s of node %s, which is no task of the cluster, has volume %s: remove it first", strings.Join(l.Others, ", "), from.Hostname(), name)
	}
	switch _, err := mover.LookAt(ctx, a.cfg.Tunnel.Daemon, to, name); {
	case errors.Is(err, api.ErrNotFound):
		return nil
	case err != nil && !errors.Is(err, api.ErrConflict):
		return err
	}
	return api.Errorf(api.CodeConflict, "the engine of node %s has a volume %s already", to.Hostname(), name)
}
