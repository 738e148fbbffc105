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

// What a starved host's kernel still had to send comes late.
func TestAContainerSettlesWhenNothingNewComes(t *testing.T) {
	l := newLAN(t, 2)
	server, caller := l.tasks[0], l.tasks[1]
	server.Serve(81)
	to := net.JoinHostPort(l.at(0).Addrs[0].String(), "81")
	settled := make(chan time.Time, 1)
	var last time.Time
	longest := time.Duration(0) // that nothing came, for want of time of the caller
	for begin := time.Now(); time.Since(begin) < 6*underWay; {
		at := time.Now()
		c, err := caller.Dial("tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if last.IsZero() {
			go func() {
				if err := l.b.Settle(t.Context(), server.Name); err != nil {
					t.Error(err)
				}
				settled <- time.Now()
			}()
			last = at
		}
		longest, last = max(longest, time.Since(last)), at
	}
	if early := last.Sub(<-settled); early > -underWay && longest < underWay {
		t.Errorf("settled %s after somebody called, want %s", -early, underWay)
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
