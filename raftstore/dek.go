package raftstore

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/swarmctl/swarmctl/api/unlock"
)

// The data key encrypts the log and the snapshots. It lies beside them, and
// protects them where they are copied without it; an unlock key, which the
// operator keeps elsewhere, protects it in turn.
const (
	keySize   = chacha20poly1305.KeySize
	keyFile   = "dek"
	keyFormat = "swarmctl-dek-1"
)

// loadKey reads the data key, or makes one where fresh is true and there is none.
func loadKey(dir string, key unlock.Key, fresh bool) ([]byte, error) {
	path := filepath.Join(dir, keyFile)
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		return parseKey(path, string(text), key)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read the data key: %w", err)
	case !fresh:
		return nil, fmt.Errorf("%s is missing, and without it the data in %s cannot be read: put it back, or leave the cluster with force and join again", path, dir)
	}
	dek := make([]byte, keySize)
	_, _ = rand.Read(dek) // never fails: crypto/rand ends the program instead
	if err := writeAtomic(path, formatKey(dek, key)); err != nil {
		return nil, fmt.Errorf("save the data key: %w", err)
	}
	return dek, nil
}

// Seal writes the data key so that each of the unlock keys opens it, and
// nothing else does. A key that is nil leaves it in plain. A crash at any moment
// leaves it as it was or as it is to be.
func (s *Store) Seal(keys ...unlock.Key) error {
	path := filepath.Join(s.cfg.Dir, keyFile)
	if text, err := os.ReadFile(path); err == nil && sealedWith(string(text), keys) {
		return nil
	}
	if err := writeAtomic(path, formatKey(s.disk.dek, keys...)); err != nil {
		return fmt.Errorf("seal the data key: %w", err)
	}
	return nil
}

// formatKey writes the data key once for each unlock key, or once in plain.
func formatKey(dek []byte, keys ...unlock.Key) []byte {
	words := []string{keyFormat, "sealed"}
	for _, k := range keys {
		if k == nil {
			words = []string{keyFormat, "plain", base64.StdEncoding.EncodeToString(dek)}
			break
		}
		words = append(words, base64.StdEncoding.EncodeToString(k.Seal(dek, keyFormat)))
	}
	return []byte(strings.Join(words, " ") + "\n")
}

// sealedWith reports whether the text is what formatKey writes for these keys.
func sealedWith(text string, keys []unlock.Key) bool {
	fields := strings.Fields(text)
	if slices.ContainsFunc(keys, func(k unlock.Key) bool { return k == nil }) {
		return len(fields) == 3 && fields[1] == "plain"
	}
	if len(fields) != 2+len(keys) || fields[1] != "sealed" {
		return false
	}
	for i, k := range keys {
		if body, err := base64.StdEncoding.DecodeString(fields[2+i]); err != nil || !opens(k, body) {
			return false
		}
	}
	return true
}

func opens(k unlock.Key, sealed []byte) bool {
	_, err := k.Open(sealed, keyFormat)
	return err == nil
}

func parseKey(path, text string, key unlock.Key) ([]byte, error) {
	fields := strings.Fields(text)
	if len(fields) < 3 || fields[0] != keyFormat {
		return nil, fmt.Errorf("%s is not a data key of this program: put the right file back", path)
	}
	if fields[1] == "sealed" && key == nil {
		return nil, fmt.Errorf("%s is locked: unlock it with the cluster's unlock key", path)
	}
	for _, f := range fields[2:] {
		body, err := base64.StdEncoding.DecodeString(f)
		if err != nil {
			return nil, fmt.Errorf("%s is damaged: %w", path, err)
		}
		if fields[1] == "sealed" {
			if body, err = key.Open(body, keyFormat); err != nil {
				continue // it may be sealed for another key too, while the key changes
			}
		}
		if len(body) != keySize {
			return nil, fmt.Errorf("%s is damaged: it holds %d bytes, not %d", path, len(body), keySize)
		}
		return body, nil
	}
	return nil, fmt.Errorf("%s does not open with this unlock key: check the key", path)
}

func aead(key []byte) cipher.AEAD {
	a, err := chacha20poly1305.NewX(key)
	if err != nil {
		panic(err) // a key of the wrong size: checked where keys come in
	}
	return a
}

// seal encrypts under a random nonce, which leads the result.
func seal(a cipher.AEAD, plain, about []byte) []byte {
	nonce := make([]byte, a.NonceSize(), a.NonceSize()+len(plain)+a.Overhead())
	_, _ = rand.Read(nonce)
	return a.Seal(nonce, nonce, plain, about)
}

// open is the inverse of seal.
func open(a cipher.AEAD, sealed, about []byte) ([]byte, error) {
	if len(sealed) < a.NonceSize() {
		return nil, errors.New("too short to be encrypted")
	}
	return a.Open(nil, sealed[:a.NonceSize()], sealed[a.NonceSize():], about)
}

// writeAtomic makes a file that is there as a whole or not at all. The name it
// is written under is fixed: what a kill has left of a key in plain goes with the
// next write.
func writeAtomic(path string, data []byte) error {
	tmp, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // does nothing once renamed
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
