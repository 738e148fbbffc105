package dockerapi

import (
	"net/http"
	"sync"
	"time"
)

// calm is how long a stream must have been silent for its next piece to be sent
// at once. Pieces that come sooner, as a short answer's body does behind its
// head and the lines of a long log behind each other, are sent together, after
// that time at the latest: nobody can see it, and it spares both ends the better
// part of the work.
const calm = 2 * time.Millisecond

// pacedWriter is a ResponseWriter that flushes no more often than calm allows.
type pacedWriter struct {
	http.ResponseWriter

	mu    sync.Mutex
	sent  time.Time   // when it was flushed last, or began
	timer *time.Timer // flushes what waits
	waits bool
	ended bool
}

// Unwrap lets http.ResponseController find what is below.
func (p *pacedWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (p *pacedWriter) WriteHeader(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = time.Now()
	p.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (p *pacedWriter) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ResponseWriter.Write(b)
}

// FlushError is what http.ResponseController flushes with.
func (p *pacedWriter) FlushError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.waits:
		return nil
	case time.Since(p.sent) >= calm:
		return p.flush()
	}
	p.waits = true
	if p.timer == nil {
		p.timer = time.AfterFunc(calm, p.flushLate)
	} else {
		p.timer.Reset(calm)
	}
	return nil
}

func (p *pacedWriter) flush() error {
	p.sent = time.Now()
	return http.NewResponseController(p.ResponseWriter).Flush()
}

func (p *pacedWriter) flushLate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waits && !p.ended {
		_ = p.flush() // whoever has gone is noticed by the next Write
	}
	p.waits = false
}

// end is called before the handler returns: what waits is sent then anyway,
// and nothing may be flushed after it.
func (p *pacedWriter) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.timer != nil {
		p.timer.Stop()
	}
}
