package worker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/mount"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
)

// volumeSpec is of a task that mounts a volume, with options of its driver.
func (w *world) volumeSpec(name string, options map[string]string, args ...string) *api.ServiceSpec {
	s := w.spec(args...)
	m := mount.Mount{Type: mount.TypeVolume, Source: name, Target: "/data"}
	if options != nil {
		m.VolumeOptions = &mount.VolumeOptions{DriverConfig: &mount.Driver{Name: "local", Options: options}}
	}
	s.TaskTemplate.ContainerSpec.Mounts = []mount.Mount{m}
	return s
}

// heard is what the first manager was told of volumes and ended tasks, in order.
func (w *world) heard() []string {
	m := w.managers[0]
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.volumes)
}

func namesOf(v *wire.Volumes) string {
	if v == nil {
		return "unknown"
	}
	names := []string{}
	for _, v := range v.GetList() {
		names = append(names, v.GetName())
	}
	return "volumes " + strings.Join(names, " ")
}

func (w *world) expectHeard(want ...string) {
	w.Helper()
	if got := w.heard(); !slices.Equal(got, want) {
		w.Errorf("the manager heard %q, want %q", got, want)
	}
}

func TestVolumesAreToldAtOnceAndOnEveryChange(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.engine.PutVolume(api.Volume{Name: "old"})
		w.start()
		w.settle()
		first := w.heard()
		if len(first) == 0 || first[len(first)-1] != "volumes old" {
			t.Fatalf("the manager heard %q", first)
		}
		w.engine.PutVolume(api.Volume{Name: "db"})
		w.settle()
		w.engine.PutVolume(api.Volume{Name: strings.Repeat("0123456789abcdef", 4)}) // one that a container made up
		w.engine.LoseVolume("old")
		w.settle()
		got := w.heard()
		if last := got[len(got)-1]; !strings.HasPrefix(last, "volumes db") || strings.Contains(last, "old") {
			t.Errorf("the manager heard %q at last", last)
		}
	})
}

// A container that fails at once has made its volume first: whoever follows the
// task must be able to know.
func TestTheVolumeIsToldBeforeTheEndOfItsTask(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.settle()
		before := len(w.heard())
		w.add("t1", w.volumeSpec("db", nil, "exit 1"), api.TaskRunning)
		w.settle()
		w.expect("t1", api.TaskFailed, "task: non-zero exit (1)")
		got := w.heard()[before:]
		end := slices.Index(got, "failed t1")
		if made := slices.Index(got, "volumes db"); made < 0 || end < made {
			t.Errorf("the manager heard %q, want the volume before the end", got)
		}
	})
}

func TestAnEngineThatIsAwaySaysNothingOfVolumes(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.engine.Down(true)
		w.start()
		w.settle()
		w.expectHeard("unknown")
		w.engine.PutVolume(api.Volume{Name: "db"})
		w.engine.Up()
		w.settle()
		if got := w.heard(); got[len(got)-1] != "volumes db" {
			t.Errorf("the manager heard %q", got)
		}
	})
}

func TestChangedOptionsOfAVolumeAreRefused(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.engine.PutVolume(api.Volume{Name: "share", Driver: "local", Options: map[string]string{"type": "cifs", "o": "username=a,password=geheim"}})
		w.start()
		w.add("t1", w.volumeSpec("share", map[string]string{"type": "nfs", "o": "addr=10.0.0.1"}), api.TaskRunning)
		w.add("t2", w.volumeSpec("share", map[string]string{"type": "cifs", "o": "username=a,password=anders"}), api.TaskRunning)
		w.add("t3", w.volumeSpec("share", map[string]string{"type": "cifs", "o": "username=a,password=geheim"}), api.TaskRunning)
		w.add("t4", w.volumeSpec("share", nil), api.TaskRunning)
		w.settle()
		const way = ": remove it with what is in it (`swarmctl volume rm share`), or give the service's volume another name"
		w.expect("t1", api.TaskRejected, `mount "/data": volume share is there already: it has driver local with o=username=a,password=*** type=cifs, and the service asks for driver local with o=addr=10.0.0.1 type=nfs`+way)
		w.expect("t2", api.TaskRejected, `mount "/data": volume share is there already: it has driver local with o=username=a,password=*** type=cifs, and the service asks for what is secret in it changed`+way)
		w.expect("t3", api.TaskRunning, "")
		w.expect("t4", api.TaskRunning, "")
	})
}

// One bad volume blocks no other: its tasks keep their slots for a moment only.
func TestADriverThatDoesNotAnswerHoldsUpNobodyElse(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.cfg = func(c *Config) { c.Starts = 2 }
		w.engine.StickVolume("bad")
		w.start()
		for i := range 5 {
			w.add(api.TaskID(fmt.Sprintf("bad%d", i)), w.volumeSpec("bad", nil), api.TaskRunning)
		}
		w.settle()
		w.add("good", w.volumeSpec("fine", nil), api.TaskRunning)
		time.Sleep(3 * slotPatience)
		w.settle()
		w.expect("good", api.TaskRunning, "")
		time.Sleep(2 * time.Minute)
		w.settle()
		w.expect("bad0", api.TaskRejected, "the container engine did not answer within 2m0s")
		w.add("later", w.spec(), api.TaskRunning)
		w.settle()
		w.expect("later", api.TaskRunning, "")
		if r := w.w.runner; r.lent != 0 || r.free != 2 {
			t.Errorf("%d slots are free and %d are lent, want 2 and none", r.free, r.lent)
		}
	})
}
