package scenarios

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/load"
)

// agreed is the time in which every node is to know of a change: names, balancers.
const agreed = 5 * time.Second

// demoPort is where the demo answers, over HTTP and UDP.
const demoPort = 8080

// story is a part of a scenario that has a name of its own and shares what was
// made for it.
func (l *lab) story(name string, f func(*lab)) {
	l.t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
		l := *l
		l.t = t
		f(&l)
	})
}

// network creates an overlay network, which goes when the scenario has ended.
func (l *lab) network(name string, flags ...string) {
	l.t.Helper()
	l.cli(l.Nodes[0], append(append([]string{"network", "create", "-d", "overlay"}, flags...), name)...)
}

// removeNetworks removes the networks that scenarios have made. A task that has
// just ended may use one for a moment.
func (l *lab) removeNetworks(ctx context.Context) error {
	return cluster.Eventually(ctx, soon, func(ctx context.Context) error {
		return l.Any(ctx, func(ctx context.Context, n *cluster.Node) error {
			list, err := n.API.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("driver", "overlay"))})
			for _, made := range list {
				if made.Name != api.IngressNetwork {
					err = errors.Join(err, n.API.NetworkRemove(ctx, made.ID))
				}
			}
			return err
		})
	})
}

// everywhere runs a container of a service on every node.
func (l *lab) everywhere(service string, flags ...string) map[*cluster.Node]cluster.Container {
	l.t.Helper()
	l.create(l.Nodes[0], service, append([]string{"--mode", "global"}, flags...)...)
	one := map[*cluster.Node]cluster.Container{}
	for _, c := range l.count(service, len(l.Nodes)) {
		one[c.Node] = c
	}
	return one
}

// on runs a command on a node and returns what it printed; it must succeed.
func (l *lab) on(n *cluster.Node, args ...string) string {
	l.t.Helper()
	out, err := n.Run(l.ctx, args...)
	l.must(err)
	return out
}

// ask asks from a place; failures are in the result.
func (l *lab) ask(from cluster.Place, cfg load.Config) load.Result {
	l.t.Helper()
	r, err := cluster.Ask(l.ctx, from, cfg)
	l.must(err)
	return r
}

// answers asks from a place, and every question must be answered.
func (l *lab) answers(from cluster.Place, cfg load.Config) load.Result {
	l.t.Helper()
	r := l.ask(from, cfg)
	if r.Failed > 0 || r.Answers == 0 {
		l.t.Errorf("%s asked from %s: %s", cfg.URL, placeName(from), r)
	}
	return r
}

// silent asks from a place, and no question may be answered.
func (l *lab) silent(from cluster.Place, url string) load.Result {
	l.t.Helper()
	r := l.ask(from, load.Config{URL: url, Requests: 3, Clients: 3, Timeout: time.Second})
	if r.Answers > 0 {
		l.t.Errorf("%s answers from %s: %s", url, placeName(from), r)
	}
	return r
}

// answered waits until a question is answered at a URL, by whomever.
func (l *lab) answered(from cluster.Place, url string) {
	l.t.Helper()
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		r, err := cluster.Ask(ctx, from, load.Config{URL: url, Requests: 1})
		if err == nil && r.Failed > 0 {
			err = fmt.Errorf("%s", r)
		}
		return err
	}))
}

// reached waits until at a URL all of the containers answer and nobody else.
func (l *lab) reached(from cluster.Place, url string, by []cluster.Container) {
	l.t.Helper()
	cfg := load.Config{URL: url, Requests: 10 * len(by), Clients: 10, Timeout: time.Second / 2}
	err := cluster.Eventually(l.ctx, agreed, func(ctx context.Context) error {
		r, err := cluster.Ask(ctx, from, cfg)
		if err == nil && (r.Failed > 0 || !equal(slices.Sorted(maps.Keys(r.By)), hostnames(by))) {
			err = fmt.Errorf("not answered by all of %s alone: %s", hostnames(by), r)
		}
		return err
	})
	if err != nil {
		l.t.Fatalf("%s asked from %s: %v", url, placeName(from), err)
	}
}

// resolves waits until a place finds these addresses under a name, and no others.
func (l *lab) resolves(from cluster.Place, name string, want ...string) {
	l.t.Helper()
	slices.Sort(want)
	err := cluster.Eventually(l.ctx, agreed, func(ctx context.Context) error {
		got, err := cluster.Resolve(ctx, from, name)
		if err == nil && !equal(got, want) {
			err = fmt.Errorf("%s is %s, not %s", name, got, want)
		}
		return err
	})
	if err != nil {
		l.t.Errorf("%s: %v", placeName(from), err)
	}
}

func placeName(p cluster.Place) string {
	switch p := p.(type) {
	case cluster.Container:
		return fmt.Sprintf("%s (%.12s) on %s", p.Service, p.ID, p.Node.Name)
	case *cluster.Node:
		return p.Name
	default:
		return "outside"
	}
}

// hostnames are what containers call themselves, sorted.
func hostnames(cs []cluster.Container) []string {
	var names []string
	for _, c := range cs {
		names = append(names, c.ID[:12])
	}
	slices.Sort(names)
	return names
}

// addrs are the addresses of containers in a network, as their engines say.
func (l *lab) addrs(network string, cs ...cluster.Container) []string {
	l.t.Helper()
	var list []string
	for _, c := range cs {
		in := l.inspect(c).NetworkSettings.Networks[network]
		if in == nil {
			l.t.Fatalf("%s is not in network %s", placeName(c), network)
		}
		list = append(list, in.IPAddress)
	}
	return list
}

func (l *lab) addr(network string, c cluster.Container) string {
	l.t.Helper()
	return l.addrs(network, c)[0]
}

// vip is the virtual address of a service in a network.
func (l *lab) vip(service, network string) string {
	l.t.Helper()
	n, err := l.Nodes[0].API.NetworkInspect(l.ctx, network, networkInspect)
	l.must(err)
	s, _, err := l.Nodes[0].API.ServiceInspectWithRaw(l.ctx, service, swarm.ServiceInspectOptions{})
	l.must(err)
	for _, vip := range s.Endpoint.VirtualIPs {
		if prefix, err := netip.ParsePrefix(vip.Addr); err == nil && vip.NetworkID == n.ID && prefix.Addr().Is4() {
			return prefix.Addr().String()
		}
	}
	l.t.Fatalf("service %s has no virtual address in network %s: %+v", service, network, s.Endpoint)
	return ""
}

var networkInspect = network.InspectOptions{Scope: "swarm"}

// url is where a demo answers over HTTP.
func url(host string) string { return "http://" + hostPort(host, demoPort) }

func udpURL(host string) string { return "udp://" + hostPort(host, demoPort) }

func hostPort(host string, port int) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(port)
}

// tasks are those of a service that are in one of the states.
func (l *lab) tasks(ctx context.Context, service string, states ...swarm.TaskState) ([]swarm.Task, error) {
	var found []swarm.Task
	err := l.Any(ctx, func(ctx context.Context, n *cluster.Node) error {
		list, err := n.API.TaskList(ctx, swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("service", service))})
		found = slices.DeleteFunc(list, func(t swarm.Task) bool { return !slices.Contains(states, t.Status.State) })
		return err
	})
	return found, err
}

// keep is a load that must have lost nothing when it is told to stop.
type keep struct {
	l    *lab
	from cluster.Place
	cfg  load.Config
	load *cluster.Load
}

// keep begins to ask, again and again.
func (l *lab) keep(from cluster.Place, cfg load.Config) *keep {
	return &keep{l, from, cfg, cluster.Keep(l.ctx, from, cfg)}
}

// stop ends it and returns what came of it.
func (k *keep) stop() load.Result {
	k.l.t.Helper()
	r, err := k.load.Stop()
	k.l.must(err)
	k.l.t.Logf("%s asked from %s: %s", k.cfg.URL, placeName(k.from), r)
	return r
}

// unhurt ends it; nothing may have failed.
func (k *keep) unhurt() load.Result {
	k.l.t.Helper()
	r := k.stop()
	if r.Failed > 0 || r.Answers == 0 {
		k.l.t.Errorf("%s asked from %s: %d of %d failed", k.cfg.URL, placeName(k.from), r.Failed, r.Failed+r.Answers)
	}
	return r
}
