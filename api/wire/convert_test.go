package wire_test

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
)

func TestTaskComesBackAsItWas(t *testing.T) {
	task := &api.Task{
		ID: "t1", ServiceID: "s1", Slot: 3, NodeID: "n1", SpecVersion: 7, Desired: api.TaskRunning,
		PodOf:            "t0",
		Networks:         []api.Attachment{{Network: "net1", Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.2")}}, {Network: "ingress"}},
		GenericResources: []api.GenericResource{{NamedResourceSpec: &swarm.NamedGenericResource{Kind: "gpu", Value: "a"}}},
		Status: api.TaskStatus{
			State: api.TaskRunning, At: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Message: "started", Err: "e",
			Container: &api.ContainerStatus{ID: "c1", PID: 4, ExitCode: 137, Ports: []api.PortStatus{{Protocol: "tcp", Target: 80, Published: 8080}}},
		},
	}
	m, err := wire.EncodeTask(task)
	if err != nil {
		t.Fatal(err)
	}
	got, err := wire.DecodeTask(m, "n1")
	if err != nil || !reflect.DeepEqual(got, task) {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestWhatMakesNoSenseIsRefused(t *testing.T) {
	for name, m := range map[string]*wire.Task{
		"no ID":         {ServiceId: "s"},
		"no service":    {Id: "t"},
		"desired state": {Id: "t", ServiceId: "s", Desired: 99},
		"state":         {Id: "t", ServiceId: "s", Status: &wire.TaskStatus{TaskId: "t", State: 99}},
		"address":       {Id: "t", ServiceId: "s", Networks: []*wire.FabricAttachment{{Network: "n", Addrs: [][]byte{{1}}}}},
		"status ID":     {Id: "t", ServiceId: "s", Status: &wire.TaskStatus{}},
	} {
		if _, err := wire.DecodeTask(m, "n"); api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestContentComesBackAsItWas(t *testing.T) {
	for _, want := range []*api.Content{{ID: "c1", Data: []byte("x\x00y"), Template: true}, {ID: "c2", Gone: true}} {
		if got, err := wire.DecodeContent(wire.EncodeContent(want)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	if _, err := wire.DecodeContent(&wire.Content{Data: []byte("x")}); api.CodeOf(err) != api.CodeInvalid {
		t.Errorf("without an ID: %v", err)
	}
}
