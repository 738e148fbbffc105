package dockerapi

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// hijackers are the requests whose connection the engine takes over even if the
// caller does not ask for an upgrade, as its oldest clients do not.
var hijackers = regexp.MustCompile(`^(?:/v[0-9.]+)?/(?:containers/[^/]+/attach|exec/[^/]+/start)$`)

// inputPatience is how long what a caller had sent before it went may take to
// reach the other end.
const inputPatience = 5 * time.Second

// upgradable is a ResponseWriter whose connection, once it is handed over,
// tells when the caller has gone altogether. One who has only closed their half,
// as after `echo hi | docker run -i`, still waits for the output; one who is
// gone would leave the stream open for as long as a container says nothing.
type upgradable struct {
	http.ResponseWriter
	gone func()
	// answer is what the other end has answered, where the caller did not ask
	// for an upgrade: they get the stream as it is, below a head without one.
	answer *http.Response
}

// Unwrap lets http.ResponseController find what is below.
func (u *upgradable) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// Hijack implements http.Hijacker.
func (u *upgradable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if u.answer != nil {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: "+u.answer.Header.Get("Content-Type")+"\r\n\r\n")
		rw.Writer = bufio.NewWriter(io.Discard) // for the other head, of the upgrade
	}
	return hijack(conn, rw.Reader, u.gone), rw, nil
}

// hijacked is the caller's end of a stream in both directions.
type hijacked struct {
	net.Conn
	ahead *bufio.Reader // what came with the request, already read
	ended chan struct{} // closed at the end of the input
	once  sync.Once
	watch *os.File // the same socket, for the one who waits until the caller is gone; or nil
}

func hijack(conn net.Conn, ahead *bufio.Reader, gone func()) *hijacked {
	h := &hijacked{Conn: conn, ahead: ahead, ended: make(chan struct{})}
	socket, ok := conn.(interface{ File() (*os.File, error) })
	if !ok {
		return h
	}
	var err error
	if h.watch, err = socket.File(); err != nil {
		return h // closed already: the first use says so
	}
	go func() { // ends with the connection
		if !awaitHangup(h.watch) {
			return
		}
		select {
		case <-h.ended:
		case <-time.After(inputPatience): // the other end does not take it
		}
		gone()
	}()
	return h
}

// Read implements net.Conn.
func (h *hijacked) Read(p []byte) (int, error) {
	if n := h.ahead.Buffered(); n > 0 {
		return h.ahead.Read(p[:min(n, len(p))])
	}
	n, err := h.Conn.Read(p)
	if err != nil {
		h.once.Do(func() { close(h.ended) })
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

// Close implements net.Conn.
func (h *hijacked) Close() error {
	h.once.Do(func() { close(h.ended) })
	if h.watch != nil {
		_ = h.watch.Close()
	}
	return h.Conn.Close()
}

// awaitHangup waits until the peer has closed both halves of a connection, or
// this end is closed. It reports whether it was the peer.
func awaitHangup(socket *os.File) (peer bool) {
	raw, err := socket.SyscallConn()
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
