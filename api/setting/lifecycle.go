package setting

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/swarmctl/swarmctl/api"
)

// The labels of a service that its containers are not made from: a change of
// one replaces no task.
const (
	LabelCanary           = Prefix + "canary"                   // N, or N% of the replicas
	LabelPromoteAfter     = Prefix + "canary.promote-after"     // duration
	LabelProgressDeadline = Prefix + "update.progress-deadline" // duration; 0: none
	LabelRescheduleAfter  = Prefix + "reschedule.after"         // duration
	LabelRebalance        = Prefix + "rebalance"                // duration
	LabelStrategy         = Prefix + "strategy"                 // of a service, or of the cluster: spread, binpack or capacity
	LabelStopped          = api.LabelStopped                    // true or false
)

// LabelDrainDeadline is the label of a node that says after how long a drain
// stops what could not be moved: a duration; 0: at once, as Docker Swarm does.
const LabelDrainDeadline = Prefix + "drain.deadline"

// What holds without a label.
const (
	// DefaultProgressDeadline is for how long an update may stand still before it
	// counts as failed. Shorter ends updates whose images are slow to pull;
	// longer keeps the user waiting for what cannot be placed.
	DefaultProgressDeadline = 10 * time.Minute
	// DefaultDrainDeadline is for how long the tasks of a drained node may run on
	// while there is no room for their successors. Longer keeps services whole,
	// shorter gets nodes empty.
	DefaultDrainDeadline = 10 * time.Minute
)

// Strategy is how the scheduler ranks the nodes that a task fits on.
type Strategy string

// The strategies.
const (
	StrategySpread   Strategy = "spread"   // fewest tasks of the service first, as Docker Swarm
	StrategyBinpack  Strategy = "binpack"  // fullest node first
	StrategyCapacity Strategy = "capacity" // in proportion to what the nodes have free
)

// Share is a number of replicas, or a part of them. Zero is none.
type Share struct {
	Count   uint64 // replicas
	Percent uint64 // of the replicas, 1 to 100; 0: Count counts
}

// Of is how many of so many replicas the share is: at least one, and never
// more than there are. A part is rounded up.
func (s Share) Of(replicas uint64) uint64 {
	n := s.Count
	if s.Percent > 0 {
		n = replicas/100*s.Percent + (replicas%100*s.Percent+99)/100
	}
	return min(max(n, 1), replicas)
}

// String is the share as its label spells it.
func (s Share) String() string {
	if s.Percent > 0 {
		return fmt.Sprintf("%d%%", s.Percent)
	}
	return strconv.FormatUint(s.Count, 10)
}

// Lifecycle is what a service's labels say of how its tasks come and go.
type Lifecycle struct {
	// Canary is at how many replicas an update stops; zero: it does not.
	Canary Share
	// PromoteAfter is for how long a canary must be well to be promoted by
	// itself; 0: never.
	PromoteAfter time.Duration
	// ProgressDeadline is for how long an update may stand still; 0: for ever.
	ProgressDeadline time.Duration
	// RescheduleAfter is for how long a node must be down before its tasks are
	// replaced; 0: they are at once.
	RescheduleAfter time.Duration
	// Rebalance is for how long the nodes must be out of balance before tasks are
	// moved; 0: only when the user asks for it.
	Rebalance time.Duration
	// Strategy is empty where the cluster's holds.
	Strategy Strategy
	// Stopped is whether the service is to have no tasks for now.
	Stopped bool
	// Unpinned says that tasks may start where their volumes are not.
	Unpinned bool
}

var lifecycleReaders = map[string]func(*Lifecycle, string) error{
	LabelCanary:           func(l *Lifecycle, v string) (err error) { l.Canary, err = ParseShare(v); return err },
	LabelPromoteAfter:     func(l *Lifecycle, v string) (err error) { l.PromoteAfter, err = parseDuration(v, 0); return err },
	LabelProgressDeadline: func(l *Lifecycle, v string) (err error) { l.ProgressDeadline, err = parseDuration(v, 0); return err },
	LabelRescheduleAfter:  func(l *Lifecycle, v string) (err error) { l.RescheduleAfter, err = parseDuration(v, 0); return err },
	LabelRebalance:        func(l *Lifecycle, v string) (err error) { l.Rebalance, err = parseDuration(v, time.Second); return err },
	LabelStrategy:         func(l *Lifecycle, v string) (err error) { l.Strategy, err = ParseStrategy(v); return err },
	LabelDependsOn:        func(_ *Lifecycle, v string) error { _, err := ParseDependencies(v); return err }, // see DependenciesOf
	LabelStopped:          func(l *Lifecycle, v string) (err error) { l.Stopped, err = parseBool(v); return err },
	LabelVolumePin: func(l *Lifecycle, v string) error {
		pin, err := parseBool(v)
		l.Unpinned = err == nil && !pin
		return err
	},
}

// ParseLifecycle reads the labels of a service that Parse passes over, and is
// as strict.
func ParseLifecycle(labels map[string]string) (Lifecycle, error) {
	l := Lifecycle{ProgressDeadline: DefaultProgressDeadline}
	for _, name := range ours(labels) {
		read := lifecycleReaders[name]
		if read == nil {
			if err := checkKnown(name); err != nil {
				return l, err
			}
			continue
		}
		if err := read(&l, labels[name]); err != nil {
			return l, api.Errorf(api.CodeInvalid, "label %s: %v", name, err)
		}
	}
	if l.PromoteAfter > 0 && l.Canary == (Share{}) {
		return l, api.Errorf(api.CodeInvalid, "label %s: there is no canary to promote: give %s as well, as in %s=1 or %s=10%%", LabelPromoteAfter, LabelCanary, LabelCanary, LabelCanary)
	}
	return l, nil
}

// LifecycleOf is ParseLifecycle for whoever must go on: a label that does not
// parse comes from a newer program, and counts as left out.
func LifecycleOf(labels map[string]string) Lifecycle {
	l := Lifecycle{ProgressDeadline: DefaultProgressDeadline}
	for name, read := range lifecycleReaders {
		value, ok := labels[name]
		if next := l; ok && read(&next, value) == nil {
			l = next
		}
	}
	return l
}

// checkKnown refuses a label of ours that no service can have.
func checkKnown(name string) error {
	if readers[name] != nil || lifecycleReaders[name] != nil {
		return nil
	}
	known := slices.AppendSeq(slices.Collect(maps.Keys(readers)), maps.Keys(lifecycleReaders))
	slices.Sort(known)
	return api.Errorf(api.CodeInvalid, "label %q: this version of swarmctl knows no such label: it knows %s; other labels must not begin with %q",
		name, strings.Join(known, ", "), Prefix)
}

// Node is what a node's labels say of it.
type Node struct {
	// DrainDeadline is after how long a drain stops what could not be moved;
	// 0: at once.
	DrainDeadline time.Duration
}

// ParseNode reads the labels of a node, as strictly as Parse those of a service.
func ParseNode(labels map[string]string) (Node, error) {
	n := Node{DrainDeadline: DefaultDrainDeadline}
	for _, name := range ours(labels) {
		if name != LabelDrainDeadline {
			return n, api.Errorf(api.CodeInvalid, "node label %q: this version of swarmctl knows no such label: it knows %s; other labels must not begin with %q", name, LabelDrainDeadline, Prefix)
		}
		d, err := parseDuration(labels[name], 0)
		if err != nil {
			return n, api.Errorf(api.CodeInvalid, "node label %s: %v", name, err)
		}
		n.DrainDeadline = d
	}
	return n, nil
}

// DrainDeadlineOf is the deadline that a node's labels give; the default where
// they give none that parses.
func DrainDeadlineOf(labels map[string]string) time.Duration {
	if d, err := parseDuration(labels[LabelDrainDeadline], 0); err == nil {
		return d
	}
	return DefaultDrainDeadline
}

// StrategyOf is the strategy that the cluster's labels give; spread where they
// give none that parses.
func StrategyOf(labels map[string]string) Strategy {
	if s, err := ParseStrategy(labels[LabelStrategy]); err == nil {
		return s
	}
	return StrategySpread
}

// ParseStrategy reads the name of a strategy.
func ParseStrategy(v string) (Strategy, error) {
	s, err := oneOf(v, string(StrategySpread), string(StrategyBinpack), string(StrategyCapacity))
	return Strategy(s), err
}

// ParseShare reads a share: 3, or 10%.
func ParseShare(v string) (Share, error) {
	number, percent := strings.CutSuffix(v, "%")
	n, err := strconv.ParseUint(number, 10, 32)
	switch {
	case err != nil || n == 0:
		return Share{}, api.Errorf(api.CodeInvalid, "%q is no part of the replicas: give their number, from 1, or a percentage as in 10%%", v)
	case percent && n > 100:
		return Share{}, api.Errorf(api.CodeInvalid, "%q is more than all replicas: give a percentage from 1%% to 100%%", v)
	case percent:
		return Share{Percent: n}, nil
	}
	return Share{Count: n}, nil
}

func parseDuration(v string, least time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	switch {
	case err != nil:
		return 0, api.Errorf(api.CodeInvalid, "%q is no duration: give a number with a unit, as in 90s or 10m", v)
	case d < least:
		return 0, api.Errorf(api.CodeInvalid, "%s is too short: the least is %s", v, least)
	}
	return d, nil
}
