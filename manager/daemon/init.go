package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/unlock"
	"github.com/swarmctl/swarmctl/manager/ca"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
)

// Init implements dockerapi.Node: it makes a cluster of this node alone. The
// identity is saved last, when the cluster exists; an init that is cut off or
// fails leaves nothing.
func (d *Daemon) Init(ctx context.Context, req swarm.InitRequest) (nodeID, error) {
	ctx = context.WithoutCancel(ctx) // a caller who hangs up stops nothing half-way
	d.ops.Lock()
	defer d.ops.Unlock()
	if d.isLocked() {
		return "", dockerapi.ErrLocked
	}
	if m := d.current(); m != nil {
		if req.ForceNewCluster {
			return m.id(), d.forceNewCluster(ctx, m)
		}
		return "", errMember
	}
	set, err := d.prepare(ctx, req.ListenAddr, req.AdvertiseAddr, req.DataPathAddr)
	if err != nil {
		return "", err
	}
	b, id, err := newCluster(req, set, d.routes())
	if err != nil {
		return "", err
	}
	if err := set.save(d.cfg.StateDir); err != nil {
		return "", err
	}
	m := newMember(d, identity.NewSource(id, d.cfg.StateDir, b.cluster.UnlockKey), set)
	m.boot = b
	if err := d.begin(ctx, m); err != nil {
		return "", fmt.Errorf("init: %w", err)
	}
	if err := m.ids.Save(); err != nil {
		return "", errors.Join(err, d.end(m))
	}
	return id.NodeID, nil
}

// newCluster makes the first objects of a cluster and its first identity. used
// are the addresses that this host uses already.
func newCluster(req swarm.InitRequest, set settings, used []netip.Prefix) (boot, *identity.Identity, error) {
	root, certPEM, keyPEM, err := ca.NewRoot()
	if err != nil {
		return boot{}, nil, fmt.Errorf("make the cluster's CA: %w", err)
	}
	spec := withDefaults(req.Spec)
	spec.EncryptionConfig.AutoLockManagers = spec.EncryptionConfig.AutoLockManagers || req.AutoLockManagers
	var key unlock.Key
	if spec.EncryptionConfig.AutoLockManagers {
		key = unlock.New()
	}
	clusterID := api.NewID()
	id, err := root.SignSelf(identity.NewKey(), clusterID, spec.CAConfig.NodeCertExpiry)
	if err != nil {
		return boot{}, nil, fmt.Errorf("make the node's certificate: %w", err)
	}
	availability := req.Availability
	if availability == "" {
		availability = swarm.NodeAvailabilityActive
	}
	cluster := &api.Cluster{
		ID: clusterID, Spec: spec, RootCert: certPEM, RootKey: keyPEM, UnlockKey: key,
		WorkerToken: identity.NewToken(certPEM), ManagerToken: identity.NewToken(certPEM),
		GossipKeys: [][]byte{newGossipKey()}, AddrPool: req.DefaultAddrPool, SubnetSize: req.SubnetSize, IngressMade: true,
	}
	ingress, err := firstNetwork(cluster, used)
	if err != nil {
		return boot{}, nil, err
	}
	return boot{
		cluster: cluster,
		ingress: ingress,
		node: &api.Node{
			ID:          id.NodeID,
			Spec:        api.NodeSpec{Role: swarm.NodeRoleManager, Availability: availability},
			Status:      api.NodeStatus{State: api.NodeUnknown, Message: "has just made the cluster"},
			ManagerAddr: set.AdvertiseAddr,
		},
	}, id, nil
}

// withDefaults fills in what Docker's own cluster spec has where nobody asked
// for anything.
func withDefaults(s api.ClusterSpec) api.ClusterSpec {
	if s.Name == "" {
		s.Name = "default"
	}
	if s.Orchestration.TaskHistoryRetentionLimit == nil {
		limit := int64(5)
		s.Orchestration.TaskHistoryRetentionLimit = &limit
	}
	if s.Raft.SnapshotInterval == 0 {
		s.Raft.SnapshotInterval = 10000
	}
	if s.Raft.KeepOldSnapshots == nil {
		s.Raft.KeepOldSnapshots = new(uint64)
	}
	if s.Raft.LogEntriesForSlowFollowers == 0 {
		s.Raft.LogEntriesForSlowFollowers = 500
	}
	if s.Raft.ElectionTick == 0 {
		s.Raft.ElectionTick = 10
	}
	if s.Raft.HeartbeatTick == 0 {
		s.Raft.HeartbeatTick = 1
	}
	if s.Dispatcher.HeartbeatPeriod == 0 {
		s.Dispatcher.HeartbeatPeriod = 5 * time.Second
	}
	if s.CAConfig.NodeCertExpiry == 0 {
		s.CAConfig.NodeCertExpiry = ca.DefaultValidity
	}
	return s
}

// forceNewCluster starts the manager's half again with this node as the only
// manager of the state that it holds: the way out when a majority is gone.
func (d *Daemon) forceNewCluster(ctx context.Context, old *member) error {
	if old.ids.Current().Role != identity.Manager {
		return api.Errorf(api.CodeUnavailable, "this node is a worker and holds no state: run `swarmctl init --force-new-cluster` on a manager")
	}
	old.stop()
	m := newMember(d, old.ids, old.settings())
	m.boot.force = true
	d.start(m)
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	return m.ready(ctx)
}
