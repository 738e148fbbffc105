package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
)

const (
	// rootLife is long because a root that ends takes the cluster with it.
	rootLife = 20 * 365 * 24 * time.Hour
	// DefaultValidity is how long a node's certificate lives where the cluster's
	// spec does not say.
	DefaultValidity = 90 * 24 * time.Hour
	// MinValidity is the shortest life that a cluster may ask for.
	MinValidity = time.Hour
)

// Root signs the certificates of a cluster.
type Root struct {
	cert *x509.Certificate
	key  crypto.Signer
	// cross, in PEM, leads from what it signs to the root that it replaces;
	// empty where it replaces none. trust are the roots that nodes trust.
	cross, trust []byte
}

// NewRoot makes the root of a new cluster, and returns it with its
// certificate and its key in PEM as the cluster object holds them.
func NewRoot() (root *Root, certPEM, keyPEM []byte, err error) {
	key, now := identity.NewKey(), time.Now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "swarm-ca"},
		NotBefore:             now.Add(-identity.Backdate),
		NotAfter:              now.Add(rootLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            1, // it signs nodes, and the root that replaces it
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "swarm-ca"}}, &key.PublicKey, key)
	if err != nil {
		return nil, nil, nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, nil, err
	}
	certPEM = identity.EncodeCert(der)
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	root, err = LoadRoot(certPEM, keyPEM)
	return root, certPEM, keyPEM, err
}

// LoadRoot is the inverse of NewRoot.
func LoadRoot(certPEM, keyPEM []byte) (*Root, error) {
	cert, err := identity.ParseCert(certPEM)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	if pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(cert.PublicKey) {
		return nil, api.Errorf(api.CodeInvalid, "certificate key mismatch: the root's key and its certificate do not belong together")
	}
	return &Root{cert: cert, key: key, trust: certPEM}, nil
}

// parseKey reads a key in one of the forms that openssl writes.
func parseKey(text []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch block.Type {
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		default:
			continue // openssl writes the curve before the key
		}
		if err != nil {
			return nil, api.Errorf(api.CodeInvalid, "unreadable key of the root: %v", err)
		}
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	return nil, api.Errorf(api.CodeInvalid, "the root's key is not in PEM form, or is encrypted")
}

// Signer is the root that signs the certificates of a cluster now.
func Signer(c *api.Cluster) (*Root, error) {
	if c.NextRoot == nil {
		return LoadRoot(c.RootCert, c.RootKey)
	}
	root, err := LoadRoot(c.NextRoot.Cert, c.NextRoot.Key)
	if err == nil {
		root.cross, root.trust = c.NextRoot.Cross, c.RootsPEM()
	}
	return root, err
}

// Sign makes a certificate for the key of a request: nothing else in the
// request counts. What leads from it to the root that is being replaced, if one
// is, follows it. It is good from identity.Backdate before now until validity
// and identity.Grace after. An invalid request has code invalid.
func (r *Root) Sign(csrPEM []byte, peer identity.Peer, validity time.Duration) (certPEM []byte, err error) {
	pub, err := identity.ParseCSR(csrPEM)
	if err != nil {
		return nil, err
	}
	ou, names := identity.WorkerOU, []string{string(peer.NodeID)}
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if peer.Role == identity.Manager {
		ou, names = identity.ManagerOU, append(names, identity.ManagerOU)
		usage = append(usage, x509.ExtKeyUsageServerAuth)
	}
	now := time.Now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial(),
		Subject: pkix.Name{
			CommonName: string(peer.NodeID), Organization: []string{peer.ClusterID}, OrganizationalUnit: []string{ou},
		},
		DNSNames:              names,
		NotBefore:             now.Add(-identity.Backdate),
		NotAfter:              now.Add(validity + identity.Grace),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           usage,
		BasicConstraintsValid: true,
	}, r.cert, pub, r.key)
	if err != nil {
		return nil, err
	}
	return append(identity.EncodeCert(der), r.cross...), nil
}

// SignSelf makes the identity of a cluster's first node.
func (r *Root) SignSelf(key *ecdsa.PrivateKey, clusterID string, validity time.Duration) (*identity.Identity, error) {
	csr, err := identity.NewCSR(key)
	if err != nil {
		return nil, err
	}
	peer := identity.Peer{NodeID: identity.NodeIDOf(&key.PublicKey), ClusterID: clusterID, Role: identity.Manager}
	cert, err := r.Sign(csr, peer, validity)
	if err != nil {
		return nil, err
	}
	return identity.New(key, cert, r.trust)
}

func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return new(big.Int).SetBytes(b[:])
}
