package wire

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// Whatever arrives is decoded or refused as invalid, and what is decoded is
// the same after another journey.
func FuzzDecode(f *testing.F) {
	for _, m := range []proto.Message{
		&Task{Id: "t", ServiceId: "s", Slot: 1, Desired: uint32(api.TaskRunning), Status: &TaskStatus{TaskId: "t", State: 1}},
		&Task{Id: "t", ServiceId: "s", Slot: -1 << 62, Desired: 1 << 31},
		&TaskStatus{TaskId: "t", Container: &Container{Id: "c", Pid: -1, Ports: []*Port{{Protocol: "tcp", Target: 1}}}},
		&Task{Id: "t", ServiceId: "s", Networks: []*FabricAttachment{{Network: "n", Addrs: [][]byte{{10, 0, 0, 1}}}}},
		&Spec{ServiceId: "s", Version: 1, SpecJson: []byte(`{"Name":"web"}`)},
		&Fabric{Index: 7, Full: true, Networks: []*FabricNetwork{{Id: "n", Name: "front", Subnets: []*FabricSubnet{{Prefix: "10.0.0.0/24", Vxlan: 1}}}}},
		&Fabric{Hosts: []*FabricHost{{Id: "h", Addr: []byte{10, 0, 0, 1}}}, Removed: []string{"x"}},
		&Fabric{Services: []*FabricService{{Id: "s", Name: "web", Ports: []*FabricPort{{Protocol: "tcp", Target: 1, Published: 1}}}}},
		&Fabric{Endpoints: []*FabricEndpoint{{Id: "t", Name: "web.1", Node: "h", State: 2, Aliases: []*FabricAliases{{Network: "n", Names: []string{"a"}}, {Network: "n"}}}}},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		task, status, spec, part := &Task{}, &TaskStatus{}, &Spec{}, &Fabric{}
		if proto.Unmarshal(data, task) == nil {
			checkDecoded(t, task, func(m *Task) (*api.Task, error) { return DecodeTask(m, "n") }, EncodeTask)
		}
		if proto.Unmarshal(data, status) == nil {
			type observed struct {
				id api.TaskID
				s  api.TaskStatus
			}
			checkDecoded(t, status, func(m *TaskStatus) (observed, error) { id, s, err := DecodeTaskStatus(m); return observed{id, s}, err },
				func(o observed) (*TaskStatus, error) { return EncodeTaskStatus(o.id, &o.s), nil })
		}
		if proto.Unmarshal(data, spec) == nil {
			checkDecoded(t, spec, DecodeSpec, EncodeSpec)
		}
		if proto.Unmarshal(data, part) == nil {
			checkDecoded(t, part, func(m *Fabric) (*fabric.Update, error) { return DecodeFabric([]*Fabric{m}) },
				func(u *fabric.Update) (*Fabric, error) { return EncodeFabric(u)[0], nil })
		}
	})
}

func checkDecoded[M proto.Message, V any](t *testing.T, m M, decode func(M) (V, error), encode func(V) (M, error)) {
	v, err := decode(m)
	if err != nil {
		if api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%v: %v has code %s", m, err, api.CodeOf(err))
		}
		return
	}
	once, err := encode(v)
	if err != nil {
		t.Fatal(err)
	}
	v, err = decode(once)
	if err != nil {
		t.Fatalf("%v became %v, which is refused: %v", m, once, err)
	}
	if twice, err := encode(v); err != nil || !proto.Equal(once, twice) {
		t.Errorf("%v became %v, %v", once, twice, err)
	}
}
