package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

func TestAnUpdateIsAppliedByAllPartsBeforeItIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		release := w.holdUp("ingress")
		w.Update(full(5))
		w.wantApplied(0)
		for _, want := range []string{"overlay 5", "balance 5", "ingress 5", "dns 5"} {
			if w.count(want) == 0 {
				t.Errorf("%q was not done: %v", want, w.all())
			}
		}
		if did := w.all(); slices.Index(did, "overlay 5") > slices.Index(did, "balance 5") {
			t.Errorf("callers were sent before they could get there: %v", did)
		}
		_, acked := w.Applied()
		release()
		w.wantApplied(5)
		select {
		case <-acked:
		default:
			t.Error("nobody was told")
		}
	})
}

func TestUpdatesThatComeFasterThanTheyAreAppliedAreAppliedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		release := w.holdUp("balance")
		w.Update(full(1))
		synctest.Wait()
		for i := range uint64(50) {
			w.Update(&fabric.Update{Index: 2 + i})
		}
		release()
		w.wantApplied(51)
		if n := w.count("balance"); n > 3 {
			t.Errorf("%d applications for 51 updates: %v", n, w.all())
		}
	})
}

func TestAPartThatFailsIsTriedAgainLaterAndLaterWhileTheOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Update(full(1))
		w.wantApplied(1)
		w.failing("balance", errors.New("the kernel says no"))
		w.Update(&fabric.Update{Index: 2})
		time.Sleep(time.Minute)
		w.wantApplied(1)
		want := []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, 700 * time.Millisecond, 1500 * time.Millisecond}
		if got := w.times("balance 2"); !slices.Equal(got[:len(want)], want) || len(got) > 20 {
			t.Errorf("tried after %v, want %v and so on", got, want)
		}
		if w.count("ingress 2") != 1 || w.count("dns 2") != 1 {
			t.Errorf("the others were not left alone: %v", w.all())
		}
		if n := strings.Count(w.log.String(), "the kernel says no"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, w.log.String())
		}
		w.failing("balance", nil)
		w.Update(&fabric.Update{Index: 3}) // news do not wait for the delay
		w.wantApplied(3)
		if !strings.Contains(w.log.String(), "again") {
			t.Error("nobody was told that it works again")
		}
	})
}

// One node where another program has the port must not slow down every stop of a
// task in the cluster.
func TestWhoHasTheResolversPortHoldsUpNoDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.failing("dns", errors.New("the port is taken"))
		w.Update(full(1))
		w.wantApplied(1)
		time.Sleep(2 * saidAfter)
		synctest.Wait()
		if text := w.log.String(); strings.Count(text, "the port is taken") != 1 {
			t.Errorf("logged: %s", text)
		}
		w.failing("dns", nil)
		time.Sleep(lastRetry)
		if w.wantApplied(1); !strings.Contains(w.log.String(), "again") {
			t.Error("the port was not tried again")
		}
	})
}

func TestASlowEngineHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		release := w.holdUp("engine")
		u := full(1)
		u.Endpoints = []*fabric.Endpoint{endpoint("t1", "me", "10.1.0.5")}
		w.Update(u)
		w.wantApplied(1)
		w.Update(&fabric.Update{Index: 2})
		w.wantApplied(2)
		release()
	})
}

func TestPrepareWaitsForTheHostsAddressAndForTheBridge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		got := make(chan Networking, 1)
		go func() {
			n, err := w.Prepare(t.Context(), "t1", attach("n1", "10.1.0.5", "fd00::5"))
			if err != nil {
				t.Error(err)
			}
			got <- n
		}()
		waits := func(why string) {
			t.Helper()
			synctest.Wait()
			select {
			case <-got:
				t.Fatalf("prepared %s", why)
			default:
			}
		}
		waits("without an update")
		u := full(1)
		u.Hosts[0] = me()
		w.Update(u)
		waits("without an address of this host")
		release := w.holdUp("engine")
		w.Update(&fabric.Update{Index: 2, Hosts: []*fabric.Host{me(attach("n1", "10.1.0.253")...)}})
		waits("without a bridge")
		release()
		n := <-got
		if len(n.Networks) != 1 || n.Networks[0].Name != "web" || n.Networks[0].MAC.String() != "02:42:0a:01:00:05" || len(n.Networks[0].Addrs) != 2 {
			t.Errorf("%+v", n.Networks)
		}
		if len(n.DNS) != 1 || n.DNS[0] != netip.MustParseAddr("10.1.0.253") {
			t.Errorf("names are asked for at %v", n.DNS)
		}
	})
}

func TestPrepareSeesWhatHadComeWhenItWasCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Update(full(1))
		if _, err := w.Prepare(t.Context(), "t1", attach("n1", "10.1.0.5")); err != nil {
			t.Fatal(err)
		}
		release := w.holdUp("overlay")
		w.Update(&fabric.Update{Index: 2, Endpoints: []*fabric.Endpoint{endpoint("t2", "you", "10.1.0.6")}})
		done := make(chan error)
		go func() {
			_, err := w.Prepare(t.Context(), "t3", attach("n1", "10.1.0.7"))
			done <- err
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Error("prepared before the other endpoint could be reached")
		default:
		}
		release()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestPrepareSaysWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		u := full(1)
		u.Hosts[0] = me()
		w.Update(u)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.Prepare(ctx, "t1", attach("n1", "10.1.0.5"))
		if !errors.Is(err, api.ErrUnavailable) || !strings.Contains(err.Error(), `"web"`) {
			t.Errorf("%v", err)
		}
		w.failing("engine", api.Errorf(api.CodeConflict, "network %q: taken", "web"))
		w.Update(&fabric.Update{Index: 2, Hosts: []*fabric.Host{me(attach("n1", "10.1.0.253")...)}})
		if _, err = w.Prepare(t.Context(), "t1", attach("n1", "10.1.0.5")); !errors.Is(err, api.ErrConflict) {
			t.Errorf("%v", err)
		}
		synctest.Wait()
		if w.need["n1"] {
			t.Error("what is not prepared needs no network")
		}
	})
}

func TestABridgeIsThereForAsLongAsAContainerNeedsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Update(full(1))
		if _, err := w.Prepare(t.Context(), "t1", attach("n1", "10.1.0.5")); err != nil {
			t.Fatal(err)
		}
		if err := w.Attach(t.Context(), "t1", 42, attach("n1", "10.1.0.5")); err != nil {
			t.Fatal(err)
		}
		if w.count("balance attach t1 42") != 1 || w.count("dns ready 10.1.0.5") != 1 {
			t.Errorf("not attached: %v", w.all())
		}
		synctest.Wait()
		if !w.bridges["n1"] || !slices.Equal(w.at, []netip.Addr{netip.MustParseAddr("10.1.0.253")}) {
			t.Errorf("bridges %v, names answered at %v", w.bridges, w.at)
		}
		w.Detach("t1")
		w.Detach("t1")
		synctest.Wait()
		if w.bridges["n1"] || w.count("balance detach") != 1 || w.count("dns unready") != 1 {
			t.Errorf("bridges %v after %v", w.bridges, w.all())
		}
	})
}

func TestContainersThatRanBeforeTheDaemonAreLeftAloneUntilTheFabricIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		for _, id := range []string{"t1", "t2"} {
			if err := w.Attach(t.Context(), id, 7, attach("n1", "10.1.0.5")); err != nil {
				t.Fatal(err)
			}
		}
		w.Detach("t2")
		time.Sleep(time.Minute)
		if n := w.count("balance attach"); n != 0 {
			t.Errorf("touched: %v", w.all())
		}
		w.Update(full(1))
		synctest.Wait()
		if w.count("balance attach t1 7") != 1 || w.count("balance attach t2") != 0 || !w.bridges["n1"] {
			t.Errorf("%v", w.all())
		}
	})
}

func TestAContainerThatEndsWhileItIsHandedOverIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		if err := w.Attach(t.Context(), "t1", 7, attach("n1", "10.1.0.5")); err != nil {
			t.Fatal(err)
		}
		release := w.holdUp("overlay attach")
		w.Update(full(1))
		w.wantApplied(0) // it may still send callers where an earlier daemon has told it to
		w.Detach("t1")
		release()
		w.wantApplied(1)
		did := w.all()
		if attached, gone := slices.Index(did, "balance attach t1 7"), lastIndex(did, "balance detach t1"); attached < 0 || gone < attached {
			t.Errorf("the balancer holds on to it: %v", did)
		}
	})
}

func lastIndex(list []string, s string) int {
	for i, l := range slices.Backward(list) {
		if l == s {
			return i
		}
	}
	return -1
}

// What the engine has yet to notice is no fault of the networks.
func TestAContainerThatHasEndedIsToBeAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Update(full(1))
		synctest.Wait()
		w.failing("overlay attach", fmt.Errorf("container c1: %w", &fs.PathError{Op: "open", Path: "/proc/7/ns/net", Err: fs.ErrNotExist}))
		err := w.Attach(t.Context(), "c1", 7, nil)
		if !errors.Is(err, api.ErrUnavailable) || !strings.Contains(err.Error(), "c1 has ended") {
			t.Errorf("%v", err)
		}
	})
}

func TestAContainerMadeWithOtherServersAsksThisNode(t *testing.T) {
	for _, c := range []struct{ name, servers, want string }{
		{"made by the engine", "192.0.2.7 2001:db8::7 192.0.2.8", "[192.0.2.7 192.0.2.8] at 10.1.0.253 from 10.1.0.5"},
		{"made here", "10.1.0.253 192.0.2.7", ""},
		{"none that can be told", "2001:db8::7", ""},
	} {
		for _, early := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				w := start(t)
				if !early {
					w.Update(full(1))
					synctest.Wait()
				}
				var servers []netip.Addr
				for _, s := range strings.Fields(c.servers) {
					servers = append(servers, netip.MustParseAddr(s))
				}
				w.Asks("c1", servers)
				if err := w.Attach(t.Context(), "c1", 7, attach("n1", "10.1.0.5")); err != nil {
					t.Fatal(err)
				}
				w.Update(full(2))
				synctest.Wait()
				if n := w.count("balance names c1 " + c.want); (n == 1) != (c.want != "") || w.count("balance names c1") != n {
					t.Errorf("%s, early %t: %v", c.name, early, w.all())
				}
			})
		}
	}
}

func TestAContainerThatRunsKeepsItsNetworksWhenAnotherOneCannotBePrepared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Update(full(1))
		if _, err := w.Prepare(t.Context(), "c1", attach("n1", "10.1.0.5")); err != nil {
			t.Fatal(err)
		}
		if err := w.Attach(t.Context(), "c1", 42, attach("n1", "10.1.0.5")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		both := append(attach("n1", "10.1.0.5"), attach("n2", "10.2.0.5")...)
		if _, err := w.Prepare(ctx, "c1", both); !errors.Is(err, api.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		synctest.Wait()
		if n := w.count("balance detach"); n != 0 || !w.bridges["n1"] {
			t.Errorf("taken off its network: %v", w.all())
		}
		w.Detach("c1")
		synctest.Wait()
		if w.bridges["n1"] {
			t.Errorf("the bridge stays: %v", w.all())
		}
	})
}

func TestNothingIsHandedToPartsThatAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Update(full(1))
		for _, id := range []string{"t1", "t2"} {
			if err := w.Attach(t.Context(), id, 42, attach("n1", "10.1.0.5")); err != nil {
				t.Fatal(err)
			}
		}
		release, closed := w.holdUp("ingress"), make(chan error)
		synctest.Wait()
		go func() { closed <- w.Close(t.Context()) }()
		synctest.Wait() // it is busy
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			w.Detach("t1")
			if err := w.Attach(t.Context(), "t3", 43, attach("n1", "10.1.0.6")); !errors.Is(err, api.ErrUnavailable) {
				t.Errorf("attached: %v", err)
			}
			if _, err := w.Prepare(t.Context(), "t4", attach("n2", "10.2.0.6")); !errors.Is(err, api.ErrUnavailable) {
				t.Errorf("prepared: %v", err)
			}
		}()
		release()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		<-gone
		if did := w.all(); did[len(did)-1] != "overlay close" {
			t.Errorf("%v", did)
		}
	})
}

func TestASuspectIsOutOfTheBalancersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Update(full(1))
		synctest.Wait()
		w.doubt("you", "me")
		synctest.Wait()
		if !maps.Equal(w.doubted, map[api.NodeID]bool{"you": true}) {
			t.Errorf("doubted: %v", w.doubted)
		}
		w.doubt()
		synctest.Wait()
		if len(w.doubted) != 0 {
			t.Errorf("still doubted: %v", w.doubted)
		}
	})
}

func TestWhatOthersChangeIsPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Update(full(1))
		synctest.Wait()
		for range 1000 { // a storm is one change
			w.hear["overlay"]()
		}
		time.Sleep(time.Second)
		if w.count("overlay restore") != 1 || w.count("ingress restore") != 1 || w.count("balance restore") != 0 {
			t.Errorf("%v", w.all())
		}
		if w.count("engine true") != 1 {
			t.Errorf("the engine was not asked what it has: %v", w.all())
		}
		time.Sleep(lookAgain)
		if n := w.count("balance restore"); n != 1 {
			t.Errorf("without hearing anything the balancers were looked at %d times", n)
		}
	})
}

func TestCloseTakesAwayWhatSendsBeforeWhatCarries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Update(full(1))
		synctest.Wait()
		before := len(w.all())
		w.failing("overlay", errors.New("the engine is away"))
		if err := w.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "the engine is away") {
			t.Errorf("%v", err)
		}
		w.failing("overlay", nil)
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
		w.Update(full(2)) // nobody is there to apply it
		time.Sleep(time.Minute)
		want := []string{"dns close", "ingress close", "balance close", "overlay close"}
		if got := w.all()[before:]; !slices.Equal(got, append(want, want...)) {
			t.Errorf("%v", got)
		}
	})
}

func TestNeeded(t *testing.T) {
	set := fabric.NewSet()
	set.Apply(full(1))
	set.Apply(&fabric.Update{Index: 2, Networks: []*fabric.Network{{ID: "in", Ingress: true}, {ID: "n2"}}})
	for _, c := range []struct {
		story     string
		endpoints []*fabric.Endpoint
		holds     map[string][]api.Attachment
		want      map[api.NetworkID]bool
	}{
		{"every node answers published ports", nil, nil, map[api.NetworkID]bool{"in": true}},
		{"a task here", []*fabric.Endpoint{endpoint("t", "me", "10.1.0.5")}, nil, map[api.NetworkID]bool{"in": true, "n1": true}},
		{"a task elsewhere", []*fabric.Endpoint{endpoint("t", "you", "10.1.0.5")}, nil, map[api.NetworkID]bool{"in": true}},
		{"a container that ends", nil, map[string][]api.Attachment{"t": attach("n2")}, map[api.NetworkID]bool{"in": true, "n2": true}},
		{"a network that is gone", nil, map[string][]api.Attachment{"t": attach("n3")}, map[api.NetworkID]bool{"in": true}},
	} {
		s := set.Clone()
		s.Apply(&fabric.Update{Index: 3, Endpoints: c.endpoints})
		if got := needed(s, "me", c.holds); !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.story, got, c.want)
		}
	}
}
