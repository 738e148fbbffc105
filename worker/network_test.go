package worker

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// onBoth are a task's addresses in both networks.
func onBoth() []api.Attachment {
	return []api.Attachment{
		{Network: "n1", Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.5")}},
		{Network: "n2", Addrs: []netip.Addr{netip.MustParseAddr("10.0.2.5")}},
	}
}

// join gives the node a task on both networks.
func (w *world) join(id api.TaskID, args ...string) {
	w.add(id, w.spec(args...), api.TaskRunning, onBoth()...)
}

func (w *world) expectAttached(want string) {
	w.Helper()
	attached, held := fmt.Sprint(w.network.Attached()), fmt.Sprint(w.network.Held())
	if attached != want || held != want {
		w.Errorf("attached are %s, and %s not given up; want %s", attached, held, want)
	}
}

func TestTaskIsOnItsNetworksBeforeItStartsAndAttachedBeforeItCounts(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.settle()
		for range 4 { // an event has it tried again at once
			w.network.Fail("attach", api.Errorf(api.CodeUnavailable, "not yet"))
		}
		w.join("t1")
		time.Sleep(100 * time.Millisecond)
		if s := w.status("t1").State; s >= api.TaskRunning {
			w.Errorf("%v without balancers", s)
		}
		time.Sleep(10 * time.Second)
		w.expect("t1", api.TaskRunning, "")
		if got := fmt.Sprint(w.engine.Networks("t1")); got != "[back front]" {
			w.Errorf("on networks %s", got)
		}
		w.expectAttached("[t1]")
		w.engine.Exit("t1", 0)
		w.settle()
		w.expectAttached("[]")
	})
}

func TestUpdatesOfTheNetworksAreHandedOnWholeAndAcknowledgedOnce(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		m := w.managers[0]
		w.store.index = 7
		w.start()
		w.settle()
		if got := fmt.Sprint(m.saidApplied()); got != "[7]" {
			w.Errorf("said %s of the first update, want [7]", got)
		}
		if u := w.network.Updates(); len(u) != 1 || !u[0].Full || len(u[0].Networks) != 2 {
			w.Errorf("handed on %+v, want the whole set at once", u)
		}
		w.network.Lag(true)
		for i := range 5 {
			w.run(api.TaskID(fmt.Sprintf("t%d", i))) // which needs none of it
		}
		w.settle()
		w.expect("t4", api.TaskRunning, "")
		if said := m.saidApplied(); len(said) > 0 {
			w.Errorf("said %v, which is not applied", said)
		}
		w.network.Lag(false)
		w.settle()
		if got := fmt.Sprint(m.saidApplied()); got != "[12]" {
			w.Errorf("said %s, want the last index alone", got)
		}
	})
}

// A manager sends a session the networks as they were when it last had to make all
// of it, and then what has changed since. The node may know that from the session
// before: it must not go back to it, be it for the time of a pass alone.
func TestASessionDoesNotBeginWithWhatIsOver(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		m := w.managers[0]
		w.store.index = 7
		m.since = []*wire.Fabric{{Index: 9, Removed: []string{"n2"}}}
		w.start()
		w.settle()
		u := w.network.Updates()
		if len(u) != 1 || u[0].Index != 9 || !u[0].Full || len(u[0].Networks) != 1 || u[0].Networks[0].ID != "n1" {
			w.Errorf("handed on %+v, want network n1 alone, in one step", u)
		}
		if got := fmt.Sprint(m.saidApplied()); got != "[9]" {
			w.Errorf("said %s, want [9]", got)
		}
		m.all(&wire.FromManager{Message: &wire.FromManager_Fabric{Fabric: &wire.Fabric{Index: 11, Removed: []string{"n1"}}}})
		w.settle()
		if u = w.network.Updates(); len(u) == 0 || u[len(u)-1].Index != 11 || u[len(u)-1].Full {
			w.Errorf("handed on %+v, want the change as it came", u)
		}
	})
}

// A manager may lag behind the one before: what the node has applied by that
// one's word says nothing of what this one has yet to say.
func TestAnotherManagerIsToldAnew(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		m := w.managers[0]
		w.store.index = 9
		w.start()
		w.settle()
		m.saidApplied()
		w.store.mu.Lock()
		w.store.index = 4
		w.store.mu.Unlock()
		nonsense := []*wire.FabricNetwork{{Id: "n1", Subnets: []*wire.FabricSubnet{{Prefix: "nonsense"}}}} // ends the session
		m.all(&wire.FromManager{Message: &wire.FromManager_Fabric{Fabric: &wire.Fabric{Index: 10, Networks: nonsense}}})
		w.settle()
		if got := fmt.Sprint(m.saidApplied()); got != "[4]" {
			w.Errorf("said %s in the next session, want [4]", got)
		}
	})
}

func TestTaskThatServesIsStoppedOnceNoBalancerHasIt(t *testing.T) {
	const short = 200 * time.Millisecond
	const nearly = drainPatience - short/2
	for _, c := range []struct {
		name string
		do   func(*world)  // at once
		runs time.Duration // after which it still runs; negative: it does not
		ends time.Duration // after which it does not
	}{
		{"nobody says so", func(*world) {}, nearly, short},
		{"all nodes say so", func(w *world) { time.Sleep(short); w.managers[0].cleared(w.store.index) }, -1, 0},
		{"they say so of what came before", func(w *world) { w.managers[0].cleared(w.store.index - 1) }, nearly, short},
		{"the session is lost", func(w *world) { w.managers[0].server.Stop() }, nearly, short},
		{"it is told twice", func(w *world) { time.Sleep(time.Second); w.want("t1", api.TaskRemove) }, nearly - time.Second, short},
		{"it leaves the store", func(w *world) { w.drop("t1") }, -1, 0},
		{"its daemon starts again", func(w *world) { w.kill(); w.start() }, nearly, short},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				running := func() bool {
					synctest.Wait()
					got, _ := w.engine.Of("t1")
					return got.State == docker.Running
				}
				w.start()
				w.join("t1")
				w.settle()
				w.want("t1", api.TaskShutdown)
				synctest.Wait() // it has heard of it
				c.do(w)
				if c.runs < 0 && running() {
					w.Error("it runs still")
				}
				if c.runs >= 0 {
					time.Sleep(c.runs)
					if !running() {
						w.Errorf("it was stopped before %s", c.runs)
					}
				}
				time.Sleep(c.ends)
				if running() {
					w.Error("it runs still")
				}
			})
		})
	}
}

// What was on its way when the last balancer let go is to be accepted before the
// program hears that it must stop. That it cannot be seen holds up nobody.
func TestConnectionsUnderWayAreAcceptedBeforeTheStop(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.join("t1")
		w.run("t2") // on no network
		w.settle()
		w.network.Fail("settle", errors.New("no such socket"))
		w.want("t1", api.TaskShutdown)
		w.want("t2", api.TaskShutdown)
		synctest.Wait()
		if got := w.network.Settled(); len(got) > 0 {
			w.Errorf("%v settled while balancers still have it", got)
		}
		w.managers[0].cleared(w.store.index)
		synctest.Wait()
		if got := fmt.Sprint(w.network.Settled()); got != "[t1 running]" {
			w.Errorf("settled %s, want t1 alone, which runs then", got)
		}
		w.expectContainers("[t1 exited t2 exited]")
	})
}

func TestTaskThatNeverServedIsStoppedAtOnce(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		spec := w.spec()
		spec.TaskTemplate.ContainerSpec.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "/probe"}}
		w.start()
		w.add("t1", spec, api.TaskRunning, onBoth()...)
		w.run("t2") // on no network
		w.settle()
		w.want("t1", api.TaskShutdown)
		w.want("t2", api.TaskShutdown)
		synctest.Wait()
		w.expectContainers("[t1 exited t2 exited]")
		if got := w.network.Settled(); len(got) > 0 {
			w.Errorf("%v settled, which never served", got)
		}
	})
}

func TestTaskWhoseNetworksCannotBe(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*world)
		want    api.TaskState
		err     string
	}{
		{"the node has none", func(w *world) { w.cfg = func(c *Config) { c.Network = nil } },
			api.TaskRejected, "task t1 is on networks of the cluster, and this node has none: keep the service to other nodes by a constraint"},
		{"refused", func(w *world) { w.fail("prepare", errors.New("network back: this host has one of that name")) },
			api.TaskRejected, "network back: this host has one of that name"},
		{"not there yet", func(w *world) { w.fail("prepare", api.Errorf(api.CodeUnavailable, "wait")) }, api.TaskRunning, ""},
		{"not attached", func(w *world) { w.fail("attach", errors.New("no nftables in this kernel")) },
			api.TaskFailed, "task: not on its networks: no nftables in this kernel"},
		{"not attached yet", func(w *world) { w.fail("attach", api.Errorf(api.CodeUnavailable, "wait")) }, api.TaskRunning, ""},
		{"made on one of two", func(w *world) { w.engine.CutOff() }, api.TaskRunning, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				c.prepare(w)
				w.start()
				w.join("t1")
				w.settle()
				w.expect("t1", c.want, c.err)
				got, _ := w.engine.Of("t1")
				if (got.State == docker.Running) != (c.want == api.TaskRunning) {
					w.Errorf("container %v of a task that is %v", got.State, c.want)
				}
				if nets := w.engine.Networks("t1"); got.State == docker.Running && len(nets) != 2 {
					w.Errorf("runs on networks %v", nets)
				}
			})
		})
	}
}

// fail has the network of the next daemon fail once.
func (w *world) fail(call string, err error) {
	w.cfg = func(*Config) { w.network.Fail(call, err) }
}

// A short life is none that the networks could have been told of.
func TestTaskThatEndsAtOnceHasNotFailedForItsNetworks(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.join("t1", "exit 0")
		w.settle()
		w.expect("t1", api.TaskComplete, "")
		w.expectAttached("[]")
	})
}

func TestRunningContainersAreAttachedAgainAndNotGivenUp(t *testing.T) {
	for name, fails := range map[string]error{"well": nil, "at the second try": errors.New("this kernel is out of sorts")} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				w.start()
				w.join("t1")
				w.settle()
				w.kill()
				if fails != nil {
					w.fail("attach", fails)
				}
				w.start()
				w.settle()
				w.expect("t1", api.TaskRunning, "")
				w.expectContainers("[t1 running]")
				w.expectAttached("[t1]")
				if n := w.network.Attaches("t1"); n != 1 {
					w.Errorf("attached %d times", n)
				}
			})
		})
	}
}

func TestTaskThatNeverRunsIsGivenUpByTheNetworks(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.add("t1", w.spec(), api.TaskReady, onBoth()...)
		w.add("t2", w.spec(), api.TaskReady, onBoth()...)
		w.settle()
		if got := fmt.Sprint(w.network.Held()); got != "[t1 t2]" {
			w.Errorf("kept for %s", got)
		}
		w.want("t1", api.TaskShutdown)
		w.drop("t2")
		w.settle()
		w.expectAttached("[]")
	})
}

// A prepared task may wait for long, and `docker network prune` does not see it.
func TestNetworkThatWasPrunedIsMadeAgain(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.add("t1", w.spec(), api.TaskReady, onBoth()...)
		w.settle()
		w.expect("t1", api.TaskReady, "")
		w.engine.Prune()
		w.want("t1", api.TaskRunning)
		w.settle()
		w.expect("t1", api.TaskRunning, "")
		w.expectAttached("[t1]")
	})
}

func TestNothingOfTheNetworksIsLeftWithTheContainersGone(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.start()
		w.join("t1")
		w.settle()
		w.kill()
		if err := w.w.RemoveAll(t.Context()); err != nil {
			w.Error(err)
		}
		list, err := w.engine.Bridges(t.Context(), testCluster)
		if err != nil || len(list) > 0 || !w.network.Closed() {
			w.Errorf("bridges %v remain, %v", list, err)
		}
	})
}

func TestPortsThatTheNodeDoesNotAnswerAreTold(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		m := w.managers[0]
		w.cfg = func(*Config) { w.network.Trouble(map[string]string{"80/tcp": "taken"}) }
		w.start()
		w.settle()
		w.network.Trouble(nil)
		w.settle()
		m.mu.Lock()
		defer m.mu.Unlock()
		if got := fmt.Sprint(m.problems); got != "[map[80/tcp:taken] map[]]" {
			w.Errorf("the manager was told %s", got)
		}
	})
}
