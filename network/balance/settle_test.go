package balance

import (
	"net"
	"testing"
	"time"
)

// A server that is told to stop closes its listening socket, and what is in its
// queue is reset.
func TestAContainerSettlesWhenItHasAcceptedWhatWasUnderWay(t *testing.T) {
	l := newLAN(t, 2)
	server, caller := l.tasks[0], l.tasks[1]
	for _, address := range []string{l.at(0).Addrs[0].String(), l.at(0).Addrs[1].String()} {
		var at net.Listener
		err := server.Do(func() (err error) {
			at, err = net.Listen("tcp", net.JoinHostPort(address, "81")) // nobody accepts yet
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer at.Close()
		if err := l.b.Settle(t.Context(), server.Name); err != nil {
			t.Fatal(err)
		}
		call, err := caller.Dial("tcp", at.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer call.Close()
		start, settled := time.Now(), make(chan error, 1)
		go func() { settled <- l.b.Settle(t.Context(), server.Name) }()
		select {
		case err := <-settled:
			if waited := time.Since(start); waited < settlePatience {
				t.Fatalf("settled after %s with a connection in the queue: %v", waited, err)
			}
		case <-time.After(underWay + 5*settleLook):
		}
		accepted, err := at.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		if err := <-settled; err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhoNeverAcceptsIsNotWaitedForLong(t *testing.T) {
	l := newLAN(t, 2)
	var at net.Listener
	err := l.tasks[0].Do(func() (err error) {
		at, err = net.Listen("tcp", ":81")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	call, err := l.tasks[1].Dial("tcp", net.JoinHostPort(l.at(0).Addrs[0].String(), "81"))
	if err != nil {
		t.Fatal(err)
	}
	defer call.Close()
	start := time.Now()
	if err := l.b.Settle(t.Context(), l.tasks[0].Name); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(start); waited < settlePatience {
		t.Errorf("gave up after %s, want %s", waited, settlePatience)
	}
	if err := l.b.Settle(t.Context(), "unknown"); err != nil {
		t.Errorf("a container that it has no charge of: %v", err)
	}
}
