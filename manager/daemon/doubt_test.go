package daemon

import (
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// A term begins with a write about every node where a service depends on another,
// and with none where nobody would ask.
func TestTasksAreInDoubtWhereSomeServiceAsks(t *testing.T) {
	s, apply := newState(t)
	service := func(name string, labels map[string]string) state.Op {
		svc := &api.Service{ID: api.ServiceID(name)}
		svc.Spec.Name, svc.Spec.Labels = name, labels
		return state.Op{PutService: svc}
	}
	apply(state.Op{PutNode: node("a", swarm.NodeRoleManager, "A")}, state.Op{PutNode: node("b", swarm.NodeRoleWorker, "")}, service("db", nil))
	if ops := inDoubt(s.View()); len(ops) != 0 {
		t.Errorf("no service depends on another, and %d operations are proposed", len(ops))
	}
	apply(service("web", map[string]string{setting.LabelDependsOn: "db"}))
	ops := inDoubt(s.View())
	if len(ops) != 2 {
		t.Fatalf("%d operations for two nodes", len(ops))
	}
	apply(ops...)
	for n := range s.View().Nodes() {
		if !n.Status.Unsettled {
			t.Errorf("node %s is not in doubt", n.ID)
		}
	}
}
