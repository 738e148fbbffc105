package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/hosts"
	"github.com/swarmctl/swarmctl/integration/load"
)

// Services find each other by name from every node, and are balanced where
// they are called.
func TestNetNamesAndVirtualAddresses(t *testing.T) {
	l := newLab(t)
	l.network("front")
	l.network("back")
	web := l.run("web", 5, "--network", "name=front,alias=www")
	call := l.everywhere("call", "--network", "front")
	stranger := l.run("stranger", 1, "--network", "back")[0]
	caller, vip := call[l.Nodes[0]], l.vip("web", "front")
	for _, from := range call {
		l.reached(from, url("web"), web)
	}

	l.story("names", func(l *lab) {
		for _, from := range call {
			l.resolves(from, "web", vip)
			l.resolves(from, "www", vip)
			l.resolves(from, "tasks.web", l.addrs("front", web...)...)
		}
		for place, c := range l.containerOf("web", web) {
			addr := l.addr("front", c)
			l.resolves(caller, place, addr)
			l.resolves(caller, place+"."+c.Task, addr)
			names, err := cluster.Resolve(l.ctx, caller, addr)
			l.must(err)
			if len(names) != 1 || !strings.HasPrefix(names[0], place+".") {
				l.t.Errorf("%s, the address of %s, has the names %q", addr, place, names)
			}
		}
		l.resolves(caller, "nosuch")
		l.resolves(caller, hosts.OutsideName, hosts.OutsideAddr) // what is no name of the cluster's is asked of the host's own server
	})
	l.story("never across networks", func(l *lab) {
		for _, name := range []string{"web", "www", "tasks.web", "web.1", l.addr("front", web[0])} {
			l.resolves(stranger, name)
		}
		l.silent(stranger, url(vip))
		l.silent(stranger, url(l.addr("front", web[0])))
	})
	l.story("spread evenly, and the callee sees the caller", func(l *lab) {
		const each = 200
		for _, scheme := range []func(string) string{url, udpURL} {
			r := l.answers(caller, load.Config{URL: scheme("web"), Requests: each * len(web), Clients: 8})
			for name, n := range r.By {
				if n < each*3/4 || n > each*5/4 {
					l.t.Errorf("%s answered %d times of %d, far from an even share: %s", name, n, r.Answers, r)
				}
			}
			if addr := l.addr("front", caller); r.Seen[addr] != r.Answers {
				l.t.Errorf("the callees saw somebody else than %s: %s", addr, r)
			}
		}
	})
	l.story("a service calls itself", func(l *lab) {
		r := l.answers(web[0], load.Config{URL: url("web"), Requests: 100, Clients: 4})
		if r.By[web[0].ID[:12]] == 0 {
			l.t.Errorf("never answered by itself: %s", r)
		}
		l.answers(web[0], load.Config{URL: udpURL("web"), Requests: 100, Clients: 4})
	})
	l.story("nobody there fails fast", func(l *lab) {
		l.run("empty", 0, "--network", "front")
		start := time.Now()
		if r := l.silent(caller, url("empty")); time.Since(start) > time.Second || !strings.Contains(r.String(), "refused") {
			l.t.Errorf("a service without tasks, after %s: %s", time.Since(start), r)
		}
		l.cli(l.Nodes[0], "service", "scale", "--detach", "empty=2")
		l.reached(caller, url("empty"), l.count("empty", 2))
	})
}

// What is starting has its own name, so that members of a cluster that wait for
// each other find each other; the name of the service is for those that are ready.
func TestNetOnlyHealthyTasksAreBalanced(t *testing.T) {
	l := newLab(t)
	l.network("front")
	caller := l.everywhere("call", "--network", "front")[l.Nodes[0]]
	healthy := &container.HealthConfig{Test: []string{"CMD", "/demo", "health"}, Interval: 100 * time.Millisecond, Timeout: time.Second, Retries: 100}
	const ready = 4 * time.Second
	replicas := uint64(3)
	_, err := l.Nodes[1].API.ServiceCreate(l.ctx, swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: "slow"},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{Image: cluster.Image, Args: []string{"--ready-after", ready.String()}, Healthcheck: healthy},
			Networks:      []swarm.NetworkAttachmentConfig{{Target: "front"}},
		},
		Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
	}, swarm.ServiceCreateOptions{})
	l.must(err)
	slow := l.count("slow", 3)
	begun := time.Now()
	l.resolves(caller, "tasks.slow", l.addrs("front", slow...)...)
	if r := l.silent(caller, url("slow")); time.Since(begun) < ready && !strings.Contains(r.String(), "refused") {
		l.t.Errorf("a service that is not ready does not say no: %s", r)
	}
	l.answered(caller, url("slow"))
	// Whoever answers is ready: no caller is ever sent to one that is not.
	l.answers(caller, load.Config{URL: url("slow"), For: time.Second, Rate: 100})
	l.reached(caller, url("slow"), slow)
}

func TestNetNamesOfTasksWithoutAVirtualAddress(t *testing.T) {
	l := newLab(t)
	l.network("front")
	rr := l.run("rr", 3, "--network", "name=front,alias=robin", "--endpoint-mode", "dnsrr")
	caller := l.everywhere("call", "--network", "front")[l.Nodes[4]]
	for _, name := range []string{"rr", "robin", "tasks.rr"} {
		l.resolves(caller, name, l.addrs("front", rr...)...)
	}
	l.answers(caller, load.Config{URL: url("rr"), Requests: 20})
	l.cli(l.Nodes[0], "service", "scale", "--detach", "rr=2")
	l.resolves(caller, "rr", l.addrs("front", l.count("rr", 2)...)...)
}

// A container whose first act is a request needs no patience and no second try.
func TestNetFirstPacketOfAContainersLife(t *testing.T) {
	l := newLab(t)
	times := fromEnv(t, "NET_FIRST", 10)
	l.network("front")
	l.run("web", 2, "--network", "front")
	for job, target := range map[string]string{"by-name": "web", "by-address": l.vip("web", "front")} {
		l.cli(l.Nodes[1], "service", "create", "--quiet", "--detach", "--name", job, "--mode", "replicated-job", "--replicas", fmt.Sprint(times), "--max-concurrent", "5",
			"--restart-condition", "none", "--network", "front", cluster.Image, "get", url(target))
	}
	for _, job := range []string{"by-name", "by-address"} {
		l.must(cluster.Eventually(l.ctx, 4*soon, func(ctx context.Context) error {
			if failed, err := l.tasks(ctx, job, swarm.TaskStateFailed, swarm.TaskStateRejected); err != nil || len(failed) > 0 {
				return cluster.Final(fmt.Errorf("%d of %d first requests failed (%v)\n%s", len(failed), times, err, l.cli(l.Nodes[0], "service", "logs", job)))
			}
			done, err := l.tasks(ctx, job, swarm.TaskStateComplete)
			if err == nil && len(done) < times {
				err = fmt.Errorf("%d of %d are done", len(done), times)
			}
			return err
		}))
	}
}

// Two networks at once, and a service that moves from one to the other.
func TestNetServicesOnSeveralNetworks(t *testing.T) {
	l := newLab(t)
	l.network("front")
	l.network("back")
	a, b := l.run("a", 1, "--network", "front")[0], l.run("b", 1, "--network", "back")[0]
	both := l.run("both", 2, "--network", "name=front,alias=door", "--network", "name=back,alias=store")
	l.reached(a, url("both"), both)
	l.reached(b, url("both"), both)
	l.reached(a, url("door"), both)
	l.resolves(a, "store")
	l.resolves(b, "door")
	l.resolves(b, "a")
	if got := l.answers(b, load.Config{URL: url("both"), Requests: 10}); got.Seen[l.addr("back", b)] != 10 {
		t.Errorf("asked over network back: %s", got)
	}
	l.cli(l.Nodes[0], "service", "update", "--detach", "--network-rm", "front", "--network-add", "back", "a")
	moved := l.until("a", soon, "it has moved", func(cs []cluster.Container) bool { return len(cs) == 1 && cs[0].ID != a.ID })
	l.reached(b, url("a"), moved)
	l.resolves(both[0], "a", l.vip("a", "back"))
}

func TestNetIPv6(t *testing.T) {
	l := newLab(t)
	l.network("six", "--ipv6", "--subnet", "fd00:6::/64", "--subnet", "10.66.0.0/24")
	web := l.run("web", 3, "--network", "six")
	caller := l.everywhere("call", "--network", "six")[l.Nodes[3]]
	l.reached(caller, url("web"), web)
	six := l.inspect(web[0]).NetworkSettings.Networks["six"].GlobalIPv6Address
	if got := l.answers(caller, load.Config{URL: url(six), Requests: 5}); got.Seen[l.inspect(caller).NetworkSettings.Networks["six"].GlobalIPv6Address] != 5 {
		t.Errorf("asked over IPv6: %s", got)
	}
	names, err := cluster.Resolve(l.ctx, caller, "tasks.web")
	l.must(err)
	if len(names) != 6 || !slices.Contains(names, six) {
		t.Errorf("tasks.web is %q, not three addresses of each kind", names)
	}
}

// An ingress network with IPv6 takes clients of both kinds, each seen as it is.
func TestNetIPv6ClientsOfAPublishedPort(t *testing.T) {
	l := newLab(t)
	l.otherIngress("--ipv6")
	defer l.otherIngress()
	web, out := l.run("web", 2, "-p", "8080:8080", "-p", "8080:8080/udp"), l.Outside()
	for _, n := range l.Nodes {
		for target, client := range map[string]string{n.Addr6: out.Addr6, n.Addr: out.Addr} {
			l.reached(out, url(target), web)
			for _, u := range []string{url(target), udpURL(target)} {
				if got := l.answers(out, load.Config{URL: u, Requests: 5}); got.Seen[client] != 5 {
					t.Errorf("the client at %s was seen otherwise: %s", client, got)
				}
			}
		}
		l.reached(n, url(n.Addr6), web)
		l.reached(n, url("127.0.0.1"), web)
	}
	l.must(l.removeServices(l.ctx))
}

// otherIngress makes the ingress network anew.
func (l *lab) otherIngress(flags ...string) {
	l.t.Helper()
	ctx := context.WithoutCancel(l.ctx)
	l.must(cluster.Eventually(ctx, soon, func(ctx context.Context) error { return l.Nodes[0].API.NetworkRemove(ctx, api.IngressNetwork) }))
	args := append([]string{"network", "create", "-d", "overlay", "--ingress"}, flags...)
	_, err := l.Nodes[0].CLI(ctx, append(args, api.IngressNetwork)...)
	l.must(err)
}
