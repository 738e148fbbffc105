package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// full starts more replicas than there are addresses, and returns how many run;
// the others say why they do not. All of them with the nodes that they run on,
// which have an address each, is how many addresses there are.
func (l *lab) full(service string, replicas int) (run, addrs int) {
	l.t.Helper()
	l.cli(l.Nodes[0], "service", "scale", "--detach", service+"="+strconv.Itoa(replicas))
	l.must(cluster.Eventually(l.ctx, 4*soon, func(ctx context.Context) error {
		waiting, err := l.tasks(ctx, service, swarm.TaskStatePending)
		if err != nil {
			return err
		}
		run = replicas - len(waiting)
		running := len(l.w.Running(service))
		unexplained := slices.IndexFunc(waiting, func(t swarm.Task) bool {
			return !strings.Contains(t.Status.Err, "address") || !strings.Contains(t.Status.Err, "small")
		})
		if len(waiting) == 0 || running != run || unexplained >= 0 {
			return fmt.Errorf("%d of %d run, %d wait: %+v", running, replicas, len(waiting), waiting)
		}
		return nil
	}))
	return run, run + len(cluster.Spread(l.w.Running(service)))
}

// A network that is full says so, and places who waits once there is room.
// What has come and gone has given its addresses back: the network is full with
// the same number as before.
func TestNetAddressesAreGivenBack(t *testing.T) {
	l := newLab(t)
	tasks, subnet, many := fromEnv(t, "NET_TASKS", 20), "10.77.0.0/28", 16
	if tasks > 500 {
		subnet, many = "10.77.0.0/24", 256
	}
	l.network("small", "--subnet", subnet)
	l.cli(l.Nodes[0], "service", "create", "--quiet", "--detach", "--name", "web", "--replicas", "0", "--restart-delay", "0s", "--network", "small", cluster.Image, "sleep")
	room, all := l.full("web", many)
	t.Logf("%d containers, their nodes and their service fill %s", room, subnet)
	l.given("web", room)

	l.story("who waits is placed when there is room", func(l *lab) {
		l.cli(l.Nodes[0], "service", "scale", "--detach", "web="+strconv.Itoa(room-2))
		l.count("web", room-2)
		l.must(cluster.Eventually(l.ctx, agreed, func(ctx context.Context) error { // those that have just ended give theirs back
			_, err := l.Nodes[0].CLI(ctx, "service", "create", "--quiet", "--detach", "--name", "other", "--network", "small", cluster.Image)
			return err
		}))
		l.count("other", 1)
		if _, beside := l.full("web", many); beside > all-2 { // it has a virtual address, too
			l.t.Errorf("%d addresses are given beside a service that took two of %d", beside, all)
		}
		l.cli(l.Nodes[0], "service", "rm", "other")
		l.until("web", soon, "more run than before", func(cs []cluster.Container) bool { return len(cs) > room-2 })
	})
	l.story("nothing leaks", func(l *lab) {
		for made := room; made < tasks; made += room {
			l.cli(l.Nodes[0], "service", "scale", "--detach", "web=0")
			l.count("web", 0)
			l.cli(l.Nodes[0], "service", "scale", "--detach", "web="+strconv.Itoa(room))
			l.count("web", room)
			l.given("web", room)
		}
		if _, again := l.full("web", many); again != all {
			l.t.Errorf("%d addresses are given after %d tasks came and went, not %d", again, tasks, all)
		}
	})
}

// given fails if two containers that run have one address.
func (l *lab) given(service string, n int) {
	l.t.Helper()
	addrs := l.addrs("small", l.w.Running(service)...)
	slices.Sort(addrs)
	if unique := slices.Compact(slices.Clone(addrs)); len(unique) != n {
		l.t.Errorf("%d containers have %d addresses: %s", n, len(unique), addrs)
	}
}

func TestNetBadInputIsRefusedByName(t *testing.T) {
	l := newLab(t)
	l.network("front", "--subnet", "10.77.0.0/24")
	l.run("web", 1, "--network", "front")
	at := l.Nodes[1]
	networked := func(flags ...string) []string {
		return append([]string{"network", "create", "-d", "overlay"}, append(flags, "new")...)
	}
	create := func(flags ...string) []string {
		return append([]string{"service", "create", "--detach", "--name", "new"}, append(flags, cluster.Image)...)
	}
	for _, c := range []struct {
		story string
		args  []string
		names []string
	}{
		{"overlapping subnet", networked("--subnet", "10.77.0.128/25"), []string{"10.77.0.128/25", "front"}},
		{"gateway outside its subnet", networked("--subnet", "10.78.0.0/24", "--gateway", "10.79.0.1"), []string{"10.79.0.1"}},
		{"no subnet", networked("--subnet", "10.78.0.0/33"), []string{"10.78.0.0/33"}},
		{"network name taken", []string{"network", "create", "-d", "overlay", "front"}, []string{"front"}},
		{"network in use", []string{"network", "rm", "front"}, []string{"front", "web"}},
		{"unknown network", create("--network", "nosuch"), []string{"nosuch"}},
		{"alias that is no name", create("--network", "name=front,alias=a b"), []string{"a b"}},
		{"port too high", create("-p", "70000:80"), []string{"70000"}},
		{"port of the container too high", create("-p", "80:70000"), []string{"70000"}},
		{"no protocol", create("-p", "80:80/icmp"), []string{"icmp"}},
		{"port given twice", create("-p", "80:80", "-p", "80:81"), []string{"80"}},
		{"ports without a virtual address", create("-p", "80:80", "--endpoint-mode", "dnsrr"), []string{"dnsrr"}},
	} {
		l.story(c.story, func(l *lab) { l.refused(at, c.args, c.names...) })
	}
	if got := strings.Fields(l.cli(at, "service", "ls", "-q")); len(got) != 1 {
		t.Errorf("a refused command left something behind: services %v", got)
	}
	if got := l.cli(at, "network", "ls", "--filter", "driver=overlay", "--format", "{{.Name}}"); len(strings.Fields(got)) != 2 {
		t.Errorf("a refused command left something behind: networks %q", got)
	}
	l.cli(at, "service", "rm", "web")
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		_, err := at.CLI(ctx, "network", "rm", "front")
		return err
	}))
}
