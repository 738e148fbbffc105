package dispatcher

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"google.golang.org/grpc/metadata"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// fakeImages has one image, of which it sends so many bytes; then it waits for
// goOn, where that is set.
type fakeImages struct {
	size int
	goOn chan struct{}

	mu     sync.Mutex
	wanted []*WantedImage
	open   int
}

var shop = api.Image{ID: "sha256:aaaa", Content: "sha256:c", Platform: "linux/amd64", Size: 1000}

func (f *fakeImages) FindImage(_ context.Context, _ *state.View, want *WantedImage) (*FoundImage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wanted = append(f.wanted, want)
	f.open++
	return &FoundImage{Image: shop, From: "h1", Save: f.save, Close: func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.open--
	}}, nil
}

func (f *fakeImages) opened() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open
}

func (f *fakeImages) save(ctx context.Context) (io.ReadCloser, error) {
	if f.goOn != nil {
		select {
		case <-f.goOn:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return io.NopCloser(bytes.NewReader(make([]byte, f.size))), nil
}

// imageRig is a rig of nodes n1 and n2 with a task of an image each.
func imageRig(t *testing.T, images Images) *rig {
	t.Helper()
	r := newRig(t, newFakeStore("n1", "n2"))
	r.d.cfg.Images, r.d.cfg.Log = images, slog.New(slog.DiscardHandler)
	for _, node := range []string{"1", "2"} {
		s := &api.Service{ID: api.ServiceID("s" + node), Image: &shop}
		s.Spec.Name = "s" + node
		s.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "registry.example.com/shop:" + node}
		r.store.put(state.Op{PutService: s})
		r.store.tasks("s"+node, api.NodeID("n"+node), api.TaskID("t"+node))
	}
	synctest.Wait()
	return r
}

func as(id api.NodeID) context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), "peer", string(id))
}

// image asks in the name of a node, and returns what it is told and sent.
func (r *rig) image(ctx context.Context, task string) (waited int, head *wire.ImageHead, size int, err error) {
	stream, err := r.dial().Image(ctx, &wire.ImageRequest{TaskId: task})
	for err == nil {
		var part *wire.ImagePart
		if part, err = stream.Recv(); err != nil {
			break
		}
		switch part := part.GetPart().(type) {
		case *wire.ImagePart_Waiting:
			waited++
		case *wire.ImagePart_Head:
			head = part.Head
		case *wire.ImagePart_Data:
			size += len(part.Data)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return waited, head, size, wire.FromStatus(err)
}

func TestANodeIsSentTheImageOfItsTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		images := &fakeImages{size: 3*imagePart + 7}
		r := imageRig(t, images)
		_, head, size, err := r.image(as("n1"), "t1")
		if err != nil || size != images.size || head.GetFrom() != "h1" || *wire.DecodeImage(head.GetImage()) != shop {
			t.Errorf("%v, %d bytes, %v", head, size, err)
		}
		if w := images.wanted[0]; w.Name != "registry.example.com/shop:1" || *w.Image != shop || w.Task.ID != "t1" {
			t.Errorf("looked for %+v", w)
		}
		if images.opened() != 0 {
			t.Error("the image is still open")
		}
	})
}

// A node touches nothing but its own: neither the image of another node's task,
// nor the credentials for it, nor those of a task that it need not run any more.
func TestANodeAsksForItsOwnTasksAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		images := &fakeImages{}
		r := imageRig(t, images)
		r.store.put(state.Op{PutRegistry: &api.Registry{Host: "registry.example.com", Username: "me", Auth: "TOKEN"}})
		synctest.Wait()
		refused := func(node api.NodeID, task string) {
			t.Helper()
			_, _, _, err := r.image(as(node), task)
			if !errors.Is(err, api.ErrForbidden) {
				t.Errorf("node %s, image of %s: %v", node, task, err)
			}
			got, err := r.dial().Credentials(as(node), &wire.CredentialsRequest{TaskId: task})
			if !errors.Is(wire.FromStatus(err), api.ErrForbidden) || got.GetRegistryAuth() != "" {
				t.Errorf("node %s, credentials of %s: %v, %v", node, task, got, err)
			}
		}
		refused("n1", "t2")
		refused("n2", "t1")
		refused("n1", "nosuch")
		got, err := r.dial().Credentials(as("n1"), &wire.CredentialsRequest{TaskId: "t1"})
		if err != nil || got.GetRegistryAuth() != "TOKEN" {
			t.Errorf("credentials: %v, %v", got, err)
		}
		r.store.put(state.Op{DesireTasks: []state.Desire{{Task: "t1", State: api.TaskShutdown}}})
		synctest.Wait()
		refused("n1", "t1")
		if len(images.wanted) != 0 {
			t.Errorf("looked for %v", images.wanted)
		}
	})
}

// Credentials are those of the moment, and of the image's registry alone.
func TestCredentialsAreThoseOfTheMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := imageRig(t, nil)
		for _, step := range []struct {
			op   state.Op
			want string
		}{
			{state.Op{PutRegistry: &api.Registry{Host: "other.example.com", Auth: "OTHER"}}, ""},
			{state.Op{PutRegistry: &api.Registry{Host: "registry.example.com", Auth: "OLD"}}, "OLD"},
			{state.Op{PutRegistry: &api.Registry{Host: "registry.example.com", Auth: "NEW"}}, "NEW"},
			{state.Op{DeleteRegistry: &state.DeleteRegistry{Host: "registry.example.com"}}, ""},
		} {
			r.store.put(step.op)
			synctest.Wait()
			got, err := r.dial().Credentials(as("n1"), &wire.CredentialsRequest{TaskId: "t1"})
			if err != nil || got.GetRegistryAuth() != step.want {
				t.Errorf("%v, %v, want %q", got, err, step.want)
			}
		}
	})
}

// A node that takes nothing of what it is sent does not keep its place for ever.
func TestANodeThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		images := &fakeImages{size: 64 << 20}
		r := imageRig(t, images)
		stream, err := r.dial().Image(as("n1"), &wire.ImageRequest{TaskId: "t1"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(sendStall - time.Second)
		synctest.Wait()
		if images.opened() != 1 {
			t.Error("given up too soon")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if images.opened() != 0 || len(r.d.sends) != 0 {
			t.Error("it still keeps its place")
		}
		for err == nil {
			_, err = stream.Recv()
		}
		if err := wire.FromStatus(err); !errors.Is(err, api.ErrUnavailable) {
			t.Errorf("the node is told %v", err)
		}
	})
}

// An engine that takes its time before the first byte is not taken for one that
// hangs.
func TestANodeHearsWhileItsImageIsPrepared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		images := &fakeImages{size: 10, goOn: make(chan struct{})}
		r := imageRig(t, images)
		time.AfterFunc(22*time.Second, func() { close(images.goOn) })
		waited, head, size, err := r.image(as("n1"), "t1")
		if waited != 4 || head == nil || size != 10 || err != nil {
			t.Errorf("waited %d times, got %v and %d bytes, %v", waited, head, size, err)
		}
	})
}

// A manager sends so many at once; the others wait, hear so, and get their turn.
// Who goes away makes room.
func TestImagesAreSentAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		images := &fakeImages{size: 10, goOn: make(chan struct{})}
		r := imageRig(t, images)
		first, leave := context.WithCancel(as("n1"))
		var wg sync.WaitGroup
		for i := range maxSends {
			ctx := as("n1")
			if i == 0 {
				ctx = first
			}
			wg.Go(func() { _, _, _, _ = r.image(ctx, "t1") })
		}
		synctest.Wait()
		var waited, size int
		wg.Go(func() { waited, _, size, _ = r.image(as("n2"), "t2") })
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if n := images.opened(); n != maxSends {
			t.Errorf("%d at once", n)
		}
		leave()
		synctest.Wait()
		if n := len(images.wanted); n != maxSends+1 {
			t.Errorf("%d were begun after one has left", n)
		}
		close(images.goOn)
		wg.Wait()
		if waited != 2 || size != 10 || images.opened() != 0 {
			t.Errorf("waited %d times, got %d bytes, %d are open", waited, size, images.opened())
		}
	})
}
