package dockerapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// engine is a container engine that behaves, as far as these tests look.
func engine(t *testing.T) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Api-Version", "1.43")
		w.Header().Set("Ostype", "linux")
		_, _ = io.WriteString(w, "OK")
	})
	mux.HandleFunc("GET /v1.41/version", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"Version":"24.0","Components":[{"Name":"Engine","Version":"24.0"}],"Novel":"kept"}`)
	})
	mux.HandleFunc("GET /v1.41/info", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"Name":"h1","Swarm":{"LocalNodeState":"inactive"},"Novel":"kept"}`)
	})
	mux.HandleFunc("POST /v1.41/exec/{id}/start", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // as the engine does
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = fmt.Fprint(rw, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		_ = rw.Flush()
		input, _ := io.ReadAll(rw) // to the end: the client closes its half
		_, _ = fmt.Fprintf(conn, "got %s", input)
	})
	return mux
}

func TestExecPassesThroughWithBothHalvesOfTheConnection(t *testing.T) {
	c := start(t, engine(t))
	res, err := c.docker.ContainerExecAttach(t.Context(), "e1", container.ExecAttachOptions{})
	c.must(err)
	defer res.Close()
	_, err = io.WriteString(res.Conn, "hello")
	c.must(err)
	c.must(res.CloseWrite())
	got, err := io.ReadAll(res.Reader)
	c.must(err)
	if string(got) != "got hello" {
		t.Errorf("the engine's answer is %q", got)
	}
}

func TestStreamsPassThroughAsTheyCome(t *testing.T) {
	mux, next := engine(t), make(chan string)
	mux.HandleFunc("GET /v1.41/containers/{id}/logs", func(w http.ResponseWriter, _ *http.Request) {
		for s := range next {
			_, _ = io.WriteString(w, s)
			_ = http.NewResponseController(w).Flush()
		}
	})
	c := start(t, mux)
	go func() { next <- "one\n" }()
	logs, err := c.docker.ContainerLogs(t.Context(), "x", container.LogsOptions{ShowStdout: true, Follow: true})
	c.must(err)
	defer logs.Close()
	lines := bufio.NewScanner(logs)
	for _, s := range []string{"one", "two", "three"} { // each is read before the next is sent
		if s != "one" {
			next <- s + "\n"
		}
		if !lines.Scan() || lines.Text() != s {
			t.Fatalf("read %q, want %q", lines.Text(), s)
		}
	}
	close(next)
}

func TestALongLogOfShortLinesPassesThroughWhole(t *testing.T) {
	mux, want := engine(t), strings.Builder{}
	for i := range 5000 {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	mux.HandleFunc("GET /v1.41/containers/{id}/logs", func(w http.ResponseWriter, _ *http.Request) {
		for line := range strings.Lines(want.String()) { // each by itself, as the engine does
			_, _ = io.WriteString(w, line)
			_ = http.NewResponseController(w).Flush()
		}
	})
	c := start(t, mux)
	if got := c.get("/v1.41/containers/x/logs"); got != want.String() {
		t.Errorf("%d bytes of %d came, or others", len(got), want.Len())
	}
}

func TestInfoAndVersionAreTheEnginesWithOursAdded(t *testing.T) {
	c := start(t, engine(t))
	c.node.info = swarm.Info{NodeID: "node1", LocalNodeState: swarm.LocalNodeStateActive, ControlAvailable: true}
	var info struct {
		Name, Novel string
		Swarm       swarm.Info
	}
	c.must(json.Unmarshal([]byte(c.get("/v1.41/info")), &info))
	if info.Name != "h1" || info.Novel != "kept" || info.Swarm.NodeID != "node1" || !info.Swarm.ControlAvailable {
		t.Errorf("info: %+v", info)
	}
	v, err := c.docker.ServerVersion(t.Context())
	c.must(err)
	if v.Version != "24.0" || len(v.Components) != 2 || v.Components[1].Version != "v0.test" {
		t.Errorf("version: %+v", v)
	}
	ping, err := c.docker.Ping(t.Context())
	c.must(err)
	if ping.APIVersion != "1.43" || ping.SwarmStatus == nil || !ping.SwarmStatus.ControlAvailable {
		t.Errorf("ping: %+v", ping)
	}
}

func TestTheSwarmHalfOutlivesTheEngine(t *testing.T) {
	c := start(t, nil)
	ping, err := c.docker.Ping(t.Context())
	c.must(err)
	if ping.APIVersion != "1.41" {
		t.Errorf("the API's version is %q", ping.APIVersion)
	}
	if _, err := c.docker.ServiceList(t.Context(), swarm.ServiceListOptions{}); err != nil {
		t.Error(err)
	}
	_, err = c.docker.ContainerList(t.Context(), container.ListOptions{})
	wantError(t, err, errdefs.IsUnavailable, "the container engine of this node does not answer (is Docker running?): connection refused")
}

func TestARegistryThatDoesNotAnswerIsNotWaitedFor(t *testing.T) {
	mux := engine(t)
	mux.HandleFunc("GET /v1.41/distribution/{name...}", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := start(t, mux)
	_, err := c.docker.DistributionInspect(t.Context(), "demo:1", "")
	wantError(t, err, errdefs.IsUnavailable, "the registry did not answer within 100ms")
}

func TestEventsOfTheEngineAndOfTheClusterInOneStream(t *testing.T) {
	mux := engine(t)
	mux.HandleFunc("GET /v1.41/events", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(events.Message{Type: "container", Action: "start", Scope: "local", Actor: events.Actor{ID: "c1"}})
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	c := start(t, mux)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	all, _ := c.docker.Events(t.Context(), events.ListOptions{})
	if m := <-all; m.Type != "container" { // from here on the stream is open
		t.Fatalf("first event: %+v", m)
	}
	web := c.create(serviceSpec("web"))
	c.addTask("t1", web, 1, "node1", running("c1"))
	if m := <-all; m.Type != "service" || m.Action != "create" || m.Actor.Attributes["name"] != "web" || m.Scope != "swarm" {
		t.Errorf("service event: %+v", m)
	}
	if m := <-all; m.Type != "task" || m.Actor.Attributes["name"] != "web.1.t1" || m.Actor.Attributes["state"] != "running" {
		t.Errorf("task event: %+v", m)
	}
	c.must(c.docker.ServiceRemove(t.Context(), "web"))
	if m := <-all; m.Type != "service" || m.Action != "remove" {
		t.Errorf("service event: %+v", m)
	}
}

func TestEventsOfSecretsConfigsAndNetworks(t *testing.T) {
	c, _ := withNetworks(t)
	res, err := http.Get(c.url + "/events?filters=" + url.QueryEscape(`{"scope":["swarm"],"type":["secret","config","network"]}`)) // the headers say that it listens
	c.must(err)
	defer res.Body.Close()
	all := json.NewDecoder(res.Body)

	id := c.secret("key", "TOPSECRET")
	c.must(c.docker.SecretUpdate(t.Context(), id, swarm.Version{Index: 1}, swarm.SecretSpec{Annotations: swarm.Annotations{Name: "key"}}))
	c.must(c.docker.SecretRemove(t.Context(), "key"))
	_, err = c.docker.ConfigCreate(t.Context(), swarm.ConfigSpec{Annotations: swarm.Annotations{Name: "file"}, Data: []byte("x")})
	c.must(err)
	c.network("back", overlay())
	c.must(c.docker.NetworkRemove(t.Context(), "back"))
	for _, want := range []string{
		"secret create id1 map[name:key]", "secret update id1 map[name:key]", "secret remove id1 map[name:key]", "config create id2 map[name:file]",
		"network create id3 map[name:back type:overlay]", "network remove id3 map[name:back type:overlay]",
	} {
		var m events.Message
		c.must(all.Decode(&m))
		if got := fmt.Sprint(m.Type, " ", m.Action, " ", m.Actor.ID, " ", m.Actor.Attributes); got != want || m.Scope != "swarm" {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestEventFilters(t *testing.T) {
	mux := engine(t)
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := start(t, mux)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	listen := func(args ...filters.KeyValuePair) *json.Decoder {
		f, err := filters.ToJSON(filters.NewArgs(append(args, filters.Arg("scope", "swarm"))...))
		c.must(err)
		res, err := http.Get(c.url + "/events?filters=" + url.QueryEscape(f)) // the headers say that it listens
		c.must(err)
		t.Cleanup(func() { _ = res.Body.Close() })
		return json.NewDecoder(res.Body)
	}
	streams := map[string]*json.Decoder{
		"node update h1":          listen(filters.Arg("type", "node")),
		"service create api":      listen(filters.Arg("service", "api")),
		"service remove web":      listen(filters.Arg("type", "service"), filters.Arg("event", "remove")),
		"service update web":      listen(filters.Arg("event", "update"), filters.Arg("type", "service")),
		"task create web.1.t1":    listen(filters.Arg("type", "task")),
		"service create web":      listen(),
		"task create web.1.t1 #2": listen(filters.Arg("task", "t1")),
		"task create web.1.t1 #3": listen(filters.Arg("service", "web"), filters.Arg("type", "task")),
		"task create web.1.t1 #4": listen(filters.Arg("node", "h1"), filters.Arg("type", "task")),
	}
	web := c.create(serviceSpec("web"))
	c.create(serviceSpec("api"))
	c.addTask("t1", web, 1, "node1", running("c1"))
	n := c.nodeRead("h1")
	n.Spec.Availability = swarm.NodeAvailabilityDrain
	c.must(c.docker.NodeUpdate(t.Context(), "h1", n.Version, n.Spec))
	_, err := c.docker.ServiceUpdate(t.Context(), "web", web.Meta.Version, serviceSpec("web"), swarm.ServiceUpdateOptions{})
	c.must(err)
	c.must(c.docker.ServiceRemove(t.Context(), "web"))
	for want, stream := range streams {
		var m events.Message
		c.must(stream.Decode(&m))
		want, _, _ = strings.Cut(want, " #")
		if got := fmt.Sprintf("%s %s %s", m.Type, m.Action, m.Actor.Attributes["name"]); got != want {
			t.Errorf("first event is %q, want %q", got, want)
		}
	}
}

// Docker remembers what has been; so do we, and tell it in one order with the
// engine's.
func TestEventsThatHaveBeen(t *testing.T) {
	at := time.Now().Add(-time.Hour)
	mux := engine(t)
	mux.HandleFunc("GET /v1.41/events", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("until") == "" {
			<-r.Context().Done()
			return
		}
		_ = json.NewEncoder(w).Encode(events.Message{Type: "container", Action: "start", Scope: "local", TimeNano: at.Add(time.Minute).UnixNano()})
	})
	c := start(t, mux)
	go func() { _ = c.api.RememberEvents(t.Context()) }()
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	before := c.at(at.Add(-time.Minute))
	c.get("/v1.41/events?until=" + c.at(time.Now())) // answered once the node is remembered
	web := c.create(serviceSpec("web"))
	for i := range 600 { // many events of tasks push out none of services
		c.addTask(api.TaskID(fmt.Sprint("t", i)), web, i+1, "node1", running("c1"))
	}
	ask := func(since, until string, args ...filters.KeyValuePair) (got []string, next func() string) {
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		messages, errs := c.docker.Events(ctx, events.ListOptions{Since: since, Until: until, Filters: filters.NewArgs(args...)})
		next = func() string {
			select {
			case m := <-messages:
				return fmt.Sprintf("%s %s %s", m.Type, m.Action, m.Actor.Attributes["name"])
			case <-errs:
				return ""
			}
		}
		for until != "" {
			m := next()
			if m == "" {
				break
			}
			got = append(got, m)
		}
		return got, next
	}
	notTasks := []filters.KeyValuePair{filters.Arg("type", "service"), filters.Arg("type", "container")}
	now := c.at(time.Now())
	if got, _ := ask(before, now, notTasks...); !slices.Equal(got, []string{"container start ", "service create web"}) {
		t.Errorf("since an hour ago: %q", got)
	}
	if got, _ := ask(now, now, notTasks...); !slices.Equal(got, []string{"container start "}) { // the fake engine always tells
		t.Errorf("since now: %q", got)
	}
	_, next := ask(before, "", notTasks...)
	c.must(c.docker.ServiceRemove(t.Context(), "web"))
	for _, want := range []string{"container start ", "service create web", "service remove web"} {
		if got := next(); got != want {
			t.Errorf("and then what comes: %q, want %q", got, want)
		}
	}
	if got := c.get("/v1.41/events?since=20&until=10"); !strings.Contains(got, "`since` time (20) cannot be after `until` time (10)") {
		t.Errorf("the wrong way round: %s", got)
	}
	if got := c.get("/v1.41/events?since=20&until=0"); !strings.Contains(got, "`since` time (20) cannot be after `until` time (0)") {
		t.Errorf("until 1970: %s", got)
	}
	if got, _ := ask("", "0", filters.Arg("scope", "swarm")); len(got) != 0 { // at once: nothing was before 1970
		t.Errorf("until 1970: %q", got)
	}
	if _, next := ask("0", "", notTasks...); next() != "container start " {
		t.Error("since 1970 is not since the first event")
	}
	// As with the engine, a time to come says nothing of what happens until then.
	_, next = ask(c.at(time.Now().Add(time.Hour)), "", filters.Arg("type", "service"))
	c.create(serviceSpec("db"))
	if got := next(); got != "service create db" {
		t.Errorf("since in an hour: %q", got)
	}
	soon := time.Now().Add(200 * time.Millisecond)
	if got, _ := ask(c.at(soon), c.at(soon.Add(time.Millisecond)), filters.Arg("type", "config")); len(got) != 0 || time.Now().Before(soon) { // and it ends
		t.Errorf("from soon until soon: %q", got)
	}
	if got := c.get("/v1.41/events?since=yesterday"); !strings.Contains(got, "is not a time in seconds since 1970") {
		t.Errorf("no time: %s", got)
	}
}

// at is a time as the API takes it.
func (c *cluster) at(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }
