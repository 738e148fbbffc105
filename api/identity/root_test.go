package identity_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api/identity"
)

// root is a CA of its own: this package is a leaf and knows no manager/ca.
// Its certificates live for a day.
type root struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	pem   []byte
	cross []byte // follows what it signs
	trust []byte // what its nodes trust
}

func newRoot(t *testing.T) root {
	key := identity.NewKey()
	cert := sign(t, rootTemplate(), rootTemplate(), &key.PublicKey, key)
	text := identity.EncodeCert(cert.Raw)
	return root{cert: cert, key: key, pem: text, trust: text}
}

// follow is a root that replaces r, which has signed it too.
func (r root) follow(t *testing.T) root {
	next := newRoot(t)
	next.cross = identity.EncodeCert(sign(t, rootTemplate(), r.cert, &next.key.PublicKey, r.key).Raw)
	next.trust = slices.Concat(r.pem, next.pem)
	return next
}

func rootTemplate() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "swarm-ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
	}
}

func sign(t *testing.T, template, parent *x509.Certificate, pub *ecdsa.PublicKey, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert
}

func (r root) issue(t *testing.T, cluster string, role identity.Role, now time.Time) *identity.Identity {
	key := identity.NewKey()
	id := string(identity.NodeIDOf(&key.PublicKey))
	ou, names := identity.WorkerOU, []string{id}
	if role == identity.Manager {
		ou, names = identity.ManagerOU, append(names, identity.ManagerOU)
	}
	cert := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: names,
		Subject:     pkix.Name{CommonName: id, Organization: []string{cluster}, OrganizationalUnit: []string{ou}},
		NotBefore:   now.Add(-identity.Backdate),
		NotAfter:    now.Add(24*time.Hour + identity.Grace),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, r.cert, &key.PublicKey, r.key)
	got, err := identity.New(key, append(identity.EncodeCert(cert.Raw), r.cross...), r.trust)
	must(t, err)
	return got
}
