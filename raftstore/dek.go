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
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

// The data key encrypts the log and the snapshots. It lies beside them, and
// protects them where they are copied without it; a key-encryption key, which
// the operator keeps elsewhere, protects it in turn.
const (
	keySize   = chacha20poly1305.KeySize
	keyFile   = "dek"
	keyFormat = "swarmctl-dek-1"
)

// loadKey reads the data key, or makes one where fresh is true and there is none.
func loadKey(dir string, kek []byte, fresh bool) ([]byte, error) {
	path := filepath.Join(dir, keyFile)
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		return parseKey(path, string(text), kek)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read the data key: %w", err)
	case !fresh:
		return nil, fmt.Errorf("%s is missing, and without it the data in %s cannot be read: put it back, or leave the cluster with force and join again", path, dir)
	}
	dek := make([]byte, keySize)
	_, _ = rand.Read(dek) // never fails: crypto/rand ends the program instead
	if err := writeAtomic(path, formatKey(dek, kek)); err != nil {
		return nil, fmt.Errorf("save the data key: %w", err)
	}
	return dek, nil
}

func formatKey(dek, kek []byte) []byte {
	kind, body := "plain", dek
	if kek != nil {
		kind, body = "sealed", seal(aead(kek), dek, []byte(keyFormat))
	}
	return []byte(keyFormat + " " + kind + " " + base64.StdEncoding.EncodeToString(body) + "\n")
}

func parseKey(path, text string, kek []byte) ([]byte, error) {
	fields := strings.Fields(text)
	if len(fields) != 3 || fields[0] != keyFormat {
		return nil, fmt.Errorf("%s is not a data key of this program: put the right file back", path)
	}
	body, err := base64.StdEncoding.DecodeString(fields[2])
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if fields[1] == "sealed" {
		if kek == nil {
			return nil, fmt.Errorf("%s is locked: unlock it with the cluster's unlock key", path)
		}
		if body, err = open(aead(kek), body, []byte(keyFormat)); err != nil {
			return nil, fmt.Errorf("%s does not open with this unlock key: check the key", path)
		}
	}
	if len(body) != keySize {
		return nil, fmt.Errorf("%s is damaged: it holds %d bytes, not %d", path, len(body), keySize)
	}
	return body, nil
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

// writeAtomic makes a file that is there as a whole or not at all.
func writeAtomic(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
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
