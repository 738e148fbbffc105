package dockerapi_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
)

// forgetful is an engine that answers the first request of each connection and
// hangs up on the second, as one does whose restart the other end has not
// noticed. It counts what reaches it.
type forgetful struct {
	next http.Handler

	mu      sync.Mutex
	heard   map[string]int // requests by connection
	hungUp  atomic.Int32
	answers atomic.Int32
}

func (f *forgetful) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.heard[r.RemoteAddr]++
	again := f.heard[r.RemoteAddr] > 1
	f.mu.Unlock()
	if !again {
		f.answers.Add(1)
		f.next.ServeHTTP(w, r)
		return
	}
	f.hungUp.Add(1)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

func TestAStaleConnectionToTheEngineIsNobodysProblem(t *testing.T) {
	mux := engine(t)
	mux.HandleFunc("GET /v1.41/containers/json", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]") })
	mux.HandleFunc("POST /v1.41/containers/{id}/start", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	f := &forgetful{next: mux, heard: map[string]int{}}
	c := start(t, f)
	for range 10 {
		if _, err := c.docker.ContainerList(t.Context(), container.ListOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := c.docker.ContainerStart(t.Context(), "c1", container.StartOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if f.hungUp.Load() == 0 {
		t.Error("no connection was used twice")
	}
	if f.answers.Load() != 20 {
		t.Errorf("the engine answered %d times, not once for each of 20 requests", f.answers.Load())
	}
}

func TestAChangeThatTheEngineMayHaveMadeIsNotSentAgain(t *testing.T) {
	mux := engine(t)
	var asked atomic.Int32
	mux.HandleFunc("POST /v1.41/containers/{id}/start", func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close() // it dies half-way
		}
	})
	c := start(t, mux)
	c.get("/v1.41/version") // a connection is kept now
	err := c.docker.ContainerStart(t.Context(), "c1", container.StartOptions{})
	wantError(t, err, errdefs.IsUnavailable, "the container engine of this node does not answer (is Docker running?): EOF")
	if asked.Load() != 1 {
		t.Errorf("the engine was asked %d times", asked.Load())
	}
}

func TestAnEngineThatIsRestartedAnswersTheNextRequest(t *testing.T) {
	c := start(t, engine(t))
	for i := range 20 {
		id, mux := fmt.Sprintf("life%d", i), http.NewServeMux()
		mux.HandleFunc("GET /v1.41/containers/json", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintf(w, `[{"Id":%q}]`, id) })
		life := httptest.NewServer(mux)
		c.engines.addr["node1"] = life.Listener.Addr().String()
		for range 2 {
			list, err := c.docker.ContainerList(t.Context(), container.ListOptions{})
			c.must(err)
			if list[0].ID != id {
				t.Errorf("life %d: the answer is of %s", i, list[0].ID)
			}
		}
		life.CloseClientConnections()
		life.Close()
	}
}

// Clients ping before most of what they do: it must cost the engine nothing.
func TestPingsAreAnsweredFromWhatTheEngineSaidWithinTheSecond(t *testing.T) {
	mux, pings := http.NewServeMux(), atomic.Int32{}
	mux.HandleFunc("GET /_ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Api-Version", fmt.Sprintf("1.%d", 40+pings.Add(1)))
	})
	c := start(t, nil)
	engine := httptest.NewServer(mux)
	c.engines.addr["node1"] = engine.Listener.Addr().String()
	version := func() string {
		t.Helper()
		ping, err := c.docker.Ping(t.Context())
		c.must(err)
		return ping.APIVersion
	}
	for range 100 {
		if v := version(); v != "1.41" {
			t.Fatalf("version %s", v)
		}
	}
	c.later.Add(int64(time.Second))
	if v := version(); v != "1.42" || pings.Load() != 2 {
		t.Errorf("version %s after a second, %d pings of the engine", v, pings.Load())
	}
	engine.CloseClientConnections()
	engine.Close()
	c.later.Add(int64(time.Second))
	if v := version(); v != "1.42" {
		t.Errorf("version %s while the engine is down", v)
	}
}
