package dockerapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	timetypes "github.com/docker/docker/api/types/time"

	"github.com/swarmctl/swarmctl/api"
)

var statusOf = map[api.Code]int{
	api.CodeInvalid:     http.StatusBadRequest,
	api.CodeWrongKey:    http.StatusUnauthorized,
	api.CodeForbidden:   http.StatusForbidden,
	api.CodeNotFound:    http.StatusNotFound,
	api.CodeConflict:    http.StatusConflict,
	api.CodeOutdated:    http.StatusConflict,
	api.CodeUnavailable: http.StatusServiceUnavailable,
	api.CodeNotLeader:   http.StatusServiceUnavailable,
	api.CodeUnsupported: http.StatusNotImplemented,
	api.CodeInternal:    http.StatusInternalServerError,
}

// handler answers a request, or returns the error that is to be the answer.
type handler func(w http.ResponseWriter, r *http.Request) error

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h(w, r)
	if err == nil {
		return
	}
	if again, ok := r.Context().Value(notLeaderKey{}).(http.Handler); ok && errors.Is(err, api.ErrNotLeader) {
		again.ServeHTTP(w, r)
		return
	}
	writeError(w, err)
}

// notLeaderKey is the context key of the handler that takes a request over
// when this node turns out not to lead any more.
type notLeaderKey struct{}

// AskAgain is the header of an answer that says: nothing was done, because
// this manager does not lead. Whoever forwarded may forward elsewhere.
const AskAgain = "Swarmctl-Ask-Again"

func writeJSON(w http.ResponseWriter, status int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // a reader who has gone needs no error
	return nil
}

// writeError answers in the shape of Docker's API: {"message": "..."}.
func writeError(w http.ResponseWriter, err error) {
	message := err.Error()
	if errors.Is(err, api.ErrNotLeader) {
		w.Header().Set(AskAgain, "not the leader")
		message = "the cluster's leader has just changed: try again"
	}
	status, ok := statusOf[api.CodeOf(err)]
	if !ok {
		status = http.StatusInternalServerError
	}
	_ = writeJSON(w, status, map[string]string{"message": message})
}

// WriteError is writeError for the daemon, which forwards requests.
func WriteError(w http.ResponseWriter, err error) { writeError(w, err) }

// checkQuery refuses a query that does not parse: what is wrong in it would
// count as not given, and a filter that is not given matches everything.
func checkQuery(r *http.Request) error {
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		return api.Errorf(api.CodeInvalid, "%v", err)
	}
	return nil
}

// queryBool reads a flag of the query as Docker's API does: anything but
// empty, 0, no, false and none is true.
func queryBool(r *http.Request, name string) bool {
	switch r.URL.Query().Get(name) {
	case "", "0", "no", "false", "none", "False", "FALSE", "No", "NO":
		return false
	}
	return true
}

// queryTime reads a time, which the API gives in seconds since 1970 with a
// fraction or without; where it is not given the result is zero.
func queryTime(r *http.Request, name string) (time.Time, error) {
	value := r.URL.Query().Get(name)
	if value == "" {
		return time.Time{}, nil
	}
	sec, nsec, err := timetypes.ParseTimestamps(value, 0)
	if err != nil {
		return time.Time{}, api.Errorf(api.CodeInvalid, "%s: %q is not a time in seconds since 1970", name, value)
	}
	return time.Unix(sec, nsec), nil
}

// queryVersion reads the version of the object that a request replaces.
func queryVersion(r *http.Request, kind string) (uint64, error) {
	raw := r.URL.Query().Get("version")
	v, err := strconv.ParseUint(raw, 10, 64)
	if err == nil && v == 0 {
		err = errors.New("versions begin at 1")
	}
	if err != nil {
		return 0, api.Errorf(api.CodeInvalid, "invalid %s version '%s': %v: give the version that the %s had when it was read", kind, raw, err, kind)
	}
	return v, nil
}
