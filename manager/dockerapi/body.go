package dockerapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/swarmctl/swarmctl/api"
)

const (
	// maxBody is how much of a request's body is read: specs are far smaller.
	maxBody = 4 << 20
	// maxStackBody is that of a whole stack. Two hundred services have a quarter
	// of a megabyte; the rest is for what secrets and configs hold, of which JSON makes
	// a third more. What is stored in one change has a bound of its own, which is
	// the one that counts.
	maxStackBody = 8 << 20
	// bodyPatience is how long a body may take. Without it a client that sends
	// a byte an hour would hold what serves it for ever.
	bodyPatience = 30 * time.Second
)

// ReadBody reads the whole body of a request, and refuses one that is too
// large, as soon as that is known, or too slow. It is read before anything
// else: only then does the server notice a client that goes away.
func ReadBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	limit := bodyLimit(r)
	if r.ContentLength > limit {
		return nil, errTooLarge(limit)
	}
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(bodyPatience)) // a recorder in a test has none
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, api.Errorf(api.CodeInvalid, "the body of the request did not arrive within %s", bodyPatience)
	case err != nil:
		return nil, api.Errorf(api.CodeInvalid, "read the request: %v", err)
	}
	_ = deadline.SetReadDeadline(time.Time{})
	return body, nil
}

// bodyLimit is how large the body of a request may be, in bytes.
func bodyLimit(r *http.Request) int64 {
	if _, path := split(r.URL.Path); strings.HasPrefix(path, "/swarmctl/stacks/") {
		return maxStackBody
	}
	return maxBody
}

func errTooLarge(limit int64) error {
	if limit == maxStackBody {
		return api.Errorf(api.CodeInvalid, "the stack is larger than %d MiB: put large configs into an image or a volume", limit>>20)
	}
	return api.Errorf(api.CodeInvalid, "the body of the request is larger than %d MiB, which no spec needs", limit>>20)
}

// buffered reads the body of a request, so that it can be read again and again.
func buffered(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := ReadBody(w, r)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, nil
}

// readJSON decodes a request's body into a struct. What cannot be decoded is
// the caller's mistake; so is what would be lost on the way, since whoever
// sent it counts on it.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := ReadBody(w, r)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return api.Errorf(api.CodeInvalid, "the request has no body: it needs a JSON object")
	}
	if err := checkContentType(r.Header.Get("Content-Type")); err != nil {
		return err
	}
	if !utf8.Valid(body) {
		return api.Errorf(api.CodeInvalid, "invalid JSON: the body of the request is not UTF-8")
	}
	if err := decode(body, v); err != nil {
		return err
	}
	return checkKnown(body, v)
}

// checkContentType has the engine's rule and words.
func checkContentType(value string) error {
	const want = "application/json"
	got, _, err := mime.ParseMediaType(value)
	switch {
	case err != nil:
		return api.Errorf(api.CodeInvalid, "malformed Content-Type header (%s): %v: it must be '%s'", value, err, want)
	case got != want:
		return api.Errorf(api.CodeInvalid, "unsupported Content-Type header (%s): must be '%s'", value, want)
	}
	return nil
}

func decode(body []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	err := dec.Decode(v)
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil && dec.More():
		return api.Errorf(api.CodeInvalid, "unexpected content after JSON")
	case err == nil:
		return nil
	case errors.As(err, &wrongType) && wrongType.Field == "":
		return api.Errorf(api.CodeInvalid, "invalid JSON: an object is needed, not a JSON %s", wrongType.Value)
	case errors.As(err, &wrongType):
		field := strings.TrimPrefix(wrongType.Field, "Annotations.") // the name of a struct that is embedded
		return api.Errorf(api.CodeInvalid, "%s: %s is not a valid %s", field, wrongType.Value, wrongType.Type)
	}
	return api.Errorf(api.CodeInvalid, "invalid JSON: %s", err)
}
