package daemon

import (
	"context"
	"errors"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/agent"
	"github.com/swarmctl/swarmctl/network/balance"
	"github.com/swarmctl/swarmctl/network/dns"
	"github.com/swarmctl/swarmctl/network/ingress"
	"github.com/swarmctl/swarmctl/network/overlay"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// nodeNetwork is this node's part of the cluster's networks, as its worker sees
// it: neither knows the other.
type nodeNetwork struct {
	d     *Daemon
	agent *agent.Agent
}

// newNetwork makes it; it does nothing until its agent runs.
func (d *Daemon) newNetwork(node nodeID, cluster string, suspects func() (map[nodeID]bool, <-chan struct{}), log *slog.Logger) (*nodeNetwork, error) {
	o, err1 := overlay.New(overlay.Config{Self: node, Cluster: cluster, Engine: d.engine, Log: log})
	b, err2 := balance.New(balance.Config{Self: node, Log: log})
	i, err3 := ingress.New(ingress.Config{Self: node, Log: log})
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	a, err := agent.New(agent.Config{
		Self: node, Suspects: suspects, Explain: dns.Explain, Log: log,
		Parts: agent.Parts{Overlay: o, Balance: b, Ingress: i, DNS: dns.New(dns.Config{Self: node, Log: log})},
	})
	if err != nil {
		return nil, err
	}
	return &nodeNetwork{d, a}, nil
}

// runNetwork is the node's part of the networks for as long as it is a member.
// The agent ends before that where the cluster has removed the node.
func (m *member) runNetwork(ctx context.Context) error {
	n, err := m.d.newNetwork(m.id(), m.ids.Current().ClusterID, m.suspects, m.component("network"))
	if err != nil {
		return err
	}
	m.network = n
	m.networkOnce.Do(func() { close(m.networking) })
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.agent.Run(ctx) })
	group.Go(func() error { m.serveContainers(ctx, n.agent); return nil })
	if err := group.Wait(); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// awaitNetwork is the node's part of the networks, once it is there.
func (m *member) awaitNetwork(ctx context.Context) (*nodeNetwork, error) {
	select {
	case <-m.networking:
		return m.network, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Update implements worker.Network.
func (n *nodeNetwork) Update(u *fabric.Update) { n.agent.Update(u) }

// Applied implements worker.Network.
func (n *nodeNetwork) Applied() (index uint64, changed <-chan struct{}) { return n.agent.Applied() }

// Problems implements worker.Network.
func (n *nodeNetwork) Problems() (list map[string]string, changed <-chan struct{}) {
	return n.agent.Problems()
}

// Prepare implements worker.Network.
func (n *nodeNetwork) Prepare(ctx context.Context, task *api.Task, _ *api.ServiceSpec) (out docker.Networking, err error) {
	plan, err := n.agent.Prepare(ctx, string(task.ID), task.Networks)
	if err != nil {
		return out, err
	}
	for _, e := range plan.Networks {
		out.Networks = append(out.Networks, docker.EndpointPlan{Name: e.Name, Addrs: e.Addrs, MAC: e.MAC})
	}
	for _, a := range plan.DNS {
		out.DNS = append(out.DNS, a.String())
	}
	return out, nil
}

// Attach implements worker.Network.
func (n *nodeNetwork) Attach(ctx context.Context, task api.TaskID, pid int, networks []api.Attachment) error {
	return n.agent.Attach(ctx, string(task), pid, networks)
}

// Settle implements worker.Network.
func (n *nodeNetwork) Settle(ctx context.Context, task api.TaskID) error {
	return n.agent.Settle(ctx, string(task))
}

// Detach implements worker.Network.
func (n *nodeNetwork) Detach(task api.TaskID) { n.agent.Detach(string(task)) }

// Close implements worker.Network. Users' containers go on without the networks.
func (n *nodeNetwork) Close(ctx context.Context) error {
	return errors.Join(n.d.releaseContainers(ctx), n.agent.Close(ctx))
}
