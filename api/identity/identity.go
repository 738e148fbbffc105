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

// Identity is one certificate with its key and the roots that its holder
// trusts. It is immutable; a renewal makes another one.
type Identity struct {
	Peer
	cert   tls.Certificate
	issuer *x509.Certificate // signed cert
	roots  *x509.CertPool
	root   []byte // PEM; the cluster's
	trust  []byte // PEM; root, and while it is replaced its successor
}

// Peer is what a certificate says of its holder.
type Peer struct {
	NodeID    api.NodeID
	ClusterID string
	Role      Role
}

// New puts together the identity of a certificate, its key and the roots, all
// of which must belong together. certPEM and rootsPEM are what a manager
// answered: the certificate, with what leads from it to a root if it takes
// more than one step; the cluster's root, and its successor if it has one. The
// certificate need not be valid at this moment, as the clock of a node that just
// booted may be off.
func New(key *ecdsa.PrivateKey, certPEM, rootsPEM []byte) (*Identity, error) {
	chain, err := parseCerts(certPEM)
	if err != nil {
		return nil, err
	}
	roots, err := parseCerts(rootsPEM)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	leaf := chain[0]
	i := &Identity{
		cert:  tls.Certificate{PrivateKey: key, Leaf: leaf},
		roots: x509.NewCertPool(),
		root:  EncodeCert(roots[0].Raw),
	}
	for _, c := range chain {
		i.cert.Certificate = append(i.cert.Certificate, c.Raw)
	}
	for _, c := range roots {
		i.roots.AddCert(c)
		i.trust = append(i.trust, EncodeCert(c.Raw)...)
	}
	if i.issuer, err = issuerOf(chain, i.roots); err != nil {
		return nil, api.Errorf(api.CodeInvalid, "the certificate of node %q was not made by the root it came with: %v", leaf.Subject.CommonName, err)
	}
	if pub, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(&key.PublicKey) {
		return nil, api.Errorf(api.CodeInvalid, "the certificate of node %q is for another key", leaf.Subject.CommonName)
	}
	i.Peer, err = peerOf(leaf)
	return i, err
}

// issuerOf verifies a chain at the moment at which its first certificate was
// made, by the clock that made it, and returns who signed that.
func issuerOf(chain []*x509.Certificate, roots *x509.CertPool) (*x509.Certificate, error) {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	chains, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: chain[0].NotBefore.Add(Backdate), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, err
	}
	return chains[0][1], nil
}

// RootPEM is the certificate of the cluster's CA.
func (i *Identity) RootPEM() []byte { return bytes.Clone(i.root) }

// TrustPEM are the roots that certificates of peers may come from: the
// cluster's, and while it is replaced its successor.
func (i *Identity) TrustPEM() []byte { return bytes.Clone(i.trust) }

// WithTrust is the same certificate with other roots, from which it must come too.
func (i *Identity) WithTrust(rootsPEM []byte) (*Identity, error) {
	return New(i.cert.PrivateKey.(*ecdsa.PrivateKey), i.chainPEM(), rootsPEM)
}

func (i *Identity) chainPEM() (text []byte) {
	for _, der := range i.cert.Certificate {
		text = append(text, EncodeCert(der)...)
	}
	return text
}

// IssuedBy reports whether a root's key has signed the certificate.
func (i *Identity) IssuedBy(rootPEM []byte) bool {
	root, err := ParseCert(rootPEM)
	return err == nil && bytes.Equal(root.RawSubjectPublicKeyInfo, i.issuer.RawSubjectPublicKeyInfo)
}

// TLSInfo is what the node tells of its certificate.
func (i *Identity) TLSInfo() swarm.TLSInfo {
	return swarm.TLSInfo{TrustRoot: string(i.root), CertIssuerSubject: i.issuer.RawSubject, CertIssuerPublicKey: i.issuer.RawSubjectPublicKeyInfo}
}

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

// ParseCert reads the first certificate in a PEM text.
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

// parseCerts reads all certificates in a PEM text, of which there is one at least.
func parseCerts(text []byte) (list []*x509.Certificate, err error) {
	for len(list) == 0 || len(bytes.TrimSpace(text)) > 0 {
		cert, err := ParseCert(text)
		if err != nil {
			return nil, err
		}
		list = append(list, cert)
		_, text = pem.Decode(text)
	}
	return list, nil
}

// EncodeCert writes a certificate as PEM.
func EncodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
