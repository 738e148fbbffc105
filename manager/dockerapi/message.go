package dockerapi

import (
	"strconv"
	"time"

	"github.com/docker/docker/api/types/events"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// taskEventType is ours: Docker tells nothing of tasks, and people have asked for it.
const taskEventType events.Type = "task"

// messagesOf tells an event of the state in the words of Docker's events.
// The time is the store's own for what was written, now for what was removed.
func messagesOf(e *state.Event, now time.Time) []events.Message {
	var out []events.Message
	for _, p := range e.Nodes {
		if !isLoadAlone(p) {
			out = append(out, message(events.NodeEventType, p, now, nodeAttributes))
		}
	}
	for _, p := range e.Services {
		out = append(out, message(events.ServiceEventType, p, now, serviceAttributes))
	}
	for _, p := range e.Tasks {
		if isTaskEvent(p) {
			out = append(out, taskMessage(e.View, p, now))
		}
	}
	for _, p := range ofNames(e.Secrets, func(s *api.Secret) api.ContentVersion { return s.Version }) {
		out = append(out, message(events.SecretEventType, p, now, secretAttributes))
	}
	for _, p := range ofNames(e.Configs, func(c *api.Config) api.ContentVersion { return c.Version }) {
		out = append(out, message(events.ConfigEventType, p, now, configAttributes))
	}
	for _, p := range e.Networks {
		out = append(out, message(events.NetworkEventType, p, now, networkAttributes))
	}
	return out
}

// ofNames is what has happened to the names of secrets or configs: a new version
// is an update of its name, and what becomes of one that is superseded is
// nobody's news. Whoever waits for a removal would take it for the name's.
func ofNames[T any](pairs []state.Pair[T], version func(*T) api.ContentVersion) (out []state.Pair[T]) {
	for _, p := range pairs {
		v := version(current(p))
		if v.Superseded {
			continue
		}
		if p.Before == nil && v.Before > 0 {
			p.Before = p.After
		}
		out = append(out, p)
	}
	return out
}

// isLoadAlone reports whether all that has changed of a node is how busy it is,
// which makes it no new version: that is nobody's news but the scheduler's.
func isLoadAlone(p state.Pair[api.Node]) bool {
	return p.Before != nil && p.After != nil && p.Before.Meta.Version == p.After.Meta.Version
}

// isTaskEvent reports whether more of a task than its details has changed.
func isTaskEvent(p state.Pair[api.Task]) bool {
	return p.Before == nil || p.After == nil || p.Before.Status.State != p.After.Status.State || p.Before.Desired != p.After.Desired
}

func taskMessage(view *state.View, p state.Pair[api.Task], now time.Time) events.Message {
	return message(taskEventType, p, now, func(p state.Pair[api.Task]) (string, api.Meta, map[string]string) {
		return taskAttributes(view, p)
	})
}

func message[T any](kind events.Type, p state.Pair[T], now time.Time,
	describe func(state.Pair[T]) (id string, meta api.Meta, attributes map[string]string),
) events.Message {
	id, meta, attributes := describe(p)
	action, at := events.ActionUpdate, meta.UpdatedAt
	switch {
	case p.Before == nil:
		action, at = events.ActionCreate, meta.CreatedAt
	case p.After == nil:
		action, at = events.ActionRemove, now
	}
	return events.Message{
		Type: kind, Action: action, Scope: "swarm", Actor: events.Actor{ID: id, Attributes: attributes},
		Time: at.Unix(), TimeNano: at.UnixNano(),
	}
}

// current is the object after the event, or what was removed by it.
func current[T any](p state.Pair[T]) *T {
	if p.After != nil {
		return p.After
	}
	return p.Before
}

// change notes an attribute's old and new value where they differ.
func change(attributes map[string]string, name, before, after string) {
	if before != after {
		attributes[name+".old"], attributes[name+".new"] = before, after
	}
}

func nodeAttributes(p state.Pair[api.Node]) (string, api.Meta, map[string]string) {
	n := current(p)
	attributes := map[string]string{"name": n.Description.Hostname}
	if n.Spec.Name != "" {
		attributes["name"] = n.Spec.Name
	}
	if b := p.Before; b != nil && p.After != nil {
		change(attributes, "availability", string(b.Spec.Availability), string(n.Spec.Availability))
		change(attributes, "role", string(roleOf(b)), string(roleOf(n)))
		change(attributes, "state", string(b.Status.State), string(n.Status.State))
	}
	return string(n.ID), n.Meta, attributes
}

func serviceAttributes(p state.Pair[api.Service]) (string, api.Meta, map[string]string) {
	s := current(p)
	attributes := map[string]string{"name": s.Name()}
	if b := p.Before; b != nil && p.After != nil {
		change(attributes, "image", imageOf(b), imageOf(s))
		change(attributes, "replicas", replicasOf(b), replicasOf(s))
		change(attributes, "updatestate", updateState(b), updateState(s))
		if attributes["updatestate.old"] == "" {
			delete(attributes, "updatestate.old")
		}
		if attributes["updatestate.new"] == "" { // it was reset by an update
			delete(attributes, "updatestate.new")
			delete(attributes, "updatestate.old")
		}
	}
	return string(s.ID), s.Meta, attributes
}

func imageOf(s *api.Service) string {
	if c := s.Spec.TaskTemplate.ContainerSpec; c != nil {
		return c.Image
	}
	return ""
}

func replicasOf(s *api.Service) string {
	if n, ok := s.Replicas(); ok {
		return strconv.FormatUint(n, 10)
	}
	return ""
}

func updateState(s *api.Service) string {
	if s.UpdateStatus == nil {
		return ""
	}
	return string(s.UpdateStatus.State)
}

func taskAttributes(view *state.View, p state.Pair[api.Task]) (string, api.Meta, map[string]string) {
	t := current(p)
	attributes := map[string]string{
		"name": view.TaskName(t), "service.id": string(t.ServiceID), "node.id": string(t.NodeID),
		"state": t.Status.State.String(), "desired": t.Desired.String(),
	}
	if s := view.Service(t.ServiceID); s != nil {
		attributes["service.name"] = s.Name()
	}
	if n := view.Node(t.NodeID); n != nil {
		attributes["node.name"] = n.Hostname()
	}
	if t.Status.Err != "" {
		attributes["error"] = t.Status.Err
	}
	if b := p.Before; b != nil && p.After != nil {
		change(attributes, "state", b.Status.State.String(), t.Status.State.String())
		change(attributes, "desired", b.Desired.String(), t.Desired.String())
	}
	return string(t.ID), t.Meta, attributes
}

func secretAttributes(p state.Pair[api.Secret]) (string, api.Meta, map[string]string) {
	s := current(p)
	return string(s.ID), s.Meta, contentAttributes(s.Spec.Name, s.Version)
}

// contentAttributes name the version where the name has had several.
func contentAttributes(name string, v api.ContentVersion) map[string]string {
	attributes := map[string]string{"name": name}
	if v.Before > 0 {
		attributes["version"] = strconv.FormatUint(v.Number(), 10)
	}
	return attributes
}

func configAttributes(p state.Pair[api.Config]) (string, api.Meta, map[string]string) {
	c := current(p)
	return string(c.ID), c.Meta, contentAttributes(c.Spec.Name, c.Version)
}

func networkAttributes(p state.Pair[api.Network]) (string, api.Meta, map[string]string) {
	n := current(p)
	return string(n.ID), n.Meta, map[string]string{"name": n.Spec.Name, "type": api.DriverOverlay}
}
