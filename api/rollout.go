package api

import "time"

// Canary is an update that stops at a part of the replicas and waits to be
// promoted or rolled back. The new version is the service's spec, the old one
// its previous spec.
type Canary struct {
	Phase CanaryPhase
	// Since is when the phase began, by the clock of whoever proposed it. The
	// state machine keeps it; a delay counts as slot.Seen.Phase says.
	Since time.Time
	// BlueGreen says that every slot runs both versions and only one of them gets
	// connections: the old one until the canary is promoted.
	BlueGreen bool `cbor:",omitempty"`
}

// CanaryPhase is how far a canary has come.
type CanaryPhase string

// The phases of a canary, in their order.
const (
	CanaryPlacing  CanaryPhase = "placing"  // its tasks are being started
	CanaryHeld     CanaryPhase = "held"     // they run, and wait for the user's word
	CanarySwitched CanaryPhase = "switched" // blue-green only: they get the connections, the old ones run on without
	CanaryPromoted CanaryPhase = "promoted" // the rest follows, as in any update
)

// Stands reports whether there is a canary that is not yet promoted: old tasks
// are restarted as old ones.
func (c *Canary) Stands() bool { return c != nil && c.Phase != CanaryPromoted }

// Rebalance says that the tasks of a service are to be spread evenly again, or
// how that ended.
type Rebalance struct {
	// Since is when it was asked for, by the clock of whoever did. The state
	// machine keeps it.
	Since time.Time
	// Outcome says how it ended; empty: it is under way.
	Outcome string `cbor:",omitempty"`
	// Stopped says that it ended though the tasks are not spread evenly.
	Stopped bool `cbor:",omitempty"`
}

// UnderWay reports whether tasks are still to be moved.
func (r *Rebalance) UnderWay() bool { return r != nil && r.Outcome == "" }
