package state

import (
	"slices"
	"strings"

	"github.com/swarmctl/swarmctl/api"
)

// merged is what a node says of its volumes, with what the cluster knows of
// them: a copy that was given up, or is moved, stays so until the node has none of
// the name. When one was made says nothing: the engine's local driver counts from the
// last file that came into it or went.
// One that a move makes on the node, or has left half-made, is known before the
// node tells of it: a word from before it was made is no word on it.
func merged(node api.NodeID, old, said []api.Volume) []api.Volume {
	next := slices.Clone(said)
	slices.SortFunc(next, func(a, b api.Volume) int { return strings.Compare(a.Name, b.Name) })
	next = slices.CompactFunc(next, func(a, b api.Volume) bool { return a.Name == b.Name })
	was := api.Node{Volumes: old}
	for i := range next {
		v := was.Volume(next[i].Name)
		next[i].GivenUp, next[i].Move = false, nil
		if v != nil {
			next[i].GivenUp, next[i].Move = v.GivenUp, v.Move
		}
	}
	now := api.Node{Volumes: next}
	for _, v := range old {
		if m := v.Move; m != nil && m.To == node && v.CreatedAt == "" && now.Volume(v.Name) == nil {
			now.Volumes = placed(now.Volumes, v)
		}
	}
	return now.Volumes
}

// forgetVolume takes a copy out of the node's list or, where the node may have
// it still, marks it: a node that comes back must not pass for the place of the
// data. A copy that the node has not told of yet is marked as well.
func (x *tx) forgetVolume(f *ForgetVolume) error {
	old := x.view().Node(f.Node)
	if old == nil {
		return api.Errorf(api.CodeNotFound, "node %s not found", f.Node)
	}
	next := *old
	next.Volumes = slices.DeleteFunc(slices.Clone(old.Volumes), func(v api.Volume) bool { return v.Name == f.Name })
	if f.GiveUp {
		v := api.Volume{Name: f.Name, Driver: "local"}
		if known := old.Volume(f.Name); known != nil {
			v = *known
		}
		v.GivenUp, v.Move = true, nil
		next.Volumes = placed(next.Volumes, v)
	}
	next.Meta = x.meta(true, old.Meta)
	x.putNodeRow(old, &next)
	return nil
}

// placed puts a volume into its place in a list without it.
func placed(list []api.Volume, v api.Volume) []api.Volume {
	i, _ := slices.BinarySearchFunc(list, v.Name, func(o api.Volume, name string) int { return strings.Compare(o.Name, name) })
	return slices.Insert(list, i, v)
}
