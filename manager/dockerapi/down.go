package dockerapi

import (
	"fmt"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// downNote is why a task is not replaced, or not yet, though its node is out of
// reach; empty where that is not so. It is read where people look for what is
// wrong with a service: at the task.
func downNote(view *state.View, t *api.Task, now time.Time) string {
	n := view.Node(t.NodeID)
	if n == nil || n.Status.State != api.NodeDown && n.Status.State != api.NodeDisconnected || t.Status.State.Terminal() || t.Status.State < api.TaskAssigned {
		return ""
	}
	spec := view.SpecOf(t)
	if spec == nil {
		return ""
	}
	selfStop := setting.SelfStopOf(spec.Spec.Labels)
	if selfStop > 0 && n.Status.DaemonGone {
		return fmt.Sprintf("the daemon of its node %s is gone, so nobody stops it: start the daemon, or, if nothing runs there any more, remove the node: swarmctl node rm --force %[1]s", n.Hostname())
	}
	if note := rescheduleNote(view.Service(t.ServiceID), t, n, now); note != "" {
		return note
	}
	if selfStop > 0 {
		return fmt.Sprintf("its node %s is down: another one takes over once it has stopped itself, %v after it was cut off", n.Hostname(), selfStop)
	}
	return ""
}

// rescheduleNote says until when a service waits for a node that is out of reach
// before it replaces a task of it. The time comes first: of an error docker shows
// thirty characters.
func rescheduleNote(s *api.Service, t *api.Task, n *api.Node, now time.Time) string {
	if s == nil || !t.Wanted() {
		return ""
	}
	after := setting.LifecycleOf(s.Spec.Labels).RescheduleAfter
	if after == 0 {
		return ""
	}
	label := setting.LabelRescheduleAfter + "=" + s.Spec.Labels[setting.LabelRescheduleAfter]
	if n.Status.Since.IsZero() { // written by an earlier version: the leader counts from when it saw it
		return fmt.Sprintf("replaced %v after its node %s was seen to be %s (%s)", after, n.Hostname(), n.Status.State, label)
	}
	at := n.Status.Since.Add(after).UTC()
	if !at.After(now) {
		return ""
	}
	layout := "15:04:05 MST"
	if at.Format(time.DateOnly) != now.UTC().Format(time.DateOnly) {
		layout = "2006-01-02 " + layout
	}
	return fmt.Sprintf("replaced at %s: its node %s is %s (%s)", at.Format(layout), n.Hostname(), n.Status.State, label)
}
