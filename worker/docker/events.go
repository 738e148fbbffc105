package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/swarmctl/swarmctl/api"
)

// killedBefore is how long before a container's end a signal may have been
// sent that ended it: the usual grace period and a bit.
const killedBefore = 15 * time.Second

// watched is what the engine is asked for. It is asked for the containers of
// everybody: a filter by label would hide what happens to the engine itself.
// The rest is dropped here, after one look at a label.
var watched = filters.NewArgs(
	filters.Arg("type", string(events.ContainerEventType)),
	filters.Arg("type", string(events.DaemonEventType)),
	filters.Arg("type", string(events.PluginEventType)),
	filters.Arg("type", string(events.VolumeEventType)),
	filters.Arg("event", string(events.ActionCreate)),
	filters.Arg("event", string(events.ActionStart)),
	filters.Arg("event", string(events.ActionKill)),
	filters.Arg("event", string(events.ActionDie)),
	filters.Arg("event", string(events.ActionOOM)),
	filters.Arg("event", string(events.ActionHealthStatus)),
	filters.Arg("event", string(events.ActionDestroy)),
	filters.Arg("event", string(events.ActionReload)),
	filters.Arg("event", string(events.ActionEnable)),
	filters.Arg("event", string(events.ActionDisable)),
)

// Watch calls handle for everything that happens to the cluster's containers,
// to volumes and to the engine itself,
// in order, until the context ends or the engine goes away. It calls ready once
// it has begun: nothing that happens after that is missed.
func (e *Engine) Watch(ctx context.Context, cluster string, ready func(), handle func(Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The engine answers a moment before it subscribes us; with a beginning in
	// the past it plays that moment back from its memory.
	messages, errs := e.cli.Events(ctx, events.ListOptions{Since: stamp(time.Now()), Filters: watched})
	ready()
	for {
		select {
		case m := <-messages:
			if ev, ok := fromMessage(&m, cluster); ok {
				handle(ev)
			}
		case err := <-errs:
			return e.fail(err)
		}
	}
}

func stamp(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }

func fromMessage(m *events.Message, cluster string) (Event, bool) {
	switch m.Type {
	case events.ContainerEventType:
	case events.VolumeEventType:
		return ofVolume(m)
	default:
		return Event{Type: EventEngine}, true
	}
	attr := m.Actor.Attributes
	if attr[api.LabelCluster] != cluster {
		return Event{}, false
	}
	ev := Event{Container: m.Actor.ID, Task: api.TaskID(attr[api.LabelOurTask]), Name: attr["name"], At: time.Unix(0, m.TimeNano)}
	action, detail, _ := strings.Cut(string(m.Action), ": ")
	switch events.Action(action) {
	case events.ActionCreate:
		ev.Type = EventCreated
	case events.ActionStart:
		ev.Type = EventStarted
	case events.ActionKill:
		ev.Type = EventKilled
		return ev, ends(m)
	case events.ActionDie:
		ev.Type = EventDied
		ev.ExitCode, _ = strconv.Atoi(attr["exitCode"])
	case events.ActionOOM:
		ev.Type = EventOOM
	case events.ActionDestroy:
		ev.Type = EventGone
	case events.ActionHealthStatus:
		ev.Type, ev.Health = EventHealth, healthOf(detail)
	default:
		return Event{}, false
	}
	return ev, true
}

func ofVolume(m *events.Message) (Event, bool) {
	ev := Event{Name: m.Actor.ID, Driver: m.Actor.Attributes["driver"], At: time.Unix(0, m.TimeNano)}
	switch m.Action {
	case events.ActionCreate:
		ev.Type = EventVolumeMade
	case events.ActionDestroy:
		ev.Type = EventVolumeGone
	default:
		return Event{}, false
	}
	return ev, true
}

// ends reports whether the signal of a kill is one that ends a process, and not
// one that has it reload or resize something: HUP, USR1, USR2, WINCH.
func ends(m *events.Message) bool {
	switch m.Actor.Attributes["signal"] {
	case "1", "10", "12", "28":
		return false
	}
	return true
}

// exitOf asks for the end of one container, as far as the engine remembers.
func exitOf(c Container) events.ListOptions {
	return events.ListOptions{
		Since: stamp(c.EndedAt.Add(-killedBefore)),
		Until: stamp(time.Now()),
		Filters: filters.NewArgs(
			filters.Arg("container", c.ID),
			filters.Arg("event", string(events.ActionKill)),
			filters.Arg("event", string(events.ActionDie)),
		),
	}
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
