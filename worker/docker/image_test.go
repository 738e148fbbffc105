package docker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"

	"github.com/swarmctl/swarmctl/api"
)

// rebuilt makes an image of the test image with another environment, under a name.
func (b *bed) rebuilt(name, env string) api.Image {
	b.Helper()
	made, err := b.cli.ContainerCreate(b.Context(), &container.Config{Image: testImage, Env: []string{env}}, nil, nil, nil, "")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = b.Remove(context.Background(), made.ID) }()
	got, err := b.cli.ContainerCommit(b.Context(), made.ID, container.CommitOptions{Reference: name})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		for _, ref := range []string{name, got.ID} {
			_, _ = b.cli.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true})
		}
	})
	i, err := b.InspectImage(b.Context(), name)
	if err != nil {
		b.Fatal(err)
	}
	return i
}

func (b *bed) archive(id string) []byte {
	b.Helper()
	body, err := b.SaveImage(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// An archive of one engine is on another the very image that was announced. It
// gets its name, unless that is another image's there.
func TestAnImageFromAnotherEngine(t *testing.T) {
	b := newBed(t)
	name := "swarmctl-worker-moved:" + api.NewID() // engines are shared by checkouts
	one := b.rebuilt(name, "VERSION=one")
	archive := b.archive(one.ID)
	load := func(announced api.Image, data []byte) (string, error) {
		return b.LoadImage(t.Context(), name, &announced, bytes.NewReader(data), func() {})
	}
	remove := func(ref string) {
		t.Helper()
		if _, err := b.cli.ImageRemove(t.Context(), ref, image.RemoveOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
	}
	remove(name)
	if _, err := b.FindImage(t.Context(), name, &one); !errors.Is(err, ErrNoImage) {
		t.Fatalf("it is still there: %v", err)
	}
	if ref, err := load(one, archive); err != nil || ref != name {
		t.Fatalf("loaded: %q, %v", ref, err)
	}
	remove(name)

	two := b.rebuilt(name, "VERSION=two")
	if ref, err := load(one, archive); err != nil || ref != one.ID {
		t.Fatalf("beside another one of the name: %q, %v", ref, err)
	}
	if got, err := b.InspectImage(t.Context(), name); err != nil || got.ID != two.ID {
		t.Errorf("the host's own name is %+v, %v", got, err)
	}
	for want, i := range map[string]*api.Image{name: &two, one.ID: &one} {
		if ref, err := b.FindImage(t.Context(), name, i); err != nil || ref != want {
			t.Errorf("found as %q, %v, want %q", ref, err, want)
		}
	}

	// An engine that keeps images in another way gives it another ID.
	other := one
	other.ID = "sha256:" + one.Content[len("sha256:"):]
	if ref, err := load(other, archive); err != nil || ref != one.ID {
		t.Errorf("under another ID: %q, %v", ref, err)
	}
	if ref, err := b.FindImage(t.Context(), name, &other); err != nil || ref != one.ID {
		t.Errorf("and found: %q, %v", ref, err)
	}
	if ref, err := load(api.Image{ID: other.ID, Content: "sha256:else"}, archive); err == nil {
		t.Errorf("another image than was announced is taken as %q", ref)
	}
	if ref, err := load(two, archive[:len(archive)/2]); err == nil && ref != name { // it is here already
		t.Errorf("half an archive is taken as %q", ref)
	}
	remove(one.ID)
	if ref, err := load(one, archive[:len(archive)/2]); err == nil {
		t.Errorf("half an archive is taken as %q", ref)
	}
}

// A container is made of the image that its task means, whatever the name is here.
func TestAContainerOfTheImageThatIsMeant(t *testing.T) {
	b := newBed(t)
	name := "swarmctl-worker-meant:" + api.NewID()
	one := b.rebuilt(name, "VERSION=one")
	two := b.rebuilt(name, "VERSION=two")
	for _, tt := range []struct {
		image *api.Image
		local string
		made  string // of what the engine shows
		id    string
	}{
		{nil, "", name, two.ID}, {&two, "", name, two.ID}, {&one, "", one.ID, one.ID}, {nil, one.ID, one.ID, one.ID},
	} {
		r := b.request()
		r.Spec.TaskTemplate.ContainerSpec.Image, r.Image, r.Local = name, tt.image, tt.local
		r.Task.ID = api.TaskID(api.NewID())
		id, err := b.Create(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		c, err := b.cli.ContainerInspect(t.Context(), id)
		if err != nil || c.Config.Image != tt.made || c.Image != tt.id {
			t.Errorf("%+v %q: made of %s, %s (%v)", tt.image, tt.local, c.Config.Image, c.Image, err)
		}
		if err := b.Remove(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	r := b.request()
	r.Spec.TaskTemplate.ContainerSpec.Image, r.Image = name, &api.Image{ID: "sha256:" + one.Content[len("sha256:"):]}
	if _, err := b.Create(t.Context(), r); !errors.Is(err, ErrNoImage) {
		t.Errorf("an image that is not here: %v", err)
	}
}

// The engine of another node is reached over a connection that is given.
func TestAnEngineBehindAConnection(t *testing.T) {
	b := newBed(t)
	e, err := New(Config{Dial: func(ctx context.Context) (net.Conn, error) { return b.Dial(ctx) }})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	want, err := b.InspectImage(t.Context(), testImage)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := e.InspectImage(t.Context(), testImage); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}
