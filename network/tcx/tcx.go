// Package tcx puts programs at interfaces and keeps the tables that they look into.
// What it installs lives as long as the program that has installed it. It needs
// Linux 6.6; on others errors are errors.ErrUnsupported.
package tcx

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/swarmctl/swarmctl/network/netns"
)

// Table is a program's, and what was last put into it.
type Table[K, V comparable] struct {
	in    *ebpf.Map
	known map[K]V
}

// Of is a table that is still empty.
func Of[K, V comparable](m *ebpf.Map) *Table[K, V] { return &Table[K, V]{m, map[K]V{}} }

// Agree makes the table what it should be. What goes, goes first: a packet that is
// not in it takes the usual way.
func (t *Table[K, V]) Agree(wanted map[K]V) error {
	var errs []error
	for k, v := range t.known {
		if w, ok := wanted[k]; ok && w == v {
			continue
		}
		if err := t.in.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("forget %v: %w", k, err))
			continue
		}
		delete(t.known, k)
	}
	for k, v := range wanted {
		if _, ok := t.known[k]; ok {
			continue
		}
		if err := t.in.Put(k, v); err != nil {
			errs = append(errs, fmt.Errorf("note %v: %w", k, err))
			continue
		}
		t.known[k] = v
	}
	return errors.Join(errs...)
}

// Attach puts a program where packets come in by an interface of the network
// namespace at a path, behind those that are there.
func Attach(path string, index int, p *ebpf.Program) (l link.Link, err error) {
	err = netns.Do(path, func() error {
		l, err = link.AttachTCX(link.TCXOptions{Interface: index, Program: p, Attach: ebpf.AttachTCXIngress})
		return err
	})
	return l, err
}

// Supported names errors of kernels that cannot do it.
func Supported(err error) error {
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, link.ErrNotSupported) {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err
}
