package runtimetest

import (
	"errors"
	"net"
)

// half is one end of a connection whose directions close one by one, as those
// of a socket do: a pipe for each.
type half struct {
	net.Conn // what is read from
	out      net.Conn
}

func halves() (a, b half) {
	there, back := pipe(), pipe()
	return half{back[0], there[1]}, half{there[0], back[1]}
}

func pipe() [2]net.Conn {
	r, w := net.Pipe()
	return [2]net.Conn{r, w}
}

func (h half) Write(b []byte) (int, error) { return h.out.Write(b) }

// CloseWrite ends what the other end reads.
func (h half) CloseWrite() error { return h.out.Close() }

// Close ends both directions.
func (h half) Close() error { return errors.Join(h.out.Close(), h.Conn.Close()) }
