package tcx

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
)

func TestATableIsMadeWhatItShouldBe(t *testing.T) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 4, MaxEntries: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	table := Of[[8]byte, uint32](m)
	a, b, c := [8]byte{1}, [8]byte{2}, [8]byte{3}
	for _, want := range []map[[8]byte]uint32{{a: 1, b: 2}, {b: 3, c: 3}, {}, {c: 0}} {
		if err := table.Agree(want); err != nil {
			t.Fatal(err)
		}
		for _, k := range [][8]byte{a, b, c} {
			var got uint32
			err := m.Lookup(k, &got)
			if v, ok := want[k]; ok != (err == nil) || got != v || !ok && !errors.Is(err, ebpf.ErrKeyNotExist) {
				t.Errorf("%x is %d (%v), want %v", k, got, err, want)
			}
		}
	}
	if err := table.Agree(map[[8]byte]uint32{a: 1, b: 1, c: 1}); err == nil {
		t.Error("it took more than it has room for")
	}
	if err := table.Agree(map[[8]byte]uint32{a: 1}); err != nil || len(table.known) != 1 {
		t.Errorf("afterwards: %v, %v", table.known, err)
	}
}
