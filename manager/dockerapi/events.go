package dockerapi

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// maxEvent bounds the length of one event of the engine.
const maxEvent = 1 << 20

// events streams what happens: the engine's events as they are, and between
// them the cluster's, from this manager's own replica of the state. A listener
// that asks for what has been gets both, in the order of their times, and then
// what comes.
func (a *API) events(w http.ResponseWriter, r *http.Request) error {
	f, err := filters.FromJSON(r.URL.Query().Get("filters"))
	if err != nil {
		return api.Errorf(api.CodeInvalid, "%s", err)
	}
	asked, past, err := parseSpan(r)
	if err != nil {
		return err
	}
	out := &eventWriter{w: w, rc: http.NewResponseController(w)}
	s := &eventSource{api: a, filter: f, version: apiVersion(r)}
	s.view, s.cursor = a.followEvents(f) // from here on: nothing after the headers is missed
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	out.flush()
	now := a.cfg.Now()
	if over := asked.before(now.UnixNano()); past && over.from <= over.to {
		s.past(r.Context(), over, out)
	}
	if left := time.Unix(0, asked.to).Sub(now); asked.to == open {
		s.live(r.Context(), now, out)
	} else if left > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), left)
		defer cancel()
		s.live(ctx, now, out)
	}
	return nil
}

// span is a time from which and one to which events are asked for, in
// nanoseconds since 1970.
type span struct{ from, to int64 }

// open is the end of a span that has none. 0 is a time like any other.
const open = math.MaxInt64

func (s span) has(at int64) bool { return at >= s.from && at <= s.to }

// before is the part of the span that is over at a time.
func (s span) before(now int64) span { return span{s.from, min(s.to, now)} }

// parseSpan reads the span of a request, and whether it asks for what has been:
// one that names no time asks for what comes.
func parseSpan(r *http.Request) (s span, past bool, err error) {
	since, until := r.URL.Query().Get("since"), r.URL.Query().Get("until")
	s.to = open
	if since != "" {
		if s.from, err = parseEventTime("since", since); err != nil {
			return s, false, err
		}
	}
	if until != "" {
		if s.to, err = parseEventTime("until", until); err != nil {
			return s, false, err
		}
	}
	if s.to < s.from {
		return s, false, api.Errorf(api.CodeInvalid, "`since` time (%s) cannot be after `until` time (%s)", since, until)
	}
	return s, since != "" || until != "", nil
}

// parseEventTime reads seconds since 1970, with up to nine digits of a fraction.
func parseEventTime(name, value string) (int64, error) {
	whole, fraction, _ := strings.Cut(value, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	nsec, err2 := strconv.ParseUint((fraction + "000000000")[:9], 10, 32)
	if err != nil || err2 != nil || sec < 0 || sec > maxEventTime {
		return 0, api.Errorf(api.CodeInvalid, "%s: %q is not a time in seconds since 1970", name, value)
	}
	return sec*1e9 + int64(nsec), nil
}

// maxEventTime is in the year 2255, before nanoseconds outgrow 64 bits.
const maxEventTime = 9_000_000_000

func formatEventTime(at int64) string { return fmt.Sprintf("%d.%09d", at/1e9, at%1e9) }

// eventSource is where one listener's events come from.
type eventSource struct {
	api     *API
	filter  filters.Args
	version string
	view    *state.View   // of the cluster when the listener came; nil where it wants none of it
	cursor  *state.Cursor // from there on
}

func (s *eventSource) wants(scope string) bool { return s.filter.ExactMatch("scope", scope) }

// followEvents begins to follow the state, on a manager.
func (a *API) followEvents(f filters.Args) (*state.View, *state.Cursor) {
	if role := a.cfg.Node.Role(); role != Manager && role != Leader || !f.ExactMatch("scope", "swarm") {
		return nil, nil
	}
	return a.cfg.Store.Follow()
}

// past writes what has been in a span of time.
func (s *eventSource) past(ctx context.Context, in span, out *eventWriter) {
	ctx, cancel := context.WithTimeout(ctx, infoPatience)
	defer cancel()
	type told struct {
		at   int64
		line json.RawMessage
	}
	var all []told
	if s.view != nil {
		for _, m := range s.api.log.upTo(ctx, s.view, in) {
			if includeEvent(s.filter, m) {
				all = append(all, told{m.TimeNano, raw(m)})
			}
		}
	}
	if s.wants("local") {
		s.engine(ctx, in, func(line []byte) {
			var m struct{ TimeNano int64 }
			_ = json.Unmarshal(line, &m)
			all = append(all, told{m.TimeNano, slices.Clone(line)})
		})
	}
	slices.SortStableFunc(all, func(a, b told) int { return cmp.Compare(a.at, b.at) })
	for _, t := range all {
		out.line(t.line)
	}
}

// live writes what happens from a time on, until ctx ends.
func (s *eventSource) live(ctx context.Context, from time.Time, out *eventWriter) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sources sync.WaitGroup
	if s.wants("local") {
		sources.Go(func() {
			if s.engine(ctx, span{from.UnixNano(), open}, func(line []byte) { out.line(line) }) {
				cancel() // the engine has gone: whoever listens connects again, as to the engine itself
			}
		})
	}
	if s.cursor != nil {
		sources.Go(func() { s.cluster(ctx, out) })
	}
	<-ctx.Done() // the stream stays open while neither source says anything
	sources.Wait()
}

// engine hands on the engine's events of a span, to the end of its stream. It
// reports whether there was one: without, the cluster's events go on alone.
func (s *eventSource) engine(ctx context.Context, in span, emit func(line []byte)) bool {
	q := url.Values{"since": {formatEventTime(in.from)}}
	if in.to != open {
		q.Set("until", formatEventTime(in.to))
	}
	if f, err := filters.ToJSON(s.filter); err == nil && f != "" {
		q.Set("filters", f)
	}
	path := "/events?"
	if s.version != "" {
		path = "/v" + s.version + path
	}
	res, err := s.api.ask(ctx, path+q.Encode())
	if err != nil {
		return false
	}
	defer res.Body.Close() //nolint:errcheck // only read
	if res.StatusCode != http.StatusOK {
		return false
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		emit(lines.Bytes())
	}
	return true
}

// cluster writes what happens in the cluster until ctx ends.
func (s *eventSource) cluster(ctx context.Context, out *eventWriter) {
	for {
		e, err := s.cursor.Next(ctx)
		if err != nil {
			return
		}
		for _, m := range messagesOf(e, s.api.cfg.Now()) {
			if includeEvent(s.filter, m) {
				out.line(raw(m))
			}
		}
	}
}

// namedTypes are the filters that match an object's ID or name. Docker's match
// events of any type: node=h1 takes whatever is called h1, node or not.
var namedTypes = []events.Type{
	events.ConfigEventType, events.ContainerEventType, events.DaemonEventType, events.NetworkEventType, events.NodeEventType,
	events.PluginEventType, events.SecretEventType, events.ServiceEventType, taskEventType, events.VolumeEventType,
}

// includeEvent applies Docker's filters to an event of the cluster. A filter
// for a service or a node takes the events of their tasks too.
func includeEvent(f filters.Args, m events.Message) bool {
	of := m.Actor.Attributes
	for _, t := range namedTypes {
		key := string(t)
		if !f.FuzzyMatch(key, m.Actor.ID) && !f.FuzzyMatch(key, of["name"]) &&
			(m.Type != taskEventType || !f.FuzzyMatch(key, of[key+".id"]) && !f.FuzzyMatch(key, of[key+".name"])) {
			return false
		}
	}
	return f.ExactMatch("type", string(m.Type)) && f.ExactMatch("scope", m.Scope) && f.ExactMatch("event", string(m.Action)) &&
		(!f.Contains("label") || f.MatchKVList("label", of)) && !f.Contains("image")
}

// eventWriter writes whole events from several sources.
type eventWriter struct {
	mu sync.Mutex
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (e *eventWriter) line(data json.RawMessage) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, _ = e.w.Write(append(append([]byte(nil), data...), '\n'))
	_ = e.rc.Flush()
}

func (e *eventWriter) flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.rc.Flush()
}
