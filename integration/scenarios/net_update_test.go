package scenarios

import (
	"slices"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/load"
)

// A task is in the balancers when it is ready, and out of every one before it is
// told to stop, so that updates, scaling and a drained node cost nobody a request.
func TestNetUpdatesFailNoRequest(t *testing.T) {
	l := newLab(t)
	l.network("front")
	web := l.checked("web", 4, "front")
	call := l.everywhere("call", "--network", "front")
	first, last := l.Nodes[0], l.Nodes[len(l.Nodes)-1]
	l.reached(call[first], url("web"), web)
	l.reached(l.Outside(), url(last.Addr), web)
	loads := []*keep{
		l.keep(call[first], load.Config{URL: url("web"), Rate: 100, Clients: 10}),
		l.keep(call[l.Nodes[1]], load.Config{URL: url("web"), Rate: 100, Clients: 10, KeepAlive: true}),
		l.keep(l.Outside(), load.Config{URL: url(first.Addr), Rate: 50, Clients: 10}),
		l.keep(l.Outside(), load.Config{URL: url(last.Addr), Rate: 50, Clients: 10, KeepAlive: true}),
	}
	for i := range fromEnv(t, "UPDATES", 2) {
		web = l.replaced("web", web, "--update-parallelism", "2", "--update-monitor", "100ms", "--update-order", []string{"stop-first", "start-first"}[i%2])
	}
	l.cli(l.Nodes[0], "service", "scale", "--detach", "web=2")
	l.count("web", 2)
	l.cli(l.Nodes[0], "service", "scale", "--detach", "web=5")
	l.count("web", 5)
	l.cli(l.Nodes[0], "node", "update", "--availability", "drain", last.Name)
	l.elsewhere("web", 5, last)
	for _, k := range loads {
		k.unhurt()
	}
	l.cli(l.Nodes[0], "node", "update", "--availability", "active", last.Name)
}

// replaced updates a service and waits until others run in place of all.
func (l *lab) replaced(service string, before []cluster.Container, flags ...string) []cluster.Container {
	l.t.Helper()
	l.cli(l.Nodes[0], append(append([]string{"service", "update", "--quiet", "--detach", "--force"}, flags...), service)...)
	return l.until(service, 2*soon, "all replaced", func(cs []cluster.Container) bool {
		return len(cs) == len(before) && !slices.ContainsFunc(ids(cs), func(id string) bool { return slices.Contains(ids(before), id) })
	})
}

// A connection that is idle stays for as long as both ends want it to.
func TestNetIdleConnectionStays(t *testing.T) {
	l := newLab(t)
	idle := time.Duration(fromEnv(t, "NET_IDLE_SECONDS", 3)) * time.Second
	l.network("front")
	web := l.run("web", 2, "--network", "front", "-p", "8080:8080")
	caller := l.everywhere("call", "--network", "front")[l.Nodes[0]]
	l.reached(caller, url("web"), web)
	l.reached(l.Outside(), url(l.Nodes[0].Addr), web)
	twice := load.Config{Requests: 2, Pause: idle, KeepAlive: true}
	twice.URL = url("web")
	inside := l.answers(caller, twice)
	twice.URL = url(l.Nodes[0].Addr)
	outside := l.answers(l.Outside(), twice)
	if inside.Connections != 1 || outside.Connections != 1 {
		t.Errorf("connections: %d inside, %d outside", inside.Connections, outside.Connections)
	}
}
