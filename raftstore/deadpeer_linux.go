package raftstore

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// noticeDeadPeer makes the kernel give up a connection whose data the peer's
// kernel has not acknowledged for that long: a peer that lost power, or its
// cable, sends no reset. A peer that is alive and slow still acknowledges.
func noticeDeadPeer(conn net.Conn, after time.Duration) {
	for {
		under, ok := conn.(interface{ NetConn() net.Conn }) // TLS
		if !ok {
			break
		}
		conn = under.NetConn()
	}
	sys, ok := conn.(syscall.Conn)
	if !ok {
		return // not TCP: a pipe in a test
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return // closed already: the first use says so
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds()))
	})
}
