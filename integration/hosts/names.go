package hosts

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// What a host's own name server knows: one name of the world outside. That
// there are no others it says at once, so that no look-up of a registry hangs.
const (
	OutsideName = "office.example"
	OutsideAddr = "192.0.2.7"
)

// nameServer is where a host looks up names.
const nameServer = "127.0.0.1"

// serveNames answers questions inside the host that this process is the first of.
func serveNames() error {
	early := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { // before there is a loopback
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1) })
		if err != nil {
			return err
		}
		return failed
	}}
	conn, err := early.ListenPacket(context.Background(), "udp4", nameServer+":53")
	if err != nil {
		return err
	}
	go func() {
		space := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(space)
			if err != nil {
				return
			}
			if reply, err := answerNames(space[:n]); err == nil {
				_, _ = conn.WriteTo(reply, from)
			}
		}
	}()
	return nil
}

// answerNames is the answer to a question.
func answerNames(question []byte) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(question)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	header.Response, header.RecursionAvailable, header.RCode = true, true, dnsmessage.RCodeNameError
	known := q.Name.String() == OutsideName+"."
	if known {
		header.RCode = dnsmessage.RCodeSuccess
	}
	b := dnsmessage.NewBuilder(nil, header)
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(q); err != nil {
		return nil, err
	}
	if err := b.StartAnswers(); err != nil {
		return nil, err
	}
	if known && q.Type == dnsmessage.TypeA {
		body := dnsmessage.AResource{A: [4]byte(net.ParseIP(OutsideAddr).To4())}
		if err := b.AResource(dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, body); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}
