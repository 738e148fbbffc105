package dockerapi

import (
	"errors"
	"net/http"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/network/ipam"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

const (
	alreadyMember = `This node is already part of a swarm. Use "swarmctl leave" to leave this swarm and join another one.`
	notPart       = "This node is not part of a swarm"
	// minCertExpiry is Docker Swarm's bound: less leaves no room to renew in.
	minCertExpiry = time.Hour
	// dataPathPort is the one VXLAN port.
	dataPathPort = 4789
)

func (a *API) swarmInit(w http.ResponseWriter, r *http.Request) error {
	var req swarm.InitRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	if a.cfg.Node.Role() != Inactive && !req.ForceNewCluster {
		return api.Errorf(api.CodeUnavailable, alreadyMember)
	}
	if err := checkInit(&req); err != nil {
		return err
	}
	id, err := a.cfg.Node.Init(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, id)
}

func checkInit(req *swarm.InitRequest) error {
	if req.AutoLockManagers || req.Spec.EncryptionConfig.AutoLockManagers {
		return errAutoLock
	}
	if _, err := ipam.NewPool((&api.Cluster{AddrPool: req.DefaultAddrPool, SubnetSize: req.SubnetSize}).Pool()); err != nil {
		return err
	}
	if req.DataPathPort != 0 && req.DataPathPort != dataPathPort {
		return api.Errorf(api.CodeUnsupported, "not supported yet: a data path port other than %d", dataPathPort)
	}
	if _, err := setting.ParsePolicy(req.Spec.Labels); err != nil {
		return err
	}
	return checkAvailability(req.Availability, true)
}

func (a *API) swarmJoin(w http.ResponseWriter, r *http.Request) error {
	var req swarm.JoinRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	switch {
	case a.cfg.Node.Role() != Inactive:
		return api.Errorf(api.CodeUnavailable, alreadyMember)
	case req.JoinToken == "":
		return api.Errorf(api.CodeInvalid, `a join token is needed: "swarmctl join-token worker" on a manager prints one`)
	case len(req.RemoteAddrs) == 0:
		return api.Errorf(api.CodeInvalid, "at least one RemoteAddr is required to join: the address of a manager")
	}
	if err := checkAvailability(req.Availability, true); err != nil {
		return err
	}
	return a.cfg.Node.Join(r.Context(), req)
}

func (a *API) swarmLeave(_ http.ResponseWriter, r *http.Request) error {
	if a.cfg.Node.Role() == Inactive {
		return api.Errorf(api.CodeUnavailable, notPart)
	}
	return a.cfg.Node.Leave(r.Context(), queryBool(r, "force"))
}

func (a *API) swarmInspect(w http.ResponseWriter, r *http.Request) error {
	c, err := a.currentCluster(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, swarm.Swarm{
		ClusterInfo: clusterInfo(c),
		JoinTokens:  swarm.JoinTokens{Worker: c.WorkerToken, Manager: c.ManagerToken},
	})
}

func (a *API) currentCluster(r *http.Request) (*api.Cluster, error) {
	view, err := a.read(r)
	if err != nil {
		return nil, err
	}
	c := view.Cluster()
	if c == nil {
		return nil, api.Errorf(api.CodeUnavailable, "the cluster is still being set up: try again")
	}
	return c, nil
}

func (a *API) swarmUpdate(w http.ResponseWriter, r *http.Request) error {
	version, err := queryVersion(r, "swarm")
	if err != nil {
		return err
	}
	var spec api.ClusterSpec
	if err := readJSON(w, r, &spec); err != nil {
		return err
	}
	if err := checkClusterSpec(&spec); err != nil {
		return err
	}
	current, err := a.currentCluster(r)
	if err != nil {
		return err
	}
	next := *current
	next.Spec = mergeClusterSpec(current.Spec, spec)
	next.Meta.Version.Index = version
	if queryBool(r, "rotateWorkerToken") {
		next.WorkerToken = a.cfg.NewToken(next.RootCert)
	}
	if queryBool(r, "rotateManagerToken") {
		next.ManagerToken = a.cfg.NewToken(next.RootCert)
	}
	err = a.propose(r, state.Op{PutCluster: &next})
	if errors.Is(err, api.ErrOutdated) {
		return api.Errorf(api.CodeOutdated, "update out of sequence: the cluster has changed since it was read; read it again and retry")
	}
	return err
}

var errAutoLock = api.Errorf(api.CodeUnsupported, "not supported yet: locking managers (autolock) comes with a later version of swarmctl")

func checkClusterSpec(s *api.ClusterSpec) error {
	switch ca := s.CAConfig; {
	case s.Name != clusterName:
		return api.Errorf(api.CodeInvalid, "swarm spec must be named %q", clusterName)
	case s.EncryptionConfig.AutoLockManagers:
		return errAutoLock
	case len(ca.ExternalCAs) > 0 || ca.SigningCACert != "" || ca.SigningCAKey != "" || ca.ForceRotate != 0:
		return api.Errorf(api.CodeUnsupported, "not supported yet: external CAs and rotation of the root certificate")
	case ca.NodeCertExpiry != 0 && ca.NodeCertExpiry < minCertExpiry:
		return api.Errorf(api.CodeInvalid, "minimum certificate expiry time is %s", minCertExpiry)
	case s.Dispatcher.HeartbeatPeriod < 0:
		return api.Errorf(api.CodeInvalid, "heartbeat time period cannot be a negative duration")
	}
	_, err := setting.ParsePolicy(s.Labels)
	return err
}

// mergeClusterSpec keeps what the change does not mention, as Docker Swarm does.
func mergeClusterSpec(old, change api.ClusterSpec) api.ClusterSpec {
	next := old
	next.Name = change.Name
	next.Orchestration.TaskHistoryRetentionLimit = or(change.Orchestration.TaskHistoryRetentionLimit, old.Orchestration.TaskHistoryRetentionLimit)
	next.Raft.SnapshotInterval = or(change.Raft.SnapshotInterval, old.Raft.SnapshotInterval)
	next.Raft.KeepOldSnapshots = or(change.Raft.KeepOldSnapshots, old.Raft.KeepOldSnapshots)
	next.Raft.LogEntriesForSlowFollowers = or(change.Raft.LogEntriesForSlowFollowers, old.Raft.LogEntriesForSlowFollowers)
	next.Raft.ElectionTick = or(change.Raft.ElectionTick, old.Raft.ElectionTick)
	next.Raft.HeartbeatTick = or(change.Raft.HeartbeatTick, old.Raft.HeartbeatTick)
	next.Dispatcher.HeartbeatPeriod = or(change.Dispatcher.HeartbeatPeriod, old.Dispatcher.HeartbeatPeriod)
	next.CAConfig.NodeCertExpiry = or(change.CAConfig.NodeCertExpiry, old.CAConfig.NodeCertExpiry)
	next.TaskDefaults.LogDriver = or(change.TaskDefaults.LogDriver, old.TaskDefaults.LogDriver)
	if change.Labels != nil {
		next.Labels = change.Labels
	}
	return next
}

// or is the first value, or the second where the first is not set.
func or[T comparable](first, second T) T {
	var zero T
	if first != zero {
		return first
	}
	return second
}

// swarmUnlockKey answers as Docker Swarm does where managers are not locked.
func (a *API) swarmUnlockKey(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, swarm.UnlockKeyResponse{})
}

func (a *API) swarmUnlock(http.ResponseWriter, *http.Request) error {
	return api.Errorf(api.CodeConflict, "swarm is not locked")
}
