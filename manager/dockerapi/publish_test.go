package dockerapi_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// withIngress starts an API whose cluster has the network that published ports use.
func withIngress(t *testing.T) *cluster {
	c, _ := withNetworks(t)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	c.network("ingress", network.CreateOptions{Driver: "overlay", Ingress: true})
	return c
}

func publishing(name string, ports ...swarm.PortConfig) swarm.ServiceSpec {
	spec := serviceSpec(name)
	spec.EndpointSpec = &swarm.EndpointSpec{Ports: ports}
	return spec
}

func TestPublishedPortsAreShownWithThoseThatTheClusterChose(t *testing.T) {
	c := withIngress(t)
	c.create(publishing("web", swarm.PortConfig{TargetPort: 80}, swarm.PortConfig{TargetPort: 81, PublishedPort: 30000}, swarm.PortConfig{TargetPort: 53, PublishedPort: 53, Protocol: "udp"}))
	s := c.inspect("web")
	in := swarm.PortConfigPublishModeIngress
	want := []swarm.PortConfig{
		{Protocol: "tcp", TargetPort: 80, PublishedPort: 30001, PublishMode: in},
		{Protocol: "tcp", TargetPort: 81, PublishedPort: 30000, PublishMode: in},
		{Protocol: "udp", TargetPort: 53, PublishedPort: 53, PublishMode: in},
	}
	if diff := cmp.Diff(want, s.Endpoint.Ports); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s.Spec.EndpointSpec.Ports[0].PublishedPort != 0 || s.Endpoint.Spec.Ports[0].PublishedPort != 0 {
		t.Error("the choice has become part of the spec")
	}
	ingress := c.store.View().NetworkByName("ingress")
	if len(s.Endpoint.VirtualIPs) != 1 || s.Endpoint.VirtualIPs[0].NetworkID != string(ingress.ID) {
		t.Errorf("virtual addresses: %+v", s.Endpoint.VirtualIPs)
	}
	_, err := c.docker.ServiceCreate(t.Context(), publishing("other", swarm.PortConfig{TargetPort: 1, PublishedPort: 30000}), swarm.ServiceCreateOptions{})
	wantError(t, err, errdefs.IsInvalidArgument, "port '30000' is already in use by service 'web' ("+s.ID+") as an ingress port: publish another one, or none to have one chosen, or take it from that service first (--publish-rm)")
	wantError(t, c.docker.NetworkRemove(t.Context(), "ingress"), errdefs.IsInvalidArgument, "ingress network cannot be removed because service web depends on it: it publishes a port on every node (--publish-rm, or mode=host)")
	_, err = c.docker.NetworkCreate(t.Context(), "second", network.CreateOptions{Driver: "overlay", Ingress: true})
	wantError(t, err, errdefs.IsConflict, "ingress network (ingress) is already present: remove it first to have another one")

	spec := s.Spec
	spec.EndpointSpec = &swarm.EndpointSpec{Mode: swarm.ResolutionModeDNSRR}
	_, err = c.docker.ServiceUpdate(t.Context(), s.ID, s.Version, spec, swarm.ServiceUpdateOptions{})
	c.must(err)
	if got := c.inspect("web").Endpoint; len(got.Ports)+len(got.VirtualIPs) > 0 {
		t.Errorf("it publishes nothing any more and shows %+v", got)
	}
	c.must(c.docker.NetworkRemove(t.Context(), "ingress"))
}

func TestAServicesNetworksAreNamedByTheirIDs(t *testing.T) {
	c := withIngress(t)
	back, front := c.network("back", overlay()), c.network("front", overlay())
	spec := publishing("web", swarm.PortConfig{TargetPort: 80, PublishedPort: 8080})
	spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "front", Aliases: []string{"www"}}, {Target: back[:3]}}
	c.create(spec)
	s := c.inspect("web")
	if want := []swarm.NetworkAttachmentConfig{{Target: front, Aliases: []string{"www"}}, {Target: back}}; !cmp.Equal(want, s.Spec.TaskTemplate.Networks) {
		t.Errorf("networks: %+v, want %+v", s.Spec.TaskTemplate.Networks, want)
	}
	var on []string
	for _, v := range s.Endpoint.VirtualIPs {
		on = append(on, v.NetworkID)
	}
	if ingress := string(c.store.View().NetworkByName("ingress").ID); !slices.Equal(on, []string{ingress, front, back}) {
		t.Errorf("virtual addresses in %q, the ingress network comes first", on)
	}
	for _, tt := range []struct {
		network string
		is      func(error) bool
		want    string
	}{
		{"nosuch", errdefs.IsNotFound, "network nosuch not found"},
		{"ingress", errdefs.IsInvalidArgument, `Service cannot be explicitly attached to the ingress network "ingress": it is on it by publishing a port in ingress mode`},
	} {
		spec := serviceSpec("other")
		spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: tt.network}}
		_, err := c.docker.ServiceCreate(t.Context(), spec, swarm.ServiceCreateOptions{})
		wantError(t, err, tt.is, tt.want)
	}
}

func TestAServiceDoesNotGoBackToANetworkThatIsGone(t *testing.T) {
	c := withIngress(t)
	back := c.network("back", overlay())
	spec := serviceSpec("web")
	spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: back}}
	c.create(spec)
	s := c.inspect("web")
	off := s.Spec
	off.TaskTemplate.Networks = nil
	_, err := c.docker.ServiceUpdate(t.Context(), s.ID, s.Version, off, swarm.ServiceUpdateOptions{})
	c.must(err)
	c.must(c.docker.NetworkRemove(t.Context(), "back"))
	s = c.inspect("web")
	_, err = c.docker.ServiceUpdate(t.Context(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{Rollback: "previous"})
	wantError(t, err, errdefs.IsInvalidArgument, "service web: its previous spec is on network "+back+", which has been removed: update it with the networks that there are")
}

// Where a published port is taken is read at the tasks of its service.
func TestTasksTellWhereTheirPortIsTaken(t *testing.T) {
	c := withIngress(t)
	c.addNode("n2", "h2", swarm.NodeRoleWorker, api.NodeReady)
	c.addNode("n3", "h3", swarm.NodeRoleWorker, api.NodeDown)
	web := c.create(publishing("web", swarm.PortConfig{TargetPort: 80, PublishedPort: 8080}))
	db := c.create(publishing("db", swarm.PortConfig{TargetPort: 80, PublishedPort: 8081}))
	c.addTask("runs", web, 1, "node1", running("c1"))
	c.addTask("failed", web, 2, "node1", api.TaskStatus{State: api.TaskFailed, Err: "exit 1"})
	c.addTask("other", db, 1, "node1", running("c2"))
	for id, why := range map[api.NodeID]string{"n2": "taken on h2", "n3": "taken on h3"} {
		c.apply(state.Op{ObserveNode: &state.ObserveNode{ID: id, PortProblems: &map[string]string{"8080/tcp": why, "10.0.0.1:8080/udp": "not this one"}}})
	}
	for task, want := range map[string]string{"runs": "taken on h2", "failed": "exit 1", "other": ""} {
		for _, path := range []string{"/tasks/" + task, "/tasks?filters=" + url.QueryEscape(`{"id":["`+task+`"]}`)} {
			var list []swarm.Task
			answer := c.get(path)
			if !strings.HasPrefix(answer, "[") {
				answer = "[" + answer + "]"
			}
			c.must(json.Unmarshal([]byte(answer), &list))
			if len(list) != 1 || list[0].Status.Err != want {
				t.Errorf("%s: %+v, want it to say %q", path, list, want)
			}
		}
	}
}
