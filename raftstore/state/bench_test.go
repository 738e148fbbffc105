package state

import (
	"fmt"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// BenchmarkAssign places 10,000 tasks on 100 nodes, 256 a command as the
// scheduler does, and lets them end: on no network, on one, and on three of
// which one is the ingress network.
func BenchmarkAssign(b *testing.B) {
	const tasks, nodes, batch = 10_000, 100, 256
	for _, networks := range []int{0, 1, 3} {
		b.Run(fmt.Sprintf("networks=%d", networks), func(b *testing.B) {
			s, index := benchState(b, nodes, networks), uint64(1)
			apply := func(op Op) {
				index++
				if r := s.Apply(index, []Command{{At: t0, Ops: []Op{op}}})[0]; r.Err() != nil || r.Stale != nil {
					b.Fatal(r)
				}
			}
			n := 0
			for b.Loop() {
				ids := make([]api.TaskID, tasks)
				for i := range ids {
					n++
					ids[i] = api.TaskID(fmt.Sprintf("%025d", n))
				}
				b.StopTimer()
				for at := 0; at < tasks; at += batch {
					apply(Op{CreateTasks: benchTasks(ids[at:min(at+batch, tasks)])})
				}
				b.StartTimer()
				for at := 0; at < tasks; at += batch {
					var assign []Assign
					for i, id := range ids[at:min(at+batch, tasks)] {
						assign = append(assign, Assign{Task: id, Node: api.NodeID(fmt.Sprint("n", i%nodes))})
					}
					apply(Op{AssignTasks: assign})
				}
				for at := 0; at < tasks; at += batch {
					apply(Op{DeleteTasks: ids[at:min(at+batch, tasks)]})
				}
			}
			b.ReportMetric(float64(b.N)*tasks/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}

func benchState(b *testing.B, nodes, networks int) *State {
	s := New()
	ops := []Op{}
	web := webService()
	for i := range networks {
		n := &api.Network{ID: api.NetworkID(fmt.Sprintf("%025d", i)), VXLAN: []uint32{uint32(i + 1)}}
		n.Spec.Name, n.Spec.Ingress = fmt.Sprint("w", i), i == 2
		n.IPAM.Configs = []swarm.IPAMConfig{{Subnet: fmt.Sprintf("10.%d.0.0/16", i)}}
		ops = append(ops, Op{CreateNetwork: n})
		if i < 2 {
			web.Spec.TaskTemplate.Networks = append(web.Spec.TaskTemplate.Networks, swarm.NetworkAttachmentConfig{Target: string(n.ID)})
		} else {
			web.Spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 80, PublishMode: swarm.PortConfigPublishModeIngress}}}
		}
	}
	for i := range nodes {
		ops = append(ops, Op{PutNode: &api.Node{ID: api.NodeID(fmt.Sprint("n", i))}})
	}
	if err := s.Apply(1, []Command{{At: t0, Ops: append(ops, Op{PutService: web})}})[0].Err(); err != nil {
		b.Fatal(err)
	}
	return s
}

func benchTasks(ids []api.TaskID) []*api.Task {
	list := make([]*api.Task, len(ids))
	for i, id := range ids {
		list[i] = &api.Task{ID: id, ServiceID: "svc", SpecVersion: 1, Desired: api.TaskRunning, Status: api.TaskStatus{State: api.TaskPending}}
	}
	return list
}
