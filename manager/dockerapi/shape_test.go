package dockerapi_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// What Docker's CLI 28 sends for
//
//	docker service create --name web --replicas 2 --constraint node.role==worker IMAGE sleep 5
//	docker service create --name g --mode global --publish mode=host,target=80,published=8080 IMAGE
const (
	sentWeb = `{"Name":"web","Labels":null,"TaskTemplate":{"ContainerSpec":{"Image":"nosuch:1","Args":["sleep","5"],"Init":false,"DNSConfig":{}},` +
		`"Resources":{"Limits":{},"Reservations":{}},"Placement":{"Constraints":["node.role==worker"]},"ForceUpdate":0},` +
		`"Mode":{"Replicated":{"Replicas":2}},"EndpointSpec":{"Mode":"vip"}}`
	sentG = `{"Name":"g","TaskTemplate":{"ContainerSpec":{"Image":"nosuch:1"},"ForceUpdate":0},"Mode":{"Global":{}},` +
		`"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080,"PublishMode":"host"}]}}`
)

// What a real swarm (engine 20.10) answers then, the IDs and times replaced.
const (
	readWeb = `{"ID":"id1","Version":{"Index":2},"CreatedAt":"T","UpdatedAt":"T","Spec":{"Name":"web","Labels":{},` +
		`"TaskTemplate":{"ContainerSpec":{"Image":"nosuch:1","Args":["sleep","5"],"Init":false,"DNSConfig":{},"Isolation":"default"},` +
		`"Resources":{"Limits":{},"Reservations":{}},"Placement":{"Constraints":["node.role==worker"]},"ForceUpdate":0,"Runtime":"container"},` +
		`"Mode":{"Replicated":{"Replicas":2}},"EndpointSpec":{"Mode":"vip"}},"Endpoint":{"Spec":{}}}`
	readG = `{"ID":"id2","Version":{"Index":3},"CreatedAt":"T","UpdatedAt":"T","Spec":{"Name":"g","Labels":{},` +
		`"TaskTemplate":{"ContainerSpec":{"Image":"nosuch:1","Isolation":"default"},"ForceUpdate":0,"Runtime":"container"},"Mode":{"Global":{}},` +
		`"EndpointSpec":{"Mode":"vip","Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"host"}]}},` +
		`"Endpoint":{"Spec":{"Mode":"vip","Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"host"}]},` +
		`"Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"host"}]}}`
	readTask = `{"ID":"t1","Version":{"Index":4},"CreatedAt":"T","UpdatedAt":"T","Labels":{},"Spec":{` +
		`"ContainerSpec":{"Image":"nosuch:1","Isolation":"default"},"ForceUpdate":0},"ServiceID":"id2","NodeID":"node1",` +
		`"Status":{"Timestamp":"T","State":"running","Message":"started","ContainerStatus":{"ContainerID":"c1","PID":7,"ExitCode":0},` +
		`"PortStatus":{"Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"host"}]}},"DesiredState":"running","Volumes":null}`
	readNode = `{"ID":"node1","Version":{"Index":1},"CreatedAt":"T","UpdatedAt":"T","Spec":{"Labels":{},"Role":"manager","Availability":"active"},` +
		`"Description":{"Hostname":"h1","Platform":{},"Resources":{},"Engine":{},"TLSInfo":{}},"Status":{"State":"ready","Addr":"10.0.0.1"},` +
		`"ManagerStatus":{"Leader":true,"Reachability":"reachable","Addr":"10.0.0.1:2377"}}`
)

func TestObjectsReadAsFromARealSwarm(t *testing.T) {
	c := start(t, nil)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	for _, spec := range []string{sentWeb, sentG} {
		res, err := http.Post(c.url+"/v1.41/services/create", "application/json", bytes.NewBufferString(spec))
		c.must(err)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusCreated {
			t.Fatal(res.Status)
		}
	}
	c.apply(state.Op{CreateTasks: []*api.Task{{
		ID: "t1", ServiceID: "id2", NodeID: "node1", SpecVersion: c.store.View().Service("id2").SpecVersion, Desired: api.TaskRunning,
		Status: api.TaskStatus{State: api.TaskRunning, At: time.Unix(5, 0), Message: "started", Container: &api.ContainerStatus{
			ID: "c1", PID: 7, Ports: []api.PortStatus{{Protocol: "tcp", Target: 80, Published: 8080}},
		}},
	}}})
	for path, want := range map[string]string{
		"/v1.41/services/web": readWeb, "/v1.41/services/g": readG, "/v1.41/tasks/t1": readTask, "/v1.41/nodes/self-is-not-a-name": `{"message":"node self-is-not-a-name not found"}`,
		"/v1.41/nodes/h1": readNode,
	} {
		if diff := cmp.Diff(decode(t, want), decode(t, c.get(path))); diff != "" {
			t.Errorf("%s (-a real swarm +ours):\n%s", path, diff)
		}
	}
}

// decode decodes JSON with all times replaced by T.
func decode(t *testing.T, data string) any {
	var v any
	if err := json.Unmarshal([]byte(data), &v); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	hideTimes(v)
	return v
}

func hideTimes(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, field := range v {
			if k == "Created" || k == "CreatedAt" || k == "UpdatedAt" || k == "Timestamp" {
				v[k] = "T"
			}
			hideTimes(field)
		}
	case []any:
		for _, e := range v {
			hideTimes(e)
		}
	}
}
