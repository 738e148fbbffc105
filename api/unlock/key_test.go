package unlock_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/unlock"
)

func TestAKeyIsReadAsItIsWritten(t *testing.T) {
	k := unlock.New()
	text := k.String()
	if !strings.HasPrefix(text, "SWMKEY-1-") || len(text) != len("SWMKEY-1-")+43 {
		t.Fatalf("%q has not the form of Docker Swarm's keys", text)
	}
	again, err := unlock.Parse(" " + text + "\n") // as it comes from a pipe
	if err != nil || !again.Equal(k) {
		t.Errorf("parsed %v: %v", again, err)
	}
	if none := unlock.Key(nil); none.String() != "" || none.Equal(k) || k.Equal(unlock.New()) {
		t.Error("keys are not told apart")
	}
}

// One that Docker Swarm 20.10 made.
func TestDockersKeyIsRead(t *testing.T) {
	const theirs = "SWMKEY-1-pDs+KWV/F0fmrhG1HY+rOjRR0ShNcsTDAji9XZ8ZVdg"
	k, err := unlock.Parse(theirs)
	if err != nil || k.String() != theirs {
		t.Errorf("%v, %v", k, err)
	}
}

func TestWhatIsNoKeyIsRefusedAndNotRepeated(t *testing.T) {
	good := unlock.New().String()
	for _, bad := range []string{"", "x", good[9:], good[:40], good + "A", strings.Replace(good, "-1-", "-2-", 1), good[:51] + "!", good + "="} {
		_, err := unlock.Parse(bad)
		if !errors.Is(err, api.ErrInvalid) || !strings.Contains(err.Error(), "unlock-key") || len(bad) > 9 && strings.Contains(err.Error(), bad[9:]) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestOnlyTheKeyOpensWhatItSealed(t *testing.T) {
	k, plain := unlock.New(), []byte("secret")
	sealed := k.Seal(plain, "a key")
	if bytes.Contains(sealed, plain) || bytes.Equal(sealed, k.Seal(plain, "a key")) {
		t.Error("not sealed")
	}
	if got, err := k.Open(sealed, "a key"); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%q, %v", got, err)
	}
	flipped := bytes.Clone(sealed)
	flipped[len(flipped)-1] ^= 1
	for name, open := range map[string]func() ([]byte, error){
		"another key":    func() ([]byte, error) { return unlock.New().Open(sealed, "a key") },
		"another object": func() ([]byte, error) { return k.Open(sealed, "a log") },
		"a bit flipped":  func() ([]byte, error) { return k.Open(flipped, "a key") },
		"cut short":      func() ([]byte, error) { return k.Open(sealed[:5], "a key") },
	} {
		if got, err := open(); err == nil {
			t.Errorf("%s: opened %q", name, got)
		}
	}
}
