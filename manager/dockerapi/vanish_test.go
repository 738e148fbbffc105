package dockerapi_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
)

// socket serves the API on a unix socket, as the daemon does.
func (c *cluster) socket(log *slog.Logger) (path string) {
	c.Helper()
	path = filepath.Join(c.TempDir(), "s")
	l, err := net.Listen("unix", path)
	c.must(err)
	server := dockerapi.NewServer(context.Background(), c.api, log)
	go func() { _ = server.Serve(l) }()
	c.Cleanup(func() { _ = server.Close() })
	return path
}

// settled waits until no more goroutines run than at the beginning.
func settled(t *testing.T, story string, before int) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for runtime.NumGoroutine() > before {
		select {
		case <-deadline:
			var b bytes.Buffer
			_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
			t.Fatalf("%s: %d goroutines, %d before:\n%s", story, runtime.NumGoroutine(), before, &b)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// hangingEngine answers nothing to its end before its caller goes.
func hangingEngine(t *testing.T) http.Handler {
	mux := engine(t)
	hang := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begun\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	mux.HandleFunc("GET /events", hang)
	mux.HandleFunc("GET /v1.41/containers/{id}/logs", hang)
	mux.HandleFunc("GET /containers/{id}/logs", hang)
	mux.HandleFunc("POST /v1.41/build", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	return mux
}

func TestClientsThatVanishLeaveNothingBehind(t *testing.T) {
	c := start(t, hangingEngine(t))
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	s := c.create(serviceSpec("web"))
	c.addTask("t1", s, 1, "node1", running("c1"))
	path := c.socket(slog.New(slog.DiscardHandler))
	const (
		get  = " HTTP/1.1\r\nHost: d\r\n\r\n"
		half = " HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"Name\":"
	)
	for _, tt := range []struct {
		story, request string
		answer         bool // wait for the first byte of it
	}{
		{"no request", "", false},
		{"half a line", "GET /v1.41/no", false},
		{"half a head", "GET /v1.41/nodes HTTP/1.1\r\nHost:", false},
		{"half a body", "POST /v1.41/services/create" + half, false},
		{"half a body of the node's own", "POST /v1.41/swarm/init" + half, false},
		{"half a chunk", "POST /v1.41/services/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{", false},
		{"half a body for the engine", "POST /v1.41/build" + half, false},
		{"events", "GET /v1.41/events" + get, true},
		{"events with half a body", "GET /v1.41/events" + half, false},
		{"followed logs of a service", "GET /v1.41/services/web/logs?stdout=1&follow=1" + get, true},
		{"followed logs of a task", "GET /v1.41/tasks/t1/logs?stdout=1&follow=1" + get, true},
		{"followed logs with half a body", "GET /v1.41/services/web/logs?stdout=1&follow=1" + half, false},
		{"followed logs of a container", "GET /v1.41/containers/c1/logs?stdout=1&follow=1" + get, true},
		{"exec", "POST /v1.41/exec/e1/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", true},
		{"a list nobody reads", "GET /v1.41/services" + get, false},
	} {
		before := runtime.NumGoroutine()
		for range 10 {
			conn, err := net.Dial("unix", path)
			c.must(err)
			_, err = io.WriteString(conn, tt.request)
			c.must(err)
			if tt.answer {
				_, err = conn.Read(make([]byte, 1))
				c.must(err)
			}
			c.must(conn.Close())
		}
		settled(t, tt.story, before)
	}
}

// pipes is a listener of connections in memory, whose time is a bubble's.
type pipes struct {
	conns chan net.Conn
	end   chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.end:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.end) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// slowly sends a request, then a byte every few seconds, and returns what is
// answered and how long the server has put up with it.
func slowly(t *testing.T, h http.Handler, request string) (answer string, took time.Duration) {
	l := &pipes{conns: make(chan net.Conn), end: make(chan struct{})}
	server := dockerapi.NewServer(t.Context(), h, slog.New(slog.DiscardHandler))
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	ours, theirs := net.Pipe()
	l.conns <- theirs
	begun, ended := time.Now(), make(chan struct{})
	go func() {
		defer close(ended)
		data, _ := io.ReadAll(ours)
		answer, took = string(data), time.Since(begun)
	}()
	_, err := io.WriteString(ours, request)
	for err == nil {
		select {
		case <-ended:
			return answer, took
		case <-time.After(3 * time.Second):
			_, err = io.WriteString(ours, "x")
		}
	}
	<-ended
	return answer, took
}

func TestSlowClientsAreNotWaitedForForEver(t *testing.T) {
	c := start(t, nil)
	for _, tt := range []struct {
		story, request, want string
		patience             time.Duration
	}{
		{"a head that never ends", "GET /v1.41/nodes HTTP/1.1\r\nHost: d\r\nX-A: ", "", 30 * time.Second},
		{"a body that never ends", "POST /swarm/init HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", "the body of the request did not arrive within 30s", 30 * time.Second},
	} {
		t.Run(strings.ReplaceAll(tt.story, " ", "-"), func(t *testing.T) {
			c.node.role = dockerapi.Inactive
			synctest.Test(t, func(t *testing.T) {
				answer, took := slowly(t, c.api, tt.request)
				if !strings.Contains(answer, tt.want) || took < tt.patience || took > tt.patience+10*time.Second {
					t.Errorf("after %s: %q", took, answer)
				}
			})
		})
	}
	t.Run("between-requests", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := &pipes{conns: make(chan net.Conn), end: make(chan struct{})}
			server := dockerapi.NewServer(t.Context(), c.api, slog.New(slog.DiscardHandler))
			go func() { _ = server.Serve(l) }()
			defer server.Close()
			ours, theirs := net.Pipe()
			l.conns <- theirs
			go func() { _, _ = io.WriteString(ours, "GET /nosuch HTTP/1.1\r\nHost: d\r\n\r\n") }()
			begun := time.Now()
			_, _ = io.ReadAll(ours)
			if took := time.Since(begun); took < 5*time.Minute || took > 15*time.Minute {
				t.Errorf("an idle connection stayed for %s", took)
			}
		})
	})
}

// A loop of bad requests must not fill the disk.
func TestBadRequestsDoNotFillTheLog(t *testing.T) {
	var log lockedBuffer
	c := start(t, engine(t))
	path := c.socket(slog.New(slog.NewTextHandler(&log, nil)))
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	for range 20 {
		for _, request := range []string{
			"GET /nodes/nosuch", "GET /nodes?filters=x;y", "GET /containers/json?a;b", "POST /services/create", "GET /v9/nodes", "PATCH /nodes", "GET /nosuch",
		} {
			method, uri, _ := strings.Cut(request, " ")
			req, err := http.NewRequestWithContext(t.Context(), method, "http://d"+uri, strings.NewReader("{"))
			c.must(err)
			res, err := client.Do(req)
			c.must(err)
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		for _, raw := range []string{"\x16\x03\x01", "GET\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n"} {
			conn, err := net.Dial("unix", path)
			c.must(err)
			_, _ = fmt.Fprint(conn, raw)
			_ = conn.Close()
		}
	}
	if log.String() != "" {
		t.Errorf("the log of a daemon has:\n%s", log.String())
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestAHandlerThatPanicsIsNewsForTheLog(t *testing.T) {
	var log lockedBuffer
	dockerapi.ServerLog(slog.New(slog.NewTextHandler(&log, nil))).Print("http: panic serving @: oh no")
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "oh no") {
		t.Errorf("the log has %q", log.String())
	}
}
