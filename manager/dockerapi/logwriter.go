package dockerapi

import (
	"encoding/binary"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/swarmctl/swarmctl/api"
)

// The streams of a framed log, as the engine numbers them.
const (
	streamStdout = 1
	streamStderr = 2
)

// frameHeader is the length of what precedes the payload of a frame: the
// stream, three zero bytes, and the payload's length as a big-endian uint32.
const frameHeader = 8

// fixedNano is the engine's form of a log line's time: of one length always.
const fixedNano = "2006-01-02T15:04:05.000000000Z07:00"

// logWriter writes whole lines from many sources.
type logWriter struct {
	mu    sync.Mutex
	w     http.ResponseWriter
	rc    *http.ResponseController
	query logQuery
	now   func() time.Time
}

func newLogWriter(w http.ResponseWriter, q logQuery, now func() time.Time) *logWriter {
	return &logWriter{w: w, rc: http.NewResponseController(w), query: q, now: now}
}

func (o *logWriter) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = o.rc.Flush()
}

// line is one line of a task's log, taken apart.
type line struct {
	stream  byte
	time    string // empty where it is not known
	details string // the engine's own, empty where there are none
	text    []byte
}

func (o *logWriter) write(t *api.Task, l line) {
	var b []byte
	if !o.query.raw {
		b = make([]byte, frameHeader, frameHeader+len(l.text)+256)
		b[0] = l.stream
	}
	if o.query.timestamps && l.time != "" {
		b = append(append(b, l.time...), ' ')
	}
	if o.query.details {
		b = append(append(b, taskDetails(t, l.details)...), ' ')
	}
	b = append(b, l.text...)
	if !o.query.raw {
		binary.BigEndian.PutUint32(b[4:], uint32(len(b)-frameHeader))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = o.w.Write(b)
	if o.query.follow {
		_ = o.rc.Flush()
	}
}

// warn tells the reader, on stderr and in the place of a line of the task, why
// lines are missing.
func (o *logWriter) warn(t *api.Task, text string) {
	o.write(t, line{
		stream: streamStderr, time: o.now().UTC().Format(fixedNano), text: []byte("warning: " + text + "\n"),
	})
}

// taskDetails are the attributes by which a reader tells lines of different
// tasks apart, with those of the engine behind them.
func taskDetails(t *api.Task, engines string) string {
	parts := []string{
		"com.docker.swarm.node.id=" + url.QueryEscape(string(t.NodeID)),
		"com.docker.swarm.service.id=" + url.QueryEscape(string(t.ServiceID)),
		"com.docker.swarm.task.id=" + url.QueryEscape(string(t.ID)),
	}
	if engines != "" {
		parts = append(parts, engines)
	}
	return strings.Join(parts, ",")
}
