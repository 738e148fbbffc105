package dockerapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/swarmctl/swarmctl/api"
)

// What the managers ask a node about itself, over a tunnel that the node has
// dialled.

const (
	// reachPatience bounds one packet and its answer, which may be lost once.
	reachPatience = 3 * time.Second
	// nodePatience bounds what a node needs for all that it is asked.
	nodePatience = 20 * time.Second
)

// OfNode serves what managers ask this node.
func (a *API) OfNode() http.Handler {
	asked := a.routes(map[string]handler{
		"POST /probe": a.probe,
		"POST /look":  a.look,
	})
	mux := http.NewServeMux()
	mux.Handle("/", asked)
	mux.Handle("/volumes/", a.cfg.Volumes)
	return mux
}

var errNoProber = api.Errorf(api.CodeUnavailable, "this node does not know its part of the cluster's networks yet")

func (a *API) probe(w http.ResponseWriter, r *http.Request) error {
	var req api.ProbeRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	if a.cfg.Prober == nil {
		return errNoProber
	}
	out := make([]api.Probe, len(req.To))
	var all sync.WaitGroup
	for i, to := range req.To {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(r.Context(), reachPatience)
			defer cancel()
			out[i].To = to.Node
			var err error
			if out[i].Size, out[i].Took, err = a.cfg.Prober.Reach(ctx, req.Network, to.Addr); err != nil {
				out[i].Err = err.Error()
			}
		})
	}
	all.Wait()
	return writeJSON(w, http.StatusOK, out)
}

func (a *API) look(w http.ResponseWriter, r *http.Request) error {
	var req api.TraceRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	if a.cfg.Prober == nil {
		return errNoProber
	}
	return writeJSON(w, http.StatusOK, a.cfg.Prober.Look(r.Context(), &req))
}

// askNode has a node answer about itself.
func (a *API) askNode(ctx context.Context, node api.NodeID, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, nodePatience)
	defer cancel()
	transport := newTransport(func(ctx context.Context) (net.Conn, error) { return a.cfg.Tunnel.Daemon(ctx, node) })
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node"+path, http.NoBody)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := transport.RoundTrip(withBody(r, raw(body)))
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	var said struct{ Message string }
	told := json.NewDecoder(io.LimitReader(res.Body, maxBody)) // a node is not trusted with a manager's memory
	if res.StatusCode == http.StatusOK {
		return told.Decode(answer)
	}
	if told.Decode(&said) != nil || said.Message == "" || res.StatusCode == http.StatusNotFound {
		return errors.New("it runs a version of swarmctl that cannot be asked this")
	}
	return errors.New(said.Message)
}
