package identity_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/unlock"
)

func TestASealedIdentityOpensWithItsKeyAlone(t *testing.T) {
	dir, key := t.TempDir(), unlock.New()
	manager := newRoot(t).issue(t, "c1", identity.Manager, time.Now())
	must(t, manager.Save(dir, key))
	got, err := identity.Load(dir, key)
	must(t, err)
	if got.Peer != manager.Peer {
		t.Errorf("loaded %+v", got.Peer)
	}
	if _, err := identity.Load(dir, nil); !errors.Is(err, identity.ErrLocked) {
		t.Errorf("without a key: %v", err)
	}
	if _, err := identity.Load(dir, unlock.New()); !errors.Is(err, identity.ErrWrongKey) {
		t.Errorf("with another key: %v", err)
	}
	if peer, err := identity.PeerOn(dir); err != nil || peer != manager.Peer {
		t.Errorf("who it is, locked: %+v, %v", peer, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "node/identity.pem"))
	must(t, err)
	if bytes.Contains(text, []byte("BEGIN EC PRIVATE KEY")) {
		t.Errorf("the key is in plain:\n%s", text)
	}
}

// TestManagersAreSealedAndWorkersAreNot follows a node through its roles, as
// its source keeps it on disk.
func TestManagersAreSealedAndWorkersAreNot(t *testing.T) {
	root, dir, first, second := newRoot(t), t.TempDir(), unlock.New(), unlock.New()
	as := func(role identity.Role) *identity.Identity { return root.issue(t, "c1", role, time.Now()) }
	src := identity.NewSource(as(identity.Worker), dir, first)
	opens := func(when string, want unlock.Key) {
		t.Helper()
		if !src.Key().Equal(want) {
			t.Errorf("%s: the source seals with %q", when, src.Key())
		}
		for name, key := range map[string]unlock.Key{"none": nil, "first": first, "second": second} {
			id, err := identity.Load(dir, key)
			opened := err == nil && id.Peer == src.Current().Peer
			if opened != (want == nil || key.Equal(want)) {
				t.Errorf("%s: with the key %q: %v", when, name, err)
			}
		}
	}
	must(t, src.Save())
	opens("joined as a worker", nil)
	must(t, src.Set(as(identity.Worker), first))
	opens("renewed as a worker", nil)
	must(t, src.Set(as(identity.Manager), first))
	opens("promoted", first)
	must(t, src.Set(as(identity.Manager), second)) // a manager that lags may still tell an old key
	opens("renewed as a manager", first)
	must(t, src.Seal(second))
	opens("the key has changed", second)
	must(t, src.Trust(src.Current().TrustPEM()))
	opens("the roots were looked at", second)
	must(t, src.Set(as(identity.Worker), second))
	opens("demoted", nil)
	must(t, src.Seal(second))
	opens("told the key as a worker", nil)
}

func TestSealingAnewKeepsTheIdentityAndCutsNoConnection(t *testing.T) {
	src := identity.NewSource(newRoot(t).issue(t, "c1", identity.Manager, time.Now()), t.TempDir(), nil)
	before, changed := src.Watch()
	must(t, src.Seal(unlock.New()))
	select {
	case <-changed:
		t.Error("those who use the identity were told of another one")
	default:
	}
	if src.Current() != before {
		t.Error("it is another identity")
	}
}
