package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/worker/docker"
)

func TestTaskRunsAndItsStatesCostOneReport(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.settle()
		spec := w.spec()
		spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 80, PublishMode: swarm.PortConfigPublishModeHost}}}
		w.add("t1", spec, api.TaskRunning)
		w.settle()
		w.expect("t1", api.TaskRunning, "")
		s := w.status("t1")
		if s.Container == nil || s.Container.PID == 0 || len(s.Container.Ports) != 1 {
			w.Errorf("container %+v, want a PID and a port", s.Container)
		}
		if w.store.batches != 1 {
			w.Errorf("%d batches for one start, want 1", w.store.batches)
		}
	})
}

// A node says once a session that its tasks are settled: when the managers know of
// all of them what became of those that ran before the power went, and not while
// the engine is yet to be asked.
func TestNodeSaysWhenItsTasksAreSettled(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.run("t1")
		w.run("t2")
		w.settle()
		w.store.settled = nil
		w.kill()
		w.engine.Down(false)
		w.start()
		w.settle()
		if len(w.store.settled) != 0 {
			w.Errorf("settled without an engine: %q", w.store.settled)
		}
		w.engine.Up()
		w.settle()
		if !slices.Equal(w.store.settled, []string{""}) {
			w.Errorf("settled while these were said to run: %q, want once and none", w.store.settled)
		}
		w.run("t3")
		w.settle()
		w.kill()
		w.start()
		w.settle()
		if !slices.Equal(w.store.settled, []string{"", "t3"}) {
			w.Errorf("settled while these were said to run: %q, want t3 the second time", w.store.settled)
		}
	})
}

func TestTaskThatMustWaitIsPreparedAndNotStarted(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.add("t1", w.spec(), api.TaskReady)
		w.settle()
		w.expect("t1", api.TaskReady, "")
		w.expectContainers("[t1 created]")
		w.want("t1", api.TaskRunning)
		w.settle()
		w.expect("t1", api.TaskRunning, "")
	})
}

func TestEndsOfTasks(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*world)
		want api.TaskState
		err  string
	}{
		{"exit 0", func(w *world) { w.engine.Exit("t1", 0) }, api.TaskComplete, ""},
		{"exit 1", func(w *world) { w.engine.Exit("t1", 1) }, api.TaskFailed, "task: non-zero exit (1)"},
		{"removed by hand", func(w *world) { w.engine.Lose("t1") }, api.TaskFailed, "task: non-zero exit (137)"},
		{"stopped by hand", func(w *world) { w.engine.StopByHand("t1") }, api.TaskFailed, "task: stopped with its engine or by hand (exit 0)"},
		{"asked to stop", func(w *world) { w.want("t1", api.TaskShutdown) }, api.TaskShutdown, ""},
		{"started again by hand", func(w *world) { w.engine.Exit("t1", 2); w.engine.Again("t1") }, api.TaskFailed, "task: non-zero exit (2)"},
		{"engine restarted", func(w *world) {
			w.engine.Down(false)
			time.Sleep(time.Minute)
			w.engine.Up()
			time.Sleep(3 * time.Second)
		},
			api.TaskFailed, "task: stopped with its engine or by hand (exit 0)"},
		{"engine restarted under live containers", func(w *world) {
			w.engine.Down(true)
			time.Sleep(time.Minute)
			w.engine.Up()
			time.Sleep(3 * time.Second)
		},
			api.TaskRunning, ""},
		{"engine lost its disk", func(w *world) {
			w.engine.Down(true)
			w.engine.Wipe()
			w.engine.Up()
			time.Sleep(3 * time.Second)
		}, api.TaskFailed, "task: container is gone: it was removed behind the cluster's back"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				w.run("t1")
				w.start()
				w.settle()
				w.expect("t1", api.TaskRunning, "")
				c.end(w)
				w.settle()
				w.expect("t1", c.want, c.err)
				if got, ok := w.engine.Of("t1"); ok && (got.State == docker.Running) != (c.want == api.TaskRunning) {
					w.Errorf("container %v of a task that is %v", got.State, c.want)
				}
			})
		})
	}
}

func TestEndsThatNobodyWatched(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*world)
		want api.TaskState
		err  string
	}{
		{"exit 0 beside a live engine", func(w *world) { w.engine.Exit("t1", 0) }, api.TaskComplete, ""},
		{"stopped by hand", func(w *world) { w.engine.StopByHand("t1") }, api.TaskFailed, "task: stopped with its engine or by hand (exit 0)"},
		{"exit 3", func(w *world) { w.engine.Exit("t1", 3) }, api.TaskFailed, "task: non-zero exit (3)"},
		{"the machine rebooted", func(w *world) { w.engine.Down(false); w.engine.Up() }, api.TaskFailed, "task: stopped with its engine or by hand (exit 0)"},
		{"removed", func(w *world) { w.engine.Lose("t1") }, api.TaskFailed, "task: container is gone: it was removed behind the cluster's back"},
		{"asked to stop, and ended", func(w *world) { w.want("t1", api.TaskShutdown); w.engine.Exit("t1", 0) }, api.TaskShutdown, ""},
		{"nothing", func(*world) {}, api.TaskRunning, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				w.run("t1")
				w.start()
				w.settle()
				w.kill()
				c.end(w)
				w.start()
				w.settle()
				w.expect("t1", c.want, c.err)
				if n := w.engine.Starts("t1"); n > 1 {
					w.Errorf("started %d times", n)
				}
			})
		})
	}
}

func TestHealthDecides(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		spec := w.spec()
		spec.TaskTemplate.ContainerSpec.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "/probe"}}
		w.add("t1", spec, api.TaskRunning)
		w.start()
		w.settle()
		w.expect("t1", api.TaskStarting, "")
		w.engine.Health("t1", docker.Healthy)
		w.settle()
		w.expect("t1", api.TaskRunning, "")
		w.engine.Health("t1", docker.Unhealthy)
		w.settle()
		w.expect("t1", api.TaskFailed, "task: unhealthy container")
		w.expectContainers("[t1 exited]")
	})
}

func TestTaskThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*world, *api.ServiceSpec)
		want    api.TaskState
		err     string
	}{
		{"engine refuses", func(w *world, _ *api.ServiceSpec) {
			w.engine.Fail("create", errors.New("Minimum memory limit allowed is 6MB"))
		},
			api.TaskRejected, "Minimum memory limit allowed is 6MB"},
		{"no image", func(w *world, _ *api.ServiceSpec) { w.engine.MissingImage("app:1", errors.New("image: nowhere")) },
			api.TaskRejected, `image "app:1": not on this node; registry docker.io: image: nowhere; managers: none of h1 has it`},
		{"does not start", func(w *world, _ *api.ServiceSpec) { w.engine.Fail("start", errors.New("port is already allocated")) },
			api.TaskFailed, "starting container failed: port is already allocated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				spec := w.spec()
				c.prepare(w, spec)
				w.add("t1", spec, api.TaskRunning)
				w.start()
				w.settle()
				w.expect("t1", c.want, c.err)
				w.drop("t1")
				w.settle()
				w.expectContainers("[]")
			})
		})
	}
}

func TestImageIsPulledOnceItIsMissing(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.engine.MissingImage("app:1", nil)
		w.run("t1")
		w.start()
		w.settle()
		w.expect("t1", api.TaskRunning, "")
		w.run("t2")
		w.settle()
		if n := w.engine.Pulls("app:1"); n != 1 {
			w.Errorf("%d pulls", n)
		}
	})
}

// The engine gets the credentials that came with the task's spec.
func TestImageIsPulledWithTheSpecsCredentials(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.engine.MissingImage("app:1", nil)
		w.store.auths[1] = "me:secret"
		w.start()
		w.run("t1") // version 1
		w.settle()
		w.expect("t1", api.TaskRunning, "")
		if got := w.engine.Auth("app:1"); got != "me:secret" {
			w.Errorf("the engine was given %q", string(got))
		}
	})
}

func TestTaskThatWaitsForAnImageCanBeGivenUp(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.engine.MissingImage("app:1", nil)
		w.start()
		w.settle()
		w.engine.Pace(10 * time.Second)
		w.run("t1")
		time.Sleep(4 * time.Second)
		goOn := w.engine.Hang() // the pull, once the create has failed
		time.Sleep(4 * time.Second)
		w.expect("t1", api.TaskPreparing, "")
		w.want("t1", api.TaskShutdown)
		w.settle()
		w.expect("t1", api.TaskShutdown, "")
		goOn()
		w.settle()
		w.expectContainers("[]")
	})
}

func TestEngineThatHangsFailsTheTask(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.settle()
		goOn := w.engine.Hang()
		w.run("t1")
		time.Sleep(119 * time.Second)
		w.expect("t1", api.TaskPreparing, "")
		time.Sleep(2 * time.Second)
		w.expect("t1", api.TaskRejected, "the container engine did not answer within 2m0s")
		goOn()
	})
}

func TestTaskThatLeavesTheStoreLeavesNothing(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.run("t1")
		w.run("t2", "stubborn")
		w.run("t3", "exit 1")
		w.start()
		w.settle()
		w.expectContainers("[t1 running t2 running t3 exited]")
		w.drop("t1")
		w.drop("t2")
		w.drop("t3")
		w.settle()
		w.expectContainers("[t2 running]")
		time.Sleep(10 * time.Second) // the grace period
		w.settle()
		w.expectContainers("[]")
		if n := len(w.w.runner.tasks); n != 0 {
			w.Errorf("%d tasks are remembered", n)
		}
	})
}

func TestFullSetIsTheTruth(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.run("t1")
		w.run("t2")
		w.start()
		w.settle()
		w.kill()
		w.drop("t1")
		w.want("t2", api.TaskShutdown)
		w.run("t3")
		w.start()
		w.settle()
		w.expectContainers("[t2 exited t3 running]")
	})
}

func TestNothingIsTouchedBeforeAManagerHasSpoken(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.run("t1")
		w.start()
		w.settle()
		w.kill()
		w.managers[0].mute = true
		w.start()
		time.Sleep(time.Minute)
		w.expectContainers("[t1 running]")
	})
}

func TestAsManyStartsAtOnceAsConfigured(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.cfg = func(c *Config) { c.Starts = 3 }
		w.engine.Pace(time.Second)
		for i := range 12 {
			w.run(api.TaskID(fmt.Sprintf("t%02d", i)))
		}
		w.start()
		time.Sleep(time.Minute)
		for i := range 12 {
			w.expect(api.TaskID(fmt.Sprintf("t%02d", i)), api.TaskRunning, "")
		}
		if n := w.engine.Busiest(); n < 1 || n > 3 {
			w.Errorf("%d starts at once, want 3 at most", n)
		}
	})
}

func TestSilentManagerIsLeftAndWhatItNeverAcknowledgedIsSaidAgain(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		w.start()
		w.settle()
		w.managers[0].mu.Lock()
		w.managers[0].mute = true
		w.managers[0].mu.Unlock()
		w.store.mu.Lock()
		w.store.tasks["t1"] = &api.Task{ID: "t1", ServiceID: "service1", Slot: 1, SpecVersion: 1, Desired: api.TaskRunning, Status: api.TaskStatus{State: api.TaskAssigned}}
		w.store.specs[1] = w.spec()
		w.store.mu.Unlock()
		time.Sleep(2600 * time.Millisecond)
		w.settle()
		if w.managers[1].hellos != 1 {
			w.Errorf("%d sessions with the other manager, want 1", w.managers[1].hellos)
		}
		w.expect("t1", api.TaskRunning, "")
		w.managers[1].mu.Lock()
		w.managers[1].noAck = true
		w.managers[1].mu.Unlock()
		w.engine.Exit("t1", 1)
		w.settle()
		w.expect("t1", api.TaskRunning, "")
		w.managers[0].mu.Lock()
		w.managers[0].mute = false
		w.managers[0].mu.Unlock()
		w.managers[1].server.Stop()
		w.settle()
		w.expect("t1", api.TaskFailed, "task: non-zero exit (1)")
	})
}

func TestSuspectManagerIsLeftAtOnce(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		w.start()
		w.settle()
		w.suspects.Store(api.NodeID("m1"), true)
		w.settle()
		if w.managers[1].hellos != 1 {
			w.Errorf("%d sessions with the other manager, want 1", w.managers[1].hellos)
		}
	})
}

func TestHeartbeatsFollowTheClustersWish(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.settle()
		m := w.managers[0]
		if n := m.beatsIn(10 * time.Second); n != 20 {
			t.Errorf("%d heartbeats in 10 s, one in 500 ms was asked for", n)
		}
		m.cluster(&wire.ClusterInfo{Heartbeat: durationpb.New(5 * time.Second)})
		if n := m.beatsIn(time.Second); n != 1 {
			t.Errorf("%d heartbeats at the change", n)
		}
		if n := m.beatsIn(20 * time.Second); n != 4 {
			t.Errorf("%d heartbeats in 20 s, one in 5 s was asked for", n)
		}
		m.cluster(&wire.ClusterInfo{}) // a word on something else
		m.mu.Lock()
		m.mute = true
		m.mu.Unlock()
		time.Sleep(silentPeriods * 4 * time.Second) // less patience than the longer period buys
		m.mu.Lock()
		m.mute = false
		m.mu.Unlock()
		if m.hellos != 1 {
			t.Errorf("%d sessions: the manager was given up by the period of before", m.hellos)
		}
		m.cluster(&wire.ClusterInfo{Heartbeat: durationpb.New(time.Second)})
		if n := m.beatsIn(10*time.Second + time.Millisecond); n != 11 {
			t.Errorf("%d heartbeats in 10 s, one at once and one in 1 s were asked for", n)
		}
	})
}

func TestTheNodeTellsWhenItsCertificateIsAnotherOne(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		var mu sync.Mutex
		issuer, changed := "old", make(chan struct{})
		w.cfg = func(c *Config) {
			c.TLS = func() (swarm.TLSInfo, <-chan struct{}) {
				mu.Lock()
				defer mu.Unlock()
				return swarm.TLSInfo{TrustRoot: issuer}, changed
			}
		}
		w.start()
		w.settle()
		m := w.managers[0]
		m.mu.Lock()
		m.said = nil
		m.mu.Unlock()
		mu.Lock()
		was := changed
		issuer, changed = "new", make(chan struct{})
		mu.Unlock()
		close(was)
		w.settle()
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.said) != 1 || !strings.Contains(m.said[0], `"TrustRoot":"new"`) || !strings.Contains(m.said[0], `"Hostname":"host1"`) {
			t.Errorf("it said %q", m.said)
		}
	})
}

func TestNodeThatWasRemovedIsTold(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.run("t1")
		w.start()
		w.settle()
		w.managers[0].mu.Lock()
		w.managers[0].refuse = api.Errorf(api.CodeForbidden, "node node1 is not a member")
		w.managers[0].mu.Unlock()
		w.kill()
		w.start()
		time.Sleep(5 * time.Second)
		if err := w.stop(); !errors.Is(err, api.ErrForbidden) {
			w.Errorf("run ended with %v", err)
		}
		w.expectContainers("[t1 running]")
		if err := w.w.RemoveAll(context.Background()); err != nil {
			w.Error(err)
		}
		w.expectContainers("[]")
	})
}

func TestLeave(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.settle()
		if err := w.w.Leave(context.Background()); err != nil {
			w.Error(err)
		}
		w.run("t1")
		time.Sleep(time.Minute)
		if w.managers[0].hellos != 1 {
			w.Errorf("%d sessions, want none after the farewell", w.managers[0].hellos)
		}
		if err := w.stop(); !errors.Is(err, context.Canceled) {
			w.Errorf("run ended with %v", err)
		}
		if w.managers[0].goodbyes != 1 {
			w.Errorf("%d goodbyes", w.managers[0].goodbyes)
		}
	})
}

func TestLeaveWithoutAManager(t *testing.T) {
	inWorld(t, 0, func(w *world) {
		w.start()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := w.w.Leave(ctx); !errors.Is(err, api.ErrUnavailable) {
			w.Errorf("left: %v", err)
		}
	})
}

func TestTunnelReachesTheEngine(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.settle()
		m := w.managers[0]
		ch := make(chan net.Conn, 1)
		m.mu.Lock()
		m.tunnels["x"] = ch
		m.mu.Unlock()
		for s := range m.sessions {
			m.say(s, &wire.FromManager{Message: &wire.FromManager_OpenTunnel{OpenTunnel: &wire.OpenTunnel{Id: "x"}}})
		}
		near, far := <-ch, w.engine.Accept()
		go func() { _, _ = io.WriteString(near, "ping") }()
		buf := make([]byte, 4)
		if _, err := io.ReadFull(far, buf); err != nil || string(buf) != "ping" {
			w.Errorf("%q, %v", buf, err)
		}
		go func() { _, _ = io.WriteString(far, "pong"); _ = far.Close() }()
		if got, err := io.ReadAll(near); err != nil || string(got) != "pong" {
			w.Errorf("%q, %v", got, err)
		}
		_ = near.Close()
		synctest.Wait()
	})
}

// A command's last words are on their way when its connection ends.
func TestTunnelDeliversWhatWasSaidLast(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.settle()
		m := w.managers[0]
		for i := range 200 {
			id, ch := fmt.Sprint("x", i), make(chan net.Conn, 1)
			m.mu.Lock()
			m.tunnels[id] = ch
			m.mu.Unlock()
			for s := range m.sessions {
				m.say(s, &wire.FromManager{Message: &wire.FromManager_OpenTunnel{OpenTunnel: &wire.OpenTunnel{Id: id}}})
			}
			near, far := <-ch, w.engine.Accept()
			_ = near.(*wire.Conn).CloseWrite() // all input has been given
			go func() {
				_, _ = io.Copy(io.Discard, far)
				for _, word := range []string{"one ", "two ", "three"} {
					_, _ = io.WriteString(far, word)
				}
				_ = far.Close()
			}()
			if got, err := io.ReadAll(near); err != nil || string(got) != "one two three" {
				w.Errorf("tunnel %d: %q, %v", i, got, err)
			}
			_ = near.Close()
		}
		synctest.Wait()
	})
}

func TestEngineInASwarmIsRefused(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.engine.Fail("describe", api.Errorf(api.CodeConflict, "this engine is a member of a Docker swarm"))
		w.start()
		w.settle()
		if err := w.stop(); !errors.Is(err, api.ErrConflict) {
			w.Errorf("run ended with %v", err)
		}
	})
}
