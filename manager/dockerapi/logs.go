package dockerapi

import (
	"net/http"
	"strconv"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/versions"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// logQuery is what a reader asks of logs; the fields are those of Docker's API.
type logQuery struct {
	stdout, stderr              bool
	follow, timestamps, details bool
	since, tail                 string
	// raw: the service has a terminal, and its output is handed on as it is,
	// in one stream and without frames.
	raw bool
}

// multiplexedSince is the version of the API from which framed logs have a
// content type of their own.
const multiplexedSince = "1.42"

func (a *API) serviceLogs(w http.ResponseWriter, r *http.Request) error {
	q, err := parseLogQuery(r)
	if err != nil {
		return err
	}
	_, s, err := found(a, r, (*state.View).FindService)
	if err != nil {
		return err
	}
	q.raw = hasTerminal(&s.Spec)
	a.streamLogs(w, r, q, logSelection{service: s.ID})
	return nil
}

func (a *API) taskLogs(w http.ResponseWriter, r *http.Request) error {
	q, err := parseLogQuery(r)
	if err != nil {
		return err
	}
	view, t, err := found(a, r, (*state.View).FindTask)
	if err != nil {
		return err
	}
	if spec := view.SpecOf(t); spec != nil {
		q.raw = hasTerminal(&spec.Spec)
	}
	a.streamLogs(w, r, q, logSelection{service: t.ServiceID, task: t.ID})
	return nil
}

func parseLogQuery(r *http.Request) (logQuery, error) {
	q := logQuery{
		stdout: queryBool(r, "stdout"), stderr: queryBool(r, "stderr"), follow: queryBool(r, "follow"),
		timestamps: queryBool(r, "timestamps"), details: queryBool(r, "details"),
		since: r.URL.Query().Get("since"), tail: r.URL.Query().Get("tail"),
	}
	if !q.stdout && !q.stderr {
		return q, api.Errorf(api.CodeInvalid, "Bad parameters: you must choose at least one stream")
	}
	if _, err := queryTime(r, "since"); err != nil {
		return q, err
	}
	return q, checkTail(q.tail)
}

// checkTail refuses what the engines would take for "all", each by itself.
func checkTail(tail string) error {
	if tail == "" || tail == "all" {
		return nil
	}
	n, err := strconv.Atoi(tail)
	switch {
	case err != nil:
		return api.Errorf(api.CodeInvalid, `tail value must be a positive integer or "all": %q is neither`, tail)
	case n < 0:
		return api.Errorf(api.CodeInvalid, `negative tail values not supported: %s: use "all"`, tail)
	}
	return nil
}

func hasTerminal(s *api.ServiceSpec) bool {
	return s.TaskTemplate.ContainerSpec != nil && s.TaskTemplate.ContainerSpec.TTY
}

// streamLogs answers with the logs of the selected tasks, from whichever
// nodes they run on. From here on errors are warnings in the stream.
func (a *API) streamLogs(w http.ResponseWriter, r *http.Request, q logQuery, sel logSelection) {
	contentType := types.MediaTypeRawStream
	if v := apiVersion(r); !q.raw && v != "" && versions.GreaterThanOrEqualTo(v, multiplexedSince) {
		contentType = types.MediaTypeMultiplexedStream
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
	out := newLogWriter(w, q, a.cfg.Now)
	out.flush()
	c := &collector{
		tunnel: a.cfg.Tunnel, patience: a.cfg.LogPatience, query: q, out: out, selection: sel,
		current: a.cfg.Store.View, started: map[api.TaskID]bool{}, silent: map[api.NodeID]bool{}, dead: map[api.NodeID]bool{},
		slots: make(chan struct{}, maxLogSources),
	}
	view, cursor := a.cfg.Store.Follow()
	if view != nil {
		c.run(r.Context(), view, cursor)
	}
	out.flush()
}

// logSelection is which tasks' logs are read: those of a service, or one task.
type logSelection struct {
	service api.ServiceID
	task    api.TaskID
}

func (s logSelection) includes(t *api.Task) bool {
	return t.ServiceID == s.service && (s.task == "" || t.ID == s.task)
}

// over reports whether no more tasks can come.
func (s logSelection) over(view *state.View) bool {
	if s.task == "" {
		return view.Service(s.service) == nil
	}
	t := view.Task(s.task)
	return t == nil || t.Status.State.Terminal()
}
