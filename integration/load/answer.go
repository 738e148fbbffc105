package load

import (
	"bytes"
	"net"
)

const (
	answerFrom = "hello from "
	answerTo   = ", asked by "
)

// Answer is what a server says to whoever asks: its name, and the address that
// it sees.
func Answer(name, asker string) string { return answerFrom + name + answerTo + asker + "\n" }

// parse reads an Answer.
func parse(answer []byte) (who, seen []byte, ok bool) {
	line, _, _ := bytes.Cut(answer, []byte("\n"))
	line, ok = bytes.CutPrefix(line, []byte(answerFrom))
	who, seen, to := bytes.Cut(line, []byte(answerTo))
	colon := bytes.LastIndexByte(seen, ':')
	if !ok || !to || colon < 0 {
		return nil, nil, false
	}
	return who, bytes.Trim(seen[:colon], "[]"), true
}

// Echo answers every datagram with one that is no shorter, until the socket is
// closed.
func Echo(conn net.PacketConn, name string) {
	var space [64 << 10]byte
	for {
		n, from, err := conn.ReadFrom(space[:])
		if err != nil {
			return
		}
		said := copy(space[:], Answer(name, from.String()))
		clear(space[said:max(said, n)])
		_, _ = conn.WriteTo(space[:max(said, n)], from) // whoever asked finds out
	}
}
