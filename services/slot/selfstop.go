package slot

import (
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

const (
	// leaseMargin is for how long, on top of its time and its grace period, a
	// container that stops itself is waited for after its node was called down.
	//
	//	the answer that its node has had last may be younger than the verdict where
	//	it came from a manager that was cut off with it: that one notices after 1 s
	//	and sends its nodes away 3 s later                                      4 s
	//	the node's timer and its engine, which ends what the signal has not     1 s
	//
	// That the verdict itself takes 2.6 s of silence is to spare for a node that is
	// starved. Longer is safer still where hosts stand still for seconds; all of
	// it is time without the service.
	leaseMargin = 5 * time.Second
	// leaseBeats is how many heartbeats a node may miss whatever its containers'
	// time is, and usualBeat how often they come in a cluster that asks for a
	// heartbeat period of usualPeriod, or for none; see the worker's lease.
	leaseBeats  = 4
	usualBeat   = 800 * time.Millisecond
	usualPeriod = 5 * time.Second
	// defaultGrace is Docker's time between the stop signal and the kill.
	defaultGrace = 10 * time.Second
)

// Stopped returns from when on a task does not run any more whose node is out
// of reach: at once, which is zero, unless its container stops itself. ok is
// false where that is never sure: the node's daemon, which would stop it, is
// gone, and whether the container is gone too, only the daemon knows when it is
// back, or the user who removes the node.
//
// It counts from when this leader saw the node down by its own clock: with
// another's, which may be off by a day, it could run twice. So it begins anew
// with every leader.
func Stopped(v *state.View, t *api.Task, seen Seen, now time.Time) (at time.Time, ok bool) {
	n, own := v.Node(t.NodeID), v.SpecOf(t)
	if n == nil || own == nil {
		return time.Time{}, true
	}
	after := setting.SelfStopOf(own.Spec.Labels)
	switch {
	case after == 0:
		return time.Time{}, true
	case n.Status.DaemonGone:
		return time.Time{}, false
	}
	since := now
	if node := seen.Nodes[n.ID]; node.State == n.Status.State && !node.Since.IsZero() {
		since = node.Since
	}
	return since.Add(max(after, leaseBeats*beat(v.Cluster())) + grace(&own.Spec) + leaseMargin), true
}

// Lost reports whether nobody reaches a task any more and nothing that it does
// is waited for. Where it is not yet lost, at is when it will be; zero is never
// by itself.
func Lost(v *state.View, t *api.Task, seen Seen, now time.Time) (lost bool, at time.Time) {
	if !Down(v, t) {
		return false, time.Time{}
	}
	at, ok := Stopped(v, t, seen, now)
	if !ok {
		return false, time.Time{}
	}
	return !at.After(now), at
}

// beat is how often the nodes of a cluster say that they are there.
func beat(c *api.Cluster) time.Duration {
	if c == nil || c.Spec.Dispatcher.HeartbeatPeriod <= 0 {
		return usualBeat
	}
	return time.Duration(float64(usualBeat) * float64(c.Spec.Dispatcher.HeartbeatPeriod) / float64(usualPeriod))
}

func grace(spec *api.ServiceSpec) time.Duration {
	if c := spec.TaskTemplate.ContainerSpec; c != nil && c.StopGracePeriod != nil {
		return max(0, *c.StopGracePeriod)
	}
	return defaultGrace
}
