package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/docker/go-units"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
)

// progressEvery is how often a task says how its image is coming on. Each time
// is a write to the cluster's state for every task that waits.
const progressEvery = 3 * time.Second

// transfers are the images that come from other nodes of the cluster: each once
// at a time, for all tasks that wait for it.
type transfers struct {
	mu      sync.Mutex
	running map[string]*transfer // by name and ID
}

// transfer is one image on its way. It ends when it has come, or when nobody
// waits for it any more.
type transfer struct {
	of      *transfers
	waiters map[api.TaskID]func(string) // guarded by transfers.mu
	cancel  context.CancelFunc
	done    chan struct{}

	ref string // set when done is closed
	err error
}

// join waits for an image with all others who do.
func (x *transfers) join(ctx context.Context, r *runner, id api.TaskID, w *wantedImage, tell func(string)) (ref string, err error) {
	key := w.name
	if w.image != nil {
		key += "\x00" + w.image.ID
	}
	x.mu.Lock()
	t := x.running[key]
	if t == nil {
		t = &transfer{of: x, waiters: map[api.TaskID]func(string){}, done: make(chan struct{})}
		var scope context.Context
		scope, t.cancel = context.WithCancel(r.ctx)
		x.running[key] = t
		// A call of the runner's is under way, this one, so it waits for calls.
		r.calls.Go(func() {
			defer t.cancel()
			t.ref, t.err = r.receive(scope, t, w)
			x.drop(key, t)
			close(t.done)
		})
	}
	t.waiters[id] = tell
	x.mu.Unlock()
	select {
	case <-t.done:
		return t.ref, t.err
	case <-ctx.Done():
		x.leave(key, t, id)
		return "", ctx.Err()
	}
}

func (x *transfers) drop(key string, t *transfer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.running[key] == t {
		delete(x.running, key)
	}
}

// leave ends a transfer that nobody waits for any more. Who comes next begins
// another one.
func (x *transfers) leave(key string, t *transfer, id api.TaskID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if delete(t.waiters, id); len(t.waiters) > 0 {
		return
	}
	t.cancel()
	if x.running[key] == t {
		delete(x.running, key)
	}
}

// tasks are those that wait.
func (t *transfer) tasks() []api.TaskID {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	return slices.Sorted(maps.Keys(t.waiters))
}

func (t *transfer) tell(text string) {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	for _, tell := range t.waiters {
		tell(text)
	}
}

// receive asks for an image in the name of one of the tasks that want it: the
// first may have left the store meanwhile.
func (r *runner) receive(ctx context.Context, t *transfer, w *wantedImage) (ref string, err error) {
	for _, id := range t.tasks() {
		if ref, err = r.receiveFor(ctx, t, id, w); !errors.Is(err, api.ErrForbidden) {
			break
		}
	}
	return ref, err
}

// receiveFor has a connection of its own: what is sent on the session's waits
// for nobody's archive.
func (r *runner) receiveFor(ctx context.Context, t *transfer, id api.TaskID, w *wantedImage) (ref string, err error) {
	peer, _ := r.link.get()
	if peer == nil {
		return "", api.Errorf(api.CodeUnavailable, "managers: this node has no session with one")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := r.cfg.Dial(ctx, peer.GetAddr())
	if err != nil {
		return "", api.Errorf(api.CodeUnavailable, "manager %s: %v", peer.GetAddr(), err)
	}
	defer conn.Close()
	in := &incoming{transfer: t, name: w.name, patience: r.cfg.ImageStall, from: "managers"}
	in.stall = time.AfterFunc(in.patience, func() { cancel(errNoProgress) })
	defer in.stall.Stop()
	in.stream, err = wire.NewDispatcherClient(conn).Image(ctx, &wire.ImageRequest{TaskId: string(id)})
	if err == nil {
		ref, err = r.load(ctx, in, w)
	}
	return ref, in.explain(ctx, err)
}

var errNoProgress = errors.New("no progress")

// load reads what is announced first, and then the archive.
func (r *runner) load(ctx context.Context, in *incoming, w *wantedImage) (ref string, err error) {
	image, err := in.announcement()
	switch {
	case err != nil:
		return "", err
	case image.Platform != w.platform:
		return "", fmt.Errorf("has it for %s, and this node is %s: build it for both and push it to a registry", image.Platform, w.platform)
	case w.image != nil && !w.image.Is(image):
		return "", fmt.Errorf("has %s under this name, and the service was made with %s: `swarmctl service update --force --image %s` takes what there is now", image.ShortID(), w.image.ShortID(), w.name)
	}
	// It may be here under its ID: it came in an earlier life of this program.
	if ref, err := r.cfg.Engine.FindImage(ctx, w.name, image); err == nil {
		return ref, nil
	}
	in.tell(receiving(in.name, in.from, 0, in.size))
	began := time.Now()
	if ref, err = r.cfg.Engine.LoadImage(ctx, w.name, image, in, in.alive); err != nil {
		return "", err
	}
	r.log.Info("image received", "image", w.name, "from", in.from, "bytes", in.got, "took", time.Since(began).Round(time.Millisecond))
	return ref, nil
}

// incoming is the stream of an image. As an io.Reader it is the archive.
type incoming struct {
	*transfer
	name     string
	from     string // the node whose engine has it, once that is known
	size     int64
	stream   wire.Dispatcher_ImageClient
	stall    *time.Timer
	patience time.Duration

	rest   []byte
	got    int64
	told   time.Time
	broken error // what the stream ended with, if not as it should
}

func (in *incoming) alive() { in.stall.Reset(in.patience) }

func (in *incoming) recv() (*wire.ImagePart, error) {
	part, err := in.stream.Recv()
	if err == nil {
		in.alive()
	} else if err != io.EOF {
		in.broken = wire.FromStatus(err)
		err = in.broken
	}
	return part, err
}

// announcement waits for its turn, and for what is going to come.
func (in *incoming) announcement() (*api.Image, error) {
	for {
		part, err := in.recv()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		switch part := part.GetPart().(type) {
		case *wire.ImagePart_Waiting:
			in.tell(fmt.Sprintf("preparing: waiting for %s: the manager is sending to other nodes", in.name))
		case *wire.ImagePart_Head:
			image := wire.DecodeImage(part.Head.GetImage())
			if image == nil {
				return nil, api.Errorf(api.CodeInternal, "the manager did not say which image it sends")
			}
			in.from, in.size = part.Head.GetFrom(), image.Size
			return image, nil
		default:
			return nil, api.Errorf(api.CodeInternal, "the manager began with %T", part)
		}
	}
}

// Read implements io.Reader.
func (in *incoming) Read(p []byte) (int, error) {
	for len(in.rest) == 0 {
		part, err := in.recv()
		if err != nil {
			return 0, err
		}
		in.rest = part.GetData()
	}
	n := copy(p, in.rest)
	in.rest = in.rest[n:]
	in.got += int64(n)
	if now := time.Now(); now.Sub(in.told) >= progressEvery {
		in.told = now
		in.tell(receiving(in.name, in.from, in.got, in.size))
	}
	return n, nil
}

// receiving is what a task says whose image is on its way. An archive is a
// little more than what it holds.
func receiving(name, from string, got, size int64) string {
	const mega = 1_000_000
	return fmt.Sprintf("preparing: receiving %s from %s, %d of %d MB", name, from, min(got, size)/mega, (size+mega-1)/mega)
}

// explain says who was asked and what came of it. What the manager said comes
// before what the engine made of half an archive.
func (in *incoming) explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case context.Cause(ctx) == errNoProgress: //nolint:errorlint // this very value
		return api.Errorf(api.CodeUnavailable, "%s: no progress for %s after %s", in.from, in.patience, units.HumanSize(float64(in.got)))
	case in.broken != nil:
		err = in.broken
	}
	return fmt.Errorf("%s: %w", in.from, err)
}
