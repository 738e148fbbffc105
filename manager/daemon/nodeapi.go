package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
)

// A node asks managers for what its own containers are to have in the cluster's
// networks. Its certificate says whose containers those are.

type nodePeerKey struct{}

// serveNodes answers what nodes ask for themselves.
func (g *manager) serveNodes(ctx context.Context) error {
	server := dockerapi.NewServer(ctx, http.HandlerFunc(g.forNode), g.m.component("api"))
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if plain, ok := c.(plainConn); ok {
			if peer, err := plain.peer(); err == nil {
				return context.WithValue(ctx, nodePeerKey{}, peer)
			}
		}
		return ctx
	}
	return serveUntil(ctx, func() error { return server.Serve(plainListener{g.mux.listen(protoNode)}) }, func() { _ = server.Close() })
}

func (g *manager) forNode(w http.ResponseWriter, r *http.Request) {
	peer, ok := r.Context().Value(nodePeerKey{}).(identity.Peer)
	if !ok {
		dockerapi.WriteError(w, api.Errorf(api.CodeForbidden, "only nodes of the cluster may ask this"))
		return
	}
	g.m.d.api.ForNode(peer.NodeID).ServeHTTP(w, r)
}

// managerPatience is how long one manager has to answer a node before the next
// one is asked: it may wait for a leader to be elected itself.
const managerPatience = forwardPatience + 2*time.Second

// toManager hands a request of this node's own to the first manager that can be
// reached. What has been sent may have been done; it is safe to send again,
// since it says how things are to be and not what to change.
func (d *Daemon) toManager(w http.ResponseWriter, r *http.Request) {
	m := d.current()
	if m == nil {
		dockerapi.WriteError(w, errNoManager)
		return
	}
	body, err := dockerapi.ReadBody(w, r)
	if err != nil {
		dockerapi.WriteError(w, err)
		return
	}
	err = errors.New("no manager is known")
	for _, p := range m.managerPeers() {
		if err = m.askManager(w, r, p, body); err == nil || r.Context().Err() != nil {
			return
		}
	}
	dockerapi.WriteError(w, api.Errorf(api.CodeUnavailable, "no manager can be reached: %v", err))
}

// askManager asks one manager and passes its answer on. An error is one of the
// way there or back: nothing has been answered then.
func (m *member) askManager(w http.ResponseWriter, r *http.Request, p *wire.Peer, body []byte) error {
	ctx, cancel := context.WithTimeout(r.Context(), managerPatience)
	defer cancel()
	out, err := http.NewRequestWithContext(ctx, r.Method, "https://"+p.GetAddr()+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	out.Header = r.Header.Clone()
	transport := newTransport(m.ids, protoNode)
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(out)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
	w.WriteHeader(res.StatusCode)
	_, _ = w.Write(answer) // a reader who has gone needs no error
	return nil
}
