package dockerapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/swarmctl/swarmctl/api"
)

// What decodes without an unknown field is known, whatever it is made of.
func FuzzKnownFields(f *testing.F) {
	for _, s := range []string{
		`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"demo:1","Mounts":[{"Target":"/a","VolumeOptions":{"Labels":{"a":"b"}}}],"Novel":0}}}`,
		`{"name":"w","LABELS":{"x":null},"Mode":{"Replicated":{"Replicas":1e0}},"Turbo":{"a":[0,"",false,[1]]}}`,
		`{"TaskTemplate":{"ContainerSpec":{"Healthcheck":{"Interval":-1},"Privileges":{"Seccomp":{"Profile":"AA=="}}},"ForceUpdate":1}}`,
		`[[[[1]]]]`, `{"":1}`, `{"Annotations":{"Name":"x"}}`, "{\"ſ\":1}", `{"UpdateConfig":null,"Networks":[{"Aliases":["a"]}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var spec api.ServiceSpec
		if decode(body, &spec) != nil {
			return
		}
		err := checkKnown(body, &spec)
		strict := json.NewDecoder(bytes.NewReader(body))
		strict.DisallowUnknownFields()
		unknown := strict.Decode(new(api.ServiceSpec))
		switch {
		case err == nil:
		case api.CodeOf(err) != api.CodeInvalid:
			t.Errorf("%q: %v has the wrong code", body, err)
		case unknown == nil && !strings.Contains(err.Error(), "NUL"):
			t.Errorf("%q: %v, though all of it is known", body, err)
		}
	})
}

// Whatever an engine sends as a log, its lines are no more than it sent.
func FuzzLogFrames(f *testing.F) {
	var framed bytes.Buffer
	_, _ = stdcopy.NewStdWriter(&framed, stdcopy.Stdout).Write([]byte("2026-01-01T00:00:00.000000009Z a=b one\n"))
	_, _ = stdcopy.NewStdWriter(&framed, stdcopy.Stderr).Write([]byte("\n"))
	f.Add(framed.Bytes(), true)
	f.Add(framed.Bytes()[:20], false)
	f.Add([]byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 'x'}, false)
	f.Add([]byte("no frames\nat all"), true)
	f.Fuzz(func(t *testing.T, data []byte, details bool) {
		for _, terminal := range []bool{false, true} {
			s := source{terminal: terminal, query: logQuery{details: details, timestamps: details}}
			next := s.frame
			if terminal {
				next = s.plain
			}
			total, in := 0, bufio.NewReader(bytes.NewReader(data))
			for {
				l, err := next(in)
				total += len(l.time) + len(l.details) + len(l.text)
				if err != nil {
					break
				}
			}
			if total > len(data) {
				t.Errorf("terminal %v: %d bytes of lines from %d", terminal, total, len(data))
			}
			_ = s.params() // with whatever was read as a time
		}
	})
}

// What frames take apart is what went into them.
func FuzzLogLines(f *testing.F) {
	f.Add("one\n", byte(1))
	f.Add("", byte(2))
	f.Fuzz(func(t *testing.T, text string, stream byte) {
		var out bytes.Buffer
		w := newLogWriter(&recorder{body: &out}, logQuery{}, time.Now)
		kind := 1 + stream%2
		w.write(&api.Task{}, line{stream: kind, text: []byte(text)})
		l, err := (&source{}).frame(bufio.NewReader(&out))
		_, rest, timed := strings.Cut(text, " ")
		if want := map[bool]string{true: rest, false: text}[timed]; err != nil || string(l.text) != want || l.stream != kind {
			t.Errorf("%q on stream %d became %q on stream %d, %v", text, kind, l.text, l.stream, err)
		}
	})
}

type recorder struct {
	*httptest.ResponseRecorder
	body io.Writer
}

func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

// Filters of events never fail once they have been read, and one without values
// changes nothing.
func FuzzEventFilters(f *testing.F) {
	for _, s := range []string{`{"type":["service"]}`, `{"label":{"a=b":true},"scope":["swarm"]}`, `{"task":["("]}`, `{"node":["[a-"]}`, `{"event":[""]}`, `{"bogus":["x"]}`, `null`} {
		f.Add(s, "web", "a", "b")
	}
	f.Fuzz(func(t *testing.T, text, name, key, value string) {
		args, err := filters.FromJSON(text)
		if err != nil {
			return
		}
		for _, kind := range []events.Type{events.ServiceEventType, events.NodeEventType, taskEventType} {
			m := events.Message{Type: kind, Action: events.ActionCreate, Scope: "swarm", Actor: events.Actor{ID: name, Attributes: map[string]string{"name": name, key: value}}}
			included := includeEvent(args, m)
			if _, asked := args.Get("type"), args.Contains("type"); !asked {
				more := args.Clone()
				more.Add("type", string(kind))
				if includeEvent(more, m) != included {
					t.Errorf("%s: its own type makes a difference to %+v", text, m)
				}
			}
		}
	})
}

// Whatever stands in a query, it is read or refused with a code.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"version=1", "since=1.5&until=2.000000001", "tail=all&stdout=1&follow=0", "since=-1&tail=-1", "a;b", "%zz", "until=1e9", "force=TRUE&filters={}", "since=9223372036854775807.999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL = &url.URL{Path: "/", RawQuery: query}
		_, version := queryVersion(r, "service")
		_, since := queryTime(r, "since")
		_, logs := parseLogQuery(r)
		_, filter := parseFilters(r, "name")
		_, _, span := parseSpan(r)
		for _, err := range []error{checkQuery(r), version, since, logs, filter, span} {
			if err != nil && api.CodeOf(err) != api.CodeInvalid {
				t.Errorf("%q: %v has code %s", query, err, api.CodeOf(err))
			}
		}
	})
}
