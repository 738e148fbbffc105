package unlock

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/swarmctl/swarmctl/api"
)

// Key is an unlock key of 256 bits. A nil Key is none: nothing is locked.
type Key []byte

// A key is written as SWMKEY-1-<the key in base64>.
const prefix = "SWMKEY-1-"

// New makes a key.
func New() Key {
	k := make(Key, chacha20poly1305.KeySize)
	_, _ = rand.Read(k) // never fails: crypto/rand ends the program instead
	return k
}

// Parse is the inverse of String. Its errors have code invalid and never
// repeat the key.
func Parse(text string) (Key, error) {
	digits, ok := strings.CutPrefix(strings.TrimSpace(text), prefix)
	k, err := base64.RawStdEncoding.DecodeString(digits)
	if !ok || err != nil || len(k) != chacha20poly1305.KeySize {
		return nil, api.Errorf(api.CodeInvalid, "invalid key string: an unlock key is %s and %d characters: `swarmctl unlock-key` on a manager that is not locked shows it", prefix, base64.RawStdEncoding.EncodedLen(chacha20poly1305.KeySize))
	}
	return k, nil
}

// String is what the operator keeps; it is empty where there is no key.
func (k Key) String() string {
	if k == nil {
		return ""
	}
	return prefix + base64.RawStdEncoding.EncodeToString(k)
}

// Equal reports whether two keys are the same, or both none.
func (k Key) Equal(o Key) bool { return bytes.Equal(k, o) }

// Seal encrypts what only the key shall open, bound to what it is about.
func (k Key) Seal(plain []byte, about string) []byte {
	a := k.aead()
	nonce := make([]byte, a.NonceSize(), a.NonceSize()+len(plain)+a.Overhead())
	_, _ = rand.Read(nonce)
	return a.Seal(nonce, nonce, plain, []byte(about))
}

var errDoesNotOpen = errors.New("it was sealed with another key, or is damaged")

// Open is the inverse of Seal.
func (k Key) Open(sealed []byte, about string) ([]byte, error) {
	a := k.aead()
	if len(sealed) < a.NonceSize() {
		return nil, errDoesNotOpen
	}
	plain, err := a.Open(nil, sealed[:a.NonceSize()], sealed[a.NonceSize():], []byte(about))
	if err != nil {
		return nil, errDoesNotOpen
	}
	return plain, nil
}

func (k Key) aead() cipher.AEAD {
	a, err := chacha20poly1305.NewX(k)
	if err != nil {
		panic(err) // a key of another size: Parse and New make none
	}
	return a
}
