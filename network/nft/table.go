package nft

import "github.com/google/nftables"

// TableName is the name of the tables that hold all of our rules, on hosts and in
// containers. They are ours alone: nothing of others is ever in them.
const TableName = "swarmctl"

// Table is our table for one family of addresses in one namespace, and whether
// it is known what is in it.
type Table struct {
	V6   bool
	Made bool   // it was made here, and nobody has taken anything out of it since, as far as is known
	size uint32 // chains and maps that were in it at the last look, 0 where it has changed since
}

// Family is the family of the table's addresses.
func (t *Table) Family() nftables.TableFamily {
	if t.V6 {
		return nftables.TableFamilyIPv6
	}
	return nftables.TableFamilyIPv4
}

// Address is the type of the table's addresses in sets and maps.
func (t *Table) Address() nftables.SetDatatype { return addrType(t.Family()) }

// Flush makes the changes of a batch to the table. Where that fails it is not
// known what is in the table: all of it is to be written next time.
func (t *Table) Flush(b *Batch) error {
	err := b.Flush()
	t.Made, t.size = err == nil, 0
	return err
}

// Output is the chain for what the machine itself sends. Each of our tables has
// it, with a rule at least.
const Output = "output"

// Look notes whether others have taken the table away, or chains out of it, or
// the rules of all chains, as `nft flush table` does.
func (t *Table) Look(in *Space) error {
	b := in.In(t.Family())
	size, err := b.size()
	if err != nil || !t.Made {
		return err
	}
	if size == 0 || t.size != 0 && size != t.size {
		t.Made = false
		return nil
	}
	t.size = size
	rules, err := in.Rules(t.Family(), Output)
	t.Made = rules > 0
	return err
}

// There reports whether the kernel has the table, whoever has made it.
func (t *Table) There(in *Space) (bool, error) {
	size, err := in.In(t.Family()).size()
	return size > 0, err
}

// Remove takes the table away.
func (t *Table) Remove(in *Space) error {
	b := in.In(t.Family())
	b.Remove()
	t.Made = false
	return b.Flush()
}
