package dockerapi

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// upgradable is a ResponseWriter whose connection, once it is handed over,
// tells when the caller has gone altogether. One who has only closed their half,
// as after `echo hi | docker run -i`, still waits for the output; one who is
// gone would leave the stream open for as long as a container says nothing.
type upgradable struct {
	http.ResponseWriter
	gone func()
}

// Unwrap lets http.ResponseController find what is below.
func (u *upgradable) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// Hijack implements http.Hijacker.
func (u *upgradable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return &hijacked{Conn: conn, ahead: rw.Reader, gone: u.gone}, rw, nil
}

// hijacked is the caller's end of a stream in both directions.
type hijacked struct {
	net.Conn
	ahead *bufio.Reader // what came with the request, already read
	gone  func()
	watch sync.Once
}

// Read implements net.Conn.
func (h *hijacked) Read(p []byte) (int, error) {
	if n := h.ahead.Buffered(); n > 0 {
		return h.ahead.Read(p[:min(n, len(p))])
	}
	n, err := h.Conn.Read(p)
	if err != nil {
		h.watch.Do(func() {
			go func() { // ends with the connection
				if awaitHangup(h.Conn) {
					h.gone()
				}
			}()
		})
	}
	return n, err
}

// CloseWrite ends the output; the caller may still send.
func (h *hijacked) CloseWrite() error {
	if half, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return h.Close()
}

// awaitHangup waits until the peer has closed both halves of a connection,
// or this end is closed. It reports whether it was the peer.
func awaitHangup(conn net.Conn) (peer bool) {
	sys, ok := conn.(syscall.Conn)
	if !ok {
		return false // no socket: a pipe in a test
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Read(func(fd uintptr) bool { // asked anew whenever the socket's state changes
		state := []unix.PollFd{{Fd: int32(fd)}}
		_, _ = unix.Poll(state, 0)
		peer = state[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
		return peer
	})
	return peer
}
