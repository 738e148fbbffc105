package docker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"

	"github.com/swarmctl/swarmctl/api"
)

// volumes of a test have a name of their own, and go with it.
func (b *bed) volume(name string, options map[string]string) string {
	b.Helper()
	name = b.cluster + "-" + name
	if _, err := b.cli.VolumeCreate(b.Context(), volume.CreateOptions{Name: name, DriverOpts: options, Labels: map[string]string{"of": "a test"}}); err != nil {
		b.Fatal(err)
	}
	b.forget(name)
	return name
}

// forget has a volume go before the test's containers are gone: it is removed by force.
func (b *bed) forget(name string) {
	b.Cleanup(func() {
		list, err := b.List(context.Background(), b.cluster)
		for _, c := range list {
			err = errors.Join(err, b.Remove(context.Background(), c.ID))
		}
		if err := errors.Join(err, b.cli.VolumeRemove(context.Background(), name, true)); err != nil {
			b.Error(err)
		}
	})
}

func (b *bed) awaitVolume(want EventType, name string) {
	b.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case ev := <-b.events:
			if ev.Type == want && ev.Name == name {
				return
			}
		case <-limit:
			b.Fatalf("no event %d of volume %s", want, name)
		}
	}
}

func TestVolumesAreSeenWithoutTheirSecrets(t *testing.T) {
	b := newBed(t)
	name := b.volume("share", map[string]string{"type": "cifs", "device": "//nas/x", "o": "username=a,password=geheim"})
	b.awaitVolume(EventVolumeMade, name)
	list, err := b.Volumes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(v api.Volume) bool { return v.Name == name })
	if i < 0 || list[i].Options["o"] != "username=a,password=***" || list[i].Driver != "local" || list[i].CreatedAt == "" || list[i].Labels["of"] != "a test" {
		t.Errorf("got %+v", list)
	}
	if !slices.IsSortedFunc(list, func(a, b api.Volume) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("they are not in the order of their names")
	}
}

func TestAVolumeThatIsThereMustBeWhatIsAskedFor(t *testing.T) {
	b := newBed(t)
	name := b.volume("data", nil)
	r := b.request("wait")
	asks := func(driver string, options map[string]string) error {
		r.Spec.TaskTemplate.ContainerSpec.Mounts = []mount.Mount{{Type: mount.TypeVolume, Source: name, Target: "/data", VolumeOptions: &mount.VolumeOptions{DriverConfig: &mount.Driver{Name: driver, Options: options}}}}
		_, err := b.Create(t.Context(), r)
		return err
	}
	if err := asks("local", map[string]string{"type": "nfs", "o": "addr=10.0.0.1", "device": ":/x"}); !errors.Is(err, api.ErrConflict) || !strings.Contains(err.Error(), "driver local without options, and the service asks for driver local with device=:/x o=addr=10.0.0.1 type=nfs") {
		t.Errorf("got %v", err)
	}
	if err := asks("local", nil); err != nil {
		t.Error(err)
	}
}
