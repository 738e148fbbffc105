package mover

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/swarmctl/swarmctl/api"
)

// passage is the body of one node's answer as that of the request to another
// one: at its end it hands the sum on, or says what went wrong.
type passage struct {
	res     *http.Response
	from    string
	count   func(n int)
	trailer http.Header

	mu     sync.Mutex
	broken error
}

// Read implements io.Reader.
func (p *passage) Read(b []byte) (int, error) {
	n, err := p.res.Body.Read(b)
	p.count(n)
	if err == nil {
		return n, nil
	}
	switch said := p.res.Trailer.Get(failTrailer); {
	case !errors.Is(err, io.EOF):
		err = api.Errorf(api.CodeUnavailable, "node %s broke off: %v", p.from, err)
	case said != "":
		err = api.Errorf(api.CodeConflict, "node %s: %s", p.from, said)
	default:
		p.trailer.Set(sumTrailer, p.res.Trailer.Get(sumTrailer))
		return n, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = err
	return n, err
}

// Close implements io.Closer.
func (p *passage) Close() error { return p.res.Body.Close() }

// failure is what went wrong on the side that reads.
func (p *passage) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.broken
}
