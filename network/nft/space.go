package nft

import (
	"fmt"
	"os"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Space is a network namespace in which our tables are. Its sockets stay open:
// the kernel closes one only after it has cleaned up behind the last change, and
// whoever closes waits for that, longer than the change itself takes. One goroutine
// at a time may use it.
type Space struct {
	ns      *os.File // nil: the program's own
	conn    *nftables.Conn
	tracked *netlink.Conn
	swaps   uint32 // of chains that serve, since it was opened
}

// Open is a space; the file must stay open for as long as it is used.
func Open(ns *os.File) *Space { return &Space{ns: ns} }

// Path is where netns finds the namespace.
func (s *Space) Path() string {
	if s.ns == nil {
		return ""
	}
	return fmt.Sprintf("/proc/self/fd/%d", s.ns.Fd())
}

// Close closes the sockets.
func (s *Space) Close() {
	s.drop()
	s.untrack()
}

func (s *Space) untrack() {
	if s.tracked != nil {
		_ = s.tracked.Close()
		s.tracked = nil
	}
}

func (s *Space) drop() {
	if s.conn != nil {
		_ = s.conn.CloseLasting()
		s.conn = nil
	}
}

// rules is the socket for nftables.
func (s *Space) rules() (*nftables.Conn, error) {
	if s.conn != nil {
		return s.conn, nil
	}
	options := []nftables.ConnOption{nftables.AsLasting(), nftables.WithSockOptions(buffers)}
	if s.ns != nil {
		options = append(options, nftables.WithNetNSFd(int(s.ns.Fd())))
	}
	conn, err := nftables.New(options...)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	s.conn = conn
	return conn, nil
}

// tracking is the socket for tracked connections.
func (s *Space) tracking() (*netlink.Conn, error) {
	if s.tracked != nil {
		return s.tracked, nil
	}
	config := &netlink.Config{}
	if s.ns != nil {
		config.NetNS = int(s.ns.Fd())
	}
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, config)
	if err != nil {
		return nil, fmt.Errorf("tracked connections: %w", err)
	}
	s.tracked = c
	return c, nil
}
