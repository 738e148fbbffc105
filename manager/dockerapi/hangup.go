package dockerapi

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// awaitHangUp returns true when the other end of a connection, which has said
// its last word already, does not listen any more either, and false when the
// connection is closed on this side or a deadline passes. Reading cannot tell:
// a client that waits for the end of a command's output and one that was
// killed both look like the end of a file. NB: a peer over TCP that vanishes
// is noticed by the probes of the kernel, within minutes; of connections other
// than sockets nothing is known.
func awaitHangUp(conn net.Conn) bool {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	return raw.Read(func(fd uintptr) bool { // asked again whenever the kernel has news of the connection
		p := []unix.PollFd{{Fd: int32(fd)}}
		_, err := unix.Poll(p, 0)
		return err == nil && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	}) == nil
}
