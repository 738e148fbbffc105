package dockerapi

import (
	"fmt"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// selfStopNote is why a task that must not run twice is not replaced, though its
// node is down; empty where that is not so. It is read where people look for
// what is wrong with a service: at the task.
func selfStopNote(view *state.View, t *api.Task) string {
	n := view.Node(t.NodeID)
	if n == nil || n.Status.State != api.NodeDown || t.Status.State.Terminal() || t.Status.State < api.TaskAssigned {
		return ""
	}
	spec := view.SpecOf(t)
	if spec == nil {
		return ""
	}
	switch after := setting.SelfStopOf(spec.Spec.Labels); {
	case after == 0:
		return ""
	case n.Status.DaemonGone:
		return fmt.Sprintf("the daemon of its node %s is gone, so nobody stops it: start the daemon, or, if nothing runs there any more, remove the node: swarmctl node rm --force %[1]s", n.Hostname())
	default:
		return fmt.Sprintf("its node %s is down: another one takes over once it has stopped itself, %v after it was cut off", n.Hostname(), after)
	}
}
