package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/load"
)

// A published port answers on every node, whoever asks and from wherever, and
// the container sees who really asked.
func TestNetPublishedPortAnswersOnEveryNode(t *testing.T) {
	l := newLab(t)
	home, out := l.Workers()[0], l.Outside()
	web := l.run("web", 2, "-p", "8080:8080", "-p", "8080:8080/udp", "--constraint", "node.hostname=="+home.Name)
	call := l.everywhere("call")

	l.story("from outside, with the client's address", func(l *lab) {
		for _, n := range l.Nodes {
			l.reached(out, url(n.Addr), web)
			for _, target := range []string{url(n.Addr), udpURL(n.Addr)} {
				if r := l.answers(out, load.Config{URL: target, Requests: 20, Clients: 4}); r.Seen[out.Addr] != 20 {
					l.t.Errorf("%s: the client at %s was seen otherwise: %s", n.Name, out.Addr, r)
				}
			}
		}
	})
	l.story("from the node itself and from the others", func(l *lab) {
		for i, n := range l.Nodes {
			for _, host := range []string{"127.0.0.1", n.Addr, l.Nodes[(i+1)%len(l.Nodes)].Addr} {
				l.reached(n, url(host), web)
				l.answers(n, load.Config{URL: udpURL(host), Requests: 5})
			}
		}
	})
	l.story("from a container", func(l *lab) {
		for i, n := range l.Nodes {
			for _, host := range []string{n.Addr, l.Nodes[(i+1)%len(l.Nodes)].Addr} {
				l.reached(call[n], url(host), web)
				l.answers(call[n], load.Config{URL: udpURL(host), Requests: 5})
			}
		}
		l.reached(web[0], url(home.Addr), web) // which may come back to itself
	})
	l.story("a deny rule of the host holds", func(l *lab) {
		for _, at := range []*cluster.Node{l.Nodes[0], home} {
			for _, rule := range [][]string{
				{"DOCKER-USER", "-s", out.Addr, "-j", "DROP"},
				{"DOCKER-USER", "-p", "tcp", "-m", "conntrack", "--ctorigdstport", "8080", "-j", "DROP"},
				{"INPUT", "-p", "tcp", "--dport", "8080", "-j", "DROP"},
			} {
				l.on(at, append([]string{"iptables", "-I"}, rule...)...)
				if r := l.ask(out, load.Config{URL: url(at.Addr), Requests: 3, Clients: 3, Timeout: time.Second}); r.Answers > 0 {
					l.t.Errorf("%s answers in spite of %s", at.Name, strings.Join(rule, " "))
				}
				l.on(at, append([]string{"iptables", "-D"}, rule...)...)
				l.reached(out, url(at.Addr), web)
			}
		}
	})
	// Engines since 28 drop what is for a container's address and comes from
	// another interface than its bridge, before anything else looks at it.
	l.story("the drop rules of later engines do not matter", func(l *lab) {
		for _, add := range []string{"-A", "-D"} {
			for _, c := range web {
				to := l.addr("ingress", c)
				bridge := strings.Fields(l.on(c.Node, "ip", "-o", "route", "get", to))
				dev := bridge[slices.Index(bridge, "dev")+1]
				l.on(c.Node, "iptables", "-t", "raw", add, "PREROUTING", "-d", to, "!", "-i", dev, "-j", "DROP")
			}
			for _, n := range l.Nodes {
				l.reached(out, url(n.Addr), web)
			}
			l.reached(l.Nodes[0], url("127.0.0.1"), web)
		}
	})
	l.story("nobody there fails fast", func(l *lab) {
		l.cli(l.Nodes[0], "service", "scale", "--detach", "web=0")
		l.count("web", 0)
		l.must(cluster.Eventually(l.ctx, agreed, func(ctx context.Context) error {
			r, err := cluster.Ask(ctx, out, load.Config{URL: url(l.Nodes[0].Addr), Requests: 1, Timeout: time.Second})
			if err == nil && !strings.Contains(r.String(), "refused") {
				err = fmt.Errorf("a port without tasks: %s", r)
			}
			return err
		}))
	})
	l.story("a port that is given back is free", func(l *lab) {
		l.cli(l.Nodes[0], "service", "rm", "web")
		l.must(cluster.Eventually(l.ctx, agreed, func(ctx context.Context) error { return listens(ctx, l.Nodes[1], demoPort) }))
	})
}

// listens lets a process of the node listen on a port for a moment.
func listens(ctx context.Context, n *cluster.Node, port int) error {
	_, err := n.Demo(ctx, nil, "--listen", ":"+strconv.Itoa(port), "--exit-after", "50ms")
	return err
}

func TestNetPortsThatTheClusterChooses(t *testing.T) {
	l := newLab(t)
	web := l.run("web", 1, "-p", "8080", "-p", "9000-9002:9000-9002")
	s, _, err := l.Nodes[1].API.ServiceInspectWithRaw(l.ctx, "web", swarm.ServiceInspectOptions{})
	l.must(err)
	if len(s.Endpoint.Ports) != 4 {
		t.Fatalf("ports: %+v", s.Endpoint.Ports)
	}
	for _, p := range s.Endpoint.Ports {
		switch {
		case p.TargetPort == demoPort && p.PublishedPort >= 30000 && p.PublishedPort < 32768:
			l.reached(l.Outside(), "http://"+hostPort(l.Nodes[4].Addr, int(p.PublishedPort)), web)
		case p.TargetPort < 9000 || p.TargetPort > 9002 || p.PublishedPort != p.TargetPort:
			t.Errorf("port: %+v", p)
		}
	}
}

func TestNetPortAtOneAddressOfAHost(t *testing.T) {
	l := newLab(t)
	n, other := l.Nodes[1], l.Nodes[2]
	web := l.run("web", 2, "-p", n.Addr+":8080:8080")
	out := l.Outside()
	l.reached(out, url(n.Addr), web)
	l.silent(out, url(other.Addr))
	l.silent(n, url("127.0.0.1"))
}

// A port has one owner: a service, or a process on some host.
func TestNetPortsThatAreTaken(t *testing.T) {
	l := newLab(t)
	n, out := l.Workers()[1], l.Outside()
	l.run("first", 1, "-p", "8080:8080")
	create := []string{"service", "create", "--detach", "--name", "second"}
	l.refused(l.Nodes[1], append(create, "-p", "8080:9090", cluster.Image), "8080", "first")
	if err := listens(l.ctx, n, demoPort); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a process on %s could listen on a port that is published: %v", n.Name, err)
	}

	squatter, err := n.Start("squatter", tools.Demo, "--listen", ":9090")
	l.must(err)
	defer squatter.Kill()
	l.answered(n, "http://127.0.0.1:9090")
	third := l.run("third", 2, "-p", "9090:8080")
	l.reached(out, "http://"+hostPort(l.Nodes[0].Addr, 9090), third)
	l.must(cluster.Eventually(l.ctx, agreed, func(context.Context) error {
		if ps := l.cli(l.Nodes[0], "service", "ps", "--no-trunc", "third"); !strings.Contains(ps, n.Name) || !strings.Contains(ps, "9090") {
			return fmt.Errorf("service ps does not say that port 9090 is taken on %s:\n%s", n.Name, ps)
		}
		return nil
	}))
	if r := l.answers(out, load.Config{URL: "http://" + hostPort(n.Addr, 9090), Requests: 3}); r.By[n.Name] != 3 {
		t.Errorf("the process that had port 9090 of %s first does not answer there: %s", n.Name, r)
	}
}
