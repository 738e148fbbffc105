package state

import (
	"slices"

	"github.com/docker/docker/api/types/mount"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/expand"
)

// beginMove marks both copies and has the tasks stop that use the old one. Who
// is placed on the node in the same moment is in the log before or after this:
// he is stopped or not placed.
func (x *tx) beginMove(b *BeginMove) error {
	v := x.view()
	from, to := v.Node(b.From), v.Node(b.To)
	if from == nil || to == nil || b.From == b.To {
		return api.Errorf(api.CodeConflict, "volume %s: it is moved from one node of the cluster to another one", b.Name)
	}
	was := from.Volume(b.Name)
	switch {
	case was == nil:
		return api.Errorf(api.CodeConflict, "node %s has no volume %s", from.Hostname(), b.Name)
	case was.GivenUp:
		return api.Errorf(api.CodeConflict, "the copy of volume %s on node %s was given up", b.Name, from.Hostname())
	case was.Move.UnderWay():
		return api.Errorf(api.CodeConflict, "volume %s is being moved already", b.Name)
	case to.Volume(b.Name) != nil || len(v.TasksWithVolume(to, b.Name)) > 0:
		return api.Errorf(api.CodeConflict, "node %s has a volume %s already", to.Hostname(), b.Name)
	}
	move := &api.VolumeMove{ID: b.ID, From: b.From, To: b.To}
	old := *was
	old.Move = move
	x.putVolume(from, old)
	x.putVolume(to, api.Volume{Name: b.Name, Driver: was.Driver, Options: was.Options, Labels: was.Labels, Move: move})
	for _, t := range v.TasksWithVolume(from, b.Name) {
		if t.Desired < api.TaskShutdown {
			x.desireTasks([]Desire{{Task: t.ID, State: api.TaskShutdown}})
		}
	}
	return nil
}

// endMove says which of the two copies is the volume. A node that was removed
// meanwhile has none.
func (x *tx) endMove(e *EndMove) error {
	v := x.view()
	from, to := v.Node(e.From), v.Node(e.To)
	was, made := moving(from, e), moving(to, e)
	switch {
	case was == nil && made == nil:
		return api.Errorf(api.CodeConflict, "volume %s: move %s has ended", e.Name, e.ID)
	case e.Err == "" && (was == nil || made == nil):
		return api.Errorf(api.CodeConflict, "volume %s: one of its copies has gone", e.Name)
	}
	if was != nil {
		next := *was
		next.Move = &api.VolumeMove{ID: e.ID, From: e.From, To: e.To, Left: e.Err == "", Err: e.Err}
		next.GivenUp = next.Move.Left
		x.putVolume(from, next)
	}
	if made != nil {
		next := *made
		next.Move, next.GivenUp = nil, false
		if e.Err != "" {
			next.Move, next.GivenUp = &api.VolumeMove{ID: e.ID, From: e.From, To: e.To, Left: true}, true
		}
		x.putVolume(to, next)
	}
	return nil
}

// moving is a node's copy that takes part in the move, if it has one.
func moving(n *api.Node, e *EndMove) *api.Volume {
	if n == nil {
		return nil
	}
	if v := n.Volume(e.Name); v != nil && v.Move.UnderWay() && v.Move.ID == e.ID {
		return v
	}
	return nil
}

func (x *tx) putVolume(old *api.Node, v api.Volume) {
	next := *old
	next.Volumes = placed(slices.DeleteFunc(slices.Clone(old.Volumes), func(o api.Volume) bool { return o.Name == v.Name }), v)
	x.putNodeRow(old, &next)
}

// usesMoving reports whether a task would use, on a node, a volume that is being moved.
func (x *tx) usesMoving(t *api.Task, node api.NodeID) bool {
	n := x.view().Node(node)
	for _, name := range x.view().volumesOf(t, n) {
		if v := n.Volume(name); v != nil && v.Move.UnderWay() {
			return true
		}
	}
	return false
}

// TasksWithVolume are the tasks on a node that use a named volume and have not ended.
func (v *View) TasksWithVolume(n *api.Node, name string) (list []*api.Task) {
	for t := range v.NodeTasks(n.ID) {
		if t.Status.State >= api.TaskAssigned && !t.Status.State.Terminal() && slices.Contains(v.volumesOf(t, n), name) {
			list = append(list, t)
		}
	}
	return list
}

// volumesOf are the named volumes that a task uses on a node.
func (v *View) volumesOf(t *api.Task, n *api.Node) (names []string) {
	spec := v.SpecOf(t)
	if spec == nil || spec.Spec.TaskTemplate.ContainerSpec == nil {
		return nil
	}
	there := *t
	there.NodeID = n.ID
	for _, m := range spec.Spec.TaskTemplate.ContainerSpec.Mounts {
		if m.Type == mount.TypeVolume && m.Source != "" {
			names = append(names, expand.VolumeName(m.Source, &spec.Spec, &there, n))
		}
	}
	return names
}

// NodeName is a node's hostname, or its ID where it has left.
func (v *View) NodeName(id api.NodeID) string {
	if n := v.Node(id); n != nil {
		return n.Hostname()
	}
	return string(id)
}
