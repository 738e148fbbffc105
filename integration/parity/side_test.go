package parity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/hosts"
)

// side is one of the two clusters: h1 is its manager, h2 its worker, and h3
// has an engine, and with ours a daemon, but is no member.
type side struct {
	*cluster.Cluster
	socket string // of the API, inside a host
	spec   swarm.Spec
}

func newSide(ctx context.Context, kind cluster.Kind, tools cluster.Tools) (*side, error) {
	s, prefix := &side{socket: "/run/docker.sock"}, "parity-docker"
	if kind == cluster.Ours {
		s.socket, prefix = "/run/swarmctl/swarmctl.sock", "parity-ours"
	}
	var err error
	// Both have the same addresses, each on a switch of its own: nobody sees
	// both. The prefixes differ, or each would sweep the other's away.
	s.Cluster, err = cluster.New(ctx, cluster.Config{
		Kind: kind, Managers: 1, Workers: 1, Tools: tools, Hosts: hosts.Config{Prefix: prefix, Subnet: "10.91.150"},
	})
	if err != nil {
		return nil, err
	}
	err = s.Add(ctx, 1)
	if err == nil {
		s.spec, err = s.swarmSpec(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Down())
	}
	return s, nil
}

func (s *side) swarmSpec(ctx context.Context) (swarm.Spec, error) {
	sw, err := s.manager().API.SwarmInspect(ctx)
	return sw.Spec, err
}

func (s *side) manager() *cluster.Node { return s.Nodes[0] }
func (s *side) spare() *cluster.Node   { return s.Nodes[2] }

// wipe makes the cluster what it was when it was formed, so that scripts do
// not see each other.
func (s *side) wipe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"services", s.wipeServices}, {"secrets and configs", s.wipeObjects}, {"networks", s.wipeNetworks},
		{"members", s.wipeMembers}, {"nodes", s.wipeNodes}, {"settings", s.wipeSettings},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("wipe the %s: %w", step.what, err)
		}
	}
	return nil
}

func (s *side) wipeServices(ctx context.Context) error {
	api := s.manager().API
	list, err := api.ServiceList(ctx, swarm.ServiceListOptions{})
	for _, service := range list {
		err = errors.Join(err, api.ServiceRemove(ctx, service.ID))
	}
	if err != nil {
		return err
	}
	return cluster.Eventually(ctx, time.Minute, func(ctx context.Context) error {
		tasks, err := api.TaskList(ctx, swarm.TaskListOptions{})
		tasks = slices.DeleteFunc(tasks, isDoneJob)
		if err == nil && len(tasks) > 0 {
			err = fmt.Errorf("%d tasks are left", len(tasks))
		}
		return err
	})
}

// isDoneJob tells the tasks of jobs that ended by themselves. Docker Swarm
// keeps them for ever when their service is gone.
func isDoneJob(t swarm.Task) bool {
	return t.JobIteration != nil && slices.Contains([]swarm.TaskState{
		swarm.TaskStateComplete, swarm.TaskStateFailed, swarm.TaskStateRejected, swarm.TaskStateShutdown,
	}, t.Status.State)
}

func (s *side) wipeObjects(ctx context.Context) error {
	api := s.manager().API
	secrets, err := api.SecretList(ctx, swarm.SecretListOptions{})
	for _, o := range secrets {
		err = errors.Join(err, api.SecretRemove(ctx, o.ID))
	}
	configs, failed := api.ConfigList(ctx, swarm.ConfigListOptions{})
	err = errors.Join(err, failed)
	for _, o := range configs {
		err = errors.Join(err, api.ConfigRemove(ctx, o.ID))
	}
	return err
}

func (s *side) wipeNetworks(ctx context.Context) error {
	api := s.manager().API
	list, err := api.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("type", "custom"))})
	for _, n := range list {
		if !n.Ingress && n.Name != "docker_gwbridge" {
			err = errors.Join(err, api.NetworkRemove(ctx, n.ID))
		}
	}
	return err
}

// wipeMembers leaves only the first two hosts in the cluster.
func (s *side) wipeMembers(ctx context.Context) error {
	info, err := s.spare().API.Info(ctx)
	if err != nil {
		return err
	}
	if info.Swarm.LocalNodeState != swarm.LocalNodeStateInactive {
		if err := s.spare().API.SwarmLeave(ctx, true); err != nil {
			return err
		}
	}
	list, err := s.manager().API.NodeList(ctx, swarm.NodeListOptions{})
	for _, n := range list {
		if n.ID != s.Nodes[0].ID && n.ID != s.Nodes[1].ID {
			err = errors.Join(err, s.manager().API.NodeRemove(ctx, n.ID, swarm.NodeRemoveOptions{Force: true}))
		}
	}
	return err
}

func (s *side) wipeNodes(ctx context.Context) error {
	for i, role := range []swarm.NodeRole{swarm.NodeRoleManager, swarm.NodeRoleWorker} {
		if err := s.wipeNode(ctx, s.Nodes[i].ID, role); err != nil {
			return err
		}
	}
	return nil
}

func (s *side) wipeNode(ctx context.Context, id string, role swarm.NodeRole) error {
	api := s.manager().API
	return cluster.Eventually(ctx, time.Minute, func(ctx context.Context) error {
		n, _, err := api.NodeInspectWithRaw(ctx, id)
		if err != nil {
			return err
		}
		dirty := n.Spec.Role != role || n.Spec.Availability != swarm.NodeAvailabilityActive || len(n.Spec.Labels) > 0
		if dirty {
			return errors.Join(errors.New("its spec was not as it was formed"),
				api.NodeUpdate(ctx, id, n.Version, swarm.NodeSpec{Role: role, Availability: swarm.NodeAvailabilityActive}))
		}
		if n.Status.State != swarm.NodeStateReady || (n.ManagerStatus != nil) != (role == swarm.NodeRoleManager) {
			return fmt.Errorf("node %s is %s, its role %s", n.Description.Hostname, n.Status.State, n.Spec.Role)
		}
		return nil
	})
}

func (s *side) wipeSettings(ctx context.Context) error {
	api := s.manager().API
	return cluster.Eventually(ctx, time.Minute, func(ctx context.Context) error {
		sw, err := api.SwarmInspect(ctx)
		if err != nil {
			return err
		}
		spec := s.spec
		spec.CAConfig.ForceRotate = sw.Spec.CAConfig.ForceRotate // another number would be another root
		return api.SwarmUpdate(ctx, sw.Version, spec, swarm.UpdateFlags{})
	})
}
