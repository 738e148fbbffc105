package dockerapi

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/api/unlock"
	"github.com/swarmctl/swarmctl/network/ipam"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

const (
	alreadyMember = `This node is already part of a swarm. Use "swarmctl leave" to leave this swarm and join another one.`
	notPart       = "This node is not part of a swarm"
	// minCertExpiry is Docker Swarm's bound: less leaves no room to renew in.
	minCertExpiry = time.Hour
	// minHeartbeat keeps the session's timeout at half a second at least.
	minHeartbeat = time.Second
	// dataPathPort is the one VXLAN port.
	dataPathPort = 4789
)

// ErrLocked is the answer of a locked manager to everything about its swarm,
// in Docker's words.
var ErrLocked = api.Errorf(api.CodeUnavailable, `Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.`)

func (a *API) swarmInit(w http.ResponseWriter, r *http.Request) error {
	var req swarm.InitRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	switch role := a.cfg.Node.Role(); {
	case role != Inactive && !req.ForceNewCluster:
		return api.Errorf(api.CodeUnavailable, alreadyMember)
	case role == Locked:
		return ErrLocked
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
	if _, err := ipam.NewPool((&api.Cluster{AddrPool: req.DefaultAddrPool, SubnetSize: req.SubnetSize}).Pool()); err != nil {
		return err
	}
	if p := req.DataPathPort; p != 0 && (p < 1024 || p > 49151) {
		return api.Errorf(api.CodeInvalid, "Datapath port number is not in valid range (1024-49151) : %d", p)
	}
	if req.DataPathPort != 0 && req.DataPathPort != dataPathPort {
		return api.Errorf(api.CodeUnsupported, "not supported yet: a data path port other than %d", dataPathPort)
	}
	if ca := req.Spec.CAConfig; ca.SigningCACert != "" || ca.SigningCAKey != "" {
		return api.Errorf(api.CodeUnsupported, "not supported: a root of your own at the start: bring it afterwards, with `swarmctl ca --rotate --ca-cert FILE --ca-key FILE`")
	}
	if req.Spec.Name == "" {
		req.Spec.Name = clusterName
	}
	if err := checkClusterSpec(&req.Spec); err != nil {
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
		return api.Errorf(api.CodeInvalid, `A valid join token is necessary to join this cluster: "swarmctl join-token worker" on a manager prints one`)
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
	next, err := a.rotateRoot(current, spec.CAConfig)
	if err != nil {
		return err
	}
	next.Spec = mergeClusterSpec(current.Spec, spec)
	next.Meta.Version.Index = version
	lockManagers(next, queryBool(r, "rotateManagerUnlockKey"))
	if queryBool(r, "rotateWorkerToken") {
		next.WorkerToken = a.cfg.NewToken(next.RootCert)
	}
	if queryBool(r, "rotateManagerToken") {
		next.ManagerToken = a.cfg.NewToken(next.RootCert)
	}
	err = a.propose(r, state.Op{PutCluster: next})
	if errors.Is(err, api.ErrOutdated) {
		return api.Errorf(api.CodeOutdated, "update out of sequence: the cluster has changed since it was read; read it again and retry")
	}
	return err
}

// lockManagers gives the cluster the unlock key that its spec asks for: none,
// the one that it has, or a new one.
func lockManagers(c *api.Cluster, rotate bool) {
	switch {
	case !c.Spec.EncryptionConfig.AutoLockManagers:
		c.UnlockKey = nil
	case c.UnlockKey == nil || rotate:
		c.UnlockKey = unlock.New()
	}
}

// rotateRoot is a copy of the cluster, with a successor of its root if the
// change of its spec asks for one: by a certificate that signs nothing yet, or
// by another number in ForceRotate.
func (a *API) rotateRoot(c *api.Cluster, change swarm.CAConfig) (*api.Cluster, error) {
	cert, key := strings.TrimSpace(change.SigningCACert), change.SigningCAKey
	forced := change.ForceRotate != 0 && change.ForceRotate != c.Spec.CAConfig.ForceRotate
	if cert != "" && cert == strings.TrimSpace(string(c.RootCert)) {
		key = string(c.RootKey) // the successor is given up
	}
	switch {
	case cert == "" && key != "":
		return nil, api.Errorf(api.CodeInvalid, "if a signing CA key is provided, the signing CA cert must also be provided")
	case cert != "" && cert == strings.TrimSpace(string(c.Signer())), cert == "" && !forced:
		same := *c
		return &same, nil
	case cert != "" && key == "":
		return nil, api.Errorf(api.CodeInvalid, "the key of the root certificate is needed: swarmctl ca --rotate --ca-cert FILE --ca-key FILE")
	}
	return a.cfg.RotateRoot(c, []byte(cert), []byte(key))
}

func checkClusterSpec(s *api.ClusterSpec) error {
	switch ca := s.CAConfig; {
	case s.Name != clusterName:
		return api.Errorf(api.CodeInvalid, "swarm spec must be named %q", clusterName)
	case len(ca.ExternalCAs) > 0:
		return api.Errorf(api.CodeUnsupported, "not supported: external CAs: the managers sign certificates themselves, with a root of your own if you bring one (`swarmctl ca --rotate --ca-cert FILE --ca-key FILE`)")
	case ca.NodeCertExpiry != 0 && ca.NodeCertExpiry < minCertExpiry:
		return api.Errorf(api.CodeInvalid, "minimum certificate expiry time is: %s", minCertExpiry)
	case s.Dispatcher.HeartbeatPeriod < 0:
		return api.Errorf(api.CodeInvalid, "heartbeat time period cannot be a negative duration")
	case s.Dispatcher.HeartbeatPeriod != 0 && s.Dispatcher.HeartbeatPeriod < minHeartbeat:
		return api.Errorf(api.CodeInvalid, "heartbeat time period %s: it must be %s at least: a node that is starved for a moment would be taken for a dead one", s.Dispatcher.HeartbeatPeriod, minHeartbeat)
	}
	_, err := setting.ParsePolicy(s.Labels)
	return err
}

// mergeClusterSpec keeps what the change does not mention, where Docker Swarm
// would take it for a wish for zero.
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
	next.CAConfig.ForceRotate = or(change.CAConfig.ForceRotate, old.CAConfig.ForceRotate)
	next.EncryptionConfig = change.EncryptionConfig
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

// swarmUnlockKey tells the key; it is empty where managers are not locked.
func (a *API) swarmUnlockKey(w http.ResponseWriter, r *http.Request) error {
	c, err := a.currentCluster(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, swarm.UnlockKeyResponse{UnlockKey: unlock.Key(c.UnlockKey).String()})
}

func (a *API) swarmUnlock(w http.ResponseWriter, r *http.Request) error {
	var req swarm.UnlockRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	switch a.cfg.Node.Role() {
	case Inactive:
		return api.Errorf(api.CodeUnavailable, notAMember)
	case Worker:
		return api.Errorf(api.CodeUnavailable, notAManager)
	}
	return a.cfg.Node.Unlock(r.Context(), req.UnlockKey)
}
