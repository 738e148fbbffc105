package gossip

import (
	"fmt"
	"math"
	"time"

	"github.com/hashicorp/memberlist"
)

// Timing holds the knobs of the failure detector. How long a node that loses
// power is taken for alive is
//
//	wait for the next probe of it + ProbeInterval + Suspicion
//
// In a cluster of n nodes each node probes one other every ProbeInterval, in a
// shuffled round, so the node that died is probed by somebody after about
// ProbeInterval x (n-1)/n on average, and after 2.7 ProbeIntervals in 99 of 100 cases. The
// probe fails one ProbeInterval after it began, and then the suspicion runs.
// With the defaults: 0.21 s (0.70 s) + 0.26 s + 2.34 s = 2.81 s on average,
// 3.30 s in the worst of a hundred. The news of a death spreads within a GossipInterval or two,
// and mostly need not, because the suspicion has spread long before and every node's
// own timer ends at about the same time.
//
// The shortest outage that may be called a death is ProbeInterval + Suspicion,
// 2.6 s: the probe that was under way when the cable came out, and the suspicion. For a
// cable pull of 2 s that leaves 0.6 s to refute after the cable is back, which
// takes one NudgeInterval and a round trip.
//
// Measured with probes every 200 ms and a suspicion of 2.4 s, which ends as soon
// and costs a third more CPU: five network namespaces on one machine of 2 cores, while others used it
// too: 24 power cuts, known to the last of the others after 2.67 s at best, 2.80 s
// in the median, 3.20 s at worst (with 40 nodes, 4 power cuts: 2.72 to 3.02 s); 38 cable
// pulls of 2.0 to 2.08 s without a death on either side; under a load of 25, 9
// pulls of 2.0 to 2.4 s without a death, and one of 2.55 s that was called one. A
// node that is switched on again is alive for all within 0.2 s; after a cut of 8 s all
// see each other again within 1.1 s.
type Timing struct {
	// ProbeInterval is how often a node probes another, and how long a probe may
	// take in all: the direct ping, then the indirect ones and a TCP connection
	// side by side. Lower finds the dead sooner and costs CPU: about 0.1 % of a
	// core for every probe in a second, nearly all of it for waking up. It also shortens what a machine that is
	// too busy to answer is given before it is suspected; a suspicion is
	// harmless, so 260 ms are kind enough even on a starved machine.
	ProbeInterval time.Duration

	// ProbeTimeout is how long the direct ping may take before others are asked
	// to try. Twice this, plus a round trip, must fit in a ProbeInterval: only
	// then do the others' answers ("I cannot reach it either") come in time to
	// tell a prober that the fault is not its own. A prober that misses them
	// takes itself for ill and probes more slowly, up to HealthMax times
	// (memberlist calls this Lifeguard). That is wanted on a starved machine.
	ProbeTimeout time.Duration

	// Suspicion is how long a suspect may take to refute. Higher forgives longer
	// outages, and adds to the time in which nobody replaces a dead node's tasks.
	//
	// memberlist would stretch it with log10(n), because news travels longer in
	// larger clusters, and so take 6 s at 300 nodes. We hold it nearly constant,
	// at most a third more (see multiplier): news needs log4(n) GossipIntervals, 1 s at 1,000 nodes,
	// and a suspect is told directly and does not wait for the news.
	Suspicion time.Duration

	// SuspicionMax is how many times Suspicion a suspect gets while few others
	// have confirmed that they cannot reach it either. It protects large clusters from
	// one ill member. In clusters with fewer than about 10 nodes there are not
	// enough others to ask, and the time is always Suspicion.
	SuspicionMax int

	// HealthMax is the factor by which a node that finds itself ill slows its
	// probing down at most.
	HealthMax int

	// IndirectProbes is how many others are asked to reach a node that did not
	// answer. With 3, a probe fails for a live node only if the node does not
	// answer on any of 4 ways, or over TCP.
	IndirectProbes int

	// GossipInterval is how often news are sent to GossipFanout others. News
	// also ride on probes. Nothing is sent when there is no news.
	GossipInterval time.Duration
	GossipFanout   int

	// NudgeInterval is how often a suspect is told, by each node that suspects
	// it, that it should refute. memberlist by itself tells it only with the next probe,
	// which may be seconds away where a node that was cut off suspects everybody
	// and probes slowly because it takes itself for ill. In large clusters only
	// about NudgeFanout nodes do so each time.
	NudgeInterval time.Duration
	NudgeFanout   int

	// RecallInterval is how often the dead are called: one that has come back,
	// or was never gone but on the other side of a cut, hears it and exchanges
	// its whole state with the caller. It bounds how long two halves of a
	// cluster stay apart after a cut has healed. After RecallFast each of the dead is called only every
	// RecallSlow, and after RecallGiveUp no more.
	RecallInterval, RecallFast, RecallSlow, RecallGiveUp time.Duration

	// KnockTimeout is how long the host of a suspect or dead member may take to
	// answer a TCP connection; hosts are asked as often as the dead are called,
	// for the first time at the beginning of the suspicion, so the answer is there
	// when it ends and a death is known no later for it. It must be well above
	// a round trip. Two silences in a row take a refusal back: a host that loses power
	// after its daemon had gone is known silent 2 x RecallInterval + KnockTimeout, 1.4 s, later
	// at worst. Lower makes a busy host, and two lost packets, look silent.
	KnockTimeout time.Duration
}

// DefaultTiming is fit to run, on a LAN and on a machine whose cores are busy.
func DefaultTiming() Timing {
	return Timing{
		ProbeInterval:  260 * time.Millisecond,
		ProbeTimeout:   80 * time.Millisecond,
		Suspicion:      2340 * time.Millisecond,
		SuspicionMax:   2,
		HealthMax:      8,
		IndirectProbes: 3,
		GossipInterval: 260 * time.Millisecond,
		GossipFanout:   4,
		NudgeInterval:  100 * time.Millisecond,
		NudgeFanout:    8,
		RecallInterval: 500 * time.Millisecond,
		RecallFast:     time.Minute,
		RecallSlow:     15 * time.Second,
		RecallGiveUp:   72 * time.Hour,
		KnockTimeout:   400 * time.Millisecond,
	}
}

// Validate names the field that cannot work.
func (t Timing) Validate() error {
	for _, f := range []struct {
		name string
		v    time.Duration
	}{
		{"ProbeInterval", t.ProbeInterval}, {"ProbeTimeout", t.ProbeTimeout}, {"Suspicion", t.Suspicion},
		{"GossipInterval", t.GossipInterval}, {"NudgeInterval", t.NudgeInterval}, {"RecallInterval", t.RecallInterval},
		{"RecallFast", t.RecallFast}, {"RecallSlow", t.RecallSlow}, {"RecallGiveUp", t.RecallGiveUp},
		{"KnockTimeout", t.KnockTimeout},
	} {
		if f.v <= 0 {
			return fmt.Errorf("gossip timing: %s is %v: it must be positive", f.name, f.v)
		}
	}
	switch {
	case 2*t.ProbeTimeout >= t.ProbeInterval:
		return fmt.Errorf("gossip timing: ProbeTimeout %v: it must be less than half of ProbeInterval %v", t.ProbeTimeout, t.ProbeInterval)
	case t.Suspicion < 2*t.ProbeInterval:
		return fmt.Errorf("gossip timing: Suspicion %v: it must be at least twice ProbeInterval %v", t.Suspicion, t.ProbeInterval)
	case t.KnockTimeout >= t.Suspicion:
		return fmt.Errorf("gossip timing: KnockTimeout %v: it must be less than Suspicion %v", t.KnockTimeout, t.Suspicion)
	case t.SuspicionMax < 1 || t.HealthMax < 1 || t.IndirectProbes < 0 || t.GossipFanout < 1 || t.NudgeFanout < 1:
		return fmt.Errorf("gossip timing: SuspicionMax, HealthMax, GossipFanout and NudgeFanout must be at least 1, IndirectProbes at least 0")
	}
	return nil
}

// recall is how often one that has been dead, or is suspect, for so long is called.
func (t Timing) recall(age time.Duration) time.Duration {
	if age <= t.RecallFast {
		return t.RecallInterval
	}
	return t.RecallSlow
}

// multiplier is the SuspicionMult with which memberlist's own formula,
// SuspicionMult x max(1, log10(n)) x ProbeInterval, comes out at Suspicion for n
// nodes, or at the next step above it: never below, as an outage is forgiven by it.
func (t Timing) multiplier(n int) int {
	scale := max(1, math.Log10(float64(max(1, n))))
	exact := float64(t.Suspicion) / (scale * float64(t.ProbeInterval))
	return max(1, int(math.Ceil(exact-0.01))) // 0.01: log10(1000) is a hair below 3
}

// set writes the timing into memberlist's configuration.
func (t Timing) set(c *memberlist.Config) {
	c.ProbeInterval, c.ProbeTimeout = t.ProbeInterval, t.ProbeTimeout
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = t.multiplier(1), t.SuspicionMax
	c.AwarenessMaxMultiplier = t.HealthMax
	c.IndirectChecks = t.IndirectProbes
	c.GossipInterval, c.GossipNodes = t.GossipInterval, t.GossipFanout
	// The whole state, every half a minute, with one other: heals what lost packets left.
	c.PushPullInterval = 30 * time.Second
	// The dead stay in memberlist's list, and hear the news, for so long.
	c.GossipToTheDeadTime = 30 * time.Second
	// A dead node may come back under another address.
	c.DeadNodeReclaimTime = time.Millisecond
	c.TCPTimeout = 2 * time.Second
	c.EnableCompression = false // costs more than it saves on packets of 100 bytes
}
