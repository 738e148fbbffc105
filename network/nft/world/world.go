// Package world builds small networks of namespaces for tests: nodes with
// interfaces, bridges, servers that say who called, and callers.
package world

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/network/netns"
	"github.com/swarmctl/swarmctl/network/nft"
)

// T is what the world needs of a test.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Node is a namespace with a process in it, as a host or a container has.
type Node struct {
	Name string
	PID  int
	NS   *os.File
	t    T
	h    *netlink.Handle
}

// New is a node without interfaces, but for lo.
func New(t T, name string) *Node {
	t.Helper()
	cmd := exec.Command("cat") // it ends with the test program, however that ends
	_, err := cmd.StdinPipe()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	n := &Node{Name: name, PID: cmd.Process.Pid, t: t}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if n.h != nil {
			n.h.Close()
			_ = n.NS.Close()
		}
	})
	if n.NS, err = os.Open(netns.Path(n.PID)); err == nil {
		n.h, err = netns.Handle(netns.Path(n.PID), unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	}
	n.must(err)
	n.must(n.h.LinkSetUp(n.link("lo")))
	return n
}

func (n *Node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatalf("%s: %v", n.Name, err)
	}
}

func (n *Node) link(name string) netlink.Link {
	n.t.Helper()
	l, err := n.h.LinkByName(name)
	n.must(err)
	return l
}

// Do calls f in the node's network.
func (n *Node) Do(f func() error) error { return netns.Do(nft.Open(n.NS).Path(), f) }

// Bridge adds a bridge with addresses, up.
func (n *Node) Bridge(name string, mac net.HardwareAddr, addrs ...string) {
	n.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = name, mac
	n.must(n.h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	n.Addresses(name, addrs...)
}

// Addresses gives an interface addresses and sets it up.
func (n *Node) Addresses(name string, addrs ...string) {
	n.t.Helper()
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		n.must(err)
		addr.Flags = unix.IFA_F_NODAD
		n.must(n.h.AddrAdd(n.link(name), addr))
	}
	n.must(n.h.LinkSetUp(n.link(name)))
}

// Cable connects two nodes. Where an end is to be in a bridge, its name is name@bridge.
func Cable(a *Node, aEnd string, b *Node, bEnd string, mac net.HardwareAddr) {
	a.t.Helper()
	aName, aBridge, _ := strings.Cut(aEnd, "@")
	bName, bBridge, _ := strings.Cut(bEnd, "@")
	veth := netlink.NewVeth(netlink.NewLinkAttrs())
	veth.Name, veth.PeerName, veth.PeerNamespace, veth.PeerHardwareAddr = aName, bName, netlink.NsFd(int(b.NS.Fd())), mac
	a.must(a.h.LinkAdd(veth))
	a.plug(aName, aBridge)
	b.plug(bName, bBridge)
}

func (n *Node) plug(name, bridge string) {
	n.t.Helper()
	if bridge != "" {
		n.must(n.h.LinkSetMaster(n.link(name), n.link(bridge)))
	}
	n.must(n.h.LinkSetUp(n.link(name)))
}

// Gateway makes an address the node's way out.
func (n *Node) Gateway(addr string) {
	n.t.Helper()
	n.must(n.h.RouteReplace(&netlink.Route{Gw: net.ParseIP(addr)}))
}

// Set writes below /proc/sys/net.
func (n *Node) Set(path, value string) {
	n.t.Helper()
	n.must(n.Do(func() error { return os.WriteFile("/proc/sys/net/"+path, []byte(value), 0o644) }))
}

// Run runs a command in the node's network.
func (n *Node) Run(args ...string) string {
	n.t.Helper()
	out, err := n.Try(args...)
	n.must(err)
	return out
}

// Try is Run for commands that may fail.
func (n *Node) Try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.Do(cmd.Start); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// Serve answers on a port of every address, for TCP and UDP: who it is and who
// called. A TCP connection gets an answer to every line.
func (n *Node) Serve(port int) {
	n.t.Helper()
	var l net.Listener
	var p net.PacketConn
	n.must(n.Do(func() (err error) {
		if l, err = net.Listen("tcp", fmt.Sprintf(":%d", port)); err != nil {
			return err
		}
		p, err = net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		return err
	}))
	n.t.Cleanup(func() { _ = l.Close(); _ = p.Close() })
	go n.streams(l)
	go n.datagrams(p)
}

func (n *Node) streams(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			b := make([]byte, 64)
			for {
				if _, err := c.Read(b); err != nil {
					return
				}
				if _, err := io.WriteString(c, n.answer(c.RemoteAddr())); err != nil {
					return
				}
			}
		}()
	}
}

func (n *Node) datagrams(p net.PacketConn) {
	b := make([]byte, 65535)
	for {
		_, from, err := p.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = p.WriteTo([]byte(n.answer(from)), from)
	}
}

func (n *Node) answer(from net.Addr) string {
	a, _ := netip.ParseAddrPort(from.String())
	return n.Name + " " + a.Addr().Unmap().String() + "\n"
}

// Patience is how long a caller waits.
const Patience = 2 * time.Second

// Dial connects from the node. The address must be numeric.
func (n *Node) Dial(network, addr string) (net.Conn, error) { return n.DialIn(Patience, network, addr) }

// DialIn is Dial with another patience.
func (n *Node) DialIn(patience time.Duration, network, addr string) (c net.Conn, err error) {
	err = n.Do(func() error {
		c, err = (&net.Dialer{Timeout: patience}).Dial(network, addr)
		return err
	})
	return c, err
}

// Silent reports whether nobody answers at an address. It does not wait long.
func (n *Node) Silent(addr string) bool {
	c, err := n.DialIn(300*time.Millisecond, "tcp", addr)
	if err == nil {
		_ = c.Close()
	}
	return err != nil
}

// Ask connects, asks once and hangs up: the server's name and whom it saw.
func (n *Node) Ask(network, addr string) (server, client string, err error) {
	c, err := n.Dial(network, addr)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	return Again(c)
}

// Again asks once more on a connection.
func Again(c net.Conn) (server, client string, err error) {
	if err := c.SetDeadline(time.Now().Add(Patience)); err != nil {
		return "", "", err
	}
	if _, err := io.WriteString(c, "?\n"); err != nil {
		return "", "", err
	}
	b := make([]byte, 256)
	size, err := c.Read(b)
	if err != nil {
		return "", "", err
	}
	server, client, _ = strings.Cut(strings.TrimSpace(string(b[:size])), " ")
	return server, client, nil
}
