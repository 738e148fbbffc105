package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"sync/atomic"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
	"github.com/swarmctl/swarmctl/raftstore"
)

const (
	// forwardPatience is how long a request waits for a leader to be elected.
	forwardPatience = 10 * time.Second
	// lastWord is what a leader that has just been replaced gets to say what
	// became of a change that it was asked for.
	lastWord = 250 * time.Millisecond
)

var (
	errLeaderChanged = errors.New("another manager leads now")
	errAskAgain      = errors.New("it does not lead")
	errNoLeader      = api.Errorf(api.CodeUnavailable, "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online; should they be lost for good, see `swarmctl init --force-new-cluster`")
)

// forward hands an API request to the leader and the answer back, streams
// included. When the leader changes under it, a request that only reads, or
// that the old leader has certainly not carried out, goes to the new one; any
// other ends with an error that leaves its outcome open.
func (d *Daemon) forward(w http.ResponseWriter, r *http.Request) {
	body, err := dockerapi.ReadBody(w, r) // kept, so that the request can be sent again
	if err != nil {
		dockerapi.WriteError(w, err)
		return
	}
	waiting, cancel := context.WithTimeout(r.Context(), forwardPatience)
	defer cancel()
	for {
		m := d.current()
		if m == nil {
			dockerapi.WriteError(w, errNoManager)
			return
		}
		g, leader, changed, err := m.awaitKnownLeader(waiting)
		if err != nil {
			dockerapi.WriteError(w, err)
			return
		}
		a := attempt{self: m.id(), leader: leader, changed: changed, transport: g.api, log: g.m.component("api")}
		if a.run(w, r, body); a.err == nil {
			return
		}
		if !a.mayRepeat(r) || waiting.Err() != nil {
			dockerapi.WriteError(w, api.Errorf(api.CodeUnavailable, "the leader at %s did not answer (%v): the change may or may not have been made: look before you repeat it", leader.Addr, a.err))
			return
		}
		select { // a leader that cannot be reached is not asked again at once
		case <-changed:
		case <-waiting.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// awaitKnownLeader waits until there is a leader: this node itself, perhaps,
// which is then reached over its own port. changed is closed when it is
// another. A node that is no manager any more waits for nobody.
func (m *member) awaitKnownLeader(ctx context.Context) (g *manager, leader raftstore.Leader, changed <-chan struct{}, err error) {
	for {
		if g = m.manager(); g == nil {
			return nil, leader, nil, errNoManager
		}
		leader, changed = g.store.WatchLeader()
		if leader.ID != "" {
			return g, leader, changed, nil
		}
		select {
		case <-ctx.Done():
			return g, leader, nil, errNoLeader
		case <-changed:
		case <-g.over:
			return g, leader, nil, errNoManager
		}
	}
}

// attempt is one try to have a request answered by one leader.
type attempt struct {
	self      nodeID
	leader    raftstore.Leader
	changed   <-chan struct{}
	transport http.RoundTripper
	log       *slog.Logger
	sent      atomic.Bool // something of the request may have reached the leader
	err       error       // nil: the answer has been passed on
}

func (a *attempt) run(w http.ResponseWriter, r *http.Request, body []byte) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	answered := make(chan struct{})
	go func() { // ends with the answer, or with the request
		select {
		case <-a.changed:
		case <-answered:
			return
		case <-ctx.Done():
			return
		}
		if !a.mayRepeat(r) { // it may have been carried out: the old leader, if it lives, says so
			select {
			case <-answered:
				return
			case <-ctx.Done():
				return
			case <-time.After(lastWord):
			}
		}
		cancel(errLeaderChanged)
	}()
	out := r.Clone(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { a.sent.Store(true) }}))
	out.Header.Set(dockerapi.ManagerHeader, string(a.self))
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.ContentLength = int64(len(body))
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "https", a.leader.Addr
			p.Out.Host = p.In.Host
		},
		Transport:     a.transport,
		FlushInterval: -1,
		ErrorLog:      dockerapi.ServerLog(a.log),
		ModifyResponse: func(resp *http.Response) error {
			if resp.Header.Get(dockerapi.AskAgain) != "" {
				a.sent.Store(false)
				return errAskAgain
			}
			close(answered)
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
			a.err = err
			if cause := context.Cause(ctx); cause != nil {
				a.err = cause
			}
		},
	}
	proxy.ServeHTTP(w, out)
}

func (a *attempt) mayRepeat(r *http.Request) bool {
	return r.Context().Err() == nil && (!a.sent.Load() || r.Method == http.MethodGet || r.Method == http.MethodHead)
}
