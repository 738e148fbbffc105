package identity_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api/identity"
)

// root is a CA of its own: this package is a leaf and knows no manager/ca.
// Its certificates live for a day.
type root struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newRoot(t *testing.T) root {
	key := identity.NewKey()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "swarm-ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "swarm-ca"}}, &key.PublicKey, key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return root{cert, key, identity.EncodeCert(der)}
}

func (r root) issue(t *testing.T, cluster string, role identity.Role, now time.Time) *identity.Identity {
	key := identity.NewKey()
	id := string(identity.NodeIDOf(&key.PublicKey))
	ou, names := identity.WorkerOU, []string{id}
	if role == identity.Manager {
		ou, names = identity.ManagerOU, append(names, identity.ManagerOU)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: names,
		Subject:     pkix.Name{CommonName: id, Organization: []string{cluster}, OrganizationalUnit: []string{ou}},
		NotBefore:   now.Add(-identity.Backdate),
		NotAfter:    now.Add(24*time.Hour + identity.Grace),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, r.cert, &key.PublicKey, r.key)
	must(t, err)
	identity, err := identity.New(key, identity.EncodeCert(der), r.pem)
	must(t, err)
	return identity
}
