package dockerapi_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/raftstore/state"
)

// BenchmarkPassThrough is what it costs that a request passes through this
// program, beside the same request to the engine itself. Engine, program and
// client share one process here; integration/bench measures real ones.
func BenchmarkPassThrough(b *testing.B) {
	const lines = 20_000
	mux, line := http.NewServeMux(), []byte(strings.Repeat("x", 107)+"\n")
	mux.HandleFunc("GET /containers/json", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 10_000)) })
	mux.HandleFunc("GET /containers/{id}/logs", func(w http.ResponseWriter, _ *http.Request) {
		for range lines { // each flushed by itself, as the engine does
			_, _ = w.Write(line)
			_ = http.NewResponseController(w).Flush()
		}
	})
	engine := onUnix(b, mux)
	a := leader(b, state.New(), func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", engine) })
	for _, tt := range []struct{ name, path string }{{"list", "/containers/json"}, {"logs", "/containers/x/logs"}} {
		for _, to := range []struct{ who, socket string }{{"direct", engine}, {"through", onUnix(b, a)}} {
			b.Run(fmt.Sprintf("%s/%s", tt.name, to.who), func(b *testing.B) {
				get := overUnix(b, to.socket)
				b.SetBytes(get(tt.path))
				for b.Loop() {
					get(tt.path)
				}
			})
		}
	}
}

// onUnix serves a handler on a unix socket, as the daemon does.
func onUnix(tb testing.TB, h http.Handler) (socket string) {
	tb.Helper()
	socket = filepath.Join(tb.TempDir(), "api.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		tb.Fatal(err)
	}
	server := &http.Server{Handler: h}
	go func() { _ = server.Serve(l) }()
	tb.Cleanup(func() { _ = server.Close() })
	return socket
}

// overUnix returns what asks for a path and reads the answer to its end.
func overUnix(tb testing.TB, socket string) func(path string) int64 {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	tb.Cleanup(client.CloseIdleConnections)
	return func(path string) int64 {
		res, err := client.Get("http://docker" + path)
		if err != nil {
			tb.Fatal(err)
		}
		defer res.Body.Close()
		n, err := io.Copy(io.Discard, res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			tb.Fatal(res.Status, err)
		}
		return n
	}
}
