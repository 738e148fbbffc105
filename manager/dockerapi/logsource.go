package dockerapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/swarmctl/swarmctl/api"
)

// maxFrame bounds one frame of the engine's: it splits lines at 16 KiB.
const maxFrame = 1 << 20

// source is the log of one task's container, on the engine of its node.
type source struct {
	task     *api.Task
	name     string
	node     string
	terminal bool // the container has a terminal: its log has no frames
	query    logQuery
	patience time.Duration

	last string // the time of the last line that was read
}

// errGone says that the engine has no such container (any more).
var errGone = errors.New("the container is gone")

func isGone(err error) bool { return errors.Is(err, errGone) }

// nodeError is the failure of a whole node: its other logs cannot be had either.
type nodeError struct{ error }

// copy hands every line to emit, to the end of the log. While it waits for the
// engine's answer, and between lines unless the log is followed, it waits no
// longer than its patience.
func (s *source) copy(ctx context.Context, tunnel Tunnel, emit func(line)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(s.patience, func() { cancel(fmt.Errorf("it did not answer within %s", s.patience)) })
	defer watch.Stop()
	body, err := s.open(ctx, tunnel)
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // only read
	alive := func() { watch.Reset(s.patience) }
	if s.query.follow {
		watch.Stop()
		alive = func() {}
	}
	next := s.frame
	if s.terminal {
		next = s.plain
	}
	for in := bufio.NewReader(body); ; {
		l, err := next(in)
		switch {
		case err == io.EOF && len(l.text) == 0:
			return nil
		case err != nil && err != io.EOF:
			return because(ctx, err)
		}
		alive()
		emit(l)
	}
}

// because prefers the reason for which ctx was cancelled to what that led to.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

func (s *source) open(ctx context.Context, tunnel Tunnel) (io.ReadCloser, error) {
	dial := func(ctx context.Context) (net.Conn, error) { return tunnel.Engine(ctx, s.task.NodeID) }
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/containers/"+s.task.Status.Container.ID+"/logs?"+s.params(), nil)
	if err != nil {
		return nil, err
	}
	res, err := newTransport(dial).RoundTrip(req)
	if err != nil {
		return nil, nodeError{because(ctx, err)}
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close() //nolint:errcheck // only read
	if res.StatusCode == http.StatusNotFound {
		return nil, errGone
	}
	var reply struct{ Message string }
	_ = json.NewDecoder(io.LimitReader(res.Body, maxFrame)).Decode(&reply)
	return nil, fmt.Errorf("its engine says: %s: %s", res.Status, reply.Message)
}

// params asks for the time of every line, wanted or not: it says where to go
// on if the log breaks off. NB: with a terminal it is asked for only if
// wanted, since without frames it cannot be told from the line for certain.
func (s *source) params() string {
	v := url.Values{}
	set := func(name string, on bool) {
		if on {
			v.Set(name, "1")
		}
	}
	set("stdout", s.query.stdout)
	set("stderr", s.query.stderr)
	set("follow", s.query.follow)
	set("timestamps", s.query.timestamps || !s.terminal)
	set("details", s.query.details)
	if s.query.since != "" {
		v.Set("since", s.query.since)
	}
	if s.query.tail != "" {
		v.Set("tail", s.query.tail)
	}
	if at, err := time.Parse(time.RFC3339Nano, s.last); err == nil {
		at = at.Add(1)
		v.Set("since", strconv.FormatInt(at.Unix(), 10)+"."+fmt.Sprintf("%09d", at.Nanosecond()))
		v.Del("tail")
	}
	return v.Encode()
}

// frame reads one frame, which holds one line.
func (s *source) frame(in *bufio.Reader) (line, error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(in, header[:]); err != nil {
		return line{}, err
	}
	size := binary.BigEndian.Uint32(header[4:])
	if size > maxFrame {
		return line{}, fmt.Errorf("its engine sent a frame of %d bytes", size)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(in, payload); err != nil {
		return line{}, fmt.Errorf("the log broke off: %w", io.ErrUnexpectedEOF)
	}
	l := s.parse(line{stream: header[0], text: payload}, true)
	s.last = l.time
	return l, nil
}

// plain reads one line of a log without frames.
func (s *source) plain(in *bufio.Reader) (line, error) {
	text, err := in.ReadBytes('\n')
	return s.parse(line{stream: streamStdout, text: text}, s.query.timestamps), err
}

// parse takes apart what the engine puts before a line: time, then details.
func (s *source) parse(l line, timed bool) line {
	if timed {
		if at, rest, ok := bytes.Cut(l.text, []byte{' '}); ok {
			l.time, l.text = string(at), rest
		}
	}
	if s.query.details {
		if details, rest, ok := bytes.Cut(l.text, []byte{' '}); ok {
			l.details, l.text = string(details), rest
		}
	}
	return l
}
