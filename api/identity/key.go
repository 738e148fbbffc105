package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"

	"github.com/swarmctl/swarmctl/api"
)

// NewKey makes a key on the curve P-256.
func NewKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // crypto/rand does not fail, and nothing else can
	}
	return key
}

// NewCSR is a request for a certificate for the key. It names nobody: who the
// holder is, the CA says.
func NewCSR(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// ParseCSR reads a request and checks that its sender holds the key. Its
// errors have code invalid.
func ParseCSR(text []byte) (*ecdsa.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, api.Errorf(api.CodeInvalid, "no certificate request in PEM form")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "unreadable certificate request: %v", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, api.Errorf(api.CodeInvalid, "the certificate request is not signed by its own key: %v", err)
	}
	pub, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, api.Errorf(api.CodeInvalid, "the certificate request must be for an ECDSA key on P-256")
	}
	return pub, nil
}

// NodeIDOf is the ID of the node that first joined with this key: 128 bits of
// the key's hash. So a join that was cut off and is tried again with the same
// key is the same node and leaves no half-joined one behind, and nobody can claim
// the ID of another node without its key. Renewals keep the ID and change the key.
func NodeIDOf(pub *ecdsa.PublicKey) api.NodeID {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		panic(err) // every key on P-256 can be marshalled
	}
	sum := sha256.Sum256(der)
	return api.NodeID(base36(sum[:16], 25))
}
