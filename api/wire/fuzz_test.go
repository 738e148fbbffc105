package wire

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/swarmctl/swarmctl/api"
)

// Whatever arrives is decoded or refused as invalid, and what is decoded is
// the same after another journey.
func FuzzDecode(f *testing.F) {
	for _, m := range []proto.Message{
		&Task{Id: "t", ServiceId: "s", Slot: 1, Desired: uint32(api.TaskRunning), Status: &TaskStatus{TaskId: "t", State: 1}},
		&Task{Id: "t", ServiceId: "s", Slot: -1 << 62, Desired: 1 << 31},
		&TaskStatus{TaskId: "t", Container: &Container{Id: "c", Pid: -1, Ports: []*Port{{Protocol: "tcp", Target: 1}}}},
		&Spec{ServiceId: "s", Version: 1, SpecJson: []byte(`{"Name":"web"}`)},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		task, status, spec := &Task{}, &TaskStatus{}, &Spec{}
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
