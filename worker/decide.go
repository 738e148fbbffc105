package worker

import (
	"fmt"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// action is what is to be done next for a task.
type action uint8

const (
	rest    action = iota
	prepare        // the networks that its container will be on
	create         // a container, not started yet
	start          // the container
	attach         // the container, to the balancers and names of its networks
	ask            // the engine, whether the container ended by itself
	stop           // the container, with its signal and grace period
	remove         // the container
	forget         // the task: nothing of it is left
)

var actionNames = [...]string{"rest", "prepare", "create", "start", "attach", "ask", "stop", "remove", "forget"}

func (a action) String() string { return actionNames[a] }

// cause is what ended a container.
type cause uint8

const (
	unknown  cause = iota // nobody watched: the engine is to be asked
	byItself              // somebody did, and it was not told to
	byForce               // it was told to, or the engine was away itself
)

// pod is how far the container is whose network namespace a sidecar shares.
type pod uint8

const (
	noPod      pod = iota // it is no sidecar
	podAwaited            // the container is not made yet
	podMade               // and not started
	podRuns
	podOver // it has ended, or will never start
)

// view is all that the decision about one task is made of.
type view struct {
	assigned bool // the task is in the node's set
	desired  api.TaskState
	// alone says that no manager has said yet what the node's tasks are.
	alone bool
	// state is the highest that is known of it: what the managers hold, or
	// what was reported since.
	state     api.TaskState
	container *docker.Container // nil: there is none
	exit      cause

	// networks says that it is on networks of the cluster. prepared is then that
	// they are ready for a container; made, that its container is on all of them;
	// attached, that they know the one that runs; held, that it must stop and is
	// not known to be out of the balancers of all nodes.
	networks bool
	prepared bool
	// files says that it has secrets or configs; waits names one that has not come
	// yet, and gone one that the cluster does not have any more.
	files       bool
	waits, gone string

	made     bool
	attached bool
	held     bool

	// pod is how far the container is that a sidecar lives with.
	pod pod

	// selfStop is for how long its container may be cut off from the managers, 0:
	// for ever; cutOff says that it has been for so long, and selfStopped that it
	// is being stopped for that, or was.
	selfStop    time.Duration
	cutOff      bool
	selfStopped bool
}

// decision is what follows from a view. A status that says nothing new is dropped.
type decision struct {
	act    action
	status *api.TaskStatus
}

// decide compares what should be with what is. It holds the whole life of a
// task; everything else in this package carries out what it says.
func decide(v *view) decision {
	switch c := v.container; {
	case c != nil && c.State == docker.Running && (v.cutOff || v.selfStopped):
		// Not reported before it has ended: a manager that hears of it starts another.
		return decision{act: stop}
	case v.alone:
		return decision{}
	case !v.assigned:
		return decision{act: discard(c)}
	case v.state.Terminal():
		return decision{act: quiet(c)}
	case c == nil:
		return withoutContainer(v)
	case c.State == docker.Created:
		return beforeStart(v)
	case c.State == docker.Running:
		return whileRunning(v)
	default:
		return afterEnd(v)
	}
}

// discard takes away what a task that has left the store has left here.
func discard(c *docker.Container) action {
	switch {
	case c == nil:
		return forget
	case c.State == docker.Running:
		return stop
	}
	return remove
}

// quiet keeps the container of a task that has ended from running: an
// unhealthy one, or one that somebody started again by hand. It is kept for
// its logs until the task leaves the store.
func quiet(c *docker.Container) action {
	if c != nil && c.State == docker.Running {
		return stop
	}
	return rest
}

func withoutContainer(v *view) decision {
	switch {
	case v.desired >= api.TaskShutdown:
		return decision{status: report(api.TaskShutdown, "shutdown", "")}
	case v.state >= api.TaskReady:
		// It had one. A second one could be a replica too many, and the
		// managers know better where the replacement belongs.
		return decision{status: report(api.TaskFailed, "container is gone", "task: container is gone: it was removed behind the cluster's back")}
	}
	d := creation(v)
	if d.status == nil {
		d.status = report(api.TaskPreparing, "preparing", "")
	}
	return d
}

// creation is the next step to a container. What the cluster does not have any
// more nobody can wait for.
func creation(v *view) decision {
	switch {
	case v.gone != "":
		return decision{status: report(api.TaskRejected, "rejected", v.gone+" has been removed from the cluster: update the service to use another one")}
	case v.waits != "":
		return decision{status: report(api.TaskPreparing, "preparing", "waiting for "+v.waits+": no manager has sent it yet")}
	case v.pod == podAwaited || v.pod == podOver:
		return decision{status: report(api.TaskPreparing, "preparing", podNote(v))}
	case v.networks && !v.prepared:
		return decision{act: prepare}
	}
	return decision{act: create}
}

func beforeStart(v *view) decision {
	switch {
	case v.desired >= api.TaskShutdown:
		return decision{status: report(api.TaskShutdown, "shutdown", "")}
	case (v.networks || v.files) && !v.made:
		// The call that made it was cut off: it may lack a network. Or it was made
		// before the host was restarted, which has taken its files away. To create
		// it again finds it and completes it.
		return creation(v)
	case v.desired < api.TaskRunning:
		return decision{status: report(api.TaskReady, "prepared", "")}
	case v.pod != noPod && v.pod != podRuns:
		return decision{status: report(api.TaskReady, "prepared", podNote(v))}
	case v.cutOff:
		return decision{} // it would be stopped again at once
	}
	return decision{act: start, status: report(api.TaskStarting, "starting", "")}
}

func whileRunning(v *view) decision {
	health := v.container.Health
	switch {
	case v.desired >= api.TaskShutdown && draining(v):
		return decision{}
	case v.desired >= api.TaskShutdown:
		return decision{act: stop}
	case health == docker.Unhealthy:
		return decision{act: stop, status: report(api.TaskFailed, "unhealthy", "task: unhealthy container")}
	case v.networks && !v.attached:
		return decision{act: attach}
	case health == docker.Checking:
		return decision{status: report(api.TaskStarting, "waiting for the health check", "")}
	}
	return decision{status: report(api.TaskRunning, "started", "")}
}

// draining says that a container which must stop still gets connections: it
// serves, and not every balancer is known to have let go of it. One that never
// served is in no balancer.
func draining(v *view) bool { return v.networks && v.held && v.state == api.TaskRunning }

func afterEnd(v *view) decision {
	c := v.container
	switch {
	case v.desired >= api.TaskShutdown:
		return decision{status: report(api.TaskShutdown, "shutdown", "")}
	case v.selfStopped: // its node shut it down: no failure of the task
		return decision{status: report(api.TaskShutdown, "shutdown", stoppedItself(v.selfStop))}
	case c.ExitCode != 0:
		return decision{status: report(api.TaskFailed, "failed", exitError(c))}
	case c.Error != "":
		return decision{status: report(api.TaskFailed, "failed", "task: "+c.Error)}
	case v.exit == unknown:
		return decision{act: ask}
	case v.exit == byForce:
		// An engine that goes down stops its containers, and a well-behaved one
		// ends with 0 then. That is no success: under restart condition
		// on-failure the replica would be lost.
		return decision{status: report(api.TaskFailed, "failed", "task: stopped with its engine or by hand (exit 0)")}
	}
	return decision{status: report(api.TaskComplete, "finished", "")}
}

// podNote says what a sidecar waits for. That its pod is over the managers know, or
// will, and stop it.
func podNote(v *view) string {
	if v.pod == podOver {
		return "the container that it is a sidecar of has ended"
	}
	return "waiting for the container that it is a sidecar of"
}

// exitError is Docker's sentence, with the cause where the engine knows one.
func exitError(c *docker.Container) string {
	s := fmt.Sprintf("task: non-zero exit (%d)", c.ExitCode)
	switch {
	case c.Error != "":
		return s + ": " + c.Error
	case c.OOM && c.ExitCode == 137:
		return s + ": killed by the kernel: out of memory"
	}
	return s
}

func report(s api.TaskState, message, err string) *api.TaskStatus {
	return &api.TaskStatus{State: s, Message: message, Err: err}
}
