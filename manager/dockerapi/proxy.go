package dockerapi

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"time"

	"github.com/swarmctl/swarmctl/api"
)

// NewProxy returns a handler that hands every request, as it is, to the HTTP
// server at the other end of dial, and streams the answer back: chunk by
// chunk, and in both directions once the server has switched protocols
// (attach, exec, BuildKit's sessions). Where dial fails, the answer is 503 with
// what explain makes of the error.
func NewProxy(dial func(ctx context.Context) (net.Conn, error), log *slog.Logger, explain func(error) string) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host = "http", "docker"
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery // as it is: the other end judges it
		},
		Transport:     newEngineTransport(dial),
		FlushInterval: -1,
		BufferPool:    buffers,
		ErrorLog:      ServerLog(log),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil && !errors.Is(r.Context().Err(), context.DeadlineExceeded) {
				return // the caller has gone
			}
			if exchangeOf(r).body.failed.Load() {
				writeError(w, api.Errorf(api.CodeInvalid, "read the request: %v", err))
				return
			}
			writeError(w, api.Errorf(api.CodeUnavailable, "%s", explain(err)))
		},
		ModifyResponse: func(res *http.Response) error {
			if e := exchangeOf(res.Request); e.plain {
				e.caller.answer = res
			}
			gather(res)
			return nil
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		e := &exchange{body: callersBody{ReadCloser: r.Body}, caller: upgradable{ResponseWriter: w, gone: cancel}}
		out := r.WithContext(context.WithValue(ctx, exchangeKey{}, e))
		if r.Body != nil && r.Body != http.NoBody {
			out.Body = &e.body
		}
		upgrade := r.Header.Get("Upgrade")
		e.plain = upgrade == "" && r.Method == http.MethodPost && hijackers.MatchString(r.URL.Path)
		if upgrade == "" && !e.plain {
			paced := &pacedWriter{ResponseWriter: w}
			defer paced.end()
			proxy.ServeHTTP(paced, out)
			return
		}
		out.Header = r.Header.Clone()
		out.Header.Set("Connection", "Upgrade") // the engine looks at the other header alone
		out.Header.Set("Upgrade", cmp.Or(upgrade, "tcp"))
		proxy.ServeHTTP(&e.caller, out)
	})
}

// exchange is a request on its way through the proxy.
type exchange struct {
	body   callersBody
	caller upgradable
	plain  bool // the upgrade is ours, not the caller's
}

// exchangeKey is the context key of a request's *exchange.
type exchangeKey struct{}

func exchangeOf(r *http.Request) *exchange { return r.Context().Value(exchangeKey{}).(*exchange) }

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

// streamBuffer is how much of an answer is handed on at once: what has come,
// up to this much. Larger saves a long log some switching between processes;
// each answer that is on its way holds two.
const streamBuffer = 64 << 10

// bufferPool is a httputil.BufferPool.
type bufferPool struct{ sync.Pool }

var buffers = &bufferPool{sync.Pool{New: func() any { return new([streamBuffer]byte) }}}

// Get implements httputil.BufferPool.
func (p *bufferPool) Get() []byte { return p.Pool.Get().(*[streamBuffer]byte)[:] }

// Put implements httputil.BufferPool.
func (p *bufferPool) Put(b []byte) { p.Pool.Put((*[streamBuffer]byte)(b)) }

// engineTransport asks plain questions over connections that are kept: should
// one be stale because the engine has been restarted, the question is put again
// over a new one. Whatever else there is might have been carried out, and must
// not be repeated: it gets a connection of its own.
type engineTransport struct{ kept, fresh *http.Transport }

func newEngineTransport(dial func(ctx context.Context) (net.Conn, error)) engineTransport {
	t := engineTransport{kept: newTransport(dial), fresh: newTransport(dial)}
	t.kept.DisableKeepAlives = false
	t.kept.MaxIdleConnsPerHost = keptConnections
	t.kept.IdleConnTimeout = keptFor
	t.kept.ReadBufferSize, t.fresh.ReadBufferSize = streamBuffer, streamBuffer
	return t
}

const (
	keptConnections = 8
	keptFor         = 10 * time.Second
)

// RoundTrip implements http.RoundTripper.
func (t engineTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	plain := (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Body == nil && r.Header.Get("Upgrade") == ""
	if plain {
		return t.kept.RoundTrip(r)
	}
	return t.fresh.RoundTrip(r)
}

// newTransport makes a connection a request.
func newTransport(dial func(ctx context.Context) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives:     true,
		DisableCompression:    true,
		ExpectContinueTimeout: time.Second,
	}
}
