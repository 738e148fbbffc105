package state

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/swarmctl/swarmctl/api"
)

// space is how far the addresses of a network are used. The search for a free
// one goes on behind the last that was handed out, so that the next holder
// does not get what callers still take for the last one's. Where it stands is
// in the snapshot; the rest is derived.
type space struct {
	Network api.NetworkID
	// Last is the address that was handed out last, by span.
	Last  []netip.Addr
	spans []span
	used  []int // addresses in use, by span
}

func newSpace(n *api.Network) *space {
	s := &space{Network: n.ID, spans: spansOf(n)}
	s.Last, s.used = make([]netip.Addr, len(s.spans)), make([]int, len(s.spans))
	return s
}

// copied is a space to change; spans never change.
func (s *space) copied() *space {
	next := *s
	next.Last, next.used = slices.Clone(s.Last), slices.Clone(s.used)
	return &next
}

// room is how many holders more the network has addresses for: each gets one of
// every family that the network has.
func (s *space) room() int {
	v4, v6, has4, has6 := 0, 0, false, false
	for i := range s.spans {
		left := s.spans[i].size() - s.used[i]
		if s.spans[i].is4() {
			v4, has4 = v4+left, true
		} else {
			v6, has6 = saturated(v6, left), true
		}
	}
	room := math.MaxInt
	if has4 {
		room = v4
	}
	if has6 {
		room = min(room, v6)
	}
	return room
}

func saturated(a, b int) int {
	if a > math.MaxInt-b {
		return math.MaxInt
	}
	return a + b
}

// spanOf is the span that an address is of, or -1.
func (s *space) spanOf(a netip.Addr) int {
	return slices.IndexFunc(s.spans, func(sp span) bool { return sp.within(a) })
}

// String says what there is to hand out: "10.0.1.0/24 has 253".
func (s *space) String() string {
	texts := make([]string, len(s.spans))
	for i := range s.spans {
		texts[i] = s.spans[i].String()
	}
	return strings.Join(texts, ", ")
}

// FreeAddrs is how many more holders a network has addresses for: tasks,
// services, attached containers and nodes, each of which takes one of every
// family. 0 where there is no such network.
func (v *View) FreeAddrs(id api.NetworkID) int {
	if s := v.space(id); s != nil {
		return s.room()
	}
	return 0
}

// AddressSpace names a network and what there is to hand out, taken or not, in
// words that stay true while others come and go: "ov (10.0.1.0/24 has 253)".
func (v *View) AddressSpace(id api.NetworkID) string {
	n, s := v.Network(id), v.space(id)
	if n == nil || s == nil {
		return string(id)
	}
	return fmt.Sprintf("%s (%s)", n.Spec.Name, s)
}

func (v *View) space(id api.NetworkID) *space {
	return first[space](v, tableSpaces, byID, key(id))
}

// space is the network's, for the command to change; nil where there is no
// such network. It is stored once, when the command is done.
func (x *tx) space(id api.NetworkID) *space {
	if s := x.spaces[id]; s != nil {
		return s
	}
	s := x.view().space(id)
	if s == nil {
		return nil
	}
	if x.spaces == nil {
		x.spaces = map[api.NetworkID]*space{}
	}
	x.spaces[id] = s.copied()
	return x.spaces[id]
}

// storeSpaces stores what the command has changed.
func (x *tx) storeSpaces() {
	for _, s := range x.spaces {
		x.put(tableSpaces, s)
	}
}
