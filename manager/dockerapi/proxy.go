package dockerapi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
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
	return &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host = "http", "docker"
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery // as it is: the other end judges it
		},
		Transport:     newTransport(dial),
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil && !errors.Is(r.Context().Err(), context.DeadlineExceeded) {
				return // the caller has gone
			}
			writeError(w, api.Errorf(api.CodeUnavailable, "%s", explain(err)))
		},
	}
}

func newTransport(dial func(ctx context.Context) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives:     true,
		DisableCompression:    true,
		ExpectContinueTimeout: time.Second,
	}
}
