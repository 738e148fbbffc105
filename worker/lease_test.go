package worker

import (
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/worker/docker"
)

func TestLease(t *testing.T) {
	sent := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const usual = 800 * time.Millisecond
	for name, tt := range map[string]struct {
		period, selfStop, after time.Duration
		over                    bool
	}{
		"answered just now":           {usual, 10 * time.Second, 0, false},
		"almost":                      {usual, 10 * time.Second, 10*time.Second - 1, false},
		"over":                        {usual, 10 * time.Second, 10 * time.Second, true},
		"no self-stop":                {usual, 0, 24 * time.Hour, false},
		"before any manager spoke":    {0, 5 * time.Second, 5 * time.Second, true},
		"rare heartbeats: one lost":   {2 * time.Second, 5 * time.Second, 5 * time.Second, false},
		"rare heartbeats: three lost": {2 * time.Second, 5 * time.Second, 8*time.Second - 1, false},
		"rare heartbeats: four lost":  {2 * time.Second, 5 * time.Second, 8 * time.Second, true},
	} {
		l := &lease{answered: sent, period: tt.period}
		if over := l.over(tt.selfStop, sent.Add(tt.after)); over != tt.over {
			t.Errorf("%s: over is %v", name, over)
		}
	}
}

func TestSingletonStopsItselfWhereItsNodeIsCutOff(t *testing.T) {
	for name, cut := range map[string]func(w *world){
		"both ways": func(w *world) { w.mute(true) },
		// The session lives: the manager has much to say.
		"on the way to the manager alone": func(w *world) {
			w.deafen(true)
			for range 20 {
				w.managers[0].cluster(&wire.ClusterInfo{ClusterId: testCluster})
				time.Sleep(time.Second)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				w.add("single", w.single("10s"), api.TaskRunning)
				w.run("other")
				w.start()
				w.settle()
				began := time.Now()
				cut(w)
				time.Sleep(max(0, 20*time.Second-time.Since(began)))
				w.expectContainers("[other running single exited]")
				// Counted from the last heartbeat that was answered, half a second ago at most.
				c, _ := w.engine.Of("single")
				if after := c.EndedAt.Sub(began); after > 10*time.Second || after < 9*time.Second {
					t.Errorf("stopped after %s", after)
				}
				w.expect("single", api.TaskRunning, "") // as far as anybody knows
				w.deafen(false)
				w.mute(true) // what was lost is said again in a new session
				time.Sleep(silentPeriods * time.Second)
				w.mute(false)
				time.Sleep(welcomeTimeout + lastRetry)
				w.settle()
				w.expect("single", api.TaskShutdown, "stopped: cut off from the managers for 10s")
				w.expect("other", api.TaskRunning, "")
			})
		})
	}
}

func TestShortCutStopsNoSingleton(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		w.add("single", w.single("5s"), api.TaskRunning)
		w.start()
		w.settle()
		for range 5 {
			w.managers[0].silence(true)
			time.Sleep(4 * time.Second) // the other manager is asked after 2.5 s
			w.managers[0].silence(false)
			w.managers[1].silence(true)
			time.Sleep(4 * time.Second)
			w.managers[1].silence(false)
		}
		w.settle()
		w.expectContainers("[single running]")
		if n := w.engine.Starts("single"); n != 1 {
			t.Errorf("started %d times", n)
		}
	})
}

// Whoever hears of the end starts another one.
func TestSingletonIsNotReportedBeforeItHasEnded(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		spec := w.single("30s", "stubborn")
		grace := time.Minute
		spec.TaskTemplate.ContainerSpec.StopGracePeriod = &grace
		w.add("single", spec, api.TaskRunning)
		w.start()
		w.settle()
		w.mute(true)
		time.Sleep(31 * time.Second) // it is told to stop
		w.mute(false)
		time.Sleep(30 * time.Second)
		if w.managers[0].beatsIn(2*time.Second) == 0 {
			t.Fatal("there is no session: the test proves nothing")
		}
		w.expect("single", api.TaskRunning, "")
		w.expectContainers("[single running]")
		time.Sleep(30 * time.Second)
		w.settle()
		w.expect("single", api.TaskShutdown, "stopped: cut off from the managers for 30s")
		w.expectContainers("[single exited]")
	})
}

func TestDaemonThatStartsWithoutManagersStopsSingletonsInTime(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.add("single", w.single("10s"), api.TaskRunning)
		w.run("other")
		w.run("ended")
		w.start()
		w.settle()
		w.engine.Exit("ended", 1)
		w.kill()
		w.mute(true)
		w.start()
		time.Sleep(9 * time.Second)
		w.expectContainers("[ended exited other running single running]")
		time.Sleep(2 * time.Second)
		w.expectContainers("[ended exited other running single exited]")
		w.mute(false)
		time.Sleep(welcomeTimeout + lastRetry)
		w.settle()
		w.expect("single", api.TaskShutdown, "stopped: cut off from the managers for 10s")
		w.expect("ended", api.TaskFailed, "task: non-zero exit (1)")
	})
}

func TestSingletonIsNotStartedWhileItsNodeIsCutOff(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.settle()
		w.engine.Pace(40 * time.Second) // 20 s to create it, 20 s to start it
		w.add("single", w.single("10s"), api.TaskRunning)
		time.Sleep(2 * time.Second)
		w.mute(true)
		time.Sleep(time.Minute)
		w.expectContainers("[single created]")
		w.mute(false)
		time.Sleep(welcomeTimeout + lastRetry + 20*time.Second)
		w.settle()
		w.expect("single", api.TaskRunning, "")
		if c, _ := w.engine.Of("single"); c.State != docker.Running || w.engine.Starts("single") != 1 {
			t.Errorf("container %v, started %d times", c.State, w.engine.Starts("single"))
		}
	})
}

func (w *world) single(after string, args ...string) *api.ServiceSpec {
	spec := w.spec(args...)
	spec.Labels = map[string]string{setting.LabelSelfStop: after}
	return spec
}

// mute has no manager answer anything, or all of them again.
func (w *world) mute(on bool) {
	for _, m := range w.managers {
		m.silence(on)
	}
}

// deafen has no manager hear anything, or all of them again.
func (w *world) deafen(on bool) {
	for _, m := range w.managers {
		m.mu.Lock()
		m.deaf = on
		m.mu.Unlock()
	}
}

func (m *manager) silence(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mute = on
}
