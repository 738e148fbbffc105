package ingress

import (
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/nft/world"
)

// forwarded is how many packets our chain has let through on a host.
func (l *lab) forwarded(host int) int {
	l.t.Helper()
	return l.accepted(host, chain, "")
}

// again is how many first packets have been sent to the gate, to come in once more.
func (l *lab) again(host int) int {
	l.t.Helper()
	return l.accepted(host, "OUTPUT", " "+gateName+" ")
}

// accepted is how many packets have passed the accepting rules of a chain of iptables.
func (l *lab) accepted(host int, chain, with string) (n int) {
	l.t.Helper()
	for line := range strings.Lines(l.hosts[host].Run("iptables", "-n", "-v", "-x", "-L", chain)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "ACCEPT" && strings.Contains(line, with) {
			count, err := strconv.Atoi(fields[0])
			if err != nil {
				l.t.Fatal(err)
			}
			n += count
		}
	}
	return n
}

// exchange asks on a connection again and again.
func (l *lab) exchange(c net.Conn, times int) {
	l.t.Helper()
	for range times {
		if server, client, err := world.Again(c); err != nil || client != "10.77.0.254" {
			l.t.Fatalf("%s sees %s: %v", server, client, err)
		}
	}
}

// tracked is what a host's kernel says of the connections from a port.
func (l *lab) tracked(host int, port string) string {
	l.t.Helper()
	var table []byte
	err := l.hosts[host].Do(func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/nf_conntrack")
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, " sport="+port+" ") {
			return line
		}
	}
	return ""
}

// left is for how long a host tracks the connection from a port if nothing is heard of it.
func (l *lab) left(host int, port string) time.Duration {
	l.t.Helper()
	line := l.tracked(host, port)
	if line == "" {
		return 0
	}
	seconds, err := strconv.Atoi(strings.Fields(line)[4])
	if err != nil {
		l.t.Fatalf("%q: %v", line, err)
	}
	return time.Duration(seconds) * time.Second
}

// until waits for what the kernel does in its own time, and for what is looked for.
func (l *lab) until(what string, yes func() bool) {
	l.t.Helper()
	for start := time.Now(); !yes(); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > 5*lookAgain {
			l.t.Fatalf("not so: %s", what)
		}
	}
}

func (l *lab) restore(host int) {
	l.t.Helper()
	if err := l.sides[host].g.Restore(); err != nil {
		l.t.Fatal(err)
	}
}

const exchanges = 50

func TestEstablishedConnectionsPassTheHostsChainsBy(t *testing.T) {
	asRoot(t)
	l := newLab(t)
	c := l.dialFrom(40000, "tcp", "10.77.0.1:8080")
	l.exchange(c, 2)
	before := l.forwarded(0)
	l.exchange(c, exchanges)
	if n := l.forwarded(0) - before; n > exchanges/10 { // others may still be ending
		t.Errorf("%d packets of %d exchanges passed FORWARD", n, exchanges)
	}
	if left := l.left(0, "40000"); left < time.Hour {
		t.Errorf("the host tracks it for %v: %s", left, l.tracked(0, "40000"))
	}
	// Whoever carries the next packet: the connection goes on, and ends as any other.
	l.sides[0].g.express.close()
	l.exchange(c, exchanges)
	if n := l.forwarded(0) - before; n < 2*exchanges {
		t.Errorf("%d packets of %d exchanges passed FORWARD without the fast path", n, exchanges)
	}
	if !strings.Contains(l.tracked(0, "40000"), " ESTABLISHED ") {
		t.Errorf("without the fast path the host says: %s", l.tracked(0, "40000"))
	}
	l.restore(0)
	l.exchange(c, exchanges)
	_ = c.Close()
	l.until("the host has seen its end", func() bool { return l.left(0, "40000") <= 2*time.Minute })
}

func TestAConnectionThatIsHalfClosedGoesOn(t *testing.T) {
	asRoot(t)
	l := newLab(t)
	c := l.dialFrom(40000, "tcp", "10.77.0.1:8080").(*net.TCPConn)
	l.exchange(c, 1)
	if _, err := c.Write([]byte("?\n")); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(c)
	if err != nil || !strings.HasSuffix(string(said), " 10.77.0.254\n") {
		t.Errorf("after its end: %q, %v", said, err)
	}
	if left := l.left(0, "40000"); left > 2*time.Minute {
		t.Errorf("the host tracks it for %v: %s", left, l.tracked(0, "40000"))
	}
}

// A client may take a port again as soon as the other end has closed first. Its next
// connection is another one, for whoever serves then.
func TestAPortThatIsUsedAgainIsAnotherConnection(t *testing.T) {
	asRoot(t)
	l := newLab(t)
	l.client.Set("ipv4/tcp_max_tw_buckets", "0") // as if the other end had
	for i, c := range []struct{ serves, not string }{{"b1", "b2"}, {"b2", "b1"}, {"b1", "b2"}} {
		l.become(fabric.Silent, c.not)
		l.become(fabric.Serving, c.serves)
		conn := l.dialFrom(40000, "tcp", "10.77.0.1:8080")
		if server, _, err := world.Again(conn); server != c.serves || err != nil {
			t.Errorf("connection %d: %s answers: %v", i, server, err)
		}
		_ = conn.Close()
		l.until("the host has seen its end", func() bool { return l.left(0, "40000") <= 2*time.Minute })
	}
}

func TestFirstPacketsComeOnceWhereTheHostHasNoRulesForThem(t *testing.T) {
	asRoot(t)
	l := newLab(t)
	passes := func(addr string) int {
		before := l.again(0)
		l.ask(l.client, "tcp", addr, "10.77.0.254")
		return l.again(0) - before
	}
	if n := passes("10.77.0.1:8080"); n != 0 {
		t.Errorf("%d came by the gate", n)
	}
	if n := passes("10.77.0.1:8081"); n != 1 {
		t.Errorf("to a port of one address: %d came by the gate", n)
	}
	for _, c := range []struct{ rules, off string }{
		{"iptables -A INPUT -s 192.0.2.7 -j DROP", "iptables -F INPUT"},
		{"iptables -A INPUT -p tcp -j ACCEPT; iptables -P INPUT DROP", "iptables -P INPUT ACCEPT; iptables -F INPUT"},
		{"iptables -t mangle -A INPUT -s 192.0.2.7 -j DROP", "nft delete table ip mangle"},
		{"nft 'add table inet admin; add chain inet admin in { type filter hook input priority 0; }'", "nft delete table inet admin"},
	} {
		l.hosts[0].Run("sh", "-c", c.rules)
		l.restore(0)
		if n := passes("10.77.0.1:8080"); n != 1 {
			t.Errorf("with %s: %d came by the gate", c.rules, n)
		}
		l.hosts[0].Run("sh", "-c", c.off)
		l.restore(0)
		if n := passes("10.77.0.1:8080"); n != 0 {
			t.Errorf("after %s: %d came by the gate", c.off, n)
		}
	}
	l.client.Run("ip", "route", "add", "198.51.100.0/24", "via", "10.77.0.1")
	l.hosts[0].Run("ip", "route", "add", "198.51.100.0/24", "via", "10.77.0.2")
	l.hosts[0].Run("iptables", "-t", "mangle", "-A", "POSTROUTING", "-d", "198.51.100.1", "-m", "mark", "--mark", "0", "-j", "ACCEPT")
	l.hosts[0].Run("iptables", "-I", "FORWARD", "-d", "198.51.100.0/24", "-j", "ACCEPT")
	l.client.Silent("198.51.100.1:8080")
	if out := l.hosts[0].Run("iptables", "-t", "mangle", "-n", "-v", "-x", "-L", "POSTROUTING"); !regexp.MustCompile(`(?m)^ *[1-9].* 198\.51\.100\.1 `).MatchString(out) {
		t.Errorf("what goes through the host bears a mark:\n%s", out)
	}
	l.sides[0].g.express.close() // as when the daemon is gone
	if n := passes("10.77.0.1:8080"); n != 1 {
		t.Errorf("without the fast path: %d came by the gate", n)
	}
	l.restore(0)
	l.guard(0)
	l.hosts[0].Run("iptables-legacy", "-t", "mangle", "-A", "INPUT", "-s", "192.0.2.7", "-j", "DROP")
	l.until("with an old table they come by the gate", func() bool { return passes("10.77.0.1:8080") == 1 })
}

func TestAConnectionThatIsResetIsForgotten(t *testing.T) {
	asRoot(t)
	l := newLab(t)
	for i, reset := range []func(*net.TCPConn){
		func(c *net.TCPConn) { _ = c.SetLinger(0) },
		func(c *net.TCPConn) {
			for _, name := range []string{"b1", "b2"} {
				l.tasks[name].Run("sh", "-c", "nft add table ip end; nft add chain ip end in '{ type filter hook input priority 0; }'; nft add rule ip end in tcp dport 80 reject with tcp reset")
			}
			if server, _, err := world.Again(c); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s answers: %v", server, err)
			}
		},
	} {
		port := 40000 + i
		c := l.dialFrom(port, "tcp", "10.77.0.1:8080").(*net.TCPConn)
		l.exchange(c, exchanges)
		reset(c)
		_ = c.Close()
		l.until("it is tracked for 10 s at most", func() bool { return l.left(0, strconv.Itoa(port)) <= 10*time.Second })
	}
}

func TestRulesOfTheAdministratorAreAskedForEachPacket(t *testing.T) {
	asRoot(t)
	for _, c := range []struct{ name, rules, drop string }{
		{"DOCKER-USER", "iptables -I DOCKER-USER -s 192.0.2.7 -j DROP", "iptables -I DOCKER-USER -i eth0 -j DROP"},
		{"nftables", "nft add table inet admin; nft add chain inet admin f '{ type filter hook forward priority 0; }'", "nft add rule inet admin f iifname eth0 drop"},
		{"on the way in", "nft add table inet admin; nft add chain inet admin f '{ type filter hook prerouting priority -300; }'", "nft add rule inet admin f iifname eth0 tcp dport 8080 drop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			conn := l.dialFrom(40000, "tcp", "10.77.0.1:8080")
			l.exchange(conn, exchanges)
			l.hosts[0].Run("sh", "-c", c.rules)
			l.restore(0) // the kernel tells of them
			before := l.forwarded(0)
			l.exchange(conn, exchanges)
			if n := l.forwarded(0) - before; n < 2*exchanges {
				t.Errorf("%d packets of %d exchanges passed FORWARD", n, exchanges)
			}
			l.hosts[0].Run("sh", "-c", c.drop)
			if server, _, err := world.Again(conn); err == nil {
				t.Errorf("%s answers", server)
			}
		})
	}
}

func TestTheHostsLeniencyIsSetBack(t *testing.T) {
	asRoot(t)
	const setting = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal"
	for _, before := range []string{"0", "1"} {
		l := newLab(t)
		l.t.Run("it was "+before, func(t *testing.T) {
			read := func() string { return strings.TrimSpace(l.hosts[0].Run("cat", setting)) }
			if err := l.sides[0].g.Close(); err != nil {
				t.Fatal(err)
			}
			if read() != "0" {
				t.Fatalf("after the end: %s", read())
			}
			l.hosts[0].Run("sh", "-c", "echo "+before+" > "+setting)
			l.apply()
			if read() != "1" {
				t.Errorf("with published ports: %s", read())
			}
			l.anew(0) // whoever ends is not who began
			l.apply()
			if err := l.sides[0].g.Close(); err != nil {
				t.Fatal(err)
			}
			if read() != before {
				t.Errorf("after the end: %s", read())
			}
		})
	}
}

func TestATaskThatMovesTakesItsNewConnectionsAlong(t *testing.T) {
	asRoot(t)
	l := newLab(t)
	l.become(fabric.Silent, "b2")
	old := l.dialFrom(40000, "tcp", "10.77.0.1:8080")
	l.exchange(old, exchanges)
	l.become(fabric.Serving, "b2")
	l.become(fabric.Silent, "b1")
	l.exchange(old, exchanges) // it drains
	c := l.dialFrom(40001, "tcp", "10.77.0.1:8080")
	l.exchange(c, exchanges)
	if server, _, err := world.Again(c); server != "b2" || err != nil {
		t.Errorf("%s answers: %v", server, err)
	}
}
