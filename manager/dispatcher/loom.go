package dispatcher

import (
	"maps"
	"reflect"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// keptChanges is how many changes of the fabric a session may be behind and
// still get what has changed; one that is further behind gets everything. Each
// costs the memory of what it changed.
const keptChanges = 256

// wholeLasts is for how many changes the messages of the whole serve: whoever
// gets them gets those changes behind them. When thousands of nodes join, each
// is a change and each wants the whole.
const wholeLasts = 64

// loom makes the fabric out of the state: once a change, for all sessions. It
// is guarded by Dispatcher.mu.
type loom struct {
	set    *fabric.Set // as of the last change
	seq    uint64      // of the last change; they count up by one
	recent []*change   // the last ones, the newest at the end
	// whole is all as of wholeSeq, once somebody has asked for it, and last the
	// last n changes in one, where somebody has since the last change.
	whole    *parcel
	wholeSeq uint64
	last     map[int]*parcel
}

// change is one change of the fabric. What it holds never changes.
type change struct {
	update *fabric.Update
	before uint64 // up to which index of the store there was no other change
	drains bool   // something is in no balancer any more that was
}

// parcel is an update as it is sent. The messages are made, and encoded, once:
// by the first who sends them.
type parcel struct {
	index    uint64
	messages func() []*wire.FromManager
}

func newParcel(index uint64, update func() *fabric.Update) *parcel {
	return &parcel{index, sync.OnceValue(func() []*wire.FromManager {
		var list []*wire.FromManager
		for _, m := range wire.EncodeFabric(update()) {
			list = append(list, encoded(&wire.FromManager{Message: &wire.FromManager_Fabric{Fabric: m}}))
		}
		return list
	})}
}

// encoded is a message that costs no more to send than to copy: what it is
// encoded to stands where what its receiver may not know would stand.
func encoded(m *wire.FromManager) *wire.FromManager {
	data, err := proto.Marshal(m)
	if err != nil {
		return m // the session ends with the error
	}
	e := &wire.FromManager{}
	e.ProtoReflect().SetUnknown(data)
	return e
}

func newLoom(v *state.View) *loom {
	l := &loom{set: fabric.NewSet()}
	l.set.Apply(fabricOf(v))
	return l
}

// follow takes an event and returns what it changes, or nil.
func (l *loom) follow(e *state.Event) *change {
	u := fabricChange(l.set, e.View, touchedBy(l.set, e))
	if isEmpty(u) {
		return nil
	}
	c := &change{update: u, before: u.Index - 1, drains: isDrain(l.set, u)}
	if e.Reset { // it stands for many
		c.before = l.set.Index
	}
	l.set.Apply(u)
	l.seq++
	l.last = map[int]*parcel{}
	if len(l.recent) == keptChanges {
		l.recent = slices.Delete(l.recent, 0, 1)
	}
	l.recent = append(l.recent, c)
	return c
}

// isDrain reports whether an update takes something out of the balancers that
// lives on. What has ended needs nobody's consent.
func isDrain(known *fabric.Set, u *fabric.Update) bool {
	return slices.ContainsFunc(u.Endpoints, func(e *fabric.Endpoint) bool {
		was := known.Endpoints[e.ID]
		return was != nil && was.State == fabric.Serving && e.State < fabric.Serving
	})
}

// all is the whole fabric: as it was not long ago, and what has changed since.
func (l *loom) all() []*parcel {
	if l.whole == nil || l.seq-l.wholeSeq > wholeLasts {
		u := l.set.Whole()
		l.whole, l.wholeSeq = newParcel(u.Index, func() *fabric.Update { return u }), l.seq
	}
	return append([]*parcel{l.whole}, l.since(l.wholeSeq)...)
}

// since is what a session lacks that was at seq.
func (l *loom) since(seq uint64) []*parcel {
	n := int(l.seq - seq) //nolint:gosec // far below
	switch {
	case n == 0:
		return nil
	case n > len(l.recent):
		return l.all()
	}
	if l.last[n] == nil {
		missed := slices.Clone(l.recent[len(l.recent)-n:])
		l.last[n] = newParcel(l.set.Index, func() *fabric.Update { return merge(missed) })
	}
	return []*parcel{l.last[n]}
}

// reaches is up to which index of the store a node has the fabric that has
// applied the changes up to one: until before the first that it lacks, and
// until now if it lacks none.
func (l *loom) reaches(applied, now uint64) uint64 {
	if applied >= l.set.Index {
		return now
	}
	for i, c := range l.recent {
		if c.update.Index > applied {
			if i == 0 { // there may have been others before it
				return applied
			}
			return max(applied, c.before)
		}
	}
	return applied
}

// merge makes one change of several: each object as it was last.
func merge(list []*change) *fabric.Update {
	if len(list) == 1 {
		return list[0].update
	}
	set, gone := fabric.NewSet(), map[string]struct{}{}
	for _, c := range list {
		set.Apply(c.update)
		for _, id := range c.update.Removed {
			gone[id] = struct{}{}
		}
	}
	// Something may have come back meanwhile, and a change takes away first.
	u := set.Whole()
	u.Full, u.Removed = false, slices.Collect(maps.Keys(gone))
	return u
}

// compare notes in an update what became of one object, if anything did.
func compare[T any](u *fabric.Update, list *[]*T, id string, was, now *T) {
	switch {
	case now == nil && was != nil:
		u.Removed = append(u.Removed, id)
	case now != nil && (was == nil || !reflect.DeepEqual(was, now)):
		*list = append(*list, now)
	}
}
