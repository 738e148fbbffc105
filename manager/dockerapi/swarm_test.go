package dockerapi_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/ca"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// startSwarm is an API over the state of a cluster that has just been made.
func startSwarm(t *testing.T) *cluster {
	c := start(t, nil)
	_, cert, key, err := ca.NewRoot()
	c.must(err)
	c.apply(state.Op{PutCluster: &api.Cluster{ID: "c1", Spec: api.ClusterSpec{Annotations: swarm.Annotations{Name: "default"}}, RootCert: cert, RootKey: key}})
	return c
}

// updateSwarm changes the cluster's spec as Docker's CLI does.
func (c *cluster) updateSwarm(flags swarm.UpdateFlags, change func(*swarm.Spec)) error {
	c.Helper()
	sw, err := c.docker.SwarmInspect(c.Context())
	c.must(err)
	change(&sw.Spec)
	return c.docker.SwarmUpdate(c.Context(), sw.Version, sw.Spec, flags)
}

func (c *cluster) unlockKey() string {
	c.Helper()
	got, err := c.docker.SwarmGetUnlockKey(c.Context())
	c.must(err)
	return got.UnlockKey
}

func lock(on bool) func(*swarm.Spec) {
	return func(s *swarm.Spec) { s.EncryptionConfig.AutoLockManagers = on }
}

func TestTheUnlockKeyComesAndGoesWithAutolock(t *testing.T) {
	c := startSwarm(t)
	rotate := swarm.UpdateFlags{RotateManagerUnlockKey: true}
	if key := c.unlockKey(); key != "" {
		t.Errorf("a cluster that does not lock has the key %q", key)
	}
	c.must(c.updateSwarm(rotate, lock(false)))
	if key := c.unlockKey(); key != "" {
		t.Errorf("rotating what is not there made the key %q", key)
	}
	c.must(c.updateSwarm(swarm.UpdateFlags{}, lock(true)))
	first := c.unlockKey()
	if !strings.HasPrefix(first, "SWMKEY-1-") {
		t.Fatalf("key %q", first)
	}
	c.must(c.updateSwarm(swarm.UpdateFlags{}, lock(true)))
	if key := c.unlockKey(); key != first {
		t.Error("an update that changes nothing changed the key")
	}
	c.must(c.updateSwarm(rotate, lock(true)))
	if key := c.unlockKey(); key == first || key == "" {
		t.Errorf("rotated from %q to %q", first, key)
	}
	c.must(c.updateSwarm(swarm.UpdateFlags{}, lock(false)))
	if key := c.unlockKey(); key != "" || c.store.View().Cluster().UnlockKey != nil {
		t.Errorf("unlocked for good, and there still is the key %q", key)
	}
}

func TestALockedManagerAnswersAboutItsSwarmInDockersWords(t *testing.T) {
	c := startSwarm(t)
	c.node.role, c.node.info = dockerapi.Locked, swarm.Info{LocalNodeState: swarm.LocalNodeStateLocked}
	const words = `Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.`
	for _, path := range []string{"/swarm", "/swarm/unlockkey", "/nodes", "/services", "/tasks", "/secrets", "/configs"} {
		if got := c.get("/v1.41" + path); !strings.Contains(got, strings.ReplaceAll(words, `"`, `\"`)) {
			t.Errorf("%s: %s", path, got)
		}
	}
	_, err := c.docker.SwarmInit(t.Context(), swarm.InitRequest{ListenAddr: "0.0.0.0:2377"})
	wantError(t, err, errdefs.IsUnavailable, `This node is already part of a swarm. Use "swarmctl leave" to leave this swarm and join another one.`)
	_, err = c.docker.SwarmInit(t.Context(), swarm.InitRequest{ListenAddr: "0.0.0.0:2377", ForceNewCluster: true})
	wantError(t, err, errdefs.IsUnavailable, words)
	_, err = c.docker.NetworkCreate(t.Context(), "n1", network.CreateOptions{Driver: "overlay"})
	wantError(t, err, errdefs.IsUnavailable, words)
	c.must(c.docker.SwarmUnlock(t.Context(), swarm.UnlockRequest{UnlockKey: "SWMKEY-1-x"}))
	c.must(c.docker.SwarmLeave(t.Context(), true))
	if len(c.node.keys) != 1 || c.node.keys[0] != "SWMKEY-1-x" || len(c.node.left) != 1 || len(c.forward) > 0 {
		t.Errorf("the node was asked to unlock with %q and to leave %v; forwarded %v", c.node.keys, c.node.left, c.forward)
	}
	ping, err := c.docker.Ping(t.Context())
	if err != nil || ping.SwarmStatus == nil || ping.SwarmStatus.NodeState != swarm.LocalNodeStateLocked {
		t.Errorf("ping: %+v, %v", ping.SwarmStatus, err)
	}
}

func TestUnlockingWhatIsNotLocked(t *testing.T) {
	c := startSwarm(t)
	for role, want := range map[dockerapi.Role]string{
		dockerapi.Inactive: `This node is not a swarm manager. Use "swarmctl init" or "swarmctl join" to connect this node to swarm and try again.`,
		dockerapi.Worker:   "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.",
	} {
		c.node.role = role
		wantError(t, c.docker.SwarmUnlock(t.Context(), swarm.UnlockRequest{UnlockKey: "x"}), errdefs.IsUnavailable, want)
	}
	if len(c.node.keys) > 0 {
		t.Errorf("the node was asked with %q", c.node.keys)
	}
}

func TestUpdateOfTheClustersSpec(t *testing.T) {
	c := startSwarm(t)
	ten, two := int64(10), uint64(2)
	c.must(c.updateSwarm(swarm.UpdateFlags{}, func(s *swarm.Spec) {
		s.Orchestration.TaskHistoryRetentionLimit, s.Raft.KeepOldSnapshots, s.Raft.SnapshotInterval = &ten, &two, 500
		s.CAConfig.NodeCertExpiry, s.Dispatcher.HeartbeatPeriod = 100*time.Hour, 10*time.Second
	}))
	sw, err := c.docker.SwarmInspect(t.Context())
	c.must(err)
	if s := sw.Spec; *s.Orchestration.TaskHistoryRetentionLimit != 10 || *s.Raft.KeepOldSnapshots != 2 || s.Raft.SnapshotInterval != 500 ||
		s.CAConfig.NodeCertExpiry != 100*time.Hour || s.Dispatcher.HeartbeatPeriod != 10*time.Second {
		t.Errorf("%+v", s)
	}
	for text, change := range map[string]func(*swarm.Spec){
		`swarm spec must be named "default"`:                        func(s *swarm.Spec) { s.Name = "other" },
		"minimum certificate expiry time is: 1h0m0s":                func(s *swarm.Spec) { s.CAConfig.NodeCertExpiry = time.Minute },
		"heartbeat time period cannot be a negative duration":       func(s *swarm.Spec) { s.Dispatcher.HeartbeatPeriod = -1 },
		"heartbeat time period 100ms: it must be 1s at least":       func(s *swarm.Spec) { s.Dispatcher.HeartbeatPeriod = 100 * time.Millisecond },
		"not supported: external CAs":                               func(s *swarm.Spec) { s.CAConfig.ExternalCAs = []*swarm.ExternalCA{{URL: "https://x"}} },
		"if a signing CA key is provided, the signing CA cert must": func(s *swarm.Spec) { s.CAConfig.SigningCAKey = "x" },
		"the key of the root certificate is needed":                 func(s *swarm.Spec) { s.CAConfig.SigningCACert = "x" },
		"no certificate in PEM form":                                func(s *swarm.Spec) { s.CAConfig.SigningCACert, s.CAConfig.SigningCAKey = "x", "y" },
	} {
		if err := c.updateSwarm(swarm.UpdateFlags{}, change); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
	err = c.docker.SwarmUpdate(t.Context(), swarm.Version{Index: 1}, sw.Spec, swarm.UpdateFlags{})
	if err == nil || !strings.Contains(err.Error(), "update out of sequence") {
		t.Errorf("an old version: %v", err)
	}
}

func TestTheRootIsReplacedWhenASpecForcesIt(t *testing.T) {
	c := startSwarm(t)
	root := string(c.store.View().Cluster().RootCert)
	force := func(s *swarm.Spec) { s.CAConfig.ForceRotate++ }
	c.must(c.updateSwarm(swarm.UpdateFlags{}, func(*swarm.Spec) {}))
	before, err := c.docker.SwarmInspect(t.Context())
	c.must(err)
	c.must(c.updateSwarm(swarm.UpdateFlags{}, force))
	during, err := c.docker.SwarmInspect(t.Context())
	c.must(err)
	if before.RootRotationInProgress || !during.RootRotationInProgress || during.TLSInfo.TrustRoot != root ||
		bytes.Equal(before.TLSInfo.CertIssuerPublicKey, during.TLSInfo.CertIssuerPublicKey) || during.Spec.CAConfig.ForceRotate != 1 {
		t.Errorf("before %+v\nduring %+v", before.TLSInfo, during.TLSInfo)
	}
	next := c.store.View().Cluster().NextRoot
	c.must(c.updateSwarm(swarm.UpdateFlags{}, lock(true))) // a change of something else
	if again := c.store.View().Cluster().NextRoot; again == nil || !bytes.Equal(next.Cert, again.Cert) {
		t.Error("a change of something else made another root")
	}
	_, ownCert, ownKey, err := ca.NewRoot()
	c.must(err)
	c.must(c.updateSwarm(swarm.UpdateFlags{}, func(s *swarm.Spec) {
		force(s)
		s.CAConfig.SigningCACert, s.CAConfig.SigningCAKey = "of our own:\n"+string(ownCert), string(ownKey)
	}))
	own, err := c.docker.SwarmInspect(t.Context())
	c.must(err)
	if signer := c.store.View().Cluster().Signer(); !bytes.Equal(signer, ownCert) || own.Spec.CAConfig.SigningCAKey != "" || own.Spec.CAConfig.SigningCACert != "" {
		t.Errorf("brought a root; the one that signs is\n%s and the spec says %+v", signer, own.Spec.CAConfig)
	}
	c.must(c.updateSwarm(swarm.UpdateFlags{}, func(s *swarm.Spec) { s.CAConfig.SigningCACert = string(ownCert) })) // said again
	if signer := c.store.View().Cluster().Signer(); !bytes.Equal(signer, ownCert) {
		t.Error("the certificate that signs already made another root")
	}
	c.must(c.updateSwarm(swarm.UpdateFlags{}, func(s *swarm.Spec) { s.CAConfig.SigningCACert = root }))
	if c.store.View().Cluster().NextRoot != nil {
		t.Error("the root that there is did not end the rotation")
	}
}

// The list of nodes shows whose certificate is of the current CA: what a node
// has not said, nobody says for it.
func TestANodeThatHasSaidNothingOfItsCertificateShowsNone(t *testing.T) {
	c := startSwarm(t)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	n, _, err := c.docker.NodeInspectWithRaw(t.Context(), "node1")
	if c.must(err); n.Description.TLSInfo.TrustRoot != "" || n.Description.TLSInfo.CertIssuerPublicKey != nil {
		t.Errorf("%+v", n.Description.TLSInfo)
	}
}

func TestInitRefusesWhatItCannotDo(t *testing.T) {
	c := start(t, nil)
	c.node.role = dockerapi.Inactive
	for body, want := range map[string]string{
		`{"Spec":{"Name":"other"}}`:                                   `swarm spec must be named \"default\"`,
		`{"Spec":{"CAConfig":{"NodeCertExpiry":1000}}}`:               "minimum certificate expiry time is: 1h0m0s",
		`{"Spec":{"Dispatcher":{"HeartbeatPeriod":-1}}}`:              "heartbeat time period cannot be a negative duration",
		`{"Spec":{"CAConfig":{"ExternalCAs":[{"URL":"https://x"}]}}}`: "not supported: external CAs",
		`{"Spec":{"CAConfig":{"SigningCACert":"x"}}}`:                 "bring it afterwards",
		`{"DataPathPort":80}`:                                         "Datapath port number is not in valid range (1024-49151) : 80",
		`{"DataPathPort":4790}`:                                       "not supported yet: a data path port other than 4789",
		`{"Availability":"maybe"}`:                                    "invalid Availability",
	} {
		res, err := http.Post(c.url+"/v1.41/swarm/init", "application/json", strings.NewReader(body))
		c.must(err)
		got, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if c.must(err); !strings.Contains(string(got), want) || res.StatusCode < 400 {
			t.Errorf("%s: %s: %s", body, res.Status, got)
		}
	}
	if len(c.node.init) > 0 {
		t.Errorf("the node was told to: %v", c.node.init)
	}
	_, err := c.docker.SwarmInit(t.Context(), swarm.InitRequest{ListenAddr: "0.0.0.0:2377", AutoLockManagers: true})
	c.must(err)
	if len(c.node.init) != 1 || !c.node.init[0].AutoLockManagers {
		t.Errorf("the node was told: %+v", c.node.init)
	}
}
