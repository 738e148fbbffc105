package dockerapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/ca"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
	"github.com/swarmctl/swarmctl/manager/dockerapi/servicespec"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// bench is the leader's API without a network around it.
type bench struct {
	store     *memStore
	api       *dockerapi.API
	dialled   int // how often the engine was asked
	forwarded int
}

func newBench(t testing.TB) *bench {
	b := &bench{store: &memStore{State: state.New()}}
	var err error
	b.api, err = dockerapi.New(dockerapi.Config{
		Node: &fakeNode{role: dockerapi.Leader}, Store: b.store, Tunnel: &fakeEngines{},
		DialEngine: func(context.Context) (net.Conn, error) { b.dialled++; return nil, errors.New("connection refused") },
		Forward:    http.HandlerFunc(func(http.ResponseWriter, *http.Request) { b.forwarded++ }),
		Explain:    func(*state.View, *api.Task) []api.NodeReason { return nil },
		NewToken:   func([]byte) string { return "token" },
		RotateRoot: ca.Rotate,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ask puts a request to the API whose caller does not stay for a stream.
func (b *bench) ask(method, uri string, body []byte) *httptest.ResponseRecorder {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	u, _ := url.Parse("/")
	u.Path, u.RawQuery, _ = strings.Cut(uri, "?")
	r := httptest.NewRequestWithContext(gone, method, "/", bytes.NewReader(body))
	r.URL = u
	r.Header.Set("Content-Type", jsonType)
	w := httptest.NewRecorder()
	b.api.ServeHTTP(w, r)
	return w
}

// checkRefusal holds an answer against what a client may be told for its own
// mistake: a code of 4xx, or that we do not do it, and a message.
func checkRefusal(t testing.TB, what string, w *httptest.ResponseRecorder) {
	t.Helper()
	var reply struct{ Message string }
	if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil || reply.Message == "" {
		t.Errorf("%s: %d without a message: %q", what, w.Code, w.Body)
	}
	if w.Code < 400 || w.Code >= 500 && w.Code != http.StatusNotImplemented {
		t.Errorf("%s: %d %s", what, w.Code, reply.Message)
	}
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// checkAccepted follows a spec that the API took: to the log and a snapshot,
// back through an update, and to the worker.
func checkAccepted(t testing.TB, b *bench, body []byte) {
	t.Helper()
	var s *api.Service
	for s = range b.store.View().Services() {
	}
	want := mustJSON(t, s.Spec)
	data, err := state.EncodeBatch([]state.Command{{Ops: []state.Op{{PutService: &api.Service{ID: "copy", Spec: s.Spec}}}}})
	if err != nil {
		t.Fatal(err)
	}
	commands, err := state.DecodeBatch(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, mustJSON(t, commands[0].Ops[0].PutService.Spec)); diff != "" {
		t.Errorf("%s: after the log (-want +got):\n%s", body, diff)
	}
	var snapshot bytes.Buffer
	restored := state.New()
	if _, err := b.store.View().WriteTo(&snapshot); err != nil {
		t.Fatal(err)
	}
	if err := restored.Restore(&snapshot); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, mustJSON(t, restored.View().Service(s.ID).Spec)); diff != "" {
		t.Errorf("%s: after a snapshot (-want +got):\n%s", body, diff)
	}
	again := b.ask("POST", "/services/"+string(s.ID)+"/update?version=1", []byte(want))
	if now := b.store.View().Service(s.ID); again.Code != 200 || now.SpecVersion != s.SpecVersion {
		t.Errorf("%s: written back: %d %s, spec version %d and then %d", body, again.Code, again.Body, s.SpecVersion, now.SpecVersion)
	}
	checkPlan(t, &s.Spec)
}

// checkPlan holds the worker to what the API took: it is a container, or is
// refused with a reason, and never the end of the worker.
func checkPlan(t testing.TB, spec *api.ServiceSpec) {
	t.Helper()
	plan, err := docker.MakePlan(&docker.Request{
		Cluster: "c", Node: docker.Node{ID: "node1", Hostname: "h1", OS: "linux", Architecture: "x86_64"},
		Task: &api.Task{ID: "t1", ServiceID: "s1", Slot: 1, NodeID: "node1"}, Spec: spec,
	})
	switch code := api.CodeOf(err); {
	case err == nil:
		mustJSON(t, plan)
	case code != api.CodeInvalid && code != api.CodeUnsupported:
		t.Errorf("%s: the worker says %v, with code %s", mustJSON(t, spec), err, code)
	}
}

func FuzzServiceBody(f *testing.F) {
	for _, s := range append(pieces(), sentWeb, sentG, web(""), web(`,"Novel":0`), `{"Name":"web"}{}`, "{\"Name\":\"\xff\"}", strings.Repeat(`{"a":`, 50)) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := newBench(t)
		w := b.ask("POST", "/v1.41/services/create", body)
		if w.Code == http.StatusCreated {
			checkAccepted(t, b, body)
			return
		}
		checkRefusal(t, string(body), w)
		for range b.store.View().Services() {
			t.Errorf("%s: refused, and there is a service", body)
		}
	})
}

// FuzzOtherBodies sends a body to everything else that takes one.
func FuzzOtherBodies(f *testing.F) {
	for _, s := range []string{
		`{"Role":"worker","Availability":"drain","Labels":{"a":"b"}}`, `{"Name":"default","Raft":{"SnapshotInterval":5},"CAConfig":{"NodeCertExpiry":1}}`,
		`{"ListenAddr":"0.0.0.0","ForceNewCluster":true,"Spec":{"EncryptionConfig":{"AutoLockManagers":true}}}`, `{"RemoteAddrs":["a"],"JoinToken":"x"}`, `null`, `[]`,
		`{"Name":"s","Data":"aGk=","Labels":{"a":"b"},"Templating":null}`, `{"Name":"n","Driver":"overlay","Attachable":true,"IPAM":{"Config":[{"Subnet":"10.1.0.0/24","Gateway":"10.1.0.1"}]},"Options":{"encrypted":""}}`,
		`{"Networks":[{"Name":"s_n","Labels":{"com.docker.stack.namespace":"s"}}],"Secrets":[{"Spec":{"Name":"s_k","Data":"aGk=","Labels":{"com.docker.stack.namespace":"s"}}}],"Services":[{"Spec":{"Name":"s_w","Labels":{"com.docker.stack.namespace":"s"},"TaskTemplate":{"ContainerSpec":{"Image":"x","Secrets":[{"SecretName":"s_k","File":{"Name":"k"}}]},"Networks":[{"Target":"s_n"}]}}}]}`,
		`{"Remove":[{"ID":"x","Version":1}],"To":1,"From":2,"Prune":true}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := newBench(t)
		b.putNode(t)
		for _, uri := range []string{"/nodes/h1/update?version=2", "/swarm/update?version=1", "/swarm/join", "/swarm/init", "/swarm/unlock", "/secrets/create", "/configs/create", "/networks/create", "/secrets/s/update?version=1", "/swarmctl/secrets/s/update", "/swarmctl/configs/s/update?dryrun=1", "/networks/n/connect", "/swarmctl/stacks/s", "/swarmctl/stacks/s", "/swarmctl/stacks/s/rollback"} {
			w := b.ask("POST", uri, body)
			if w.Code != 200 && w.Code != 201 && w.Code != 503 { // 503: it is a member already, or there is no engine
				checkRefusal(t, uri+" "+string(body), w)
			}
		}
	})
}

func (b *bench) putNode(t testing.TB) {
	_, err := b.store.Propose(context.Background(), state.Command{Ops: []state.Op{
		{PutCluster: &api.Cluster{ID: "c1"}},
		{PutNode: &api.Node{ID: "node1", Description: api.NodeDescription{Hostname: "h1"}, Spec: api.NodeSpec{Role: swarm.NodeRoleWorker}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

var (
	swarmHalf = regexp.MustCompile(`^(?:swarm|nodes|services|tasks|secrets|configs)(?:/|$)`)
	engines   = regexp.MustCompile(`(?s)^/(?:v[0-9.]+/)?(.*)$`) // how the engine reads a path
)

// However a path is spelled, the engine's own swarm half is never asked, and
// reading never is the end of the daemon.
func FuzzPath(f *testing.F) {
	for _, s := range []string{
		"/v1.41/nodes", "/v1.41.0/swarm/init", "/v1/services/create", "//swarm", "/v1.41//swarm", "/./swarm", "/v1.41/../swarm", "/v1.41/services/a\nb", "/vx/nodes",
		"/v1.41/services/web/logs?stdout=1&tail=5", "/events?until=1", "/tasks?filters={\"name\":[\"a\"]}", "/swarmctl/tasks/web.1/explain", "/info", "/version", "/_ping", "*", "", "/v.../tasks",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		for _, method := range []string{"GET", "DELETE", "HEAD", "POST"} {
			b := newBench(t)
			w := b.ask(method, uri, nil)
			p, _, _ := strings.Cut(uri, "?")
			clean := strings.HasPrefix(p, "/") && (path.Clean(p) == p || path.Clean(p)+"/" == p) // else the engine redirects
			if m := engines.FindStringSubmatch(p); clean && m != nil && swarmHalf.MatchString(m[1]) {
				if b.dialled > 0 && w.Code != 400 { // an engine is asked which version it has, before a newer one is refused
					t.Errorf("%s %q reached the engine", method, uri)
				}
				if w.Code >= 500 && w.Code != http.StatusNotImplemented && w.Code != http.StatusServiceUnavailable {
					t.Errorf("%s %q: %d %s", method, uri, w.Code, w.Body)
				}
			}
		}
	})
}

// Filters of lists, in both of their forms, match or are refused.
func FuzzFilters(f *testing.F) {
	for _, s := range []string{
		`{"name":["web"]}`, `{"name":{"web":true}}`, `{"label":["a=b","c"]}`, `{"mode":["global"]}`, `{"desired-state":["running"]}`, `{"service":["web"]}`, `{"node":["h1"]}`,
		`{"id":[]}`, `{"id":null}`, `{"runtime":["container"]}`, `{"_up-to-date":["true"]}`, `null`, `[]`, `{"":[""]}`, `{"name":[null]}`, `{"membership":["accepted"]}`, `{"role":["worker"]}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := newBench(t)
		b.putNode(t)
		if w := b.ask("POST", "/services/create", []byte(web(""))); w.Code != 201 {
			t.Fatal(w.Body)
		}
		for _, kind := range []string{"nodes", "services", "tasks", "secrets", "configs"} {
			w := b.ask("GET", "/"+kind+"?filters="+url.QueryEscape(text), nil)
			if w.Code != 200 {
				checkRefusal(t, kind+" "+text, w)
			}
		}
	})
}

// pieces are parts of specs, well-formed and odd; any of them may stand together.
func pieces() []string {
	var out []string
	for _, p := range []string{
		`"Labels":{"a":"b","":"","é":"\\"}`, `"Mode":{"Global":{}}`, `"Mode":{"Replicated":{"Replicas":3}}`, `"Mode":{"Replicated":{"Replicas":0}}`,
		`"UpdateConfig":{"Parallelism":2,"Delay":1,"FailureAction":"rollback","Monitor":1,"MaxFailureRatio":0.5,"Order":"start-first"}`,
		`"Mode":{"ReplicatedJob":{"MaxConcurrent":1,"TotalCompletions":3}}`, `"Mode":{"GlobalJob":{}}`, `"Labels":{"swarmctl.devices":"/dev/fuse:rw","swarmctl.gpus":"all","swarmctl.shm-size":"64m"}`,
		`"RollbackConfig":{"Parallelism":0,"Order":"stop-first"}`, `"EndpointSpec":{"Mode":"dnsrr"}`,
		`"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080,"PublishMode":"host"},{"TargetPort":80,"Protocol":"udp","PublishMode":"host"},{"TargetPort":80,"Protocol":"sctp","PublishMode":"host"}]}`,
	} {
		out = append(out, `{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"demo:1"}},`+p+`}`)
	}
	for _, p := range []string{
		`"Resources":{"Limits":{"NanoCPUs":500000000,"MemoryBytes":67108864,"Pids":5},"Reservations":{"MemoryBytes":33554432}}`, `"Resources":{"Limits":null}`,
		`"RestartPolicy":{"Condition":"on-failure","Delay":0,"MaxAttempts":1,"Window":9223372036854775807}`, `"LogDriver":{"Name":"json-file","Options":{"max-size":"1m"}}`, `"LogDriver":{}`,
		`"Placement":{"Constraints":["node.role==worker"],"Preferences":[{"Spread":{"SpreadDescriptor":"node.labels.a"}}],"MaxReplicas":1,"Platforms":[{"OS":"linux"}]}`, `"ForceUpdate":18446744073709551615`, `"Networks":[]`, `"Networks":[{"Target":"host"}]`,
		`"Resources":{"Reservations":{"GenericResources":[{"DiscreteResourceSpec":{"Kind":"gpu","Value":2}},{"NamedResourceSpec":{"Kind":"ssd","Value":"a"}},{}]}}`,
	} {
		out = append(out, `{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"demo:1"},`+p+`}}`)
	}
	for _, p := range []string{
		`,"Env":["A=1","B","C={{.Task.Slot}}","D={{.Nope}}","E={{","F={{range 3}}x{{end}}"]`, `,"Hostname":"{{.Node.Hostname}}-{{.Task.Slot}}"`, `,"Hostname":"{{template \"x\"}}"`,
		`,"Mounts":[{"Type":"bind","Source":"/a","Target":"/b","BindOptions":{"Propagation":"rslave"}},{"Type":"volume","Target":"/c","VolumeOptions":{"DriverConfig":{"Name":"local","Options":{"o":"{{.Service.Name}}"}}}},{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":1,"Mode":511}}]`,
		`,"Mounts":[{"Type":"volume","Source":"{{.Service.ID}}/x","Target":"/{{.Task.ID}}"}]`, `,"Mounts":[{"Type":"volume","Source":"../x","Target":"/"}]`,
		`,"Hosts":["1.2.3.4 a b",""," ","x"]`, `,"DNSConfig":{"Nameservers":["1.1.1.1",""],"Search":["."],"Options":["ndots:1"]}`, `,"Sysctls":{"net.core.somaxconn":"1","":""}`,
		`,"Ulimits":[{"Name":"nofile","Soft":1,"Hard":-1}]`, `,"Ulimits":[null]`, `,"Secrets":[]`, `,"CapabilityAdd":["NET_ADMIN","ALL",""],"CapabilityDrop":["ALL"]`, `,"Groups":["",  "a"]`,
		`,"Privileges":{"SELinuxContext":{"Disable":true},"NoNewPrivileges":true,"Seccomp":{"Mode":"custom","Profile":"e30="},"AppArmor":{"Mode":"disabled"}}`, `,"Privileges":{}`,
		`,"Healthcheck":{"Test":["NONE"]}`, `,"Healthcheck":{"Test":[],"Interval":1000000,"Retries":1}`, `,"StopGracePeriod":9223372036854775807`, `,"StopGracePeriod":0`, `,"StopSignal":"nope"`,
		`,"Init":null,"TTY":true,"OpenStdin":true,"ReadOnly":true`, `,"Isolation":"hyperv"`, `,"OomScoreAdj":-1001`, `,"User":":","Dir":"a"`, `,"Labels":{"com.docker.swarm.task":"forged"}`,
		`,"Command":[],"Args":[""]`, `,"Image":"sha256:aaaa"`, `,"Image":"demo@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"`,
	} {
		out = append(out, web(p))
	}
	return out
}

// Specs are put together from the pieces. Whatever the API takes of that, the
// worker turns into a container or refuses with a code.
func TestWhatTheAPITakesTheWorkerCarriesOutOrRefuses(t *testing.T) {
	all := pieces()
	rapid.Check(t, func(t *rapid.T) {
		var spec api.ServiceSpec
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(all)-1), 1, 6).Draw(t, "pieces") {
			if err := json.Unmarshal([]byte(all[i]), &spec); err != nil {
				t.Fatal(err)
			}
		}
		servicespec.Normalise(&spec)
		once := mustJSONOf(t, spec)
		if servicespec.Normalise(&spec); mustJSONOf(t, spec) != once {
			t.Fatalf("normalised again, %s became %s", once, mustJSONOf(t, spec))
		}
		if err := servicespec.Validate(&spec); err != nil {
			if code := api.CodeOf(err); code != api.CodeInvalid && code != api.CodeUnsupported {
				t.Fatalf("%s: %v has code %s", once, err, code)
			}
			return
		}
		plan, err := docker.MakePlan(&docker.Request{Task: &api.Task{ID: "t", ServiceID: "s", Slot: 1}, Spec: &spec, Node: docker.Node{ID: "n", Hostname: "h"}})
		if code := api.CodeOf(err); err != nil && code != api.CodeInvalid && code != api.CodeUnsupported {
			t.Fatalf("%s: the worker says %v, with code %s", once, err, code)
		}
		mustJSONOf(t, plan)
	})
}

func mustJSONOf(t *rapid.T, v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Each piece by itself, so that the list stays one of odd things and not of
// refused ones alone.
func TestMostPiecesAreTaken(t *testing.T) {
	taken := 0
	for _, p := range pieces() {
		b := newBench(t)
		if w := b.ask("POST", "/services/create", []byte(p)); w.Code == http.StatusCreated {
			taken++
			checkAccepted(t, b, []byte(p))
		} else {
			checkRefusal(t, p, w)
			t.Logf("%s: %s", p, w.Body)
		}
	}
	if taken < len(pieces())/2 {
		t.Errorf("%d of %d are taken", taken, len(pieces()))
	}
}
