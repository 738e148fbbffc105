package mover

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/volume"
)

// Engine is a host's container engine, as worker/docker has it.
type Engine interface {
	Volume(ctx context.Context, name string) (v api.Volume, folder string, err error)
	CreateVolume(ctx context.Context, v *api.Volume) error
	RemoveVolume(ctx context.Context, name string) error
	VolumeUsers(ctx context.Context, name string) (tasks, others []string, err error)
}

// Node is a node's end of moves.
type Node struct {
	engine Engine
	log    *slog.Logger

	mu    sync.Mutex
	fills map[string]*fill // by the ID of the move
}

// fill is a volume that is being filled, or was to be and is not to be any more.
type fill struct {
	stop func()
	done chan struct{}
}

// NewNode returns the end of this host.
func NewNode(engine Engine, log *slog.Logger) *Node {
	return &Node{engine: engine, log: log, fills: map[string]*fill{}}
}

// Look is what a node says of a volume.
type Look struct {
	Volume api.Volume // with all of its options
	Size   int64      // bytes that its files take
	// Tasks are the containers of tasks that have it and have not ended, Others all others.
	Tasks, Others []string
}

const (
	markName    = "swarmctl-move" // beside the volume's content: which move has read or made it last
	sumTrailer  = "Swarmctl-Sum"
	failTrailer = "Swarmctl-Error"
	headVolume  = "Swarmctl-Volume"
	headSize    = "Swarmctl-Size"
)

// ServeHTTP implements http.Handler: below /volumes/ is what the leader asks.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	for pattern, h := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /volumes/look": n.look, "GET /volumes/read": n.read, "POST /volumes/fill": n.fill, "POST /volumes/discard": n.discard,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				refuse(w, r, err)
			}
		})
	}
	mux.ServeHTTP(w, r)
}

type refusal struct{ Message string }

// refuse answers with an error. What is still to come of a body is read until
// the leader has heard that: to close at once might cut the answer off.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusServiceUnavailable
	switch api.CodeOf(err) {
	case api.CodeNotFound:
		status = http.StatusGone // 404 is who knows no such page
	case api.CodeConflict, api.CodeInvalid:
		status = http.StatusConflict
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(refusal{err.Error()})
	_ = http.NewResponseController(w).Flush()
	_, _ = io.Copy(io.Discard, r.Body)
}

// movable returns a volume that lies in a folder of this host.
func (n *Node) movable(ctx context.Context, name string) (v api.Volume, folder string, err error) {
	v, folder, err = n.engine.Volume(ctx, name)
	if err != nil {
		return v, "", err
	}
	if err := Movable(&v); err != nil {
		return v, "", err
	}
	if at, err := os.Stat(folder); err != nil || !at.IsDir() {
		return v, "", api.Errorf(api.CodeConflict, "volume %s: the engine has it in %s, and this host sees no such folder", name, folder)
	}
	return v, folder, nil
}

// Movable refuses a volume whose data is not in the folder of the driver local.
func Movable(v *api.Volume) error {
	if v.Driver != "local" && v.Driver != "" {
		return api.Errorf(api.CodeConflict, "volume %s is of driver %s: only volumes of the driver local are moved", v.Name, v.Driver)
	}
	for _, option := range []string{"type", "device", "o"} {
		if v.Options[option] != "" {
			return api.Errorf(api.CodeConflict, "volume %s is a mount of something else (%s): what it mounts is not moved: mount the same on the other node", v.Name, api.ShowOptions(v.Driver, v.Options))
		}
	}
	return nil
}

func (n *Node) look(w http.ResponseWriter, r *http.Request) (err error) {
	var l Look
	name := r.URL.Query().Get("name")
	var folder string
	if l.Volume, folder, err = n.movable(r.Context(), name); err != nil {
		return err
	}
	if r.URL.Query().Get("size") != "" {
		if l.Size, err = volume.Size(folder); err != nil {
			return err
		}
	}
	if l.Tasks, l.Others, err = n.engine.VolumeUsers(r.Context(), name); err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(&l)
}

// read sends what is in a volume. The sum, or what went wrong, comes after it.
func (n *Node) read(w http.ResponseWriter, r *http.Request) error {
	_, folder, err := n.movable(r.Context(), r.URL.Query().Get("name"))
	if err == nil {
		err = os.WriteFile(markOf(folder), []byte(r.URL.Query().Get("move")), 0o600)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Trailer", sumTrailer+", "+failTrailer)
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriterSize(w, 64<<10)
	sum, err := volume.Pack(out, folder)
	if err = errors.Join(err, out.Flush()); err != nil {
		w.Header().Set(failTrailer, oneLine(err))
		return nil
	}
	w.Header().Set(sumTrailer, encode(sum))
	return nil
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func encode(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // they are plain values
	}
	return string(data)
}

// fill makes a volume of what comes. It is there as a whole, on the disk, when
// this has answered with the sum that the other end has.
func (n *Node) fill(w http.ResponseWriter, r *http.Request) error {
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		return err
	}
	var v api.Volume
	if err := json.Unmarshal([]byte(r.Header.Get(headVolume)), &v); err != nil || v.Name == "" {
		return api.Errorf(api.CodeInvalid, "no volume is named")
	}
	if err := Movable(&v); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	id := r.URL.Query().Get("move")
	done, err := n.begin(id, func() {
		cancel()
		_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) // what comes is waited for in vain
	})
	if err != nil {
		return err
	}
	defer done()
	size, _ := strconv.ParseInt(r.Header.Get(headSize), 10, 64)
	folder, err := n.create(ctx, &v, id, size)
	if err != nil {
		return err
	}
	sum, err := volume.Unpack(folder, r.Body)
	if err != nil {
		return err
	}
	if said := r.Trailer.Get(sumTrailer); said != encode(sum) {
		return api.Errorf(api.CodeUnavailable, "what has come is not what was sent: %s and %s", encode(sum), said)
	}
	if _, now, err := n.engine.Volume(ctx, v.Name); err != nil || now != folder {
		return api.Errorf(api.CodeConflict, "volume %s was removed while it was filled: %v", v.Name, err)
	}
	return json.NewEncoder(w).Encode(sum)
}

// create makes the volume, which must not be there, and marks it as the move's.
func (n *Node) create(ctx context.Context, v *api.Volume, id string, size int64) (folder string, err error) {
	switch _, _, err := n.engine.Volume(ctx, v.Name); {
	case err == nil:
		return "", api.Errorf(api.CodeConflict, "the engine has a volume %s already", v.Name)
	case !errors.Is(err, api.ErrNotFound):
		return "", err
	}
	if err := n.engine.CreateVolume(ctx, v); err != nil {
		return "", err
	}
	if _, folder, err = n.movable(ctx, v.Name); err != nil {
		return "", err
	}
	if err := os.WriteFile(markOf(folder), []byte(id), 0o600); err != nil {
		return "", err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(folder, &st); err == nil && size > int64(st.Bavail)*st.Bsize {
		return "", api.Errorf(api.CodeConflict, "the volume takes %s, and %s has room for %s", units.BytesSize(float64(size)), filepath.Dir(folder), units.BytesSize(float64(int64(st.Bavail)*st.Bsize)))
	}
	return folder, nil
}

func markOf(folder string) string { return filepath.Join(filepath.Dir(folder), markName) }

// begin enters a fill; whoever discards the move ends it. One that was discarded
// does not begin any more: the request may be a deposed leader's.
func (n *Node) begin(id string, stop func()) (done func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fills[id] != nil || id == "" {
		return nil, api.Errorf(api.CodeConflict, "move %q was begun or given up before", id)
	}
	f := &fill{stop: stop, done: make(chan struct{})}
	n.fills[id] = f
	return func() { close(f.done) }, nil
}

// end ends the fill of a move, and waits for its end.
func (n *Node) end(ctx context.Context, id string) error {
	n.mu.Lock()
	f := n.fills[id]
	if f == nil {
		f = &fill{stop: func() {}, done: make(chan struct{})}
		close(f.done)
		n.fills[id] = f
	}
	n.mu.Unlock()
	f.stop()
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// discard removes what a move has left here, the old copy or what was filled:
// both are known by their mark. Anything else stays.
func (n *Node) discard(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	name, id := q.Get("name"), q.Get("move")
	if err := n.end(r.Context(), id); err != nil {
		return err
	}
	_, folder, err := n.engine.Volume(r.Context(), name)
	switch {
	case errors.Is(err, api.ErrNotFound):
		return json.NewEncoder(w).Encode(struct{}{})
	case err != nil:
		return err
	case !marked(folder, id, q.Get("half") != ""):
		return api.Errorf(api.CodeConflict, "volume %s is another one than the move has left", name)
	}
	if err := n.engine.RemoveVolume(r.Context(), name); err != nil {
		return fmt.Errorf("volume %s: %w", name, err)
	}
	n.log.Info("removed what the move of a volume has left", "volume", name, "move", id)
	return json.NewEncoder(w).Encode(struct{}{})
}

// marked reports whether a volume is the move's. Of a half one that has no mark
// and nothing in it, it may be that the daemon died in the moment in which it was made.
func marked(folder, id string, half bool) bool {
	mark, err := os.ReadFile(markOf(folder))
	if err == nil {
		return string(mark) == id
	}
	if !half {
		return false
	}
	f, oerr := os.Open(folder)
	if oerr != nil {
		return errors.Is(oerr, os.ErrNotExist)
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	return errors.Is(err, io.EOF)
}
