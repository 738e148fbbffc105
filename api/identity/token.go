package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"math/big"
	"strings"

	"github.com/swarmctl/swarmctl/api"
)

// A join token is SWMTKN-1-<digest>-<secret>, as in Docker Swarm: the digest is
// the SHA-256 of the root certificate's PEM text, 256 bits in 50 digits of base
// 36; the secret is 128 random bits in 25.
const (
	tokenPrefix  = "SWMTKN"
	tokenVersion = "1"
	// versionDigits is the most that a version can have: what is longer in its
	// place may be the secret, which no error repeats.
	versionDigits = 4
	digestDigits  = 50
	secretDigits  = 25
	tokenLength   = len(tokenPrefix) + 1 + len(tokenVersion) + 1 + digestDigits + 1 + secretDigits
)

// NewToken makes a join token with a new secret for the cluster of that root.
func NewToken(rootPEM []byte) string {
	var secret [16]byte
	_, _ = rand.Read(secret[:]) // never fails: crypto/rand ends the program instead
	return strings.Join([]string{tokenPrefix, tokenVersion, digestOf(rootPEM), base36(secret[:], secretDigits)}, "-")
}

// CheckToken says what is wrong with the form of a token, if anything. Its
// errors have code invalid and never repeat the secret.
func CheckToken(token string) error {
	bad := func(format string, args ...any) error {
		return api.Errorf(api.CodeInvalid, "invalid join token: "+format+": copy it again from `swarmctl join-token worker` on a manager", args...)
	}
	parts := strings.Split(token, "-")
	switch {
	case token == "":
		return bad("it is empty")
	case parts[0] != tokenPrefix:
		return bad("it must begin with %s-%s-", tokenPrefix, tokenVersion)
	case len(parts) > 2 && parts[1] != tokenVersion && len(parts[1]) <= versionDigits:
		return bad("its version is %q and only %q is known here", parts[1], tokenVersion)
	case len(token) < tokenLength:
		return bad("it is cut short: %d characters instead of %d", len(token), tokenLength)
	case len(token) > tokenLength:
		return bad("it is too long: %d characters instead of %d", len(token), tokenLength)
	case len(parts) != 4 || parts[1] != tokenVersion || len(parts[2]) != digestDigits:
		return bad("it must be %s-%s-<%d characters>-<%d characters>", tokenPrefix, tokenVersion, digestDigits, secretDigits)
	case !isBase36(parts[2], 256):
		return bad("its third part is no digest of a certificate")
	case !isBase36(parts[3], 128):
		return bad("its last part is no secret that a manager made")
	}
	return nil
}

// TokenPins reports whether the token belongs to the cluster of that root. The
// token must have passed CheckToken.
func TokenPins(token string, rootPEM []byte) bool {
	return strings.Split(token, "-")[2] == digestOf(rootPEM)
}

// SameToken compares two tokens in a time that tells nothing of where they differ.
func SameToken(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

func digestOf(rootPEM []byte) string {
	sum := sha256.Sum256(rootPEM)
	return base36(sum[:], digestDigits)
}

func base36(bits []byte, digits int) string {
	s := new(big.Int).SetBytes(bits).Text(36)
	return strings.Repeat("0", digits-len(s)) + s
}

func isBase36(s string, bits int) bool {
	if strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
		return false
	}
	n, ok := new(big.Int).SetString(s, 36)
	return ok && n.BitLen() <= bits
}
