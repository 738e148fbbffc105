package nft

import (
	"encoding/binary"
	"hash/fnv"
	"iter"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Target is what callers connect to, and who takes their connections in turn.
// It never changes.
type Target struct {
	Key     string // in the table's map, as the kernel has it
	Chain   string // of its own, and named after the key
	Comment string
	To      []netip.Addr
	Port    uint16 // of those in To; 0 is the caller's
}

// Equal reports whether nothing has to be done to get from one to the other.
func (t *Target) Equal(o *Target) bool {
	return t == o || t.Comment == o.Comment && t.Port == o.Port && slices.Equal(t.To, o.To)
}

// Targets are by their keys.
type Targets map[string]*Target

// Dispatch is how one table leads packets to the chains of targets.
type Dispatch struct {
	// Map has the chain of every target.
	Map *nftables.Set
	// Served and Idle, where they are set, have the keys of the targets with and
	// without anybody in To.
	Served, Idle *nftables.Set
	// Refuse: the chain of an idle target refuses. Otherwise it is empty.
	Refuse bool
	// Turn is where the first round over the members of To begins, so that
	// callers who all start at once do not all meet the same one. Every swap begins
	// one further: a service that changes often would send all to its first otherwise.
	Turn uint32
}

// Turn is a beginning that is another one for every name.
func Turn(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32()
}

// Change is what a table has to become.
type Change struct {
	Added, Removed []*Target
	Changed        []Pair
}

// Pair is a target before and after a change.
type Pair struct{ Old, New *Target }

// Diff is what leads from the old targets to those of now.
func Diff(old, now Targets) Change {
	var c Change
	for key, o := range old {
		switch n := now[key]; {
		case n == nil:
			c.Removed = append(c.Removed, o)
		case !n.Equal(o):
			c.Changed = append(c.Changed, Pair{o, n})
		}
	}
	for key, n := range now {
		if old[key] == nil {
			c.Added = append(c.Added, n)
		}
	}
	return c
}

// Apply makes the change: what stays the same is not touched, and what changes
// is swapped, so that every new connection meets the old rule or the new one.
func (b *Batch) Apply(d Dispatch, c Change) {
	for _, t := range c.Added {
		b.Chain(t.Chain)
		b.fill(d, t)
	}
	b.elements(d, c)
	for _, t := range c.Removed {
		b.change().FlushChain(b.chain(t.Chain))
		b.change().DelChain(b.chain(t.Chain))
	}
	for _, p := range c.Changed {
		b.change().FlushChain(b.chain(p.New.Chain))
		b.fill(d, p.New)
	}
}

// elements brings the map and the sets up to date. Chains can be removed only
// after what leads to them.
func (b *Batch) elements(d Dispatch, c Change) {
	b.Add(d.Map, collect(slices.Values(c.Added), leading)...)
	b.Delete(d.Map, collect(slices.Values(c.Removed), leading)...)
	for set, in := range map[*nftables.Set]func(*Target) bool{d.Served: (*Target).served, d.Idle: (*Target).idle} {
		if set == nil {
			continue
		}
		b.Delete(set, collect(leaving(c, in), bare)...)
		b.Add(set, collect(entering(c, in), bare)...)
	}
}

func (t *Target) served() bool { return len(t.To) > 0 }
func (t *Target) idle() bool   { return len(t.To) == 0 }

func leading(t *Target) nftables.SetElement {
	return nftables.SetElement{Key: []byte(t.Key), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: t.Chain}}
}

func bare(t *Target) nftables.SetElement { return nftables.SetElement{Key: []byte(t.Key)} }

// leaving and entering are the targets that a set with a condition loses and gets.
func leaving(c Change, in func(*Target) bool) iter.Seq[*Target] {
	return func(yield func(*Target) bool) {
		for _, t := range c.Removed {
			if in(t) && !yield(t) {
				return
			}
		}
		for _, p := range c.Changed {
			if in(p.Old) && !in(p.New) && !yield(p.Old) {
				return
			}
		}
	}
}

func entering(c Change, in func(*Target) bool) iter.Seq[*Target] {
	return func(yield func(*Target) bool) {
		for _, t := range c.Added {
			if in(t) && !yield(t) {
				return
			}
		}
		for _, p := range c.Changed {
			if !in(p.Old) && in(p.New) && !yield(p.New) {
				return
			}
		}
	}
}

func collect(targets iter.Seq[*Target], f func(*Target) nftables.SetElement) []nftables.SetElement {
	var out []nftables.SetElement
	for t := range targets {
		out = append(out, f(t))
	}
	return out
}

func (b *Batch) chain(name string) *nftables.Chain {
	return &nftables.Chain{Name: name, Table: b.table}
}

// fill writes the rules of a target's chain. The last of them matters for a packet
// that was on its way through the chain when it was swapped: it may find the old
// map empty, and must not be sent to an address that nobody has.
func (b *Batch) fill(d Dispatch, t *Target) {
	switch {
	case t.served():
		b.space.swaps++
		first := int((d.Turn + b.space.swaps) % uint32(len(t.To)))
		if len(t.To) > 1 {
			b.Rule(t.Chain, t.Comment, b.oneOf(t, first), b.send(t.Port))
		}
		b.Rule(t.Chain, t.Comment, immediate(t.To[first]), b.send(t.Port))
	case d.Refuse:
		b.Refuse(t.Chain, t.Comment)
	}
}

func immediate(a netip.Addr) []expr.Any {
	return []expr.Any{&expr.Immediate{Register: reg, Data: a.AsSlice()}}
}

// oneOf leaves the next address in the first register. The number of addresses
// is in the rule and the addresses are in its map, so that both are swapped together.
func (b *Batch) oneOf(t *Target, first int) []expr.Any {
	s := nftables.Set{Name: "__map%d", Anonymous: true, Constant: true, IsMap: true, KeyType: nftables.TypeInteger, DataType: addrType(b.table.Family)}
	elements := make([]nftables.SetElement, len(t.To))
	for i := range t.To {
		to := t.To[(first+i)%len(t.To)]
		elements[i] = nftables.SetElement{Key: binary.BigEndian.AppendUint32(nil, uint32(i)), Val: to.AsSlice()}
	}
	m := b.Set(s, elements...)
	return []expr.Any{
		&expr.Numgen{Register: reg, Type: unix.NFT_NG_INCREMENTAL, Modulus: uint32(len(t.To))},
		shown,
		&expr.Lookup{SourceRegister: reg, DestRegister: reg, IsDestRegSet: true, SetName: m.Name, SetID: m.ID},
	}
}

func (b *Batch) send(to uint16) []expr.Any {
	n := &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(b.table.Family), RegAddrMin: reg}
	if to == 0 {
		return []expr.Any{n}
	}
	n.RegProtoMin = reg2
	return []expr.Any{&expr.Immediate{Register: reg2, Data: port(to)}, n}
}

func addrType(family nftables.TableFamily) nftables.SetDatatype {
	if family == nftables.TableFamilyIPv6 {
		return nftables.TypeIP6Addr
	}
	return nftables.TypeIPAddr
}
