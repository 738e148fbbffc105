package identity_test

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
)

func TestSavedIdentityIsWholeWhateverWasCutOff(t *testing.T) {
	dir := t.TempDir()
	if _, err := identity.Load(dir, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Load of a stranger: %v", err)
	}
	root := newRoot(t)
	first := root.issue(t, "c1", identity.Worker, time.Now())
	must(t, first.Save(dir, nil))

	// A save that was cut off leaves a half-written file beside; it is not read
	// and does not hinder the next save.
	must(t, os.WriteFile(filepath.Join(dir, "node/identity.pem.new"), []byte("-----BEGIN EC PRIV"), 0o600))
	got, err := identity.Load(dir, nil)
	must(t, err)
	if got.Peer != first.Peer {
		t.Fatalf("loaded %+v, saved %+v", got.Peer, first.Peer)
	}
	second := root.issue(t, "c1", identity.Manager, time.Now())
	must(t, second.Save(dir, nil))
	if got, err = identity.Load(dir, nil); err != nil || got.Peer != second.Peer {
		t.Fatalf("loaded %+v, %v", got, err)
	}
	info, err := os.Stat(filepath.Join(dir, "node/identity.pem"))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestDamagedIdentityNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	must(t, newRoot(t).issue(t, "c1", identity.Worker, time.Now()).Save(dir, nil))
	path := filepath.Join(dir, "node/identity.pem")
	text, err := os.ReadFile(path)
	must(t, err)
	for cut := 0; cut < len(text)-40; cut += 37 {
		must(t, os.WriteFile(path, text[:cut], 0o600))
		if _, err := identity.Load(dir, nil); err == nil || !strings.Contains(err.Error(), path) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
}

func TestJoinKeyOutlivesACutOffJoin(t *testing.T) {
	dir := t.TempDir()
	a, err := identity.JoinKey(dir)
	must(t, err)
	b, err := identity.JoinKey(dir)
	must(t, err)
	if !a.Equal(b) || identity.NodeIDOf(&a.PublicKey) != identity.NodeIDOf(&b.PublicKey) {
		t.Error("two tries to join have two keys")
	}
	must(t, newRoot(t).issue(t, "c1", identity.Worker, time.Now()).Save(dir, nil))
	c, err := identity.JoinKey(dir)
	must(t, err)
	if a.Equal(c) {
		t.Error("the join key outlived the join")
	}
}

func TestHandshakes(t *testing.T) {
	ours, theirs := newRoot(t), newRoot(t)
	now, day := time.Now(), 24*time.Hour
	manager := ours.issue(t, "c1", identity.Manager, now)
	worker := ours.issue(t, "c1", identity.Worker, now)
	cases := []struct {
		name           string
		server, client *identity.Identity
		bad            string
	}{
		{name: "worker to manager", server: manager, client: worker},
		{name: "manager to manager", server: manager, client: manager},
		{name: "worker to worker", server: worker, client: worker, bad: "not swarm-manager"},
		{name: "of another cluster", server: theirs.issue(t, "c2", identity.Manager, now), client: worker, bad: "unknown authority"},
		{name: "made by a clock two days ahead", server: ours.issue(t, "c1", identity.Manager, now.Add(2*day)), client: worker},
		{name: "life ended a day ago by this clock", server: ours.issue(t, "c1", identity.Manager, now.Add(-2*day)), client: worker},
		{name: "expired for long", server: ours.issue(t, "c1", identity.Manager, now.Add(-5*day)), client: worker, bad: "expired"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			peer, err := handshake(t, source(t, c.server), source(t, c.client).ClientConfig("h2"))
			switch {
			case c.bad == "" && err != nil:
				t.Fatal(err)
			case c.bad == "" && peer != c.client.Peer:
				t.Fatalf("peer is %+v", peer)
			case c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)):
				t.Fatalf("error %v, want one with %q", err, c.bad)
			}
		})
	}
	t.Run("a stranger is let in and is nobody", func(t *testing.T) {
		_, err := handshake(t, source(t, manager), identity.StrangerConfig(manager.RootPEM(), "h2"))
		if !errors.Is(err, api.ErrForbidden) {
			t.Fatal(err)
		}
	})
	t.Run("a renewed certificate serves the next connection", func(t *testing.T) {
		src := source(t, worker)
		conf := src.ClientConfig("h2")
		_, changed := src.Watch()
		next := ours.issue(t, "c1", identity.Manager, now)
		must(t, src.Set(next, nil))
		<-changed
		if peer, err := handshake(t, source(t, manager), conf); err != nil || peer != next.Peer {
			t.Fatalf("%+v, %v", peer, err)
		}
	})
}

// source holds an identity in a directory of its own.
func source(t *testing.T, id *identity.Identity) *identity.Source {
	return identity.NewSource(id, t.TempDir(), nil)
}

// handshake returns what the server learns of the client.
func handshake(t *testing.T, server *identity.Source, client *tls.Config) (identity.Peer, error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s, c := tls.Server(a, server.ServerConfig("h2")), tls.Client(b, client)
	failed := make(chan error, 1)
	go func() { failed <- s.Handshake(); a.SetDeadline(time.Unix(1, 0)) }()
	if err := c.Handshake(); err != nil {
		return identity.Peer{}, err
	}
	if err := <-failed; err != nil {
		return identity.Peer{}, err
	}
	return identity.PeerFrom(s.ConnectionState())
}

func TestRenewIn(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	id := newRoot(t).issue(t, "c1", identity.Worker, now) // lives for 24 hours
	for _, c := range []struct {
		after time.Duration
		share float64
		want  time.Duration
	}{
		{0, 0, 12 * time.Hour},
		{0, 1, 19*time.Hour + 12*time.Minute},
		{10 * time.Hour, 0, 2 * time.Hour},
		{13 * time.Hour, 0, 0},
		{-48 * time.Hour, 0, 12 * time.Hour}, // the clock is two days behind
	} {
		if got := id.RenewIn(now.Add(c.after), c.share); (got - c.want).Abs() > time.Second {
			t.Errorf("after %v, share %v: %v, want %v", c.after, c.share, got, c.want)
		}
	}
}

func TestCheckToken(t *testing.T) {
	root := newRoot(t)
	good := identity.NewToken(root.pem)
	must(t, identity.CheckToken(good))
	if !identity.TokenPins(good, root.pem) || identity.TokenPins(good, newRoot(t).pem) {
		t.Error("the token does not pin its root")
	}
	if len(good) != 85 || good == identity.NewToken(root.pem) || identity.SameToken("", "") {
		t.Error("token", good)
	}
	// One that Docker Swarm made.
	must(t, identity.CheckToken("SWMTKN-1-1h8aps2yszaiqmz2l3oc5392pgk8e49qhx2aj3nyv0ui0hez2a-6qmn92w6bu3jdvnglku58u11a"))
	for bad, want := range map[string]string{
		"":                    "it is empty",
		"hello":               "must begin with SWMTKN-1-",
		"SWMTKN":              "cut short",
		good[:60]:             "cut short: 60 characters instead of 85",
		good + "x":            "too long",
		"SWMTKN-2" + good[8:]: `version is "2"`,
		strings.ToUpper(good): "no digest",
		good[:84] + "-":       "<50 characters>",
		good[:9] + strings.Repeat("z", 50) + good[59:]: "no digest",
		good[:60] + strings.Repeat("z", 25):            "no secret",
	} {
		err := identity.CheckToken(bad)
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, api.ErrInvalid) {
			t.Errorf("%q: %v, want %q", bad, err, want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
