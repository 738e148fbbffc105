package dockerapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// passThrough is the proxy in front of an engine, both on unix sockets as in
// real life. It returns the path of the proxy's.
func passThrough(t *testing.T, engine http.Handler) string {
	behind := listen(t, engine)
	dial := func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "unix", behind) }
	return listen(t, NewProxy(dial, slog.New(slog.DiscardHandler), engineDown))
}

func listen(t *testing.T, h http.Handler) (path string) {
	path = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(context.Background(), h, slog.New(slog.DiscardHandler))
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return path
}

// talk opens a connection and sends what is given.
func talk(t *testing.T, path, request string) *net.UnixConn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // a test that hangs says where
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.UnixConn)
}

const upgrade = "POST /exec/x/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"

// cat is an engine whose exec prints what it reads, then waits for its caller
// to be gone, without a word.
func cat(gone chan<- struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n")
		} else {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		}
		_, _ = io.Copy(conn, rw)
		_, _ = io.WriteString(conn, "done\n")
		if socket, err := conn.(*net.UnixConn).File(); err == nil && awaitHangup(socket) {
			close(gone)
		}
	})
}

// echo hi | docker run -i IMAGE cat
func TestTheEndOfTheInputReachesTheEngineAndTheOutputAfterItComes(t *testing.T) {
	gone := make(chan struct{})
	conn := talk(t, passThrough(t, cat(gone)), upgrade)
	out := bufio.NewReader(conn)
	head(t, out, "HTTP/1.1 101 UPGRADED")
	_, _ = io.WriteString(conn, "hi\n")
	want(t, out, "hi\n")
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	want(t, out, "done\n") // which the engine says only when the input has ended
	select {
	case <-gone:
		t.Fatal("a caller who has closed their half is not gone")
	default:
	}
	_ = conn.Close()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Fatal("the engine is not told that the caller has gone: the stream would stay for as long as nothing is printed")
	}
}

func TestInputThatComesWithTheRequestIsNotLost(t *testing.T) {
	conn := talk(t, passThrough(t, cat(make(chan struct{}))), upgrade+"early\n")
	out := bufio.NewReader(conn)
	head(t, out, "HTTP/1.1 101 UPGRADED")
	_, _ = io.WriteString(conn, "late\n")
	_ = conn.CloseWrite()
	want(t, out, "early\n", "late\n", "done\n")
}

// The engine takes any of these for an upgrade.
func TestHowAnUpgradeMayBeAskedFor(t *testing.T) {
	path := passThrough(t, cat(make(chan struct{})))
	for _, headers := range []string{"Connection: upgrade\r\nUpgrade: TCP", "Connection: keep-alive, Upgrade\r\nUpgrade: tcp", "Upgrade: tcp", "Connection: close\r\nUpgrade: tcp"} {
		conn := talk(t, path, "POST /exec/x/start HTTP/1.1\r\nHost: d\r\n"+headers+"\r\n\r\n")
		out := bufio.NewReader(conn)
		head(t, out, "HTTP/1.1 101 UPGRADED")
		_, _ = io.WriteString(conn, "hi\n")
		_ = conn.CloseWrite()
		want(t, out, "hi\n", "done\n")
	}
}

// The engine takes the connection over for those who do not ask for it as well.
func TestInputReachesTheEngineWithoutAnUpgrade(t *testing.T) {
	conn := talk(t, passThrough(t, cat(make(chan struct{}))), "POST /v1.41/containers/x/attach?stdin=1 HTTP/1.1\r\nHost: d\r\n\r\n")
	out := bufio.NewReader(conn)
	if h := head(t, out, "HTTP/1.1 200 OK"); h != "Content-Type: application/vnd.docker.raw-stream\r\n" {
		t.Errorf("headers: %q", h)
	}
	_, _ = io.WriteString(conn, "hi\n")
	_ = conn.CloseWrite()
	want(t, out, "hi\n", "done\n")
}

func TestARefusalOfTheEngineIsNoUpgrade(t *testing.T) {
	path := passThrough(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "No such container\n")
	}))
	for _, headers := range []string{"", "Connection: Upgrade\r\nUpgrade: tcp\r\n"} {
		out := bufio.NewReader(talk(t, path, "POST /containers/x/attach HTTP/1.1\r\nHost: d\r\n"+headers+"\r\n"))
		head(t, out, "HTTP/1.1 404 Not Found")
		want(t, out, "No such container\n")
	}
}

// A caller who is killed while nobody takes its input: docker exec -i C sleep </dev/zero
func TestACallerThatGoesWhileItsInputIsStuck(t *testing.T) {
	closed := make(chan struct{})
	path := passThrough(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		if socket, err := conn.(*net.UnixConn).File(); err == nil && awaitHangup(socket) {
			close(closed)
		}
	}))
	conn := talk(t, path, upgrade)
	head(t, bufio.NewReader(conn), "HTTP/1.1 101 UPGRADED")
	_ = conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	if n, err := io.Copy(conn, zeros{}); err == nil || n == 0 {
		t.Fatalf("%d bytes went in, %v", n, err)
	}
	_ = conn.Close()
	select {
	case <-closed:
	case <-time.After(2 * inputPatience):
		t.Fatal("the stream is still there")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// head reads an answer's head and checks its first line.
func head(t *testing.T, in *bufio.Reader, first string) (headers string) {
	t.Helper()
	line, err := in.ReadString('\n')
	if strings.TrimSpace(line) != first {
		t.Fatalf("the answer begins with %q, %v; want %q", line, err, first)
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\r\n" {
			return headers
		}
		headers += line
	}
}

func want(t *testing.T, in *bufio.Reader, lines ...string) {
	t.Helper()
	for _, w := range lines {
		if got, err := in.ReadString('\n'); got != w {
			t.Fatalf("read %q, %v; want %q", got, err, w)
		}
	}
}

// docker load of 100 MB, from a client that asks first.
func TestALargeUploadPassesThrough(t *testing.T) {
	const size = 100 << 20
	var got atomic.Int64
	path := passThrough(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		got.Store(n)
		_, _ = fmt.Fprintf(w, "loaded %d\n", n)
	}))
	for name, headers := range map[string]string{"with a length": fmt.Sprintf("Content-Length: %d", size), "in chunks": "Transfer-Encoding: chunked"} {
		conn := talk(t, path, "POST /images/load HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\n"+headers+"\r\n\r\n")
		out := bufio.NewReader(conn)
		head(t, out, "HTTP/1.1 100 Continue")
		part := strings.Repeat("x", 1<<20)
		if strings.HasPrefix(headers, "Transfer") {
			part = fmt.Sprintf("%x\r\n%s\r\n", 1<<20, part)
		}
		for range size >> 20 {
			if _, err := io.WriteString(conn, part); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasPrefix(headers, "Transfer") {
			_, _ = io.WriteString(conn, "0\r\n\r\n")
		}
		// The engine's own word to go on may come after ours, where it was slow to say so.
		const again = "HTTP/1.1 100 Continue"
		if line, _ := out.Peek(len(again)); string(line) == again {
			head(t, out, again)
		}
		head(t, out, "HTTP/1.1 200 OK")
		if got.Load() != size {
			t.Errorf("%s: the engine got %d bytes", name, got.Load())
		}
	}
}

func TestAnUploadThatIsRefusedIsNotSent(t *testing.T) {
	path := passThrough(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "no\n")
	}))
	conn := talk(t, path, "POST /images/load HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n")
	out := bufio.NewReader(conn)
	line, _ := out.ReadString('\n')
	if strings.Contains(line, "100") { // our server may have said so before the engine has answered
		_, _ = out.ReadString('\n')
		line, _ = out.ReadString('\n')
	}
	if strings.TrimSpace(line) != "HTTP/1.1 403 Forbidden" {
		t.Errorf("the answer begins with %q", line)
	}
}

func TestABodyThatIsBrokenIsTheCallersMistake(t *testing.T) {
	path := passThrough(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	conn := talk(t, path, "POST /build HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
	out := bufio.NewReader(conn)
	head(t, out, "HTTP/1.1 400 Bad Request")
	want(t, out, `{"message":"read the request: invalid byte in chunk length"}`+"\n")
}

// Old and odd ways to speak HTTP arrive at the engine, and its answers back.
func TestOtherDialectsOfHTTP(t *testing.T) {
	path := passThrough(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Docker-Container-Path-Stat", r.Method)
		w.Header().Set("Trailer", "X-Sum")
		_, _ = fmt.Fprintf(w, "%s %s %q\n", r.Method, r.URL.RequestURI(), body)
		_ = http.NewResponseController(w).Flush()
		w.Header().Set("X-Sum", "7")
	}))
	t.Run("HTTP 1.0", func(t *testing.T) {
		out := bufio.NewReader(talk(t, path, "GET /containers/x/logs?a=%2F&b HTTP/1.0\r\n\r\n"))
		head(t, out, "HTTP/1.0 200 OK")
		want(t, out, "GET /containers/x/logs?a=%2F&b \"\"\n")
		if _, err := out.ReadByte(); err != io.EOF {
			t.Errorf("the connection stays open: %v", err)
		}
	})
	t.Run("HEAD", func(t *testing.T) {
		out := bufio.NewReader(talk(t, path, "HEAD /containers/x/archive HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n"))
		if h := head(t, out, "HTTP/1.1 200 OK"); !strings.Contains(h, "X-Docker-Container-Path-Stat: HEAD\r\n") {
			t.Errorf("headers:\n%s", h)
		}
		if rest, _ := io.ReadAll(out); len(rest) > 0 {
			t.Errorf("a body follows: %q", rest)
		}
	})
	t.Run("pipelined, with trailers", func(t *testing.T) {
		out := bufio.NewReader(talk(t, path, "POST /1 HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\nab"+
			"POST /2 HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nc\r\n0\r\n\r\nGET /3 HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n"))
		for _, body := range []string{"POST /1 \"ab\"\n", "POST /2 \"c\"\n", "GET /3 \"\"\n"} {
			res, err := http.ReadResponse(out, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(res.Body)
			if string(got) != body || res.Trailer.Get("X-Sum") != "7" {
				t.Errorf("got %q, trailers %v; want %q", got, res.Trailer, body)
			}
		}
	})
	t.Run("two lengths", func(t *testing.T) { // one request must not hide in another
		out := bufio.NewReader(talk(t, path, "POST /1 HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\nContent-Length: 40\r\n\r\naGET /swarm HTTP/1.1\r\n\r\n"))
		head(t, out, "HTTP/1.1 400 Bad Request")
	})
}
