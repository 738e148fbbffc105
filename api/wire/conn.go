package wire

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ChunkStream is either end of a Tunnel: the stream of a client or of a server.
type ChunkStream interface {
	Send(*Chunk) error
	Recv() (*Chunk, error)
}

const (
	chunkSize = 32 << 10
	// linger is how long an end that dialled waits, after Close, for its peer
	// to close as well: ending the stream sooner would drop what is on its way.
	linger = 10 * time.Second
)

// Conn is a net.Conn whose bytes travel as chunks of a stream. A Write returns
// when the bytes are on their way and waits while the peer does not read. An
// empty chunk ends one direction: a server's stream has no other way to close
// the half that it sends on. The end of the stream ends both. Deadlines work
// as on any net.Conn.
type Conn struct {
	stream ChunkStream
	addr   tunnelAddr
	// Each direction is a pipe, with the user at one end and a pump at the
	// other: that lends us deadlines and back-pressure for nothing.
	in, inPump   net.Conn
	out, outPump net.Conn
	recvErr      atomic.Pointer[error]

	closing  sync.Once
	closed   chan struct{} // Close was called
	sent     chan struct{} // the sending pump has ended
	received chan struct{} // the receiving pump has ended
	done     chan struct{}
}

// NewConn makes a connection of a stream. end, which may be nil, is called
// once when the connection is over: where the stream was dialled it cancels
// the stream's context; a server's handler waits for Done and returns instead.
func NewConn(stream ChunkStream, name string, end func()) *Conn {
	c := &Conn{
		stream: stream, addr: tunnelAddr(name),
		closed: make(chan struct{}), sent: make(chan struct{}), received: make(chan struct{}), done: make(chan struct{}),
	}
	c.in, c.inPump = net.Pipe()
	c.out, c.outPump = net.Pipe()
	go c.receive()
	go c.send()
	go c.finish(end)
	return c
}

// Done is closed when the connection is over: what was written is on its way,
// and either Close was called or the peer has nothing more to say.
func (c *Conn) Done() <-chan struct{} { return c.done }

func (c *Conn) finish(end func()) {
	<-c.sent
	select {
	case <-c.closed:
	case <-c.received:
	}
	close(c.done)
	if end == nil {
		return
	}
	if s, ok := c.stream.(interface{ CloseSend() error }); ok {
		_ = s.CloseSend()
	}
	select {
	case <-c.received:
	case <-time.After(linger):
	}
	end()
}

func (c *Conn) receive() {
	defer close(c.received)
	defer c.inPump.Close()
	for {
		chunk, err := c.stream.Recv()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.recvErr.Store(&err)
			}
			_ = c.outPump.Close() // the peer has closed both directions
			return
		}
		if len(chunk.GetData()) == 0 {
			_ = c.inPump.Close() // the peer sends no more; stay to see the stream end
			continue
		}
		// An error means that nobody reads any more: drain, so that the peer
		// is not left hanging in its Write.
		_, _ = c.inPump.Write(chunk.GetData())
	}
}

func (c *Conn) send() {
	defer close(c.sent)
	defer c.outPump.Close()
	for {
		// Not reused: gRPC may hold on to a message after Send.
		buf := make([]byte, chunkSize)
		n, err := c.outPump.Read(buf)
		if err != nil {
			break
		}
		if err := c.stream.Send(&Chunk{Data: buf[:n]}); err != nil {
			return
		}
	}
	_ = c.stream.Send(&Chunk{})
}

// Read reads what the peer wrote, and returns io.EOF once it has closed.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.in.Read(b)
	if errors.Is(err, io.EOF) {
		if cause := c.recvErr.Load(); cause != nil {
			return n, FromStatus(*cause)
		}
	}
	return n, err
}

// Write sends b to the peer.
func (c *Conn) Write(b []byte) (int, error) { return c.out.Write(b) }

// CloseWrite tells the peer that nothing more will be written; Read goes on.
func (c *Conn) CloseWrite() error { return c.out.Close() }

// Close closes both directions. What was written still arrives.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		close(c.closed)
		_ = c.out.Close()
		_ = c.in.Close()
	})
	return nil
}

// SetDeadline sets the deadline of reads and writes.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.in.SetReadDeadline(t) }

// SetWriteDeadline sets the deadline of writes.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.out.SetWriteDeadline(t) }

// LocalAddr returns the tunnel's name.
func (c *Conn) LocalAddr() net.Addr { return c.addr }

// RemoteAddr returns the tunnel's name.
func (c *Conn) RemoteAddr() net.Addr { return c.addr }

type tunnelAddr string

func (tunnelAddr) Network() string  { return "tunnel" }
func (a tunnelAddr) String() string { return string(a) }
