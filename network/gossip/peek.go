package gossip

import (
	"errors"
	"reflect"
	"sync"
	"time"
	"unsafe"

	"github.com/hashicorp/memberlist"
)

// memberlist knows who is suspect and does not say: Node.State is never set,
// the event delegate is called for joins and leaves only, and a node that has
// left looks like one that died. The ways round that were weighed:
//
//   - observing our own probes (PingDelegate, DisableTcpPingsForNode) sees one
//     prober's view and no refutation;
//   - gossiping suspicions of our own beside memberlist's makes two detectors
//     that disagree;
//   - a transport that reads the packets needs the encryption moved out of
//     memberlist and its wire format copied;
//   - a metrics sink is global and would be taken from the operator.
//
// So peek reads memberlist's own list, under memberlist's own lock. The layout it counts
// on is compared with the real one, by name and type, when a peek is made: another
// version of memberlist with another layout is refused at start (and by this
// package's first test), never misread.
type peek struct {
	lock  *sync.RWMutex
	nodes *[]*peeked
}

// peeked has the layout of memberlist's nodeState.
type peeked struct {
	Node        memberlist.Node
	Incarnation uint32
	State       memberlist.NodeStateType
	StateChange time.Time
}

func newPeek(m *memberlist.Memberlist) (*peek, error) {
	v := reflect.ValueOf(m).Elem()
	lock, nodes := v.FieldByName("nodeLock"), v.FieldByName("nodes")
	if !lock.IsValid() || lock.Type() != reflect.TypeFor[sync.RWMutex]() || !nodes.IsValid() || !sameLayout(nodes.Type()) {
		return nil, errors.New("gossip: this version of memberlist keeps its nodes in another way: adapt peek.go")
	}
	return &peek{
		lock:  (*sync.RWMutex)(unsafe.Pointer(lock.UnsafeAddr())),
		nodes: (*[]*peeked)(unsafe.Pointer(nodes.UnsafeAddr())),
	}, nil
}

func sameLayout(slice reflect.Type) bool {
	if slice.Kind() != reflect.Slice || slice.Elem().Kind() != reflect.Pointer {
		return false
	}
	theirs, ours := slice.Elem().Elem(), reflect.TypeFor[peeked]()
	if theirs.Kind() != reflect.Struct || theirs.NumField() != ours.NumField() || theirs.Size() != ours.Size() {
		return false
	}
	for i := range ours.NumField() {
		a, b := theirs.Field(i), ours.Field(i)
		if a.Name != b.Name || a.Type != b.Type || a.Offset != b.Offset {
			return false
		}
	}
	return true
}

// each calls f for every node that memberlist has, itself and the recently
// dead included. f must not call memberlist.
func (p *peek) each(f func(*peeked)) {
	p.lock.RLock()
	defer p.lock.RUnlock()
	for _, n := range *p.nodes {
		f(n)
	}
}
