package dockerapi

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"sync"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/swarmctl/swarmctl/api"
)

// maxEvent bounds the length of one event of the engine.
const maxEvent = 1 << 20

// events streams what happens: the engine's events as they are, and between
// them the cluster's, from this manager's own replica of the state. Events of
// the cluster are not kept, so since reaches back for the engine's alone.
func (a *API) events(w http.ResponseWriter, r *http.Request) error {
	f, err := filters.FromJSON(r.URL.Query().Get("filters"))
	if err != nil {
		return api.Errorf(api.CodeInvalid, "%s", err)
	}
	if _, err := queryTime(r, "since"); err != nil {
		return err // else the engine would say so, after the headers
	}
	ctx, cancel, live, err := a.until(r)
	if err != nil {
		return err
	}
	defer cancel()
	out := &eventWriter{w: w, rc: http.NewResponseController(w)}
	cluster := a.clusterEvents(f) // follows from here on: nothing after the headers is missed
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	out.flush()
	var sources sync.WaitGroup
	if wantsScope(f, "local") {
		sources.Go(func() {
			if a.engineEvents(ctx, r, out) {
				cancel() // the engine has gone: whoever listens connects again, as to the engine itself
			}
		})
	}
	if live {
		if wantsScope(f, "swarm") && cluster != nil {
			sources.Go(func() { cluster(ctx, out) })
		}
		<-ctx.Done() // the stream stays open while neither source says anything
	}
	sources.Wait()
	return nil
}

// until is the request's context, ended at the time of the query's until. It
// is not live where that time has passed: then there is nothing to wait for.
func (a *API) until(r *http.Request) (ctx context.Context, cancel context.CancelFunc, live bool, err error) {
	at, err := queryTime(r, "until")
	if err != nil {
		return nil, nil, false, err
	}
	if at.IsZero() {
		ctx, cancel = context.WithCancel(r.Context())
		return ctx, cancel, true, nil
	}
	left := at.Sub(a.cfg.Now())
	if left <= 0 {
		ctx, cancel = context.WithTimeout(r.Context(), infoPatience)
		return ctx, cancel, false, nil
	}
	ctx, cancel = context.WithTimeout(r.Context(), left)
	return ctx, cancel, true, nil
}

func wantsScope(f filters.Args, scope string) bool { return f.ExactMatch("scope", scope) }

// engineEvents copies the engine's stream, event by event, to its end. It
// reports whether there was one: without, the cluster's events go on alone.
func (a *API) engineEvents(ctx context.Context, r *http.Request, out *eventWriter) bool {
	res, err := a.ask(ctx, "/events?"+r.URL.RawQuery)
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
		out.line(lines.Bytes())
	}
	return true
}

// clusterEvents begins to follow the state; the function it returns writes
// what happens until ctx ends. It is nil on a node that is no manager.
func (a *API) clusterEvents(f filters.Args) func(ctx context.Context, out *eventWriter) {
	if role := a.cfg.Node.Role(); role != Manager && role != Leader {
		return nil
	}
	_, cursor := a.cfg.Store.Follow()
	if cursor == nil {
		return nil
	}
	return func(ctx context.Context, out *eventWriter) {
		for {
			e, err := cursor.Next(ctx)
			if err != nil {
				return
			}
			for _, m := range messagesOf(e, a.cfg.Now()) {
				if includeEvent(f, m) {
					out.line(raw(m))
				}
			}
		}
	}
}

// includeEvent applies the filters that can match an event of the cluster.
func includeEvent(f filters.Args, m events.Message) bool {
	for _, key := range f.Keys() {
		switch key {
		case "type":
			if !f.ExactMatch("type", string(m.Type)) {
				return false
			}
		case "event":
			if !f.ExactMatch("event", string(m.Action)) {
				return false
			}
		case "label":
			if !f.MatchKVList("label", m.Actor.Attributes) {
				return false
			}
		case "scope":
		case "node", "service", "task", "secret", "config", "network":
			if !f.FuzzyMatch(key, m.Actor.ID) && !f.FuzzyMatch(key, m.Actor.Attributes["name"]) || key != string(m.Type) {
				return false
			}
		default: // container, image, ...: not ours
			return false
		}
	}
	return true
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
