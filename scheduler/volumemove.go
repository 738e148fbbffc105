package scheduler

import (
	"strings"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// takeMoves notes which moves are under way, after what a node had and has. It
// reports whether that has changed.
func (v *volumes) takeMoves(had, has []api.Volume) (changed bool) {
	for k := range had {
		if had[k].Move.UnderWay() {
			delete(v.moves, had[k].Name)
			changed = true
		}
	}
	for k := range has {
		if has[k].Move.UnderWay() {
			v.moves[has[k].Name] = has[k].Move
			changed = true
		}
	}
	return changed
}

// unholdVolumes has the groups looked at again that a move may hold.
func (c *Cluster) unholdVolumes() {
	for _, g := range inOrder(c.stages[held]) {
		if len(g.needs.mounts) > 0 {
			c.setStage(g, ready)
		}
	}
}

// moving says which volume of a group is being moved, or "". Which volume a
// template stands for is known for each task alone: for the time of a move the
// whole group waits where it may be this one.
func (c *Cluster) moving(n *needs) string {
	if len(c.volumes.moves) == 0 {
		return ""
	}
	for _, source := range n.mounts {
		if name, m := c.volumes.moveOf(source); m != nil {
			return movingText(c.view, name, m)
		}
	}
	return ""
}

// moveOf is the move of a volume that the source of a mount may be, the first by name.
func (v *volumes) moveOf(source string) (name string, m *api.VolumeMove) {
	prefix, _, template := strings.Cut(source, "{{")
	if !template {
		return source, v.moves[source]
	}
	for other := range v.moves {
		if strings.HasPrefix(other, prefix) && (m == nil || other < name) {
			name, m = other, v.moves[other]
		}
	}
	return name, m
}

func movingText(v *state.View, name string, m *api.VolumeMove) string {
	return "volume " + name + " is being moved from " + v.NodeName(m.From) + " to " + v.NodeName(m.To)
}
