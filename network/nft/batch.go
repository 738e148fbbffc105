package nft

import (
	"fmt"
	"sync/atomic"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
)

// socketBuffer holds the messages of 1,000 services in one transaction, and
// the kernel's answer to each. It is a limit and costs nothing until it is used.
const socketBuffer = 32 << 20

// Batch collects changes to one of our tables. Flush makes all of them or none.
type Batch struct {
	space *Space
	conn  *nftables.Conn
	table *nftables.Table
	used  bool
	err   error // the first
}

// In begins changes to the table for one family of addresses. One batch at a
// time is worked on in a space.
func (s *Space) In(family nftables.TableFamily) *Batch {
	b := &Batch{space: s, table: &nftables.Table{Name: TableName, Family: family}}
	b.conn, b.err = s.rules()
	if b.err != nil {
		b.conn = &nftables.Conn{} // takes what is added, and is never flushed
	}
	return b
}

func buffers(c *netlink.Conn) error {
	if err := c.SetReadBuffer(socketBuffer); err != nil {
		return err
	}
	return c.SetWriteBuffer(socketBuffer)
}

// change is the connection, for something that changes the table.
func (b *Batch) change() *nftables.Conn {
	b.used = true
	return b.conn
}

// Empty reports that there is nothing to change.
func (b *Batch) Empty() bool { return !b.used && b.err == nil }

// Flush makes the changes.
func (b *Batch) Flush() error {
	err := b.err
	if err == nil {
		err = b.conn.Flush()
	}
	if err != nil {
		b.space.drop() // what the kernel has still to say of this batch is not for the next one
		return fmt.Errorf("rules: %w", err)
	}
	return nil
}

// Reset begins the table anew: whatever is in it is gone once the batch is made,
// and what the batch adds is there, with nothing in between.
func (b *Batch) Reset() {
	b.Remove()
	b.change().AddTable(b.table)
}

// Remove takes the table away, whether it is there or not.
func (b *Batch) Remove() {
	b.change().AddTable(b.table) // an absent one cannot be deleted
	b.change().DelTable(b.table)
}

// size is how many chains and maps the table has in the kernel, 0 where it is
// not there.
func (b *Batch) size() (uint32, error) {
	if b.err != nil {
		return 0, b.err
	}
	tables, err := b.conn.ListTablesOfFamily(b.table.Family)
	for _, t := range tables {
		if t.Name == TableName {
			return t.Use, err
		}
	}
	return 0, err
}

// Hook adds a chain that packets pass at a hook of the kernel.
func (b *Batch) Hook(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority) {
	b.change().AddChain(&nftables.Chain{Name: name, Table: b.table, Type: kind, Hooknum: hook, Priority: &priority})
}

// Chain adds a chain that others lead to.
func (b *Batch) Chain(name string) {
	b.change().AddChain(&nftables.Chain{Name: name, Table: b.table})
}

// Rule adds a rule at the end of a chain.
func (b *Batch) Rule(chain, comment string, parts ...[]expr.Any) {
	r := &nftables.Rule{Table: b.table, Chain: &nftables.Chain{Name: chain, Table: b.table}}
	for _, p := range parts {
		r.Exprs = append(r.Exprs, p...)
	}
	r.UserData = commented(comment)
	b.change().AddRule(r)
}

// commented is what a rule bears so that nft shows a comment.
func commented(comment string) []byte {
	if comment == "" {
		return nil
	}
	return userdata.AppendString(nil, userdata.TypeComment, comment[:min(len(comment), maxComment)])
}

// maxComment is the longest comment that nft shows.
const maxComment = 127

// Set adds a set or a map, with its first elements.
func (b *Batch) Set(s nftables.Set, elements ...nftables.SetElement) *nftables.Set {
	s.Table, s.ID = b.table, setID.Add(1)
	first := elements[:min(len(elements), perMessage)]
	// A constant set has room for what it is said to hold. One without a name can
	// grow until a rule is bound to it; the library would have it whole at once.
	rest := s
	if rest.Anonymous = false; s.Constant {
		s.Size = uint32(len(elements))
	}
	b.note(b.change().AddSet(&s, first))
	b.Add(&rest, elements[len(first):]...)
	return &s
}

// setID numbers sets, so that rules of the same batch can name them. The
// library would number them too, but not for several batches at a time.
var setID atomic.Uint32

// perMessage keeps a list of elements below the 64 KiB that an attribute can have.
const perMessage = 200

// Add adds elements to a set.
func (b *Batch) Add(s *nftables.Set, elements ...nftables.SetElement) {
	for len(elements) > 0 {
		n := min(len(elements), perMessage)
		b.note(b.change().SetAddElements(b.own(s), elements[:n]))
		elements = elements[n:]
	}
}

// Delete deletes elements of a set.
func (b *Batch) Delete(s *nftables.Set, elements ...nftables.SetElement) {
	for len(elements) > 0 {
		n := min(len(elements), perMessage)
		b.note(b.change().SetDeleteElements(b.own(s), elements[:n]))
		elements = elements[n:]
	}
}

// Replace gives a set these elements and no others.
func (b *Batch) Replace(s *nftables.Set, elements ...nftables.SetElement) {
	b.change().FlushSet(b.own(s))
	b.Add(s, elements...)
}

// own is the set in this batch's table. Sets are described once, for the
// tables of both families.
func (b *Batch) own(s *nftables.Set) *nftables.Set {
	if s.Table == b.table {
		return s
	}
	return &nftables.Set{Table: b.table, Name: s.Name, IsMap: s.IsMap, KeyType: s.KeyType, DataType: s.DataType, Interval: s.Interval}
}

func (b *Batch) note(err error) {
	if b.err == nil {
		b.err = err
	}
}
