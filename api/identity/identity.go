package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// Role is what a certificate allows its holder to be. It is the type of
// NodeSpec.Role, so the two need no conversion.
type Role = swarm.NodeRole

// The two roles.
const (
	Manager Role = swarm.NodeRoleManager
	Worker  Role = swarm.NodeRoleWorker
)

// The organisational units that stand for the roles in a certificate; ManagerOU
// is also the server name that clients verify.
const (
	ManagerOU = "swarm-manager"
	WorkerOU  = "swarm-worker"
)

// Certificates are valid for longer than their nominal life at both ends, so
// that clocks may differ: a certificate made on a node whose clock is a day
// ahead works at once on a node whose clock is a day behind (two days, and one
// to spare), and one that is about to be renewed does not look expired to a node
// whose clock is a day or two ahead. Paid with: a stolen key is good for Grace longer
// than the cluster's --cert-expiry says.
const (
	Backdate = 72 * time.Hour
	Grace    = 48 * time.Hour
)

// Identity is one certificate with its key and the root that made it. It is
// immutable; a renewal makes another one.
type Identity struct {
	Peer
	cert  tls.Certificate
	roots *x509.CertPool
	root  []byte // PEM
}

// Peer is what a certificate says of its holder.
type Peer struct {
	NodeID    api.NodeID
	ClusterID string
	Role      Role
}

// New puts together the identity of a certificate, its key and the root, all
// of which must belong together. certPEM and rootPEM are what a manager
// answered; the certificate need not be valid at this moment, as the clock of a
// node that just booted may be off.
func New(key *ecdsa.PrivateKey, certPEM, rootPEM []byte) (*Identity, error) {
	leaf, err := ParseCert(certPEM)
	if err != nil {
		return nil, err
	}
	root, err := ParseCert(rootPEM)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if err := leaf.CheckSignatureFrom(root); err != nil {
		return nil, api.Errorf(api.CodeInvalid, "the certificate of node %q was not made by the root it came with: %v", leaf.Subject.CommonName, err)
	}
	if pub, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(&key.PublicKey) {
		return nil, api.Errorf(api.CodeInvalid, "the certificate of node %q is for another key", leaf.Subject.CommonName)
	}
	peer, err := peerOf(leaf)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return &Identity{
		Peer:  peer,
		cert:  tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf},
		roots: pool,
		root:  EncodeCert(root.Raw),
	}, nil
}

// RootPEM is the certificate of the cluster's CA.
func (i *Identity) RootPEM() []byte { return bytes.Clone(i.root) }

// Expires is when the certificate's nominal life ends; it is accepted for Grace longer.
func (i *Identity) Expires() time.Time { return i.cert.Leaf.NotAfter.Add(-Grace) }

// Life is the certificate's nominal life, from issue to expiry.
func (i *Identity) Life() time.Duration {
	l := i.cert.Leaf
	return l.NotAfter.Add(-Grace).Sub(l.NotBefore.Add(Backdate))
}

// RenewIn is how long after now a certificate should be renewed, at a point of
// its life that share picks: 0 means half of it, 1 means four fifths. With a
// random share a cluster that was born in one minute does not renew in one.
// The answer is never more than that part of the whole life, however wrong the
// clock is, and 0 when the point has passed.
func (i *Identity) RenewIn(now time.Time, share float64) time.Duration {
	part := time.Duration(float64(i.Life()) * (0.5 + 0.3*share))
	issued := i.cert.Leaf.NotBefore.Add(Backdate)
	return max(0, min(part, issued.Add(part).Sub(now)))
}

// ParseCert reads the one certificate in a PEM text.
func ParseCert(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, api.Errorf(api.CodeInvalid, "no certificate in PEM form")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "unreadable certificate: %v", err)
	}
	return cert, nil
}

// EncodeCert writes a certificate as PEM.
func EncodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
