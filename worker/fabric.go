package worker

import (
	"fmt"

	"github.com/swarmctl/swarmctl/api/wire"
)

// fabricState is how far a session is with what its manager says of the networks.
type fabricState struct {
	parts   []*wire.Fabric  // of an update that is not complete
	given   uint64          // the index that was handed on last
	told    uint64          // the index that the manager was told of last
	changed <-chan struct{} // see Network.Applied
	ill     <-chan struct{} // see Network.Problems
}

// takeFabric hands an update on once it is complete. The assignments that
// follow it are posted after that, so whoever creates a container for them
// finds its networks known.
func (s *session) takeFabric(m *wire.Fabric) error {
	f := &s.fabric
	f.parts = append(f.parts, m)
	if m.GetMore() {
		return nil
	}
	u, err := wire.DecodeFabric(f.parts)
	f.parts = nil
	if err != nil {
		return fmt.Errorf("networks: %w", err)
	}
	f.given = u.Index
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
