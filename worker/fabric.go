package worker

import (
	"fmt"

	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/api/wire"
)

// fabricState is how far a session is with what its manager says of the networks.
type fabricState struct {
	parts   []*wire.Fabric  // of an update that is not complete
	first   *fabric.Set     // what the session begins with, as far as it has come
	begun   bool            // and that was handed on
	given   uint64          // the index that was handed on last
	told    uint64          // the index that the manager was told of last
	changed <-chan struct{} // see Network.Applied
	ill     <-chan struct{} // see Network.Problems
}

// takeFabric hands an update on once it is complete. What a session begins with
// is complete with its first assignments: a manager sends it as it was a while ago
// and then what has changed since. A node that had heard of those changes by another
// session would send callers to tasks that have stopped meanwhile.
func (s *session) takeFabric(m *wire.Fabric) error {
	f := &s.fabric
	f.parts = append(f.parts, m)
	if m.GetMore() {
		return nil
	}
	u, err := wire.DecodeFabric(f.parts)
	f.parts = nil
	switch {
	case err != nil:
		return fmt.Errorf("networks: %w", err)
	case f.begun:
		return s.handOn(u)
	case f.first == nil:
		f.first = fabric.NewSet()
	}
	f.first.Apply(u)
	return nil
}

// beginFabric hands on what the session begins with.
func (s *session) beginFabric() error {
	f := &s.fabric
	first := f.first
	if f.begun, f.first = true, nil; first == nil {
		return nil
	}
	return s.handOn(first.Whole())
}

// handOn is done before the assignments that follow are posted, so whoever creates
// a container for them finds its networks known.
func (s *session) handOn(u *fabric.Update) error {
	s.fabric.given = u.Index
	s.cfg.Network.Update(u)
	return s.tellApplied()
}

// tellApplied tells the manager how far the node is, if that is news. What was
// applied in the session before does not count beyond what this manager has said.
func (s *session) tellApplied() error {
	f := &s.fabric
	applied, changed := s.cfg.Network.Applied()
	f.changed = changed
	index := min(applied, f.given)
	if index <= f.told {
		return nil
	}
	f.told = index
	return s.send(&wire.FromNode{Message: &wire.FromNode_FabricApplied{FabricApplied: &wire.FabricApplied{Index: index}}})
}

// problems is what the manager is to know of published ports.
func (s *session) problems() *wire.PortProblems {
	list, changed := s.cfg.Network.Problems()
	s.fabric.ill = changed
	return &wire.PortProblems{Why: list}
}
