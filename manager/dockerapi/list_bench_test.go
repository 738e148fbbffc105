package dockerapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

const (
	benchNodes    = 50
	benchReplicas = 10 // of each service
)

// crowded is a state of many services, each with tasks that run, as a cluster
// in use has them.
func crowded(tb testing.TB, services int) *state.State {
	tb.Helper()
	st, index, at := state.New(), uint64(0), time.Unix(1_700_000_000, 123_456_789).UTC()
	apply := func(op state.Op) {
		index++
		if res := st.Apply(index, []state.Command{{At: at, Ops: []state.Op{op}}})[0]; res.Err() != nil {
			tb.Fatal(res.Err())
		}
	}
	for i := range benchNodes {
		apply(state.Op{PutNode: &api.Node{
			ID: api.NodeID(fmt.Sprintf("node%021d", i)), Description: api.NodeDescription{Hostname: fmt.Sprintf("h%d", i)},
			Status: api.NodeStatus{State: api.NodeReady},
		}})
	}
	for i := range services {
		id := api.ServiceID(fmt.Sprintf("service%018d", i))
		apply(state.Op{PutService: &api.Service{ID: id, Spec: usualSpec(i)}})
		tasks := make([]*api.Task, benchReplicas)
		for slot := range tasks {
			n := i*benchReplicas + slot
			tasks[slot] = &api.Task{
				// Not in the order of the services: IDs are random.
				ID: api.TaskID(fmt.Sprintf("task%03d%018d", n*7919%1000, n)), ServiceID: id, Slot: slot + 1,
				NodeID: api.NodeID(fmt.Sprintf("node%021d", n%benchNodes)), SpecVersion: index, Desired: api.TaskRunning,
				Status: api.TaskStatus{State: api.TaskRunning, At: at, Message: "started", Container: &api.ContainerStatus{
					ID: fmt.Sprintf("%064x", n), PID: n + 1,
				}},
			}
		}
		apply(state.Op{CreateTasks: tasks})
	}
	return st
}

// usualSpec is a service as stack files make them.
func usualSpec(i int) api.ServiceSpec {
	replicas, delay, attempts := uint64(benchReplicas), 5*time.Second, uint64(3)
	labels := map[string]string{"com.docker.stack.namespace": fmt.Sprintf("stack%d", i/10), "com.docker.stack.image": "registry.example.com/team/app:1.42"}
	return api.ServiceSpec{
		Annotations: swarm.Annotations{Name: fmt.Sprintf("stack%d_app%d", i/10, i), Labels: labels},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{
				Image:       "registry.example.com/team/app:1.42@sha256:3b7d5f6d6e2b0e7b4a0cd3b0b8a0f2f4cbb4b7d80bd2ba7b6a2a4a2c6a4d9f11",
				Labels:      labels,
				Args:        []string{"serve", "--listen", ":8080"},
				Env:         []string{"APP_ENV=production", "DATABASE_URL=postgres://app@db:5432/app?sslmode=disable&pool=20", "LOG_LEVEL=info"},
				Mounts:      []mount.Mount{{Type: mount.TypeVolume, Source: "data", Target: "/var/lib/app"}},
				Healthcheck: &container.HealthConfig{Test: []string{"CMD", "curl", "-f", "http://localhost:8080/health"}, Interval: 10 * time.Second},
				Isolation:   container.IsolationDefault,
			},
			Resources: &swarm.ResourceRequirements{
				Limits:       &swarm.Limit{NanoCPUs: 500_000_000, MemoryBytes: 256 << 20},
				Reservations: &swarm.Resources{MemoryBytes: 64 << 20},
			},
			RestartPolicy: &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny, Delay: &delay, MaxAttempts: &attempts},
			Placement:     &swarm.Placement{Constraints: []string{"node.role==worker", "node.labels.zone==a"}},
			Runtime:       swarm.RuntimeContainer,
		},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
		EndpointSpec: &swarm.EndpointSpec{Mode: swarm.ResolutionModeVIP},
	}
}

// BenchmarkList is what a list costs over a unix socket, the answer read to
// its end and not decoded.
func BenchmarkList(b *testing.B) {
	for _, tt := range []struct {
		name, list, filters string
		services            int
	}{
		{"tasks=10000", "tasks", `{}`, 1000},
		{"tasks=30000", "tasks", `{}`, 3000},
		{"tasks=30000/service", "tasks", `{"service":["stack5_app50"]}`, 3000},
		{"tasks=30000/node", "tasks", `{"node":["h7"],"desired-state":["running","accepted"]}`, 3000},
		{"tasks=30000/stack", "tasks", `{"label":["com.docker.stack.namespace=stack7"]}`, 3000},
		{"tasks=30000/shutdown", "tasks", `{"desired-state":["shutdown"]}`, 3000},
		{"services=1000", "services", `{}`, 1000},
		{"services=3000", "services", `{}`, 3000},
	} {
		b.Run(tt.name, func(b *testing.B) {
			noEngine := func(context.Context) (net.Conn, error) { return nil, errors.New("no engine here") }
			get := overUnix(b, onUnix(b, leader(b, crowded(b, tt.services), noEngine)))
			path := "/v1.41/" + tt.list + "?status=true&filters=" + url.QueryEscape(tt.filters)
			b.SetBytes(get(path))
			b.ReportAllocs()
			for b.Loop() {
				get(path)
			}
		})
	}
}

// leader is an API over a state, and nothing else.
func leader(tb testing.TB, st *state.State, engine func(context.Context) (net.Conn, error)) *dockerapi.API {
	tb.Helper()
	a, err := dockerapi.New(dockerapi.Config{
		Node: &fakeNode{role: dockerapi.Leader}, Store: &memStore{State: st}, Tunnel: &fakeEngines{}, Forward: http.NotFoundHandler(),
		DialEngine: engine, Explain: func(*state.View, *api.Task) []api.NodeReason { return nil }, NewToken: func([]byte) string { return "" },
	})
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// A list is its objects, as each reads by itself.
func TestListsHoldTheirObjectsAsTheyRead(t *testing.T) {
	c := start(t, nil)
	c.store.State = crowded(t, 40)
	c.store.index = 1000
	c.apply(state.Op{DesireTasks: []state.Desire{{Task: "task000000000000000000000", State: api.TaskShutdown}}})
	for _, tt := range []struct{ kind, query string }{
		{"services", ""}, {"services", `?filters={"name":["stack0_app1"]}`}, {"services", `?filters={"name":["none"]}`},
		{"tasks", ""}, {"tasks", `?filters={"node":["h7"]}`}, {"tasks", `?filters={"node":["h7"],"service":["stack0_app0","stack3_app30"]}`},
		{"tasks", `?filters={"desired-state":["shutdown"]}`}, {"tasks", `?filters={"label":["com.docker.stack.namespace=stack1"]}`},
		{"tasks", `?filters={"label":["none"]}`}, {"tasks", `?filters={"service":["stack0_app0"],"label":["com.docker.stack.namespace=stack1"]}`},
	} {
		got := c.get("/v1.41/" + tt.kind + tt.query)
		var list []struct{ ID string }
		c.must(json.Unmarshal([]byte(got), &list))
		rows := []string{}
		for _, o := range list {
			rows = append(rows, strings.TrimSpace(c.get("/v1.41/"+tt.kind+"/"+o.ID)))
		}
		if want := "[" + strings.Join(rows, ",") + "]\n"; got != want {
			t.Errorf("%s%s: %d objects, %d bytes, not the %d bytes of its objects", tt.kind, tt.query, len(list), len(got), len(want))
		}
		t.Logf("%s%s: %d", tt.kind, tt.query, len(list))
	}
}
