package identity_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/swarmctl/swarmctl/api/identity"
)

// TestNodesUnderstandEachOtherWhileTheRootIsReplaced has every two nodes that
// may meet shake hands: nodes take the steps at different times.
func TestNodesUnderstandEachOtherWhileTheRootIsReplaced(t *testing.T) {
	old := newRoot(t)
	next := old.follow(t)
	before := old.issue(t, "c1", identity.Manager, time.Now())
	during := next.issue(t, "c1", identity.Manager, time.Now())
	over, err := during.WithTrust(next.pem)
	must(t, err)
	next.cross, next.trust = nil, next.pem
	after := next.issue(t, "c1", identity.Manager, time.Now())
	for _, pair := range [][2]*identity.Identity{
		{before, before}, {before, during}, {during, during}, // nobody has heard of the end
		{during, over}, {over, over}, // some have
		{during, after}, {over, after}, {after, after}, // and have renewed since
	} {
		for _, p := range [][2]*identity.Identity{pair, {pair[1], pair[0]}} {
			if _, err := handshake(t, source(t, p[0]), source(t, p[1]).ClientConfig("h2")); err != nil {
				t.Errorf("%s does not talk to %s: %v", name(p[1], next), name(p[0], next), err)
			}
		}
	}
	if _, err := handshake(t, source(t, after), source(t, before).ClientConfig("h2")); err == nil {
		t.Error("a node that slept through it all trusts a root that it has never seen")
	}
}

func name(id *identity.Identity, next root) string {
	return string(id.NodeID)[:4] + " (" + map[bool]string{true: "new", false: "old"}[id.IssuedBy(next.pem)] + " issuer)"
}

func TestAnIdentityOfTheNextRootIsSavedWithAllThatLeadsToBoth(t *testing.T) {
	old, dir := newRoot(t), t.TempDir()
	next := old.follow(t)
	id := next.issue(t, "c1", identity.Worker, time.Now())
	must(t, id.Save(dir, nil))
	got, err := identity.Load(dir, nil)
	must(t, err)
	if !bytes.Equal(got.RootPEM(), old.pem) || !bytes.Equal(got.TrustPEM(), next.trust) || !got.IssuedBy(next.pem) || got.IssuedBy(old.pem) {
		t.Errorf("loaded with the root\n%sand the roots\n%s", got.RootPEM(), got.TrustPEM())
	}
	info := got.TLSInfo()
	if info.TrustRoot != string(old.pem) || !bytes.Equal(info.CertIssuerPublicKey, next.cert.RawSubjectPublicKeyInfo) || !bytes.Equal(info.CertIssuerSubject, next.cert.RawSubject) {
		t.Errorf("it tells of its certificate: %+v", info)
	}
	if _, err := old.issue(t, "c1", identity.Worker, time.Now()).WithTrust(next.pem); err == nil || !strings.Contains(err.Error(), "not made by the root") {
		t.Errorf("a certificate of the old root with the new one alone: %v", err)
	}
}

// A gRPC client makes new connections for as long as the node is a member.
func TestAClientFollowsTheRoots(t *testing.T) {
	old, next := newRoot(t), newRoot(t)
	src := source(t, old.issue(t, "c1", identity.Worker, time.Now()))
	creds := src.ClientCredentials().Clone()
	talk := func(server *identity.Identity) error {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		go func() { _, _, _ = credentials.NewTLS(source(t, server).ServerConfig("h2")).ServerHandshake(a) }()
		_, _, err := creds.ClientHandshake(context.Background(), identity.ManagerOU, b)
		return err
	}
	must(t, talk(old.issue(t, "c1", identity.Manager, time.Now())))
	must(t, src.Set(next.issue(t, "c1", identity.Worker, time.Now()), nil))
	must(t, talk(next.issue(t, "c1", identity.Manager, time.Now())))
	if err := talk(old.issue(t, "c1", identity.Manager, time.Now())); err == nil {
		t.Error("it still trusts the old root")
	}
}
