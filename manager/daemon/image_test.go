package daemon

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dispatcher"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// Managers are asked first, then those nodes that run a task of the image; a node
// that is down or that asks itself is not.
func TestWhoMayHaveAnImage(t *testing.T) {
	s, apply := newState(t)
	for _, id := range []nodeID{"m1", "m2", "m3"} {
		n := node(id, swarm.NodeRoleManager, string(id)+":2377")
		n.Status.State = api.NodeReady
		apply(state.Op{PutNode: n})
	}
	down := node("m4", swarm.NodeRoleManager, "m4:2377")
	down.Status.State = api.NodeDown
	apply(state.Op{PutNode: down})
	svc := &api.Service{ID: "s"}
	svc.Spec.Name = "shop"
	apply(state.Op{PutService: svc})
	version := s.View().Service("s").SpecVersion
	for i, id := range []nodeID{"w1", "w2", "w3"} {
		n := node(id, swarm.NodeRoleWorker, "")
		n.Status.State = api.NodeReady
		apply(state.Op{PutNode: n})
		task := api.TaskID(fmt.Sprint("t", i+1))
		apply(state.Op{CreateTasks: []*api.Task{{ID: task, ServiceID: "s", Slot: i + 1, SpecVersion: version, Desired: api.TaskRunning, Status: api.TaskStatus{State: api.TaskPending}}}})
		apply(state.Op{AssignTasks: []state.Assign{{Task: task, Node: id}}})
	}
	for _, task := range []api.TaskID{"t1", "t2"} {
		apply(state.Op{ReportTasks: []state.Report{{Task: task, Status: api.TaskStatus{State: api.TaskRunning}}}})
	}
	v := s.View()
	for _, tt := range []struct {
		self  nodeID
		task  api.TaskID
		image *api.Image
		want  string
	}{
		{"m2", "t3", &api.Image{ID: "x"}, "[m2 m1 m3 w1 w2]"},
		{"m2", "t3", nil, "[m1 m2 m3 w1 w2]"}, // the same on every manager
		{"m1", "t1", &api.Image{ID: "x"}, "[m1 m2 m3 w2]"},
	} {
		got := holders(v, tt.self, &dispatcher.WantedImage{Task: v.Task(tt.task), Image: tt.image})
		if fmt.Sprint(got) != tt.want {
			t.Errorf("at %s for %s: %v, want %s", tt.self, tt.task, got, tt.want)
		}
	}
	if got := fmt.Sprint(managersFrom(v, "m3", "m1")); got != "[m3 m1 m2]" {
		t.Errorf("an image's name is looked up at %s", got)
	}
}

// newState is a state, and what carries operations out in it.
func newState(t *testing.T) (s *state.State, apply func(ops ...state.Op)) {
	s, index := state.New(), uint64(0)
	return s, func(ops ...state.Op) {
		t.Helper()
		index++
		if err := s.Apply(index, []state.Command{{At: time.Unix(1, 0), Ops: ops}})[0].Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// An engine whose node has no session for a moment is asked again; one that has no such
// image is not, and one that stays silent has its time and no more.
func TestAnEngineIsAskedUntilItSaysSomething(t *testing.T) {
	silent := errors.New("no session")
	for _, c := range []struct {
		name    string
		says    error // at last; nil: the image
		after   time.Duration
		within  time.Duration
		isImage bool
	}{
		{"at once", nil, 0, 0, true},
		{"after a moment", nil, 750 * time.Millisecond, 800 * time.Millisecond, true},
		{"that it has none", docker.ErrNoImage, 0, 0, false},
		{"that it has none, after a moment", docker.ErrNoImage, 250 * time.Millisecond, 300 * time.Millisecond, false},
		{"nothing", nil, time.Hour, imagePatience, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			image, err := insist(t.Context(), func(context.Context) (api.Image, error) {
				if time.Since(start) < c.after {
					return api.Image{}, silent
				}
				return api.Image{ID: "x"}, c.says
			})
			if (err == nil) != c.isImage || c.isImage && image.ID != "x" || time.Since(start) > c.within {
				t.Errorf("says %s: %v, %v after %v", c.name, image, err, time.Since(start))
			}
		})
	}
}
