package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/worker/docker"
)

var (
	built   = &api.Image{ID: "sha256:aaaa", Content: "sha256:ca", Platform: "linux/amd64", Size: 40e6}
	rebuilt = &api.Image{ID: "sha256:bbbb", Content: "sha256:cb", Platform: "linux/amd64", Size: 40e6}
	nowhere = fmt.Errorf("%w: no such repository", docker.ErrRefused)
)

func TestWhoIsAskedForAnImage(t *testing.T) {
	for _, tt := range []struct {
		image *api.Image
		want  string
	}{
		{nil, fmt.Sprint([]source{fromRegistry, fromCluster})},
		{built, fmt.Sprint([]source{fromCluster, fromRegistry})},
	} {
		if got := fmt.Sprint((&wantedImage{image: tt.image}).sources()); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.image, got, tt.want)
		}
	}
}

func TestTheClustersCredentialsGoFirst(t *testing.T) {
	for _, tt := range []struct {
		cluster, service api.RegistryAuth
		want             []api.RegistryAuth
	}{
		{"", "", []api.RegistryAuth{""}},
		{"", "s", []api.RegistryAuth{"s"}},
		{"c", "", []api.RegistryAuth{"c"}},
		{"c", "s", []api.RegistryAuth{"c", "s"}},
		{"c", "c", []api.RegistryAuth{"c"}},
	} {
		if got := credentials(tt.cluster, tt.service); !slices.Equal(got, tt.want) {
			t.Errorf("%q, %q: %q, want %q", string(tt.cluster), string(tt.service), got, tt.want)
		}
	}
}

// pinned gives the node a task whose image the cluster knows.
func (w *world) pinned(id api.TaskID, i *api.Image) {
	w.store.mu.Lock()
	w.store.images[uint64(len(w.store.specs)+1)] = i
	w.store.mu.Unlock()
	w.run(id)
}

// sends has the manager send an image in parts of a MB, and then do what then says.
func (w *world) sends(i *api.Image, parts int, pause time.Duration, then func(ctx context.Context) error) {
	m := w.managers[0]
	m.mu.Lock()
	defer m.mu.Unlock()
	m.images = func(_ string, send func(*wire.ImagePart) error, ctx context.Context) error {
		err := send(&wire.ImagePart{Part: &wire.ImagePart_Head{Head: &wire.ImageHead{Image: wire.EncodeImage(i), From: "h1"}}})
		for n := 0; n < parts && err == nil; n++ {
			time.Sleep(pause)
			err = send(&wire.ImagePart{Part: &wire.ImagePart_Data{Data: make([]byte, 1e6)}})
		}
		if err == nil && then != nil {
			err = then(ctx)
		}
		return err
	}
}

func (w *world) expectImage(id api.TaskID, want string) {
	w.Helper()
	if got := w.engine.ImageOf(id); got != want {
		w.Errorf("the container of %s was made of %q, want %q", id, got, want)
	}
}

// An image that the cluster knows comes from a manager at once: no registry may
// ever have heard of it.
func TestAnImageComesFromAManager(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.engine.MissingImage("app:1", nowhere)
		w.sends(built, 3, 0, nil)
		w.start()
		w.pinned("t1", built)
		w.settle()
		w.expect("t1", api.TaskRunning, "")
		w.expectImage("t1", "app:1")
		if n := w.engine.Pulls("app:1"); n != 0 {
			w.Errorf("the registry was asked %d times", n)
		}
	})
}

// A host that has another image under the name runs the one that the service was
// made with, and keeps its own; one that has the right one under no name too.
func TestANameThatIsAnotherImageHere(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.engine.HasImage("app:1", *rebuilt)
		w.sends(built, 1, 0, nil)
		w.start()
		w.pinned("t1", built)
		w.settle()
		w.expect("t1", api.TaskRunning, "")
		w.expectImage("t1", built.ID)
		w.pinned("t2", rebuilt)
		w.pinned("t3", built)
		w.settle()
		w.expectImage("t2", "app:1")
		w.expectImage("t3", built.ID)
		if n := w.engine.Loads(); n != 1 {
			w.Errorf("%d archives", n)
		}
	})
}

// The registry is asked first for what may be its own; the managers have what it
// does not, and are not asked for what it does.
func TestAManagerHasWhatTheRegistryDoesNot(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.engine.MissingImage("app:1", nowhere)
		w.sends(built, 1, 0, nil)
		w.start()
		w.run("t1")
		w.settle()
		w.expect("t1", api.TaskRunning, "")
		if n := w.engine.Pulls("app:1"); n != 1 {
			w.Errorf("the registry was asked %d times", n)
		}
		w.engine.MissingImage("app:1", nil)
		w.run("t2")
		w.settle()
		if got := w.managers[0].askedFor(); len(got) != 1 {
			w.Errorf("managers were asked for %v", got)
		}
	})
}

func TestAnImageThatNobodyHas(t *testing.T) {
	for name, tt := range map[string]struct {
		world func(*world)
		image *api.Image
		want  string
	}{
		"no registry, no manager": {func(w *world) { w.engine.MissingImage("app:1", nowhere) }, nil,
			`image "app:1": not on this node; registry docker.io: the registry does not have it, or wants another login: no such repository; managers: none of h1 has it`},
		"the registry has another one": {func(w *world) { w.engine.MissingImage("app:1", nil); w.engine.InRegistry("app:1", *rebuilt) }, built,
			"image \"app:1\": not on this node; managers: none of h1 has it; registry docker.io: has another image under this name than aaaa, which the service was made with: `swarmctl service update --force --image app:1` takes what there is now"},
		"a manager sends another one": {func(w *world) { w.engine.MissingImage("app:1", nowhere); w.sends(rebuilt, 1, 0, nil) }, built,
			"image \"app:1\": not on this node; h1: has bbbb under this name, and the service was made with aaaa: `swarmctl service update --force --image app:1` takes what there is now; registry docker.io: the registry does not have it, or wants another login: no such repository"},
		"for another platform": {func(w *world) {
			w.engine.MissingImage("app:1", nowhere)
			w.sends(&api.Image{ID: "sha256:cccc", Platform: "linux/arm64"}, 1, 0, nil)
		}, &api.Image{ID: "sha256:cccc", Platform: "linux/arm64"},
			`image "app:1": not on this node; registry docker.io: the registry does not have it, or wants another login: no such repository; h1: has it for linux/arm64, and this node is linux/amd64: build it for both and push it to a registry`},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				tt.world(w)
				w.start()
				w.pinned("t1", tt.image)
				w.settle()
				w.expect("t1", api.TaskRejected, tt.want)
			})
		})
	}
}

// However many tasks want an image, it is sent once; one that is given up leaves
// it to the others, and says meanwhile how it comes on.
func TestTwoTasksOneTransfer(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.engine.MissingImage("app:1", nowhere)
		w.sends(built, 40, time.Second, nil)
		w.start()
		w.settle()
		for _, id := range []api.TaskID{"t1", "t2", "t3"} {
			w.pinned(id, built)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		for _, id := range []api.TaskID{"t1", "t2", "t3"} {
			if s := w.said(id); !strings.HasPrefix(s, "preparing: receiving app:1 from h1, 1") || !strings.HasSuffix(s, " of 40 MB") {
				w.Errorf("%s says %q", id, s)
			}
		}
		w.want("t1", api.TaskShutdown)
		w.settle()
		w.expect("t1", api.TaskShutdown, "")
		time.Sleep(25 * time.Second)
		w.settle()
		w.expect("t2", api.TaskRunning, "")
		w.expect("t3", api.TaskRunning, "")
		if n, asked := w.engine.Loads(), w.managers[0].askedFor(); n != 1 || len(asked) != 1 {
			w.Errorf("%d archives were loaded, asked for %v", n, asked)
		}
	})
}

// said is the last message of a task.
func (w *world) said(id api.TaskID) string {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	return w.store.said[id]
}

// A transfer that nobody wants any more ends, at the manager too.
func TestATransferThatNobodyWants(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.engine.MissingImage("app:1", nowhere)
		ended := make(chan error, 1)
		w.sends(built, 1, 0, func(ctx context.Context) error {
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		})
		w.start()
		w.settle()
		w.pinned("t1", built)
		w.pinned("t2", built)
		w.settle()
		w.want("t1", api.TaskShutdown)
		w.drop("t2")
		w.settle()
		select {
		case <-ended:
		default:
			w.Error("the manager still sends")
		}
		w.expect("t1", api.TaskShutdown, "")
		if n := len(w.w.runner.transfers.running); n != 0 {
			w.Errorf("%d transfers", n)
		}
	})
}

// What breaks half-way, or stands still, is asked for again; other tasks go on
// meanwhile.
func TestATransferThatBreaks(t *testing.T) {
	for name, tt := range map[string]struct {
		then func(context.Context) error
		said string
	}{
		"breaks half-way": {func(context.Context) error {
			return api.Errorf(api.CodeUnavailable, "the engine that has it broke off: EOF")
		}, "preparing: image \"app:1\": not on this node; h1: the engine that has it broke off: EOF; registry "},
		"hangs": {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, "preparing: receiving app:1 from h1, 0 of 40 MB"}, // for the second time
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				w.cfg = func(c *Config) { c.ImageStall = 20 * time.Second }
				w.engine.MissingImage("app:1", nowhere)
				w.sends(built, 2, 0, tt.then)
				w.start()
				w.settle()
				w.pinned("t1", built)
				other := w.spec()
				other.TaskTemplate.ContainerSpec.Image = "other:1"
				w.add("t2", other, api.TaskRunning)
				w.settle()
				w.expect("t1", api.TaskPreparing, "")
				w.expect("t2", api.TaskRunning, "")
				time.Sleep(30 * time.Second)
				if got := w.managers[0].askedFor(); len(got) < 2 {
					w.Errorf("asked %d times", len(got))
				}
				if s := w.said("t1"); !strings.HasPrefix(s, tt.said) {
					w.Errorf("t1 says %q", s)
				}
				w.sends(built, 2, 0, nil)
				time.Sleep(40 * time.Second)
				w.settle()
				w.expect("t1", api.TaskRunning, "")
			})
		})
	}
}

// An engine that does not take the archive fails the task, with its words.
func TestAnEngineThatDoesNotTakeTheArchive(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.engine.MissingImage("app:1", nowhere)
		w.engine.Fail("load", errors.New("no space left on device"))
		w.sends(built, 2, 0, nil)
		w.start()
		w.pinned("t1", built)
		w.settle()
		w.expect("t1", api.TaskRejected, `image "app:1": not on this node; h1: no space left on device; registry docker.io: the registry does not have it, or wants another login: no such repository`)
	})
}

// The cluster's credentials are asked for at each pull, and the service's tried
// where the registry refuses those.
func TestCredentialsAreAskedForAtEachPull(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.engine.MissingImage("app:1", nowhere)
		w.managers[0].auth = "cluster"
		w.store.auths[1] = "service"
		w.start()
		w.run("t1")
		w.settle()
		w.managers[0].mu.Lock()
		w.managers[0].auth = "changed"
		w.managers[0].mu.Unlock()
		w.engine.MissingImage("app:1", nil)
		w.run("t2")
		w.settle()
		w.expect("t2", api.TaskRunning, "")
		if got := w.engine.Asked(); !slices.Equal(got, []string{"cluster", "service", "changed"}) {
			w.Errorf("the registry was asked with %q", got)
		}
	})
}
