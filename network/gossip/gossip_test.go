package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// town is a place for nodes: a port of the loopback, and an address a node.
type town struct {
	t    *testing.T
	port int
	n    int
}

func newTown(t *testing.T) *town {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return &town{t: t, port: l.Addr().(*net.TCPAddr).Port}
}

func (w *town) config(addr, cluster string) Config {
	return Config{
		NodeID: api.NodeID("node-" + addr), ClusterID: cluster, Port: w.port, BindAddr: addr, AdvertiseAddr: addr,
		Keys: [][]byte{key('a')}, Log: slog.New(slog.DiscardHandler),
		// Ten times as fast as in life.
		Timing: func() Timing {
			t := DefaultTiming()
			t.ProbeInterval, t.ProbeTimeout, t.Suspicion = 50*time.Millisecond, 20*time.Millisecond, 300*time.Millisecond
			t.GossipInterval, t.NudgeInterval, t.RecallInterval = 20*time.Millisecond, 20*time.Millisecond, 50*time.Millisecond
			t.KnockTimeout = 100 * time.Millisecond
			return t
		}(),
	}
}

// settle starts a node and returns it with what ends it: its power goes off.
func (w *town) settle(cluster string, with ...*Gossip) (*Gossip, func()) {
	w.n++
	return w.settleAt(fmt.Sprintf("127.0.9.%d", w.n), cluster, with...)
}

func (w *town) settleAt(addr, cluster string, with ...*Gossip) (*Gossip, func()) {
	g, err := New(w.config(addr, cluster))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range with {
		g.Join(o.list.LocalNode().Address())
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	off := func() {
		cancel()
		if err, ok := <-done; ok && err != nil {
			w.t.Error(err)
		}
		close(done)
	}
	var once bool
	stop := func() {
		if !once {
			once = true
			off()
		}
	}
	w.t.Cleanup(stop)
	return g, stop
}

// sees waits until g sees the other in the state, and returns it.
func sees(t *testing.T, g, other *Gossip, want State) Member {
	t.Helper()
	return waitFor(t, g, func(m Member) bool { return m.NodeID == other.cfg.NodeID && m.State == want })
}

func waitFor(t *testing.T, g *Gossip, ok func(Member) bool) Member {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		changed := g.Changed()
		for _, m := range g.Members() {
			if ok(m) {
				return m
			}
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("never happened; members of %s: %+v", g.cfg.NodeID, g.Members())
		}
	}
}

func TestANodeThatLosesPowerIsSuspectThenDeadThenAliveAgain(t *testing.T) {
	w := newTown(t)
	a, _ := w.settle("c1")
	b, _ := w.settle("c1", a)
	c, off := w.settle("c1", a)
	sees(t, a, c, Alive)
	sees(t, b, c, Alive)
	off()
	sees(t, a, c, Suspect)
	sees(t, a, c, Dead)
	sees(t, b, c, Dead)

	// It comes back and asks nobody to let it in: the others call it.
	c, _ = w.settleAt("127.0.9.3", "c1")
	sees(t, a, c, Alive)
	sees(t, b, c, Alive)
	sees(t, c, a, Alive)
}

func TestANodeThatLeavesIsNotDead(t *testing.T) {
	w := newTown(t)
	a, _ := w.settle("c1")
	b, off := w.settle("c1", a)
	sees(t, a, b, Alive)
	if err := b.Leave(); err != nil {
		t.Fatal(err)
	}
	sees(t, a, b, Left)
	off()
}

func TestMetaTravels(t *testing.T) {
	w := newTown(t)
	a, _ := w.settle("c1")
	b, _ := w.settle("c1", a)
	sees(t, a, b, Alive)
	b.SetMeta(Meta{Role: "manager", Addr: "10.0.0.2:2377"})
	waitFor(t, a, func(m Member) bool {
		return m.NodeID == b.cfg.NodeID && m.Meta == Meta{Role: "manager", Addr: "10.0.0.2:2377"}
	})
}

func TestKeysChangeWhileItRuns(t *testing.T) {
	w := newTown(t)
	a, _ := w.settle("c1")
	b, _ := w.settle("c1", a)
	sees(t, a, b, Alive)
	for _, keys := range [][][]byte{{key('a'), key('b')}, {key('b'), key('a')}, {key('b')}} {
		for _, g := range []*Gossip{a, b} {
			if err := g.SetKeys(keys); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.SetMeta(Meta{Addr: "said with the new key"})
	waitFor(t, a, func(m Member) bool { return m.Meta.Addr == "said with the new key" })
	if err := a.SetKeys(nil); err == nil {
		t.Error("gossip without a key was accepted")
	}
}

func TestClustersNeverMerge(t *testing.T) {
	w := newTown(t)
	a, _ := w.settle("c1")
	b, _ := w.settle("c2")
	if _, err := b.list.Join([]string{a.list.LocalNode().Address()}); err == nil {
		t.Error("a node of another cluster was let in")
	}
	if len(a.Members()) != 1 || len(b.Members()) != 1 {
		t.Errorf("%v, %v", a.Members(), b.Members())
	}
}

func TestATakenPortIsNamed(t *testing.T) {
	w := newTown(t)
	w.settleAt("127.0.9.1", "c1")
	_, err := New(w.config("127.0.9.1", "c1"))
	if !errors.Is(err, api.ErrUnavailable) || !strings.Contains(err.Error(), fmt.Sprintf("port %d", w.port)) || !strings.Contains(err.Error(), "docker swarm leave") {
		t.Error(err)
	}
}

func TestSuspicionIsNeverShorter(t *testing.T) {
	timing := DefaultTiming()
	for n, want := range map[int]int{0: 9, 1: 9, 5: 9, 10: 9, 30: 7, 40: 6, 100: 5, 300: 4, 1000: 3, 10000: 3} {
		if got := timing.multiplier(n); got != want {
			t.Errorf("%d nodes: multiplier %d, want %d", n, got, want)
		}
	}
}

func TestTimingNamesTheBadField(t *testing.T) {
	if err := DefaultTiming().Validate(); err != nil {
		t.Fatal(err)
	}
	for field, spoil := range map[string]func(*Timing){
		"ProbeTimeout": func(t *Timing) { t.ProbeTimeout = 150 * time.Millisecond },
		"Suspicion":    func(t *Timing) { t.Suspicion = t.ProbeInterval },
		"RecallSlow":   func(t *Timing) { t.RecallSlow = 0 },
		"SuspicionMax": func(t *Timing) { t.SuspicionMax = 0 },
		"KnockTimeout": func(t *Timing) { t.KnockTimeout = t.Suspicion },
	} {
		timing := DefaultTiming()
		spoil(&timing)
		if err := timing.Validate(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestCallsAreReadBack(t *testing.T) {
	c := call{callDead, "me", "you", "10.0.0.1:7946"}
	if got, ok := decodeCall(c.encode()); !ok || got != c {
		t.Errorf("%+v, %v", got, ok)
	}
	for _, bad := range []string{"", "s", "x\x00\x00", "sme\x00you", "sa\x00b\x00c\x00d"} {
		if got, ok := decodeCall([]byte(bad)); ok {
			t.Errorf("%q was read as %+v", bad, got)
		}
	}
}
