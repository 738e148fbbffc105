package identity

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/unlock"
)

// One file holds the key, the certificate and the roots, in this order, because
// only a single rename can replace all of them at once: a node that is killed in
// the middle of a renewal has the old identity or the new one, never the key
// of one and the certificate of the other. Who the node is stands in the
// certificate and nowhere else. Where the cluster locks its managers, the key in
// the file is sealed, and that is what makes the node a locked one.
const (
	identityFile = "node/identity.pem"
	joinKeyFile  = "node/join-key.pem"

	plainKey  = "EC PRIVATE KEY"
	sealedKey = "SEALED EC PRIVATE KEY"
)

// What Load says of a key that is sealed.
var (
	// ErrLocked means that the unlock key is needed.
	ErrLocked = errors.New("the node's key is locked")
	// ErrWrongKey means that it was another one.
	ErrWrongKey = errors.New("the unlock key does not open the node's key")
)

// Load reads the identity of the node whose state is in dir. The error wraps
// fs.ErrNotExist when the node is not a member of any cluster, and ErrLocked or
// ErrWrongKey when the file is whole and the unlock key does not open it.
func Load(dir string, unlockKey unlock.Key) (*Identity, error) {
	path := filepath.Join(dir, identityFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the node's identity: %w", err)
	}
	id, err := parse(text, unlockKey)
	if errors.Is(err, ErrLocked) || errors.Is(err, ErrWrongKey) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: put the file back from a backup, or remove it and join again", path, err)
	}
	return id, nil
}

// PeerOn says who the node is whose state is in dir. It takes no unlock key:
// certificates are no secret.
func PeerOn(dir string) (Peer, error) {
	text, err := os.ReadFile(filepath.Join(dir, identityFile))
	if err != nil {
		return Peer{}, fmt.Errorf("read the node's identity: %w", err)
	}
	_, rest := pem.Decode(text)
	leaf, err := ParseCert(rest)
	if err != nil {
		return Peer{}, fmt.Errorf("%s: %w", filepath.Join(dir, identityFile), err)
	}
	return peerOf(leaf)
}

func parse(text []byte, unlockKey unlock.Key) (*Identity, error) {
	key, rest, err := parseKey(text, unlockKey)
	if err != nil {
		return nil, err
	}
	certs, err := parseCerts(rest)
	if err != nil {
		return nil, err
	}
	var chain, roots []byte
	for _, c := range certs {
		if c.CheckSignatureFrom(c) == nil { // roots sign themselves, and come last
			roots = append(roots, EncodeCert(c.Raw)...)
		} else {
			chain = append(chain, EncodeCert(c.Raw)...)
		}
	}
	return New(key, chain, roots)
}

func parseKey(text []byte, unlockKey unlock.Key) (key *ecdsa.PrivateKey, rest []byte, err error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != plainKey && block.Type != sealedKey {
		return nil, nil, api.Errorf(api.CodeInvalid, "no EC private key in PEM form at its start")
	}
	der := block.Bytes
	if block.Type == sealedKey {
		if unlockKey == nil {
			return nil, nil, ErrLocked
		}
		if der, err = unlockKey.Open(der, sealedKey); err != nil {
			return nil, nil, ErrWrongKey
		}
	}
	key, err = x509.ParseECPrivateKey(der)
	if err != nil {
		return nil, nil, api.Errorf(api.CodeInvalid, "unreadable private key: %v", err)
	}
	return key, rest, nil
}

func encodeKey(key *ecdsa.PrivateKey, unlockKey unlock.Key) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	kind := plainKey
	if unlockKey != nil {
		kind, der = sealedKey, unlockKey.Seal(der, sealedKey)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), nil
}

// Save makes the identity the one that dir holds, its key sealed if there is an
// unlock key, and forgets the join key.
func (i *Identity) Save(dir string, unlockKey unlock.Key) error {
	text, err := encodeKey(i.cert.PrivateKey.(*ecdsa.PrivateKey), unlockKey)
	if err != nil {
		return err
	}
	text = append(append(text, i.chainPEM()...), i.trust...)
	if err := writeFile(filepath.Join(dir, identityFile), text); err != nil {
		return fmt.Errorf("save the node's identity: %w", err)
	}
	return forget(dir, joinKeyFile)
}

// Remove makes the node a stranger again, as after it has left its cluster.
func Remove(dir string) error {
	return errors.Join(forget(dir, joinKeyFile), forget(dir, identityFile))
}

func forget(dir, name string) error {
	err := os.Remove(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// JoinKey is the key with which the node joins a cluster. It is on disk before
// it is used and stays until Save, so that a join that is cut off and tried
// again is the same node (NodeIDOf).
func JoinKey(dir string) (*ecdsa.PrivateKey, error) {
	path := filepath.Join(dir, joinKeyFile)
	text, err := os.ReadFile(path)
	if err == nil {
		if key, _, err := parseKey(text, nil); err == nil {
			return key, nil
		}
		// Unreadable: nobody can have joined with it. A new one takes its place.
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the join key: %w", err)
	}
	key := NewKey()
	if text, err = encodeKey(key, nil); err != nil {
		return nil, err
	}
	if err := writeFile(path, text); err != nil {
		return nil, fmt.Errorf("save the join key: %w", err)
	}
	return key, nil
}

// writeFile replaces a file so that a crash at any moment leaves the whole old
// content or the whole new one: written aside, flushed, renamed, and the
// folder flushed so that the rename itself survives a power cut.
func writeFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// A fixed name, so that what a crash left behind is overwritten by the next try.
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
