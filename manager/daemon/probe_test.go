package daemon

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
)

// Packets go out as large as they are asked for, are answered by the kernel at
// the other end, and are not cut to fit.
func TestEchoRequestsAreAnsweredAndNeverCut(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, to := range []string{"127.0.0.1", "::1"} {
		for _, size := range []int{smallPacket, 1450, 9000} {
			if took, err := echo(ctx, "lo", size, netip.MustParseAddr(to)); err != nil || took <= 0 {
				t.Errorf("%s, %d bytes: %s, %v", to, size, took, err)
			}
		}
	}
	if _, err := echo(ctx, "lo", 65535+100, netip.MustParseAddr("127.0.0.1")); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("a packet that does not fit: %v", err)
	}
}

func TestANodeWithoutTheNetworkSaysSo(t *testing.T) {
	if _, _, err := (prober{}).Reach(t.Context(), "nosuchnetwork", netip.MustParseAddr("127.0.0.1")); err == nil || err.Error() != "this node has no part of the network" {
		t.Error(err)
	}
	var texts []string
	for _, s := range (prober{&Daemon{}}).Look(t.Context(), &api.TraceRequest{Network: "nosuchnetwork", Published: []string{"1/tcp", "1/udp"}}) {
		if s.OK {
			t.Errorf("%+v", s)
		}
		texts = append(texts, s.Text)
	}
	want := "there is no interface sw-nosuchnetw: the daemon's log says why\nthere is no interface swx-nosuchnetw: the daemon's log says why\n" +
		"nothing answers at 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused"
	if got := strings.Join(texts, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
