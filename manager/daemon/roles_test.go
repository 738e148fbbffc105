package daemon

import (
	"testing"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"github.com/swarmctl/swarmctl/api"
)

func node(id nodeID, role swarm.NodeRole, addr string) *api.Node {
	return &api.Node{ID: id, Spec: api.NodeSpec{Role: role}, ManagerAddr: addr}
}

func TestMembershipSteps(t *testing.T) {
	const manager, worker = swarm.NodeRoleManager, swarm.NodeRoleWorker
	for name, tc := range map[string]struct {
		members map[nodeID]string
		nodes   []*api.Node
		want    []step
	}{
		"all is as specified": {
			members: map[nodeID]string{"a": "A", "b": "B"},
			nodes:   []*api.Node{node("a", manager, "A"), node("b", manager, "B"), node("c", worker, "")},
		},
		"a promoted node that has not asked yet is left alone": {
			members: map[nodeID]string{"a": "A"},
			nodes:   []*api.Node{node("a", manager, "A"), node("b", manager, "")},
		},
		"a leader died between adding a member and recording it": {
			members: map[nodeID]string{"a": "A", "b": "B"},
			nodes:   []*api.Node{node("a", manager, "A"), node("b", manager, "")},
			want:    []step{{node: "b", addr: "B"}},
		},
		"a leader died between the record of a demotion and the group": {
			members: map[nodeID]string{"a": "A", "b": "B"},
			nodes:   []*api.Node{node("a", manager, "A"), node("b", worker, "")},
			want:    []step{{node: "b", remove: true}},
		},
		"a removed node is still in the group": {
			members: map[nodeID]string{"a": "A", "b": "B"},
			nodes:   []*api.Node{node("a", manager, "A")},
			want:    []step{{node: "b", remove: true}},
		},
		"a record of a member that is none": {
			members: map[nodeID]string{"a": "A"},
			nodes:   []*api.Node{node("a", manager, "A"), node("b", worker, "B")},
			want:    []step{{node: "b"}},
		},
		"the leader goes last": {
			members: map[nodeID]string{"a": "A", "b": "B", "c": "C"},
			nodes:   []*api.Node{node("a", worker, "A"), node("b", manager, "B"), node("c", worker, "C")},
			want:    []step{{node: "c", remove: true}, {node: "a", yield: true}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := membershipSteps("a", tc.members, tc.nodes)
			if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(step{})); d != "" {
				t.Error(d)
			}
		})
	}
}
