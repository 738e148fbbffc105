package api

import (
	"strings"
	"time"
)

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
	// Index is that of the log entry that began it. The state machine keeps it:
	// what is of a later one has happened since, whatever the clocks say.
	Index uint64 `cbor:",omitempty" json:"-"`
	// Outcome says how it ended; empty: it is under way.
	Outcome string `cbor:",omitempty"`
	// Stopped says that it ended though the tasks are not spread evenly.
	Stopped bool `cbor:",omitempty"`
}

// UnderWay reports whether tasks are still to be moved.
func (r *Rebalance) UnderWay() bool { return r != nil && r.Outcome == "" }

// Rollout is where the tasks of a service stand between two of its versions:
// the new one, which its spec says, and any other. `service promote` and
// `service inspect --pretty` go by it.
type Rollout struct {
	// Phase is that of the canary; empty where there is none.
	Phase     CanaryPhase `json:",omitempty"`
	BlueGreen bool        `json:",omitempty"`
	// New and Old are how many tasks of the new version run, and of any other.
	New, Old uint64
	// Wanted is how many places are to have a task of the new version: a part of
	// Replicas, which is all of them, while the canary is not promoted.
	Wanted, Replicas uint64
	// HeldFor is for how long the canary has waited in this phase, by the clock of
	// the manager that answers; 0 where it does not wait.
	HeldFor time.Duration `json:",omitempty"`
	// PromoteIn is when the canary is promoted by itself if its tasks stay well;
	// nil: it is not, or a task of it has failed.
	PromoteIn *time.Duration `json:",omitempty"`
	// Failed says which task of the new version failed last, and why; empty: none.
	Failed string `json:",omitempty"`
}

// Waits reports whether the canary is in place and waits for the user's word.
func (r *Rollout) Waits() bool { return r.Phase == CanaryHeld || r.Phase == CanarySwitched }

// CanaryNote says, in the words that people read, what a canary makes of the
// tasks of a version. Empty where it makes nothing special of them.
func (s *Service) CanaryNote(version uint64) string {
	switch c := s.Canary; {
	case s.Hides(version) && c.Stands() && version == s.SpecVersion:
		return "canary: gets no connections before it is promoted"
	case s.Hides(version) && c.Stands():
		return "kept without connections until the canary is confirmed"
	case s.Hides(version):
		return "gets no connections: it is rolled back"
	case c.Stands() && version == s.SpecVersion:
		return "canary"
	}
	return ""
}

// CutHeld parts the message of an update from what it says at its end of the
// services that it waits for: "waits for service db to be healthy: 0 of 1 running".
func CutHeld(message string) (rest, waits string) {
	const mark = "; waits for "
	rest, waits, found := strings.Cut(message, mark)
	if found {
		waits = strings.TrimPrefix(mark, "; ") + waits
	}
	return rest, waits
}

// WithHeld is an update's message that says so, or, with empty waits, does not.
func WithHeld(message, waits string) string {
	rest, _ := CutHeld(message)
	if waits != "" {
		rest += "; " + waits
	}
	return rest
}
