package gossip

import (
	"context"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
)

// saying waits until g sees the other in the state, and its host saying so.
func saying(t *testing.T, g, other *Gossip, state State, host Host) {
	t.Helper()
	waitFor(t, g, func(m Member) bool { return m.NodeID == other.cfg.NodeID && m.State == state && m.Host == host })
}

func TestADaemonThatIsKilledIsToldFromAHostThatIsSilent(t *testing.T) {
	w := newTown(t)
	a, _ := w.settle("c1")
	b, off := w.settle("c1", a)
	sees(t, a, b, Alive)
	off()
	saying(t, a, b, Suspect, HostRefuses) // within the suspicion: a death is decided on no later
	saying(t, a, b, Dead, HostRefuses)

	b, off = w.settleAt("127.0.9.2", "c1")
	saying(t, a, b, Alive, HostUnasked)

	off()
	saying(t, a, b, Dead, HostRefuses)
	deaf(t, a.cfg, b.list.LocalNode().Address()) // then the host loses its power
	saying(t, a, b, Dead, HostSilent)
}

func TestWhatAHostSays(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	ask := func(want Host) {
		t.Helper()
		if got := knockAt(t.Context(), addr, 100*time.Millisecond); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	ask(HostListens)
	_ = l.Close()
	ask(HostRefuses)
	deaf(t, Config{}, addr)
	ask(HostSilent)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if got := knockAt(over, addr, time.Hour); got != HostUnasked {
		t.Errorf("%v though nobody waited for the answer", got)
	}
}

// deaf makes the address one that answers nothing: its queue of connections is full, so
// the kernel drops what else comes.
func deaf(t *testing.T, c Config, addr string) {
	t.Helper()
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: tcp.Port, Addr: [4]byte(tcp.IP.To4())}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if knockAt(t.Context(), addr, max(c.Timing.KnockTimeout, 100*time.Millisecond)) == HostSilent {
			return
		}
	}
	t.Fatal("it still accepts connections")
}

func TestARefusalIsTakenBackByTwoSilences(t *testing.T) {
	names := map[byte]Host{'r': HostRefuses, 's': HostSilent, 'l': HostListens, '?': HostUnasked}
	for answers, want := range map[string]Host{
		"":        HostUnasked,
		"?":       HostUnasked,
		"s":       HostSilent,
		"r":       HostRefuses,
		"l":       HostListens,
		"sr":      HostRefuses,
		"rs":      HostRefuses,
		"rss":     HostSilent,
		"rs?s":    HostSilent,
		"rsrs":    HostRefuses,
		"rlll":    HostRefuses, // a daemon starts
		"rls":     HostRefuses,
		"rlss":    HostSilent,
		"rssl":    HostListens,
		"l?":      HostListens,
		"ls":      HostSilent,
		"rssrs":   HostRefuses,
		"sssssrs": HostRefuses,
	} {
		var d door
		host := HostUnasked
		for _, a := range []byte(answers) {
			host = d.hear(host, names[a])
		}
		if host != want {
			t.Errorf("%q: %v, want %v", answers, host, want)
		}
	}
}

func TestInLargeClustersOnlyManagersKnock(t *testing.T) {
	g := &Gossip{cfg: Config{Timing: DefaultTiming()}, members: map[api.NodeID]*entry{}}
	for _, id := range strings.Split("abcdefgh", "") {
		g.members[api.NodeID(id)] = &entry{}
	}
	if !g.knocks() {
		t.Error("in a small cluster not everybody knocks")
	}
	g.members["i"] = &entry{}
	if g.knocks() {
		t.Error("in a large cluster a node that is no manager knocks")
	}
	g.meta.Role = identity.Manager
	if !g.knocks() {
		t.Error("in a large cluster a manager does not knock")
	}
}
