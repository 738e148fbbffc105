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
)

// One file holds the key, the certificate and the root, in this order, because
// only a single rename can replace all three at once: a node that is killed in
// the middle of a renewal has the old identity or the new one, never the key
// of one and the certificate of the other. Who the node is stands in the
// certificate and nowhere else.
const (
	identityFile = "node/identity.pem"
	joinKeyFile  = "node/join-key.pem"
)

// Load reads the identity of the node whose state is in dir. The error wraps
// fs.ErrNotExist when the node is not a member of any cluster.
func Load(dir string) (*Identity, error) {
	path := filepath.Join(dir, identityFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the node's identity: %w", err)
	}
	id, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: put the file back from a backup, or remove it and join again", path, err)
	}
	return id, nil
}

func parse(text []byte) (*Identity, error) {
	key, rest, err := parseKey(text)
	if err != nil {
		return nil, err
	}
	leaf, root := pem.Decode(rest)
	if leaf == nil {
		return nil, api.Errorf(api.CodeInvalid, "no certificate after the key")
	}
	return New(key, pem.EncodeToMemory(leaf), root)
}

func parseKey(text []byte) (key *ecdsa.PrivateKey, rest []byte, err error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "EC PRIVATE KEY" {
		return nil, nil, api.Errorf(api.CodeInvalid, "no EC private key in PEM form at its start")
	}
	key, err = x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, api.Errorf(api.CodeInvalid, "unreadable private key: %v", err)
	}
	return key, rest, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// Save makes the identity the one that dir holds and forgets the join key.
func (i *Identity) Save(dir string) error {
	key, ok := i.cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		panic("identity: New took a key that is not ECDSA")
	}
	text, err := encodeKey(key)
	if err != nil {
		return err
	}
	text = append(text, EncodeCert(i.cert.Leaf.Raw)...)
	if err := writeFile(filepath.Join(dir, identityFile), append(text, i.root...)); err != nil {
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
		if key, _, err := parseKey(text); err == nil {
			return key, nil
		}
		// Unreadable: nobody can have joined with it. A new one takes its place.
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the join key: %w", err)
	}
	key := NewKey()
	if text, err = encodeKey(key); err != nil {
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
