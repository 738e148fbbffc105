package state

import (
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// tx is one command on its way: the write transaction and what it changed.
type tx struct {
	txn   *memdb.Txn
	index uint64
	at    time.Time

	stale    []string
	cluster  bool
	nodes    []Pair[api.Node]
	services []Pair[api.Service]
	tasks    []Pair[api.Task]
	secrets  []Pair[api.Secret]
	configs  []Pair[api.Config]
	networks []Pair[api.Network]
	attached []Pair[api.AttachedContainer]

	registries []Pair[api.Registry]

	spaces   map[api.NetworkID]*space // those that the command has looked at
	loose    []api.ContentRef         // references that the command has taken out: see collectContents
	recorded map[string]bool          // stacks that the command has recorded a deploy of
}

// view reads what the command has done so far.
func (x *tx) view() *View { return &View{txn: x.txn, index: x.index} }

func (x *tx) put(table string, obj any) {
	if err := x.txn.Insert(table, obj); err != nil {
		panic(err) // a wrong table name or index: a contradiction in this package
	}
}

func (x *tx) deleteRow(table string, obj any) {
	if err := x.txn.Delete(table, obj); err != nil {
		panic(err)
	}
}

// putTask stores a task. One that has ended gives its addresses back.
func (x *tx) putTask(old, next *api.Task) {
	if next.Status.State.Terminal() {
		x.releaseTask(next)
		next.Networks = nil
	}
	next.Meta = x.meta(old != nil, next.Meta)
	x.put(tableTasks, next)
	x.tasks = append(x.tasks, Pair[api.Task]{Before: old, After: next})
}

// putNodeRow stores a node. Its number, its gateways and since when it is in its
// state, or drained, are kept here, whatever whoever writes the node believes
// that they are.
func (x *tx) putNodeRow(old, next *api.Node) {
	next.Number, next.Gateways = 0, nil
	if old != nil {
		next.Meta.CreatedAt, next.Number, next.Gateways = old.Meta.CreatedAt, old.Number, old.Gateways
	}
	next.Status.Since, next.DrainedAt = x.at, time.Time{}
	if old != nil && old.Status.State == next.Status.State {
		next.Status.Since = old.Status.Since
	}
	if next.Spec.Availability == swarm.NodeAvailabilityDrain {
		if next.DrainedAt = x.at; old != nil && old.Spec.Availability == swarm.NodeAvailabilityDrain {
			next.DrainedAt = old.DrainedAt
		}
	}
	x.equip(next)
	x.storeNode(old, next)
}

func (x *tx) storeNode(old, next *api.Node) {
	x.put(tableNodes, next)
	x.nodes = append(x.nodes, Pair[api.Node]{Before: old, After: next})
}

func (x *tx) putServiceRow(old, next *api.Service) {
	if old != nil && old.Spec.TaskTemplate.ContainerSpec != next.Spec.TaskTemplate.ContainerSpec {
		x.loosen(refsOf(&old.Spec))
	}
	if old != nil && old.PreviousSpec != next.PreviousSpec {
		x.loosen(refsOf(old.PreviousSpec))
	}
	x.put(tableServices, next)
	x.services = append(x.services, Pair[api.Service]{Before: old, After: next})
}

// meta is the meta of an object that this command writes.
func (x *tx) meta(exists bool, m api.Meta) api.Meta {
	if !exists {
		m.CreatedAt = x.at
	}
	m.UpdatedAt = x.at
	m.Version = swarm.Version{Index: x.index}
	return m
}

// version is the version of the stored object: 0 where there is none.
func version[T any](obj *T, meta func(*T) api.Meta) uint64 {
	if obj == nil {
		return 0
	}
	return meta(obj).Version.Index
}

// checkVersion holds the rule of every put: see Op.
func (x *tx) checkVersion(kind, id string, current uint64, given api.Meta) error {
	switch want := given.Version.Index; {
	case want == current:
		return nil
	case want == 0:
		return api.Errorf(api.CodeConflict, "%s %s exists", kind, id)
	case current == 0:
		return api.Errorf(api.CodeNotFound, "%s %s not found", kind, id)
	default:
		return outdated(kind, id)
	}
}

// outdated is worded as Docker's engine words it: tools look for the phrase.
func outdated(kind, id string) error {
	return api.Errorf(api.CodeOutdated, "%s %s: update out of sequence: it has changed since it was read; read it again and retry", kind, id)
}
