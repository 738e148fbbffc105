package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	networktypes "github.com/docker/docker/api/types/network"
	types "github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/load"
)

// demoPort is where the demo answers.
const demoPort = 8080

// scene is the networks and services that a row about networks needs.
type scene struct {
	b                  *bench
	at                 *cluster.Node // a manager
	networks, services []string
}

// play sets a scene, runs f in it and clears it away.
func (b *bench) play(ctx context.Context, f func(context.Context, *scene) error) error {
	leader, err := b.c.Leader(ctx)
	if err != nil {
		return err
	}
	s := &scene{b: b, at: leader}
	if err := f(ctx, s); err != nil {
		return err
	}
	return s.clear(ctx)
}

func (s *scene) network(ctx context.Context, name string, subnets ...string) error {
	spec := networktypes.CreateOptions{Driver: "overlay", IPAM: &networktypes.IPAM{}}
	for _, subnet := range subnets {
		spec.IPAM.Config = append(spec.IPAM.Config, networktypes.IPAMConfig{Subnet: subnet})
	}
	_, err := s.at.API.NetworkCreate(ctx, name, spec)
	s.networks = append(s.networks, name)
	return err
}

// actor is a service in a scene.
type actor struct {
	name       string
	replicas   uint64
	everywhere bool          // one on each node, in place of replicas
	on         *cluster.Node // where they run; nil: anywhere
	network    string
	publish    uint32 // on every node, for demoPort
	args       []string
	stopSignal string
	checked    bool // it has a health check, so that it is asked when it listens, and no sooner
}

func (a *actor) spec() types.ServiceSpec {
	spec := types.ServiceSpec{
		Annotations:  types.Annotations{Name: a.name},
		TaskTemplate: types.TaskSpec{ContainerSpec: &types.ContainerSpec{Image: cluster.Image, Args: a.args, StopSignal: a.stopSignal}, Placement: &types.Placement{}},
		Mode:         types.ServiceMode{Replicated: &types.ReplicatedService{Replicas: &a.replicas}},
		EndpointSpec: &types.EndpointSpec{},
	}
	if a.checked {
		spec.TaskTemplate.ContainerSpec.Healthcheck = &container.HealthConfig{
			Test: []string{"CMD", "/demo", "health"}, Interval: 2 * time.Second, Timeout: patience, StartPeriod: patience,
		}
	}
	if a.everywhere {
		spec.Mode = types.ServiceMode{Global: &types.GlobalService{}}
	}
	if a.on != nil {
		spec.TaskTemplate.Placement.Constraints = []string{"node.id==" + a.on.ID}
	}
	if a.network != "" {
		spec.TaskTemplate.Networks = []types.NetworkAttachmentConfig{{Target: a.network}}
	}
	if a.publish != 0 {
		spec.EndpointSpec.Ports = []types.PortConfig{{Protocol: types.PortConfigProtocolTCP, TargetPort: demoPort, PublishedPort: a.publish, PublishMode: types.PortConfigPublishModeIngress}}
	}
	return spec
}

// enter creates the service and returns its containers when all run.
func (s *scene) enter(ctx context.Context, a actor) ([]cluster.Container, error) {
	spec := a.spec()
	if s.b.who == swarm {
		spec.EndpointSpec.Mode = types.ResolutionModeDNSRR // its virtual addresses need IPVS, which not every kernel has
	}
	if _, err := s.at.API.ServiceCreate(ctx, spec, types.ServiceCreateOptions{}); err != nil {
		return nil, err
	}
	s.services = append(s.services, a.name)
	n := int(a.replicas)
	if a.everywhere {
		n = len(s.b.c.Nodes)
	}
	return s.b.count(ctx, a.name, n)
}

// update changes a service's spec.
func (s *scene) update(ctx context.Context, name string, change func(*types.ServiceSpec)) error {
	made, _, err := s.at.API.ServiceInspectWithRaw(ctx, name, types.ServiceInspectOptions{})
	if err != nil {
		return err
	}
	change(&made.Spec)
	_, err = s.at.API.ServiceUpdate(ctx, made.ID, made.Version, made.Spec, types.ServiceUpdateOptions{})
	return err
}

func (s *scene) scale(ctx context.Context, name string, n uint64) error {
	return s.update(ctx, name, func(spec *types.ServiceSpec) { spec.Mode.Replicated.Replicas = &n })
}

func (s *scene) clear(ctx context.Context) error {
	var failed error
	for _, name := range s.services {
		failed = errors.Join(failed, s.at.API.ServiceRemove(ctx, name))
	}
	for _, name := range s.services {
		_, err := s.b.count(ctx, name, 0)
		failed = errors.Join(failed, err)
	}
	if failed != nil {
		return failed
	}
	for _, name := range s.networks { // a task that has just ended may use one for a moment
		err := cluster.Eventually(ctx, patience, func(ctx context.Context) error { return s.at.API.NetworkRemove(ctx, name) })
		failed = errors.Join(failed, err)
	}
	return errors.Join(failed, s.b.sweep(ctx))
}

// addr is the address of a container in a network.
func addr(ctx context.Context, c cluster.Container, name string) (string, error) {
	info, err := c.Node.Docker.ContainerInspect(ctx, c.ID)
	if err != nil {
		return "", err
	}
	in := info.NetworkSettings.Networks[name]
	if in == nil || in.IPAddress == "" {
		return "", fmt.Errorf("container %.12s on %s has no address in network %s", c.ID, c.Node.Name, name)
	}
	return in.IPAddress, nil
}

// vip is the virtual address of a service in a network.
func (s *scene) vip(ctx context.Context, service, network string) (string, error) {
	made, _, err := s.at.API.ServiceInspectWithRaw(ctx, service, types.ServiceInspectOptions{})
	if err != nil {
		return "", err
	}
	in, err := s.at.API.NetworkInspect(ctx, network, networktypes.InspectOptions{})
	if err != nil {
		return "", err
	}
	for _, v := range made.Endpoint.VirtualIPs {
		if v.NetworkID == in.ID {
			prefix, err := netip.ParsePrefix(v.Addr)
			return prefix.Addr().String(), err
		}
	}
	return "", fmt.Errorf("service %s has the virtual addresses %v, none in network %s", service, made.Endpoint.VirtualIPs, network)
}

func demoURL(host string, port int) string { return "http://" + host + ":" + strconv.Itoa(port) }

// answers waits until all of the containers answer at a URL and no request fails.
func answers(ctx context.Context, from cluster.Place, url string, n int) error {
	return cluster.Eventually(ctx, patience, func(ctx context.Context) error {
		r, err := cluster.Ask(ctx, from, load.Config{URL: url, Requests: 20 * n, Clients: 4})
		if err == nil && (r.Failed > 0 || len(r.By) != n) {
			err = fmt.Errorf("%s: %s", url, r)
		}
		return err
	})
}
