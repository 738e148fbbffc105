package ca_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/identity/join"
	"github.com/swarmctl/swarmctl/api/unlock"
	"github.com/swarmctl/swarmctl/manager/ca"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// change puts another cluster object in the place of the current one.
func (c *cluster) change(to func(*api.Cluster) *api.Cluster) {
	c.t.Helper()
	must(c.t, c.apply(state.Op{PutCluster: to(c.View().Cluster())}))
}

func rotate(t *testing.T) func(*api.Cluster) *api.Cluster {
	return func(c *api.Cluster) *api.Cluster {
		next, err := ca.Rotate(c, nil, nil)
		must(t, err)
		return next
	}
}

// TestTheRootIsReplacedWhileNodesJoinAndRenew: the manager keeps its old
// certificate for as long as it can, a node joins in the middle, another was
// there before.
func TestTheRootIsReplacedWhileNodesJoinAndRenew(t *testing.T) {
	c := newCluster(t)
	ctx, token := context.Background(), c.View().Cluster().WorkerToken
	dir := t.TempDir()
	early, err := c.joinAs(dir, token)
	must(t, err)
	src := identity.NewSource(early.Identity, dir, nil)

	c.change(rotate(t))
	cl := c.View().Cluster()
	if cl.WorkerToken != token || bytes.Equal(cl.RootCert, cl.NextRoot.Cert) || early.Identity.IssuedBy(cl.Signer()) {
		t.Fatal("the successor is no other root, or the token changed before its time")
	}
	late, err := c.joinAs(t.TempDir(), token)
	must(t, err)
	if !late.Identity.IssuedBy(cl.Signer()) || !bytes.Equal(late.Identity.TrustPEM(), cl.RootsPEM()) {
		t.Error("a node that joins in the middle has no certificate of the successor")
	}
	must(t, join.Renew(ctx, src, c.addr))
	must(t, join.Renew(ctx, c.source, c.addr)) // over a connection to itself that its old certificate serves
	for _, id := range []*identity.Identity{src.Current(), c.source.Current()} {
		if !id.IssuedBy(cl.Signer()) {
			t.Errorf("node %s renewed and has a certificate of the old root", id.NodeID)
		}
	}

	c.change(ca.Rotated)
	cl = c.View().Cluster()
	if cl.NextRoot != nil || cl.WorkerToken == token || !identity.TokenPins(cl.ManagerToken, cl.RootCert) || !identity.TokenPins(cl.WorkerToken, cl.RootCert) {
		t.Error("the tokens do not pin the new root")
	}
	must(t, join.Renew(ctx, src, c.addr)) // it has not heard of the end
	if !bytes.Equal(src.Current().TrustPEM(), cl.RootCert) {
		t.Error("it still trusts the old root")
	}
	must(t, c.source.Trust(cl.RootsPEM()))
	_, err = c.joinAs(t.TempDir(), token)
	wantError(t, err, api.ErrInvalid, "does not match the token's digest")
	_, err = c.joinAs(t.TempDir(), cl.WorkerToken)
	must(t, err)
}

func TestARotationIsReplacedByAnotherAndGivenUp(t *testing.T) {
	c := newCluster(t)
	root := c.View().Cluster().RootCert
	c.change(rotate(t))
	first := c.View().Cluster().Signer()
	c.change(rotate(t))
	cl := c.View().Cluster()
	if bytes.Equal(cl.Signer(), first) || !bytes.Equal(cl.RootCert, root) {
		t.Error("the second successor is not the first one's successor to the root")
	}
	back, err := ca.Rotate(cl, root, cl.RootKey)
	must(t, err)
	if back.NextRoot != nil || !bytes.Equal(back.Signer(), root) {
		t.Error("the root itself did not end the rotation")
	}
}

func TestAManagerIsToldTheUnlockKeyAndAWorkerIsNot(t *testing.T) {
	c, key := newCluster(t), unlock.New()
	c.change(func(cl *api.Cluster) *api.Cluster {
		next := *cl
		next.UnlockKey = key
		return &next
	})
	dir := t.TempDir()
	m, err := c.joinAs(dir, c.View().Cluster().ManagerToken)
	must(t, err)
	if _, err := identity.Load(dir, nil); !m.UnlockKey.Equal(key) || err == nil {
		t.Errorf("the manager's key is %q, and opens without: %v", m.UnlockKey, err == nil)
	}
	dir = t.TempDir()
	w, err := c.joinAs(dir, c.View().Cluster().WorkerToken)
	must(t, err)
	if _, err := identity.Load(dir, nil); w.UnlockKey != nil || err != nil {
		t.Errorf("the worker's key is %q: %v", w.UnlockKey, err)
	}

	node := *c.View().Node(w.Identity.NodeID)
	node.Spec.Role = identity.Manager
	must(t, c.apply(state.Op{PutNode: &node}))
	src := identity.NewSource(w.Identity, dir, nil)
	must(t, join.Renew(context.Background(), src, c.addr))
	if id, err := identity.Load(dir, key); err != nil || id.Role != identity.Manager || !src.Key().Equal(key) {
		t.Errorf("promoted: %v", err)
	}
}

// own makes a root as an operator might, with openssl.
func own(t *testing.T, key crypto.Signer, change func(*x509.Certificate)) (certPEM, keyPEM []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "example.com"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now(), NotAfter: time.Now().AddDate(10, 0, 0),
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return append([]byte("text around it\n"), identity.EncodeCert(der)...), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func TestARootThatAnOperatorBringsSigns(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	for name, key := range map[string]crypto.Signer{"P-256": identity.NewKey(), "P-384": p384, "RSA": rsaKey} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			cert, keyPEM := own(t, key, nil)
			c.change(func(cl *api.Cluster) *api.Cluster {
				next, err := ca.Rotate(cl, cert, keyPEM)
				must(t, err)
				return next
			})
			must(t, join.Renew(context.Background(), c.source, c.addr))
			if signer := c.View().Cluster().Signer(); !c.source.Current().IssuedBy(signer) || bytes.Contains(signer, []byte("around")) {
				t.Errorf("it has not signed, or is kept with what is around it: %s", signer)
			}
			c.change(ca.Rotated)
			c.change(rotate(t)) // it can be replaced in its turn
		})
	}
}

func TestARootThatIsNoneIsRefused(t *testing.T) {
	c := newCluster(t).View().Cluster()
	key := identity.NewKey()
	good, keyPEM := own(t, key, nil)
	_, otherKey := own(t, identity.NewKey(), nil)
	leaf, _ := own(t, key, func(c *x509.Certificate) { c.IsCA = false })
	short, _ := own(t, key, func(c *x509.Certificate) { c.NotAfter = time.Now().AddDate(0, 1, 0) })
	for name, bad := range map[string]struct {
		cert, key []byte
		text      string
	}{
		"no certificate":         {[]byte("x"), keyPEM, "no certificate in PEM form"},
		"no key":                 {good, []byte("x"), "not in PEM form"},
		"another key":            {good, otherKey, "certificate key mismatch"},
		"no CA":                  {leaf, keyPEM, "is not a root"},
		"it ends within a month": {short, keyPEM, "CA certificate expires too soon"},
	} {
		if _, err := ca.Rotate(c, bad.cert, bad.key); err == nil || !strings.Contains(err.Error(), bad.text) || api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The root that is to be replaced must be allowed to vouch for another CA.
	narrow, narrowKey := own(t, key, func(c *x509.Certificate) { c.MaxPathLenZero = true })
	_, err := ca.Rotate(&api.Cluster{ID: "c1", RootCert: identity.EncodeCert(mustParse(t, narrow)), RootKey: narrowKey}, nil, nil)
	wantError(t, err, api.ErrInvalid, "cannot vouch for the new one")
}

func mustParse(t *testing.T, text []byte) []byte {
	t.Helper()
	cert, err := identity.ParseCert(text)
	must(t, err)
	return cert.Raw
}
