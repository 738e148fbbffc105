package mover

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/volume"
)

// patience is how long a node may take for what is no transfer. An engine that
// is busy removes a large volume in minutes.
const patience = 2 * time.Minute

// maxSaid bounds what is read of an answer: a node is not trusted with a
// manager's memory.
const maxSaid = 1 << 20

// peer is the end of a node.
type peer struct {
	name string // the hostname
	http *http.Transport
}

// Dial connects to the daemon of a node.
type Dial func(ctx context.Context, node api.NodeID) (net.Conn, error)

func newPeer(dial Dial, id api.NodeID, name string) *peer {
	return &peer{name: name, http: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, id) },
		DisableKeepAlives: true, DisableCompression: true, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
	}}
}

func (p *peer) close() { p.http.CloseIdleConnections() }

// send returns an answer that is not a refusal; the caller closes its body.
func (p *peer) send(r *http.Request) (*http.Response, error) {
	res, err := p.http.RoundTrip(r)
	if err != nil {
		return nil, api.Errorf(api.CodeUnavailable, "node %s: %v", p.name, err)
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	var said refusal
	switch {
	case res.StatusCode == http.StatusNotFound:
		return nil, api.Errorf(api.CodeUnavailable, "node %s runs a version of swarmctl that moves no volumes: upgrade it", p.name)
	case json.NewDecoder(io.LimitReader(res.Body, maxSaid)).Decode(&said) != nil:
		said.Message = res.Status
	}
	code := map[int]api.Code{http.StatusGone: api.CodeNotFound, http.StatusConflict: api.CodeConflict}[res.StatusCode]
	if code == "" {
		code = api.CodeUnavailable
	}
	return nil, api.Errorf(code, "node %s: %s", p.name, said.Message)
}

func (p *peer) ask(ctx context.Context, method, path string, query url.Values, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://node/volumes/"+path+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	res, err := p.send(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, maxSaid)).Decode(answer); err != nil {
		return fmt.Errorf("node %s: %w", p.name, err)
	}
	return nil
}

// LookAt asks a node about a volume. Errors: not found; conflict where it is not
// to be moved; unavailable.
func LookAt(ctx context.Context, dial Dial, n *api.Node, name string) (*Look, error) {
	p := newPeer(dial, n.ID, n.Hostname())
	defer p.close()
	return p.look(ctx, name, false)
}

func (p *peer) look(ctx context.Context, name string, size bool) (*Look, error) {
	q := url.Values{"name": {name}}
	if size {
		q.Set("size", "1")
	}
	var l Look
	return &l, p.ask(ctx, http.MethodGet, "look", q, &l)
}

func (p *peer) discard(ctx context.Context, name, move string, half bool) error {
	q := url.Values{"name": {name}, "move": {move}}
	if half {
		q.Set("half", "1")
	}
	return p.ask(ctx, http.MethodPost, "discard", q, &struct{}{})
}

// pipe has one node fill a volume with what another one reads. count is told of
// all that passes.
func pipe(ctx context.Context, from, to *peer, move string, l *Look, count func(n int)) (volume.Sum, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sum volume.Sum
	get, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node/volumes/read?"+url.Values{"name": {l.Volume.Name}, "move": {move}}.Encode(), http.NoBody)
	if err != nil {
		return sum, err
	}
	res, err := from.send(get)
	if err != nil {
		return sum, err
	}
	defer res.Body.Close()
	through := &passage{res: res, from: from.name, count: count}
	put, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node/volumes/fill?"+url.Values{"move": {move}}.Encode(), through)
	if err != nil {
		return sum, err
	}
	put.Header.Set(headVolume, encode(&l.Volume))
	put.Header.Set(headSize, strconv.FormatInt(l.Size, 10))
	put.Trailer = http.Header{sumTrailer: nil}
	through.trailer = put.Trailer
	answer, err := to.send(put)
	if err != nil {
		if broken := through.failure(); broken != nil {
			err = broken
		}
		return sum, err
	}
	defer answer.Body.Close()
	return sum, json.NewDecoder(io.LimitReader(answer.Body, maxSaid)).Decode(&sum)
}
