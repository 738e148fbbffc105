package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/load"
)

// Whatever was missed while a node was away is right within seconds of its
// return, at the node and at the others.
func TestNetNamesAreRightAfterACut(t *testing.T) {
	l := newLab(t)
	flaps, length := fromEnv(t, "NET_FLAPS", 2), time.Duration(fromEnv(t, "NET_CUT_SECONDS", 8))*time.Second
	l.network("front")
	l.run("web", 5, "--network", "front", "-p", "8080:8080")
	l.everywhere("call", "--network", "front")
	for i := range flaps {
		away := l.Nodes[len(l.Nodes)-1-i%workers] // it may lead no longer, so a worker
		want := 4 + i%3
		l.must(away.Cut())
		begun := time.Now()
		l.must(l.scale("web", want))
		l.elsewhereAtLeast("web", want, away)
		time.Sleep(length - time.Since(begun)) // the cut is as long as it was asked for
		l.must(away.Heal())
		healed := time.Now()
		for _, n := range []*cluster.Node{away, l.Nodes[0]} {
			l.must(cluster.Eventually(l.ctx, agreed, func(ctx context.Context) error { return l.namesAreRight(ctx, n, "web", want) }))
		}
		t.Logf("cut %d: names right %.2f s after it healed", i+1, time.Since(healed).Seconds())
		web := l.until("web", soon, fmt.Sprint(want, " run"), func(cs []cluster.Container) bool { return len(cs) == want })
		l.reached(l.runningOn("call", away), url("web"), web)
		l.reached(l.Outside(), url(away.Addr), web)
		l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	}
}

// elsewhereAtLeast waits until n replicas run on other nodes than one that
// cannot be told to stop its own.
func (l *lab) elsewhereAtLeast(service string, n int, away *cluster.Node) {
	l.t.Helper()
	l.until(service, soon, fmt.Sprintf("%d run on others than %s", n, away.Name), func(cs []cluster.Container) bool {
		return len(cs)-cluster.Spread(cs)[away] == n
	})
}

// runningOn is the container of a service that runs on a node now.
func (l *lab) runningOn(service string, n *cluster.Node) cluster.Container {
	l.t.Helper()
	on := func(c cluster.Container) bool { return c.Node == n }
	running := l.until(service, soon, "one runs on "+n.Name, func(cs []cluster.Container) bool { return slices.ContainsFunc(cs, on) })
	return running[slices.IndexFunc(running, on)]
}

// namesAreRight compares what a container of service call finds on a node with
// what the cluster's managers have on record.
func (l *lab) namesAreRight(ctx context.Context, n *cluster.Node, service string, want int) error {
	tasks, err := l.tasks(ctx, service, swarm.TaskStateRunning)
	if err != nil {
		return err
	}
	var addrs []string
	for _, task := range tasks {
		for _, in := range task.NetworksAttachments {
			if task.DesiredState == swarm.TaskStateRunning && in.Network.Spec.Name == "front" {
				addr, _, _ := strings.Cut(in.Addresses[0], "/")
				addrs = append(addrs, addr)
			}
		}
	}
	slices.Sort(addrs)
	callers := slices.DeleteFunc(l.w.Running("call"), func(c cluster.Container) bool { return c.Node != n })
	if len(addrs) != want || len(callers) == 0 {
		return fmt.Errorf("%d of %d tasks have addresses, %d callers run on %s", len(addrs), want, len(callers), n.Name)
	}
	got, err := cluster.Resolve(ctx, callers[0], "tasks."+service)
	if err == nil && !equal(got, addrs) {
		err = fmt.Errorf("at %s, tasks.%s is %s, not %s", n.Name, service, got, addrs)
	}
	return err
}

// Two seconds after a node has lost its power, nobody is sent there any more. Clients
// who wait a little longer than that do not notice, unless they had its answer already.
func TestNetNodeWithoutPowerIsOutOfTheBalancers(t *testing.T) {
	l := newLab(t)
	const limit = 2 * time.Second
	l.network("front")
	web := l.checked("web", 5, "front") // whoever takes over is asked when it listens
	caller := l.everywhere("call", "--network", "front")[l.Nodes[0]]
	steady := load.Config{Rate: 100, Clients: 40, Timeout: time.Second / 2}
	inside, outside := steady, steady
	inside.URL, outside.URL = url(l.vip("web", "front")), url(l.Nodes[0].Addr)
	l.reached(caller, inside.URL, web)
	loads := []*keep{l.keep(caller, inside), l.keep(l.Outside(), outside)}
	inside.Rate, inside.Timeout, outside.Rate, outside.Timeout = 40, 2*limit, 40, 2*limit
	patient := []*keep{l.keep(caller, inside), l.keep(l.Outside(), outside)}
	time.Sleep(time.Second) // of load on a whole cluster
	victim := l.Workers()[1]
	off := time.Now()
	victim.PowerOff()
	l.elsewhere("web", 5, victim)
	time.Sleep(time.Until(off.Add(2 * limit)))
	for _, k := range loads {
		r := k.stop()
		for _, f := range r.Failures {
			inFlight := !f.At.Before(off.Add(-steady.Timeout)) // when the power went
			if !inFlight || f.At.After(off.Add(limit)) {
				t.Errorf("a request to %s begun %.2f s after the power went failed: %s", k.cfg.URL, f.At.Sub(off).Seconds(), f.Error)
			}
		}
		if n := len(r.Failures); n > 0 {
			t.Logf("%s: %d requests failed, the last of them begun %.2f s after the power went", k.cfg.URL, n, r.Failures[n-1].At.Sub(off).Seconds())
		}
	}
	for _, k := range patient {
		for _, f := range k.stop().Failures {
			if strings.HasPrefix(f.Error, "dial:") {
				t.Errorf("a request to %s begun %.2f s after the power went reached nobody in %v: %s", k.cfg.URL, f.At.Sub(off).Seconds(), k.cfg.Timeout, f.Error)
			}
		}
	}
}

// What the kernel was told stays when the daemon goes, and comes back when
// somebody else takes it away.
func TestNetRulesOutliveWhoMadeThem(t *testing.T) {
	l := newLab(t)
	l.network("front")
	n, home, out := l.Workers()[0], l.Workers()[1], l.Outside()
	web := l.run("web", 2, "--network", "front", "-p", "8080:8080", "--constraint", "node.hostname=="+home.Name)
	caller := l.everywhere("call", "--network", "front")[n]
	vip := url(l.vip("web", "front"))
	l.reached(caller, vip, web)
	l.reached(out, url(n.Addr), web)

	l.story("the daemon is killed and restarted", func(l *lab) {
		kept := load.Config{Rate: 20, KeepAlive: true, Timeout: 2 * time.Second}
		inside, outside := kept, kept
		inside.URL, outside.URL = vip, url(n.Addr)
		loads := []*keep{l.keep(caller, inside), l.keep(out, outside)}
		for _, down := range []*cluster.Node{n, home} {
			down.KillDaemon()
			l.answers(caller, load.Config{URL: vip, Requests: 20})
			l.answers(out, load.Config{URL: url(n.Addr), Requests: 20})
			l.must(down.StartDaemon(l.ctx))
		}
		l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
		l.answers(caller, load.Config{URL: vip, Requests: 20})
		l.answers(out, load.Config{URL: url(n.Addr), Requests: 20})
		for _, k := range loads {
			if r := k.unhurt(); r.Connections != 1 {
				l.t.Errorf("%s: the connection did not go on, there were %d", k.cfg.URL, r.Connections)
			}
		}
		l.reached(caller, url("web"), web)
	})
	l.story("a change after the restart arrives", func(l *lab) {
		l.cli(l.Nodes[0], "service", "scale", "--detach", "web=3")
		web = l.count("web", 3)
		l.reached(caller, url("web"), web)
		l.reached(out, url(n.Addr), web)
	})
	l.story("somebody flushes the rules of a container", func(l *lab) {
		_, err := caller.OnNetwork(l.ctx, "nft", "flush", "ruleset")
		l.must(err)
		l.reached(caller, vip, web)
	})
	for _, at := range []*cluster.Node{n, home} {
		l.story("somebody flushes all rules of "+at.Name, func(l *lab) {
			l.on(at, "sh", "-c", "nft flush ruleset; iptables -P FORWARD DROP; iptables -F")
			l.reached(out, url(at.Addr), web)
			l.reached(at, url("127.0.0.1"), web)
		})
		l.story("the engine of "+at.Name+" is restarted", func(l *lab) {
			at.KillEngine()
			l.must(at.StartEngine(l.ctx))
			web = l.count("web", 3)
			for _, n := range l.Nodes {
				l.reached(out, url(n.Addr), web)
			}
			l.reached(l.runningOn("call", at), url("web"), web)
		})
	}
}
