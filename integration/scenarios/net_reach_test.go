package scenarios

import (
	"strings"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/load"
)

// What the outer headers take of the underlay's 1500 bytes, and what IP and UDP
// take of the rest.
const fullSize = 1500 - 50 - 28

// Packets as large as they may be cross every pair of nodes in one piece.
func TestNetFullSizePackets(t *testing.T) {
	l := newLab(t)
	l.network("front")
	l.network("narrow", "--opt", "com.docker.network.driver.mtu=1200")
	call := l.everywhere("call", "--network", "front", "--network", "narrow")
	for _, from := range call {
		for n, to := range call {
			addr := l.addr("front", to)
			l.answers(from, load.Config{URL: udpURL(addr), Requests: 2, Size: fullSize, Timeout: time.Second})
			if n == from.Node {
				continue
			}
			l.answers(from, load.Config{URL: udpURL(l.addr("narrow", to)), Requests: 2, Size: 1200 - 28, Timeout: time.Second})
		}
	}
	from, to := call[l.Nodes[0]], call[l.Nodes[1]]
	for network, size := range map[string]int{"front": fullSize, "narrow": 1200 - 28} {
		r := l.ask(from, load.Config{URL: udpURL(l.addr(network, to)), Requests: 1, Size: size + 1, Timeout: time.Second})
		if !strings.Contains(r.String(), "message too long") {
			t.Errorf("%d bytes are not the most that network %s takes: %s", size, network, r)
		}
	}
	checked := l.cli(l.Nodes[0], "network", "check", "front")
	for _, n := range l.Nodes {
		if !strings.Contains(checked, n.Name) {
			t.Errorf("network check front does not tell of %s:\n%s", n.Name, checked)
		}
	}
	t.Log(checked)
}

func TestNetInternalNetworkHasNoWayOut(t *testing.T) {
	l := newLab(t)
	l.network("closed", "--internal")
	l.network("open")
	in := l.run("in", 2, "--network", "closed")
	free := l.run("free", 1, "--network", "open")[0]
	l.reached(in[0], url("in"), in)
	for _, host := range []string{l.Outside().Addr, l.Nodes[0].Addr, l.Nodes[4].Addr} {
		if host == in[0].Node.Addr {
			continue // the host of a container is no way out of it: it is its gateway
		}
		closed := "http://" + hostPort(host, 9) // nobody listens there, so whoever gets there is refused
		if r := l.silent(free, closed); !strings.Contains(r.String(), "refused") {
			t.Errorf("no way from an open network to %s: %s", host, r)
		}
		if r := l.silent(in[0], closed); strings.Contains(r.String(), "refused") {
			t.Errorf("there is a way from an internal network to %s", host)
		}
	}
}

// Containers beside all services come and go as on a network of the engine's own.
func TestNetContainersOfUsersOnAttachableNetworks(t *testing.T) {
	l := newLab(t)
	l.network("front", "--attachable")
	l.network("tasks-only")
	web := l.run("web", 3, "--network", "front")
	at := l.Workers()[0]
	docker := func(args ...string) string {
		out, err := at.DockerCLI(l.ctx, args...)
		l.must(err)
		return strings.TrimSpace(out)
	}
	defer func() { _, _ = at.Run(l.ctx, "docker", "-H", "unix:///run/docker.sock", "rm", "-f", "guest") }()
	guest := cluster.Container{Node: at, Service: "guest"}
	guest.ID = docker("run", "-d", "--name", "guest", "--network", "front", "--network-alias", "visitor", cluster.Image)
	l.reached(guest, url("web"), web)
	addr := l.addr("front", guest)
	for _, from := range append(web, guest) {
		l.resolves(from, "guest", addr)
		l.resolves(from, "visitor", addr)
		l.reached(from, url("guest"), []cluster.Container{guest})
	}
	docker("restart", "-t", "1", "guest")
	l.reached(guest, url("web"), web)
	l.reached(web[0], url("guest"), []cluster.Container{guest})

	docker("network", "disconnect", "front", "guest")
	l.resolves(web[0], "guest")
	docker("network", "connect", "--alias", "again", "front", "guest")
	l.reached(web[0], url("again"), []cluster.Container{guest})
	l.reached(guest, url("web"), web)
	if _, err := at.DockerCLI(l.ctx, "run", "-d", "--network", "tasks-only", cluster.Image); err == nil || !strings.Contains(err.Error(), "not manually attachable") {
		t.Errorf("a container on a network that is not attachable: %v", err)
	}
	l.refused(l.Nodes[0], []string{"network", "rm", "front"}, "guest")
	docker("rm", "-f", "guest")
	l.resolves(web[0], "guest")
	l.resolves(web[0], "again")

	// One that the engine names is known by that name, and by its next one.
	guest.ID = docker("run", "-d", "--network", "front", cluster.Image)
	defer func() { _, _ = at.Run(l.ctx, "docker", "-H", "unix:///run/docker.sock", "rm", "-f", guest.ID) }()
	l.reached(guest, url("web"), web)
	l.resolves(web[0], strings.TrimPrefix(docker("inspect", "-f", "{{.Name}}", guest.ID), "/"), l.addr("front", guest))
	docker("rename", guest.ID, "renamed")
	l.resolves(web[0], "renamed", l.addr("front", guest))
	docker("rm", "-f", guest.ID)
}

// One that was made by the engine alone has its servers for names for life.
func TestNetContainerThatIsConnectedLaterFindsNames(t *testing.T) {
	l := newLab(t)
	l.network("front", "--attachable")
	web := l.run("web", 3, "--network", "front")
	at := l.Workers()[0]
	engine := func(args ...string) string {
		return strings.TrimSpace(l.on(at, append([]string{"docker", "-H", "unix:///run/docker.sock"}, args...)...))
	}
	defer func() { _, _ = at.Run(l.ctx, "docker", "-H", "unix:///run/docker.sock", "rm", "-f", "late") }()
	late := cluster.Container{Node: at, Service: "late"}
	late.ID = engine("run", "-d", "--name", "late", "--dns", "192.0.2.7", cluster.Image)
	_, err := at.DockerCLI(l.ctx, "network", "connect", "front", "late")
	l.must(err)
	l.resolves(late, "web", l.vip("web", "front"))
	l.resolves(late, "tasks.web", l.addrs("front", web...)...)
	l.reached(late, url("web"), web)
	l.resolves(web[0], "late", l.addr("front", late))
	at.KillDaemon()
	l.must(at.StartDaemon(l.ctx))
	l.reached(late, url("web"), web)
	engine("restart", "-t", "1", "late")
	l.reached(late, url("web"), web)
	_, err = at.DockerCLI(l.ctx, "network", "disconnect", "front", "late")
	l.must(err)
	l.resolves(web[0], "late")
}

// Where a connection would go, step by step, and where it breaks.
func TestNetTraceSaysHowAConnectionWouldGo(t *testing.T) {
	l := newLab(t)
	l.network("front")
	web := l.run("web", 2, "--network", "front", "-p", "8080:8080")
	l.reached(l.Outside(), url(l.Nodes[0].Addr), web)
	trace := l.cli(l.Nodes[1], "network", "trace", "web:8080", "--from", l.Nodes[3].Name)
	for _, word := range []string{l.Nodes[3].Name, "8080", l.addr("front", web[0]), l.addr("front", web[1])} {
		if !strings.Contains(trace, word) {
			t.Errorf("the trace does not tell of %s", word)
		}
	}
	t.Log(trace)
	l.refused(l.Nodes[1], []string{"network", "trace", "nosuch"}, "nosuch")
}
