package load

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// datagram sends each datagram from a socket of its own, so that each is a
// conversation of its own for whatever balances them.
type datagram struct {
	cfg   *Config
	addr  string
	sent  int
	space [64 << 10]byte
}

func (d *datagram) connections() int { return d.sent }

func (d *datagram) close() {}

func (d *datagram) ask(deadline time.Time) ([]byte, error) {
	d.sent++
	conn, err := (&net.Dialer{Deadline: deadline, Control: unbroken}).Dial("udp", d.addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := conn.Write(make([]byte, max(d.cfg.Size, 1))); err != nil {
		return nil, err
	}
	n, err := conn.Read(d.space[:])
	if err == nil && n < d.cfg.Size {
		err = fmt.Errorf("answered with %d bytes", n)
	}
	return d.space[:n], err
}

// unbroken forbids that what a socket sends is broken into fragments.
func unbroken(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER, syscall.IP_PMTUDISC_DO)
	})
	return errors.Join(err, failed)
}
