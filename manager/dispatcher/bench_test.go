package dispatcher

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// BenchmarkFabric is a manager's part in a cluster of 100 nodes and 100
// services with 20 tasks each: to make one change of one event, to make the
// messages of the whole, and to have gRPC encode it for one session.
func BenchmarkFabric(b *testing.B) {
	var nodes []api.NodeID
	for i := range 100 {
		nodes = append(nodes, api.NodeID(fmt.Sprintf("n%03d", i)))
	}
	s := networked(nodes...)
	big := overlay("big", 2)
	big.IPAM.Configs[0].Subnet, big.IPAM.Configs[0].Gateway = "10.1.0.0/16", "10.1.0.1"
	s.put(state.Op{CreateNetwork: big})
	for i := range 100 {
		name := fmt.Sprintf("s%03d", i)
		s.put(state.Op{PutService: onNetworks(name, 0, "big")})
		for j := range 20 {
			id := api.TaskID(fmt.Sprintf("%s-%025d", name, j))
			s.tasks(name, nodes[(i+j)%100], id)
			s.report(id, api.TaskRunning)
		}
	}
	view, cursor := s.Follow()
	l := newLoom(view)
	made := 0
	b.Run("change", func(b *testing.B) {
		for i := range b.N {
			b.StopTimer()
			made++
			name := fmt.Sprintf("s%03d", i%100)
			s.tasks(name, nodes[i%100], api.TaskID(fmt.Sprintf("x%d", made)))
			b.StartTimer()
			for e, ok := cursor.TryNext(); ok; e, ok = cursor.TryNext() {
				if c := l.follow(e); c != nil {
					l.since(l.seq - 1)[0].messages()
				}
			}
		}
	})
	b.Run("whole", func(b *testing.B) {
		size := 0
		for range b.N {
			l.whole = nil
			size = 0
			for _, m := range l.all()[0].messages() {
				size += proto.Size(m)
			}
		}
		b.ReportMetric(float64(size), "bytes")
	})
	b.Run("session", func(b *testing.B) {
		list := l.all()[0].messages()
		for range b.N {
			for _, m := range list {
				if _, err := proto.Marshal(m); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
