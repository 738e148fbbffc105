package identity

import (
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/api"
)

// A token is taken or refused as invalid, and never told to whoever reads the
// refusal.
func FuzzCheckToken(f *testing.F) {
	token := NewToken([]byte("root"))
	for _, s := range []string{token, token[:40], token + "x", "SWMTKN-2-" + token[9:], "SWMTKN", "", "--------", strings.ToUpper(token), strings.Repeat("z", len(token)), "SWMTKN-1-" + strings.Repeat("z", 50) + "-" + strings.Repeat("z", 25)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		err := CheckToken(s)
		if err == nil {
			if !SameToken(s, s) || TokenPins(s, []byte("root")) != (strings.Split(s, "-")[2] == strings.Split(token, "-")[2]) {
				t.Errorf("%q is not the token that it is", s)
			}
			return
		}
		if api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%q: %v has code %s", s, err, api.CodeOf(err))
		}
		if secret := s[strings.LastIndexByte(s, '-')+1:]; len(secret) > 10 && strings.Contains(err.Error(), secret) {
			t.Errorf("%q: the refusal tells the secret: %v", s, err)
		}
	})
}
