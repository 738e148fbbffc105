package mover_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/mover"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// host is an engine that keeps volumes in folders, and the daemon beside it.
type host struct {
	id     api.NodeID
	dir    string
	world  *world
	server *httptest.Server
	others []string // containers of the host's own
}

func (h *host) folder(name string) string { return filepath.Join(h.dir, name, "_data") }

func (h *host) Volume(_ context.Context, name string) (api.Volume, string, error) {
	if _, err := os.Stat(h.folder(name)); err != nil {
		return api.Volume{}, "", api.Errorf(api.CodeNotFound, "the engine has no volume %s", name)
	}
	return api.Volume{Name: name, Driver: "local", CreatedAt: "today"}, h.folder(name), nil
}

func (h *host) CreateVolume(_ context.Context, v *api.Volume) error {
	err := os.MkdirAll(h.folder(v.Name), 0o755)
	h.tell()
	return err
}

func (h *host) RemoveVolume(_ context.Context, name string) error {
	err := os.RemoveAll(filepath.Join(h.dir, name))
	h.tell()
	return err
}

func (h *host) VolumeUsers(context.Context, string) (tasks, others []string, err error) {
	return nil, h.others, nil
}

// tell is the node's word on its volumes.
func (h *host) tell() {
	list := []api.Volume{}
	found, _ := os.ReadDir(h.dir)
	for _, f := range found {
		list = append(list, api.Volume{Name: f.Name(), Driver: "local", CreatedAt: "today"})
	}
	h.world.apply(state.Op{ObserveNode: &state.ObserveNode{ID: h.id, Volumes: &list}})
}

// world is a state that one leader writes, and two hosts.
type world struct {
	t     *testing.T
	mu    sync.Mutex
	index uint64
	*state.State
	hosts    map[api.NodeID]*host
	followed chan struct{} // closed once a leader has read the state
	// through is what becomes of a request to a node; nil: it is answered.
	through func(id api.NodeID, r *http.Request, h http.Handler) http.Handler
}

func (w *world) apply(ops ...state.Op) state.Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index++
	return w.Apply(w.index, []state.Command{{Ops: ops}})[0]
}

func (w *world) Propose(_ context.Context, cmd state.Command) (state.Result, error) {
	return w.apply(cmd.Ops...), nil
}

func (w *world) Follow() (*state.View, *state.Cursor) {
	defer close(w.followed)
	return w.State.Follow()
}

func (w *world) dial(ctx context.Context, id api.NodeID) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", w.hosts[id].server.Listener.Addr().String())
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, State: state.New(), hosts: map[api.NodeID]*host{}, followed: make(chan struct{})}
	for _, id := range []api.NodeID{"a", "b"} {
		w.apply(state.Op{PutNode: &api.Node{ID: id, Status: api.NodeStatus{State: api.NodeReady}}})
		h := &host{id: id, dir: t.TempDir(), world: w}
		node := mover.NewNode(h, slog.New(slog.DiscardHandler))
		h.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			var to http.Handler = node
			if w.through != nil {
				to = w.through(id, r, node)
			}
			to.ServeHTTP(rw, r)
		}))
		t.Cleanup(h.server.Close)
		w.hosts[id] = h
	}
	a := w.hosts["a"]
	if err := os.MkdirAll(a.folder("v"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a.folder("v"), "precious"), []byte(strings.Repeat("data", 1<<20)), 0o640); err != nil {
		t.Fatal(err)
	}
	a.tell()
	return w
}

// lead runs a leader's loop for as long as the test.
func (w *world) lead() (end func()) {
	k := mover.NewKeeper(mover.Config{Store: w, Dial: w.dial, Progress: mover.NewProgress(), Log: slog.New(slog.DiscardHandler), Stall: time.Second})
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		_ = k.Run(ctx)
		close(done)
	}()
	<-w.followed
	return func() {
		cancel()
		<-done
	}
}

func (w *world) begin() {
	w.t.Helper()
	if err := w.apply(state.Op{BeginMove: &state.BeginMove{ID: "m", Name: "v", From: "a", To: "b"}}).Err(); err != nil {
		w.t.Fatal(err)
	}
}

// ends waits until nothing of the move is left to be done, and returns why it
// failed, and who has the data, in the state and on the disk.
func (w *world) ends() (failed string, has []api.NodeID) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		failed, has = "", nil
		open := false
		for n := range w.View().Nodes() {
			if v := n.Volume("v"); v != nil {
				open = open || v.Move.UnderWay() || v.Move != nil && v.Move.Left
				if v.Move != nil && v.Move.Err != "" {
					failed = v.Move.Err
				}
				if !v.GivenUp {
					has = append(has, n.ID)
				}
			}
		}
		if !open {
			break
		}
		if time.Now().After(end) {
			w.t.Fatalf("it does not end: %+v and %+v", w.View().Node("a").Volumes, w.View().Node("b").Volumes)
		}
	}
	for id, h := range w.hosts {
		data, _ := os.ReadFile(filepath.Join(h.folder("v"), "precious"))
		if there := len(data) == 4<<20; there != (fmt.Sprint(has) == fmt.Sprintf("[%s]", id)) {
			w.t.Errorf("node %s has %d bytes, and the state says that %v has the volume", id, len(data), has)
		}
	}
	return failed, has
}

func TestAVolumeIsMoved(t *testing.T) {
	w := newWorld(t)
	defer w.lead()()
	w.begin()
	failed, has := w.ends()
	if failed != "" || fmt.Sprint(has) != "[b]" {
		t.Errorf("%q, and %v has it", failed, has)
	}
}

func TestWhateverFailsTheVolumeStays(t *testing.T) {
	abort := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for name, c := range map[string]struct {
		prepare func(w *world)
		want    string
	}{
		"a container of the host's own": {func(w *world) { w.hosts["a"].others = []string{"mine"} }, "container mine of node a"},
		"the old node breaks off": {func(w *world) {
			w.through = func(id api.NodeID, r *http.Request, h http.Handler) http.Handler {
				if r.URL.Path != "/volumes/read" {
					return h
				}
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					h.ServeHTTP(&cutting{ResponseWriter: rw, left: 1 << 20}, r)
				})
			}
		}, "node a broke off"},
		"the new node breaks off": {func(w *world) {
			w.through = func(id api.NodeID, r *http.Request, h http.Handler) http.Handler {
				if r.URL.Path == "/volumes/fill" {
					return abort
				}
				return h
			}
		}, "node b: "},
		"a bit is lost": {func(w *world) {
			w.through = func(id api.NodeID, r *http.Request, h http.Handler) http.Handler {
				if r.URL.Path != "/volumes/read" {
					return h
				}
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { h.ServeHTTP(&flipping{ResponseWriter: rw}, r) })
			}
		}, "what has come is not what was sent"},
		"the new node stands still": {func(w *world) {
			w.through = func(id api.NodeID, r *http.Request, h http.Handler) http.Handler {
				if r.URL.Path != "/volumes/fill" {
					return h
				}
				return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-w.t.Context().Done() })
			}
		}, "nothing got on its way"},
		"an old version": {func(w *world) {
			w.through = func(id api.NodeID, r *http.Request, h http.Handler) http.Handler {
				if id == "b" && r.URL.Path == "/volumes/fill" {
					return http.NotFoundHandler()
				}
				return h
			}
		}, "upgrade it"},
		"a volume of somebody's own": {func(w *world) {
			_ = os.MkdirAll(w.hosts["b"].folder("v"), 0o755) // the cluster has not heard of it
			_ = os.WriteFile(filepath.Join(w.hosts["b"].folder("v"), "other"), nil, 0o600)
		}, "has a volume v already"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.prepare(w)
			defer w.lead()()
			w.begin()
			failed, has := w.ends()
			if !strings.Contains(failed, c.want) || fmt.Sprint(has) != "[a]" {
				t.Errorf("%q, and %v has it; it should be %q and a", failed, has, c.want)
			}
			if _, err := os.Stat(filepath.Join(w.hosts["b"].folder("v"), "other")); name == "a volume of somebody's own" && err != nil {
				t.Error("it was removed")
			}
		})
	}
}

func TestALeaderEndsTheMovesOfAnotherOne(t *testing.T) {
	w := newWorld(t)
	w.begin()
	defer w.lead()()
	if failed, has := w.ends(); !strings.Contains(failed, "leader of the cluster changed") || fmt.Sprint(has) != "[a]" {
		t.Errorf("%q, and %v has it", failed, has)
	}
}

// cutting ends an answer in its middle.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(p)
}

// flipping loses one bit of an answer, in what a file holds.
type flipping struct {
	http.ResponseWriter
	bytes int
	done  bool
}

func (f *flipping) Write(p []byte) (int, error) {
	if f.bytes += len(p); f.bytes > 1<<20 && !f.done {
		p, f.done = append([]byte{}, p...), true
		p[len(p)/2] ^= 1
	}
	return f.ResponseWriter.Write(p)
}
