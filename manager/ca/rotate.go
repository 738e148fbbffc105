package ca

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
)

// minRootLife is what a root that an operator brings must have left.
const minRootLife = 365 * 24 * time.Hour

// Rotate begins to replace the cluster's root: by a new one, or by the one that
// is given in PEM. From here on the successor signs; nodes that trust the root
// trust the successor through its second certificate, which the root has signed.
// A replacement that is under way is given up for this one.
func Rotate(c *api.Cluster, certPEM, keyPEM []byte) (*api.Cluster, error) {
	root, err := LoadRoot(c.RootCert, c.RootKey)
	if err != nil {
		return nil, err
	}
	var successor *Root
	if len(certPEM) == 0 {
		successor, certPEM, keyPEM, err = NewRoot()
	} else {
		certPEM, successor, err = brought(certPEM, keyPEM)
	}
	if err != nil {
		return nil, err
	}
	n := *c
	if bytes.Equal(successor.cert.Raw, root.cert.Raw) { // back to what there was
		n.NextRoot = nil
		return &n, nil
	}
	cross, err := root.vouch(successor)
	if err != nil {
		return nil, err
	}
	n.NextRoot = &api.NextRoot{Cert: certPEM, Key: bytes.Clone(keyPEM), Cross: cross}
	return &n, tried(&n)
}

// brought checks a root that an operator brings.
func brought(certPEM, keyPEM []byte) ([]byte, *Root, error) {
	cert, err := identity.ParseCert(certPEM)
	if err != nil {
		return nil, nil, err
	}
	certPEM = identity.EncodeCert(cert.Raw) // without what stands around it
	root, err := LoadRoot(certPEM, keyPEM)
	switch {
	case err != nil:
		return nil, nil, err
	case !cert.IsCA || cert.CheckSignatureFrom(cert) != nil:
		return nil, nil, api.Errorf(api.CodeInvalid, "the certificate %q is not a root: give one of a CA that has signed itself", cert.Subject)
	case time.Until(cert.NotAfter) < minRootLife:
		return nil, nil, api.Errorf(api.CodeInvalid, "CA certificate expires too soon, on %s: give one that is good for a year at least", cert.NotAfter.Format(time.DateOnly))
	}
	return certPEM, root, nil
}

// vouch signs the certificate of another root.
func (r *Root) vouch(other *Root) ([]byte, error) {
	end := r.cert.NotAfter
	if other.cert.NotAfter.Before(end) {
		end = other.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber:          serial(),
		RawSubject:            other.cert.RawSubject,
		SubjectKeyId:          other.cert.SubjectKeyId,
		NotBefore:             time.Now().Add(-identity.Backdate),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // of nodes alone
	}, r.cert, other.cert.PublicKey, r.key)
	if err != nil {
		return nil, err
	}
	return identity.EncodeCert(der), nil
}

// tried makes sure, before the cluster depends on it, that certificates of the
// successor are good for those who know the root alone.
func tried(c *api.Cluster) error {
	root, err := Signer(c)
	if err != nil {
		return err
	}
	root.trust = c.RootCert
	if _, err := root.SignSelf(identity.NewKey(), c.ID, DefaultValidity); err != nil {
		return api.Errorf(api.CodeInvalid, "the cluster's root cannot vouch for the new one: %v: bring another one with --ca-cert and --ca-key, or make a new cluster", err)
	}
	return nil
}

// Rotated is the cluster with the successor in its root's place: every node has
// a certificate that the successor has signed. Join tokens pin it from now on.
func Rotated(c *api.Cluster) *api.Cluster {
	n := *c
	n.RootCert, n.RootKey, n.NextRoot = c.NextRoot.Cert, c.NextRoot.Key, nil
	n.WorkerToken, n.ManagerToken = identity.NewToken(n.RootCert), identity.NewToken(n.RootCert)
	return &n
}
