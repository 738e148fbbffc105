package load

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"time"
)

// overHTTP speaks as much of HTTP/1.1 as the demo's server does, and costs
// little: where both ends share two cores, a client such as net/http's would be
// most of what is measured.
type overHTTP struct {
	cfg     *Config
	addr    string
	request []byte
	dials   int

	conn net.Conn // nil where the next request has to dial
	in   *bufio.Reader
	body []byte
}

func newHTTP(cfg *Config, addr string, u *url.URL) *overHTTP {
	last := "Connection: close\r\n\r\n"
	if cfg.KeepAlive {
		last = "\r\n"
	}
	return &overHTTP{
		cfg: cfg, addr: addr, in: bufio.NewReader(nil),
		request: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n%s", u.RequestURI(), u.Host, last),
	}
}

func (h *overHTTP) connections() int { return h.dials }

// ask sends the request over the connection there is, or over a new one. A
// server may close an idle connection at the moment it is used: where not a
// byte of an answer came, the request is sent once more, as every client does.
func (h *overHTTP) ask(deadline time.Time) ([]byte, error) {
	if h.conn != nil {
		body, began, err := h.exchange(deadline)
		if err == nil || began {
			return body, err
		}
	}
	conn, err := (&net.Dialer{Deadline: deadline}).Dial("tcp", h.addr)
	h.dials++
	if err != nil {
		return nil, err
	}
	h.conn = conn
	h.in.Reset(conn)
	body, _, err := h.exchange(deadline)
	return body, err
}

// exchange sends the request and reads its answer, and reports whether any of
// one came. It leaves no connection behind that cannot be used again.
func (h *overHTTP) exchange(deadline time.Time) (body []byte, began bool, err error) {
	keep := false
	defer func() {
		if !keep {
			h.close()
		}
	}()
	if err := h.conn.SetDeadline(deadline); err != nil {
		return nil, false, err
	}
	if _, err := h.conn.Write(h.request); err != nil {
		return nil, false, err
	}
	if _, err := h.in.Peek(1); err != nil {
		return nil, false, err
	}
	body, keep, err = h.answer()
	keep = keep && err == nil
	if !keep && err == nil {
		_, _ = h.in.ReadByte() // let the server close first: its end keeps the port busy then, and it has but one
	}
	return body, true, err
}

// answer reads an answer, and reports whether the connection stays.
func (h *overHTTP) answer() (body []byte, keep bool, err error) {
	status, err := h.in.ReadSlice('\n')
	if err != nil {
		return nil, false, err
	}
	if fields := bytes.Fields(status); len(fields) < 2 || string(fields[1]) != "200" {
		return nil, false, fmt.Errorf("answered %q", bytes.TrimSpace(status))
	}
	length, keep := -1, h.cfg.KeepAlive
	for {
		header, err := h.in.ReadSlice('\n')
		if err != nil {
			return nil, false, err
		}
		name, value, ok := bytes.Cut(bytes.TrimSpace(header), []byte(": "))
		if !ok {
			break // the empty line
		}
		switch string(name) {
		case "Content-Length":
			if length, err = strconv.Atoi(string(value)); err != nil {
				return nil, false, err
			}
		case "Connection":
			keep = keep && string(value) != "close"
		}
	}
	if length < 0 {
		return nil, false, fmt.Errorf("answered without Content-Length")
	}
	if cap(h.body) < length {
		h.body = make([]byte, length)
	}
	_, err = io.ReadFull(h.in, h.body[:length])
	return h.body[:length], keep, err
}

func (h *overHTTP) close() {
	if h.conn != nil {
		_ = h.conn.Close()
		h.conn = nil
	}
}
