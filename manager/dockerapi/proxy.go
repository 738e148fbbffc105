package dockerapi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync/atomic"
	"time"

	"github.com/swarmctl/swarmctl/api"
)

// NewProxy returns a handler that hands every request, as it is, to the HTTP
// server at the other end of dial, and streams the answer back: chunk by
// chunk, and in both directions once the server has switched protocols
// (attach, exec, BuildKit's sessions). It makes a connection a request, so
// that none goes stale when the other end restarts. Where dial fails, the
// answer is 503 with what explain makes of the error.
func NewProxy(dial func(ctx context.Context) (net.Conn, error), log *slog.Logger, explain func(error) string) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host = "http", "docker"
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery // as it is: the other end judges it
		},
		Transport:     newTransport(dial),
		FlushInterval: -1,
		ErrorLog:      ServerLog(log),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil && !errors.Is(r.Context().Err(), context.DeadlineExceeded) {
				return // the caller has gone
			}
			if body, ok := r.Context().Value(bodyKey{}).(*callersBody); ok && body.failed.Load() {
				writeError(w, api.Errorf(api.CodeInvalid, "read the request: %v", err))
				return
			}
			writeError(w, api.Errorf(api.CodeUnavailable, "%s", explain(err)))
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		body := &callersBody{ReadCloser: r.Body}
		out := r.WithContext(context.WithValue(ctx, bodyKey{}, body))
		if r.Body != nil && r.Body != http.NoBody {
			out.Body = body
		}
		if r.Header.Get("Upgrade") != "" {
			out.Header = r.Header.Clone()
			out.Header.Set("Connection", "Upgrade") // the engine looks at the other header alone
			w = &upgradable{ResponseWriter: w, gone: cancel}
		}
		proxy.ServeHTTP(w, out)
	})
}

// bodyKey is the context key of a request's *callersBody.
type bodyKey struct{}

// callersBody remembers whether the caller's body could not be read: that is
// no failure of the other end.
type callersBody struct {
	io.ReadCloser
	failed atomic.Bool
}

// Read implements io.Reader.
func (b *callersBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.failed.Store(true)
	}
	return n, err
}

func newTransport(dial func(ctx context.Context) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives:     true,
		DisableCompression:    true,
		ExpectContinueTimeout: time.Second,
	}
}
