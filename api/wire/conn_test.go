package wire_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/swarmctl/swarmctl/api/wire"
)

// tunnelServer hands the server's end of each tunnel to the test.
type tunnelServer struct {
	wire.UnimplementedDispatcherServer
	conns chan *wire.Conn
}

func (s *tunnelServer) Tunnel(stream wire.Dispatcher_TunnelServer) error {
	c := wire.NewConn(stream, "server", nil)
	s.conns <- c
	<-c.Done()
	return nil
}

func tunnel(t *testing.T) (client, server *wire.Conn) {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	srv := grpc.NewServer()
	ts := &tunnelServer{conns: make(chan *wire.Conn, 1)}
	wire.RegisterDispatcherServer(srv, ts)
	go func() { _ = srv.Serve(l) }()
	cc, err := grpc.NewClient("passthrough:///x",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close(); srv.Stop() })
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := wire.NewDispatcherClient(cc).Tunnel(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return wire.NewConn(stream, "client", cancel), <-ts.conns
}

func TestEachHalfOfATunnelClosesByItself(t *testing.T) {
	client, server := tunnel(t)
	big := bytes.Repeat([]byte("0123456789"), 100_000)
	go func() {
		_, _ = server.Write([]byte("stdin"))
		_ = server.CloseWrite()
	}()
	if got, err := io.ReadAll(client); err != nil || string(got) != "stdin" {
		t.Fatalf("client read %q, %v", got, err)
	}
	go func() {
		_, _ = client.Write(big)
		_ = client.Close() // at once: what was written still arrives
	}()
	if got, err := io.ReadAll(server); err != nil || !bytes.Equal(got, big) {
		t.Fatalf("server read %d bytes of %d, %v", len(got), len(big), err)
	}
	_ = server.Close()
	<-client.Done()
	<-server.Done()
}

func TestServerEndClosesFirst(t *testing.T) {
	client, server := tunnel(t)
	_, err := server.Write([]byte("last words"))
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Close()
	if got, err := io.ReadAll(client); err != nil || string(got) != "last words" {
		t.Fatalf("client read %q, %v", got, err)
	}
	_ = client.Close()
	<-client.Done()
}

func TestDeadlinePasses(t *testing.T) {
	client, server := tunnel(t)
	defer server.Close()
	defer client.Close()
	_ = client.SetReadDeadline(time.Now().Add(-time.Second))
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	_ = client.SetReadDeadline(time.Time{})
	_ = client.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	for {
		// Nobody reads: sooner or later the buffers on the way are full.
		if _, err := client.Write(make([]byte, 64<<10)); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
			return
		}
	}
}

// A manager between two others hears at once that the one it serves has gone,
// though nothing is being said.
func TestAPeerThatClosesIsGoneAndOneThatHasSaidAllIsNot(t *testing.T) {
	client, server := tunnel(t)
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(server); err != nil || len(got) > 0 {
		t.Fatalf("server read %q, %v", got, err)
	}
	go func() { _, _ = server.Write([]byte("still here")) }()
	if got, err := io.ReadAll(io.LimitReader(client, 10)); err != nil || string(got) != "still here" {
		t.Fatalf("client read %q, %v", got, err)
	}
	start := time.Now()
	_ = client.Close()
	<-server.Done()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("noticed after %s", took)
	}
}

// A worker's end of a tunnel to an engine that says nothing: only this tells
// it that whoever asked has gone.
func TestAPeerThatHangsUpEndsASilentTunnel(t *testing.T) {
	client, server := tunnel(t)
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	<-client.Done()
	if _, err := client.Write([]byte("x")); err == nil {
		t.Error("a tunnel that is over takes more")
	}
}
