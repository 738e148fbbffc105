package dockerapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// send sends a request as it is and returns the answer's status and message.
// A body is sent as JSON unless the header says otherwise.
func (c *cluster) send(method, path, contentType, body string) (int, string) {
	c.Helper()
	req, err := http.NewRequestWithContext(c.Context(), method, c.url+path, strings.NewReader(body))
	c.must(err)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if len(body) > 1<<20 {
		req.Header.Set("Expect", "100-continue") // else the refusal may meet a body on its way, and a broken pipe be all there is to see
	}
	res, err := http.DefaultClient.Do(req)
	c.must(err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	c.must(err)
	var reply struct{ Message string }
	if json.Unmarshal(data, &reply) != nil || reply.Message == "" {
		return res.StatusCode, string(data)
	}
	return res.StatusCode, reply.Message
}

const jsonType = "application/json"

// web is the body of a request that creates a service, with more merged in.
func web(more string) string {
	return `{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"demo:1"` + more + `}}}`
}

func TestBodiesThatAreRefused(t *testing.T) {
	c := start(t, engine(t))
	for _, tt := range []struct {
		story, contentType, body, want string
	}{
		{"nothing", jsonType, "", "the request has no body: it needs a JSON object"},
		{"spaces", jsonType, " \n", "the request has no body: it needs a JSON object"},
		{"cut off", jsonType, `{"Name":`, "invalid JSON: unexpected EOF"},
		{"not JSON", jsonType, `name=web`, "invalid JSON: invalid character 'a' in literal null (expecting 'u')"},
		{"more behind it", jsonType, web("") + `{"Name":"other"}`, "unexpected content after JSON"},
		{"garbage behind it", jsonType, web("") + ` x`, "unexpected content after JSON"},
		{"a list", jsonType, `[]`, "invalid JSON: an object is needed, not a JSON array"},
		{"a string", jsonType, `"web"`, "invalid JSON: an object is needed, not a JSON string"},
		{"null", jsonType, `null`, "mismatched Runtime and *Spec fields: the spec has no ContainerSpec, so there is nothing to run"},
		{"another type", "text/plain", web(""), "unsupported Content-Type header (text/plain): must be 'application/json'"},
		{"a form", "application/x-www-form-urlencoded", web(""), "unsupported Content-Type header (application/x-www-form-urlencoded): must be 'application/json'"},
		{"no type", "", web(""), "malformed Content-Type header (): mime: no media type: it must be 'application/json'"},
		{"a nonsense type", ";;", web(""), "malformed Content-Type header (;;): mime: no media type: it must be 'application/json'"},
		{"a number for a name", jsonType, `{"Name":5}`, "Name: number is not a valid string"},
		{"text for a number", jsonType, `{"Mode":{"Replicated":{"Replicas":"3"}}}`, "Mode.Replicated.Replicas: string is not a valid uint64"},
		{"a negative count", jsonType, `{"Mode":{"Replicated":{"Replicas":-1}}}`, "Mode.Replicated.Replicas: number -1 is not a valid uint64"},
		{"a huge number", jsonType, `{"Mode":{"Replicated":{"Replicas":1e400}}}`, "Mode.Replicated.Replicas: number 1e400 is not a valid uint64"},
		{"a duration in words", jsonType, `{"UpdateConfig":{"Delay":"5s"}}`, "UpdateConfig.Delay: string is not a valid time.Duration"},
		{"deep nesting", jsonType, strings.Repeat(`{"a":`, 20_000), "invalid JSON: invalid character '{' exceeded max depth"},
		{"deep lists", jsonType, strings.Repeat(`[`, 1<<20), "invalid JSON: invalid character '[' exceeded max depth"},
		{"bytes that are no text", jsonType, web(`,"User":"` + "\xff\xfe" + `"`), "invalid JSON: the body of the request is not UTF-8"},
		{"NUL in a variable", jsonType, web(`,"Env":["A=1","B=\u0000"]`), `"TaskTemplate.ContainerSpec.Env[1]": it contains a NUL character, which no container can be given`},
		{"NUL in a label", jsonType, `{"Labels":{"a":"\u0000"}}`, `"Labels.a": it contains a NUL character, which no container can be given`},
		{"NUL in a label's name", jsonType, `{"Labels":{"a\u0000b":""}}`, `"Labels.a\x00b": it contains a NUL character, which no container can be given`},
		{"NUL in a name", jsonType, `{"Name":"a\u0000"}`, `"Name": it contains a NUL character, which no container can be given`},
		{"an unknown field", jsonType, `{"Replicas":3}`, `"Replicas": this version of swarmctl knows no such field and would drop it: leave it out`},
		{"an unknown field of the container", jsonType, web(`,"Turbo":true`), `"TaskTemplate.ContainerSpec.Turbo": this version of swarmctl knows no such field and would drop it: leave it out`},
		{"an unknown field of a mount", jsonType, web(`,"Mounts":[{},{"Target":"/a","Zeal":{"on":[0,1]}}]`), `"TaskTemplate.ContainerSpec.Mounts[1].Zeal": this version of swarmctl knows no such field and would drop it: leave it out`},
		{"a body of 100 MB", jsonType, web(`,"User":"`+strings.Repeat("a", 100<<20)) + `"`, "the body of the request is larger than 4 MiB, which no spec needs"},
	} {
		if status, got := c.send("POST", "/v1.41/services/create", tt.contentType, tt.body); status != 400 || got != tt.want {
			t.Errorf("%s:\n got: %d %s\nwant: 400 %s", tt.story, status, got, tt.want)
		}
	}
	for range c.store.View().Services() {
		t.Error("a refused body made a service")
	}
}

// Where the length is not told, no more is read than may be kept.
func TestABodyWithoutALengthIsReadToTheLimit(t *testing.T) {
	c := start(t, nil)
	read := &counted{}
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/services/create", read)
	r.Header.Set("Content-Type", jsonType)
	w := httptest.NewRecorder()
	c.api.ServeHTTP(w, r)
	if want := "the body of the request is larger than 4 MiB, which no spec needs"; w.Code != 400 || !strings.Contains(w.Body.String(), want) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if read.n > 8<<20 {
		t.Errorf("%d bytes were read", read.n)
	}
}

// counted is a body that never ends.
type counted struct{ n int }

func (c *counted) Read(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}

// Clients of newer versions of the API send its fields empty, and those of
// older ones spell the fields as they like.
func TestBodiesThatPass(t *testing.T) {
	c := start(t, engine(t))
	for i, body := range []string{
		`{"TaskTemplate":{"ContainerSpec":{"Image":"demo:1","Novel":null,"Novel2":{"a":{"b":[0,"",false,{}]}}}},"Novel":0}`,
		`{"tasktemplate":{"containerspec":{"IMAGE":"demo:1"}},"LABELS":{"any":"thing","x":"é"}}`,
		`{"TaskTemplate":{"ContainerSpec":{"Image":"demo:1","Healthcheck":{"Test":["NONE"]},"StopGracePeriod":1000}}}` + "\n\n ",
	} {
		if status, got := c.send("POST", "/services/create", jsonType+"; charset=utf-8", body); status != 201 {
			t.Errorf("%d: %d %s", i, status, got)
		}
	}
}

func TestEachKindOfBodyIsReadStrictly(t *testing.T) {
	c := start(t, engine(t))
	c.node.role = dockerapi.Leader
	c.apply(state.Op{PutCluster: &api.Cluster{ID: "c1"}})
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	for path, role := range map[string]dockerapi.Role{
		"/swarm/init": dockerapi.Inactive, "/swarm/join": dockerapi.Inactive, "/swarm/update?version=1": dockerapi.Leader,
		"/nodes/h1/update?version=1": dockerapi.Leader, "/services/create": dockerapi.Leader, "/services/x/update?version=1": dockerapi.Leader,
		"/swarmctl/stacks/x": dockerapi.Leader, "/swarmctl/stacks/x/rollback": dockerapi.Leader,
	} {
		c.node.role = role
		status, got := c.send("POST", path, jsonType, `{"Speed":"high"}`)
		if want := `"Speed": this version of swarmctl knows no such field and would drop it: leave it out`; status != 400 || got != want {
			t.Errorf("%s: %d %s", path, status, got)
		}
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	c := start(t, engine(t))
	s := c.create(serviceSpec("web"))
	ok := web("")
	for _, tt := range []struct {
		request, body string
		status        int
		want          string
	}{
		{"GET /v9.99/nodes", "", 400, "client version 9.99 is too new. Maximum supported API version is 1.43"},
		{"GET /v1.44/info", "", 400, "client version 1.44 is too new. Maximum supported API version is 1.43"},
		{"GET /v1.10/nodes", "", 400, "client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"},
		{"GET /v1/nodes", "", 400, "client version 1 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"},
		{"GET /v1.41.2/nodes", "", 200, "[]\n"},
		{"DELETE /v1.41.0/nodes/nosuch", "", 404, "node nosuch not found"},
		{"GET /v1.41/nodes/", "", 404, "page not found"},
		{"PUT /v1.41/nodes", "", 404, "page not found"},
		{"POST /v1.41/nodes", ok, 404, "page not found"},
		{"DELETE /v1.41/swarm", "", 404, "page not found"},
		{"GET /v1.41/services/web/nosuch", "", 404, "page not found"},
		{"GET /v1.41/services/a%2Fb", "", 404, "page not found"},
		{"GET /v1.41/services/a%00b", "", 404, "service a\x00b not found"},
		{"GET /v1.41/services/a%0Ab", "", 404, "service a\nb not found"},
		{"GET /v1.41/services/nosuch", "", 404, "service nosuch not found"},
		{"DELETE /v1.41/services/nosuch", "", 404, "service nosuch not found"},
		{"POST /v1.41/services/nosuch/update?version=1", ok, 404, "service nosuch not found"},
		{"GET /v1.41/nodes/nosuch", "", 404, "node nosuch not found"},
		{"GET /v1.41/tasks/nosuch", "", 404, "task nosuch not found"},
		{"GET /v1.41/tasks/nosuch/logs?stdout=1", "", 404, "task nosuch not found"},
		{"POST /v1.41/services/web/update", ok, 400, `invalid service version '': strconv.ParseUint: parsing "": invalid syntax: give the version that the service had when it was read`},
		{"POST /v1.41/services/web/update?version=x", ok, 400, `invalid service version 'x': strconv.ParseUint: parsing "x": invalid syntax: give the version that the service had when it was read`},
		{"POST /v1.41/services/web/update?version=-1", ok, 400, `invalid service version '-1': strconv.ParseUint: parsing "-1": invalid syntax: give the version that the service had when it was read`},
		{"POST /v1.41/services/web/update?version=99999999999999999999", ok, 400, `invalid service version '99999999999999999999': strconv.ParseUint: parsing "99999999999999999999": value out of range: give the version that the service had when it was read`},
		{"POST /v1.41/services/web/update?version=12", ok, 409, "service " + string(s.ID) + ": update out of sequence: it has changed since it was read; read it again and retry"},
		{"POST /v1.41/services/web/update?version=1&rollback=maybe", ok, 400, "unrecognized rollback option maybe: use previous or none"},
		{"POST /v1.41/services/create", ok, 409, "name conflicts with an existing object: service web already exists"},
		{"GET /v1.41/services?filters=%7B", "", 400, `invalid filters: they are given as JSON, as in {"name":["web"]}`},
		{"GET /v1.41/services?filters=%7B%22name%22:5%7D", "", 400, `invalid filters: they are given as JSON, as in {"name":["web"]}`},
		{"GET /v1.41/services?filters=[%22name%22]", "", 400, `invalid filters: they are given as JSON, as in {"name":["web"]}`},
		{"GET /v1.41/services?filters=%zz", "", 400, `invalid URL escape "%zz"`},
		{"GET /v1.41/services?status=1;filters=x", "", 400, "invalid semicolon separator in query"},
		{"GET /v1.41/services/web/logs", "", 400, "Bad parameters: you must choose at least one stream"},
		{"GET /v1.41/services/web/logs?stdout=1&tail=many", "", 400, `tail value must be a positive integer or "all": "many" is neither`},
		{"GET /v1.41/services/web/logs?stdout=1&tail=-3", "", 400, `negative tail values not supported: -3: use "all"`},
		{"GET /v1.41/services/web/logs?stdout=1&since=yesterday", "", 400, `since: "yesterday" is not a time in seconds since 1970`},
		{"GET /v1.41/events?since=x", "", 400, `since: "x" is not a time in seconds since 1970`},
		{"GET /v1.41/events?until=1.x", "", 400, `until: "1.x" is not a time in seconds since 1970`},
		{"GET /v1.41/events?filters=x", "", 400, "invalid filter"},
	} {
		method, path, _ := strings.Cut(tt.request, " ")
		if status, got := c.send(method, path, jsonType, tt.body); status != tt.status || got != tt.want {
			t.Errorf("%s:\n got: %d %q\nwant: %d %q", tt.request, status, got, tt.status, tt.want)
		}
	}
}

// The engine has none of these either, and a stream that nobody can see would
// go on for ever.
func TestHeadIsForPingsAlone(t *testing.T) {
	c := start(t, engine(t))
	for path, want := range map[string]int{"/_ping": 200, "/v1.41/_ping": 200, "/v1.41/nodes": 404, "/v1.41/events": 404, "/v1.41/services/web/logs?follow=1&stdout=1": 404} {
		res, err := http.Head(c.url + path)
		c.must(err)
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("HEAD %s: %d, want %d", path, res.StatusCode, want)
		}
	}
}

// No filter by that name has a value, so none is set.
func TestAFilterWithoutValuesMatchesEverything(t *testing.T) {
	c := start(t, nil)
	s := c.create(serviceSpec("web"))
	c.addTask("t1", s, 1, "node1", running("c1"))
	for _, tt := range []struct{ kind, filters, want string }{
		{"services", `{"name":[]}`, "id1"},
		{"services", `{"id":{},"label":{},"mode":{}}`, "id1"},
		{"services", `{"name":null}`, "id1"},
		{"services", `null`, "id1"},
		{"services", `{}`, "id1"},
		{"tasks", `{"name":[],"service":[],"node":[],"desired-state":[],"label":[]}`, "t1"},
	} {
		if got := c.filtered(tt.kind, tt.filters); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.kind, tt.filters, got, tt.want)
		}
	}
}

// What each family of routes says while it cannot answer.
func TestWhoCannotAnswerSaysWhatToDo(t *testing.T) {
	const (
		inactive = `This node is not a swarm manager. Use "swarmctl init" or "swarmctl join" to connect this node to swarm and try again.`
		worker   = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. " +
			"Please run this command on a manager node or promote the current node to a manager."
		noEngine = "the container engine of this node does not answer (is Docker running?): connection refused"
	)
	c := start(t, nil)
	for _, request := range []string{
		"GET /swarm", "POST /swarm/update?version=1", "GET /swarm/unlockkey", "POST /swarm/unlock", "GET /nodes", "GET /nodes/x",
		"POST /nodes/x/update?version=1", "DELETE /nodes/x", "GET /services", "POST /services/create", "GET /services/x",
		"POST /services/x/update?version=1", "DELETE /services/x", "GET /services/x/logs?stdout=1", "GET /tasks", "GET /tasks/x",
		"GET /tasks/x/logs?stdout=1", "GET /swarmctl/tasks/x/explain", "POST /swarmctl/tasks/x/engine/containers/c/exec", "POST /swarmctl/tasks/x/engine/v1.41/exec/e/start", "GET /swarmctl/networks", "GET /secrets", "GET /secrets/x", "POST /secrets/create",
		"POST /secrets/x/update?version=1", "POST /swarmctl/secrets/x/update", "POST /swarmctl/configs/x/update", "DELETE /secrets/x", "GET /configs", "GET /configs/x", "POST /configs/create",
		"POST /configs/x/update?version=1", "DELETE /configs/x",
		"GET /swarmctl/stacks/x", "POST /swarmctl/stacks/x", "POST /swarmctl/stacks/x/rollback", "POST /swarmctl/stacks/x/stop", "POST /swarmctl/stacks/x/start",
	} {
		for role, want := range map[dockerapi.Role]string{dockerapi.Inactive: inactive, dockerapi.Worker: worker} {
			c.node.role = role
			method, path, _ := strings.Cut(request, " ")
			if status, got := c.send(method, "/v1.41"+path, jsonType, `{}`); status != 503 || got != want {
				t.Errorf("%s as %d: %d %s", request, role, status, got)
			}
		}
	}
	for _, request := range []string{
		"GET /containers/json", "POST /containers/create", "GET /images/json", "POST /build", "GET /volumes", "GET /networks",
		"POST /exec/x/start", "GET /distribution/demo/json", "POST /networks/create", "GET /nosuch",
	} {
		method, path, _ := strings.Cut(request, " ")
		if status, got := c.send(method, "/v1.41"+path, jsonType, `{}`); status != 503 || got != noEngine {
			t.Errorf("%s without an engine: %d %s", request, status, got)
		}
	}
	for _, path := range []string{"/_ping", "/version", "/info", "/v1.51/version"} { // these are answered without it
		if status, got := c.send("GET", path, "", ""); status != 200 {
			t.Errorf("%s without an engine: %d %s", path, status, got)
		}
	}
	if status, got := c.send("GET", "/v1.52/info", "", ""); status != 400 || got != "client version 1.52 is too new. Maximum supported API version is 1.51" {
		t.Errorf("a version that nobody knows: %d %s", status, got)
	}
}
