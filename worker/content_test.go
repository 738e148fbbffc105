package worker

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// using is a spec with a secret, which the managers have, and a config.
func (w *world) using(secret string, args ...string) *api.ServiceSpec {
	w.store.mu.Lock()
	w.store.contents[secret] = &api.Content{ID: secret, Data: []byte("bytes of " + secret)}
	w.store.contents["conf"] = &api.Content{ID: "conf", Data: []byte(`{{.Service.Name}} has {{secret "key"}}`), Template: true}
	w.store.mu.Unlock()
	spec := w.spec(args...)
	c := spec.TaskTemplate.ContainerSpec
	c.Secrets = []*swarm.SecretReference{{SecretID: secret, SecretName: "key", File: &swarm.SecretReferenceFileTarget{Name: "key", Mode: 0o444}}}
	c.Configs = []*swarm.ConfigReference{{ConfigID: "conf", ConfigName: "conf", File: &swarm.ConfigReferenceFileTarget{Name: "conf", Mode: 0o440, UID: "3"}}}
	return spec
}

// known are the secrets and configs that the worker has in its memory.
func (w *world) known() string {
	got := make(chan []string, 1)
	w.w.runner.post(func() { got <- slices.Sorted(maps.Keys(w.w.runner.contents)) })
	synctest.Wait()
	return fmt.Sprint(<-got)
}

func (w *world) expectFiles(want string) {
	w.Helper()
	if tasks, _ := w.files.Tasks(); fmt.Sprint(tasks) != want {
		w.Errorf("files of tasks %v, want %s", tasks, want)
	}
}

func (w *world) expectKnown(want string) {
	w.Helper()
	if got := w.known(); got != want {
		w.Errorf("in memory are %s, want %s", got, want)
	}
}

func TestSecretsAreThereWhileTheirTaskIs(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*world)
	}{
		{"it fails", func(w *world) { w.engine.Exit("t1", 1) }},
		{"it completes", func(w *world) { w.engine.Exit("t1", 0) }},
		{"it is stopped", func(w *world) { w.want("t1", api.TaskShutdown) }},
		{"it leaves the store", func(w *world) { w.drop("t1") }},
		{"its container is removed", func(w *world) { w.engine.Lose("t1") }},
		{"it is unhealthy", func(w *world) { w.engine.Health("t1", docker.Unhealthy) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				w.start()
				w.add("t1", w.using("s1"), api.TaskRunning)
				w.add("t2", w.using("s2"), api.TaskRunning)
				w.settle()
				w.expect("t1", api.TaskRunning, "")
				w.expectFiles("[t1 t2]")
				w.expectKnown("[conf s1 s2]")
				got := ""
				for _, f := range w.files.Of("t1") {
					got += fmt.Sprintf("%s %d %o %s\n", f.Path, f.UID, f.Mode, f.Data)
				}
				if want := "/run/secrets/key 0 444 bytes of s1\n/conf 3 440 web has bytes of s1\n"; got != want {
					t.Errorf("got\n%swant\n%s", got, want)
				}
				c.end(w)
				w.settle()
				w.expectFiles("[t2]")
				w.expectKnown("[conf s2]")
			})
		})
	}
}

// A daemon that is away leaves the files to the containers, and takes away what
// nobody needs when it is back.
func TestFilesOutliveTheDaemon(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.add("t1", w.using("s1"), api.TaskRunning)
		w.add("t2", w.using("s1"), api.TaskRunning)
		w.add("t3", w.using("s1"), api.TaskReady)
		w.add("t4", w.using("s1"), api.TaskRunning)
		w.settle()
		w.kill()
		w.expectFiles("[t1 t2 t3 t4]")
		w.engine.Exit("t2", 1)
		w.drop("t4")
		if _, err := w.files.Put("stray", nil); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.settle()
		w.expectFiles("[t1 t3]")
		w.expectContainers("[t1 running t2 exited t3 created]")
		w.want("t1", api.TaskShutdown)
		w.settle()
		w.expectFiles("[t3]")
	})
}

func TestAHostThatWasRestartedGetsSecretsAnew(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.add("t1", w.using("s1"), api.TaskReady)
		w.settle()
		w.expectContainers("[t1 created]")
		w.kill()
		w.engine.Down(false)
		_ = w.files.Close()
		w.engine.Up()
		w.start()
		w.want("t1", api.TaskRunning)
		w.settle()
		w.expect("t1", api.TaskRunning, "")
		w.expectFiles("[t1]")
	})
}

func TestATaskWaitsForItsSecret(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.managers[0].old = true
		w.start()
		w.add("t1", w.using("s1"), api.TaskRunning)
		w.settle()
		w.expect("t1", api.TaskPreparing, `waiting for secret "key": no manager has sent it yet`)
		w.expectContainers("[]")
		w.managers[0].old = false
		w.kill()
		w.start()
		w.settle()
		w.expect("t1", api.TaskRunning, "")
	})
}

func TestASecretThatIsGoneIsNamed(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		spec := w.using("s1")
		delete(w.store.contents, "s1")
		w.add("t1", spec, api.TaskRunning)
		w.settle()
		w.expect("t1", api.TaskRejected, `secret "key" has been removed from the cluster: update the service to use another one`)
		w.expectKnown("[]")
	})
}

func TestATaskWhoseFilesCannotBeWrittenIsRejected(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.files.Fail(errors.New("no space left on device"))
		w.start()
		w.add("t1", w.using("s1"), api.TaskRunning)
		w.settle()
		w.expect("t1", api.TaskRejected, "no space left on device")
		w.expectContainers("[]")
		w.expectFiles("[]")
	})
}

// A session begins with all that its node's tasks use: what is left of an
// earlier one is forgotten.
func TestANewSessionForgetsOldSecrets(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		w.start()
		w.add("t1", w.using("s1"), api.TaskRunning)
		w.add("t2", w.using("s2"), api.TaskRunning)
		w.settle()
		w.store.mu.Lock()
		delete(w.store.tasks, "t1")
		w.store.mu.Unlock()
		w.managers[0].server.Stop()
		w.settle()
		w.expectKnown("[conf s2]")
		w.expectFiles("[t2]")
	})
}

func TestANodeThatLeavesKeepsNoSecrets(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.add("t1", w.using("s1"), api.TaskRunning)
		w.settle()
		w.kill()
		if err := w.w.RemoveAll(t.Context()); err != nil {
			t.Error(err)
		}
		w.expectContainers("[]")
		w.expectFiles("[]")
	})
}
