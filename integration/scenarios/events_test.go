package scenarios

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// Every manager tells of a task's death within a second, in one stream with
// its own engine's events.
func TestTaskEventsComeAtOnce(t *testing.T) {
	l := newLab(t)
	victim := cluster.Container{}
	for _, c := range l.run("web", managers+workers) {
		if c.Node == l.Nodes[0] {
			victim = c
		}
	}
	ctx, cancel := context.WithTimeout(l.ctx, soon)
	defer cancel()
	now := time.Now()
	l.must(victim.Kill(ctx))
	killed := time.Now()
	for _, at := range l.Nodes[:managers] {
		list, failed := at.API.Events(ctx, events.ListOptions{Since: fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond())})
		died, told := at != victim.Node, time.Time{}
		for !died || told.IsZero() {
			select {
			case m := <-list:
				if m.Type == events.ContainerEventType && m.Action == events.ActionDie && m.Actor.ID == victim.ID {
					died = true
				}
				if m.Type == "task" && m.Actor.ID == victim.Task && m.Actor.Attributes["state.new"] == "failed" && told.IsZero() {
					told = time.Unix(0, m.TimeNano)
				}
			case err := <-failed:
				t.Fatalf("%s: of the container's death %t, of the task's at %v: %v", at.Name, died, told, err)
			}
		}
		took := told.Sub(killed)
		t.Logf("%s: the task's death was written after %.2f s, heard of by %.2f s", at.Name, took.Seconds(), time.Since(killed).Seconds())
		if took > time.Second {
			t.Errorf("the event of the death at %s came after %.2f s", at.Name, took.Seconds())
		}
	}
	l.count("web", managers+workers)
}
