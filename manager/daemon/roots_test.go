package daemon

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/manager/ca"
)

// rotating is a cluster whose root is being replaced, with the identity of one
// node of each of the two.
func rotating(t *testing.T) (c *api.Cluster, old, renewed *identity.Identity) {
	t.Helper()
	root, certPEM, keyPEM, err := ca.NewRoot()
	if err != nil {
		t.Fatal(err)
	}
	old, err = root.SignSelf(identity.NewKey(), "c1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err = ca.Rotate(&api.Cluster{ID: "c1", RootCert: certPEM, RootKey: keyPEM}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if root, err = ca.Signer(c); err != nil {
		t.Fatal(err)
	}
	renewed, err = root.SignSelf(identity.NewKey(), "c1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return c, old, renewed
}

func TestTheRotationWaitsForEveryNode(t *testing.T) {
	c, old, renewed := rotating(t)
	node := func(id api.NodeID, tls swarm.TLSInfo, state api.NodeState) *api.Node {
		return &api.Node{ID: id, Description: api.NodeDescription{TLSInfo: tls}, Status: api.NodeStatus{State: state}}
	}
	nodes := []*api.Node{
		node("renewed", renewed.TLSInfo(), api.NodeReady),
		node("old", old.TLSInfo(), api.NodeReady),
		node("joining", swarm.TLSInfo{}, api.NodeUnknown),
		node("away", old.TLSInfo(), api.NodeDown),
	}
	if got := behind(c, slices.Values(nodes)); !slices.Equal(got, []api.NodeID{"old", "joining", "away"}) {
		t.Errorf("behind: %v", got)
	}
	if got := behind(c, slices.Values(nodes[:1])); len(got) > 0 {
		t.Errorf("behind: %v", got)
	}
}

// TestANodeFollowsItsClustersRoots goes through what a node is told while the
// root is replaced, a word of a manager that lags included.
func TestANodeFollowsItsClustersRoots(t *testing.T) {
	c, old, renewed := rotating(t)
	m := &member{d: &Daemon{}, ids: identity.NewSource(old, t.TempDir(), nil)}
	told := func(when string, roots []byte, want bool) {
		t.Helper()
		if got := m.followRoots(roots); got != want {
			t.Errorf("%s: asks for another certificate: %t", when, got)
		}
	}
	told("nothing is known", nil, false)
	told("before", c.RootCert, false)
	told("the successor signs", c.RootsPEM(), true)
	if err := m.ids.Set(renewed, nil); err != nil {
		t.Fatal(err)
	}
	told("it has renewed", c.RootsPEM(), false)
	told("a manager lags", c.RootCert, true)
	told("the rotation is over", c.NextRoot.Cert, false)
	if trust := m.ids.Current().TrustPEM(); !bytes.Equal(trust, c.NextRoot.Cert) {
		t.Errorf("it trusts more than the new root:\n%s", trust)
	}
}
