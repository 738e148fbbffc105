package scenarios

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// Sidecars run beside the tasks of the service that they belong to, reach them on
// 127.0.0.1, and come and go with them: scaled, killed, on a host that loses its
// power, updated, removed.
func TestSidecarsLiveWithTheirService(t *testing.T) {
	l := newLab(t)
	at := l.Nodes[0]
	l.cli(at, "network", "create", "-d", "overlay", "back")
	l.run("app", 2, "--network", "back")
	l.cli(at, "service", "create", "--quiet", "--timeout", "30s", "--name", "log", "--pod", "app", cluster.Image, "sleep")
	apps, logs := l.pods(2)
	for _, a := range apps {
		answered := 0
		for _, slot := range []string{"log.1", "log.2"} {
			out := l.exec(at, slot, "/demo", "get", "http://127.0.0.1:8080/")
			answered += strings.Count(out, a.ID[:12])
		}
		if answered != 1 {
			t.Errorf("container %s answered %d of two sidecars at 127.0.0.1", a.ID[:12], answered)
		}
	}
	l.exec(at, "log.1", "/demo", "resolve", "app", "tasks.app")
	if out, err := at.DockerCLI(l.ctx, "service", "ls", "--format", "{{.Name}} {{.Mode}} {{.Replicas}}"); err != nil || !strings.Contains(out, "log replicated 2/2") {
		t.Errorf("docker service ls: %v: %s", err, out)
	}
	if out := l.cli(at, "service", "ls", "--filter", "name=log"); !strings.Contains(out, "2/2 (pod of app)") {
		t.Errorf("service ls: %s", out)
	}
	l.refused(at, []string{"service", "scale", "log=5"}, "swarmctl.pod", "service app", "scale that one")

	l.cli(at, "service", "scale", "--detach", "app=4")
	l.pods(4)
	l.cli(at, "service", "scale", "--detach", "app=2")
	apps, logs = l.pods(2)

	killed := apps[0]
	l.must(killed.Node.Docker.ContainerKill(l.ctx, killed.ID, "KILL"))
	l.until("app", soon, "a new one", func(cs []cluster.Container) bool { return len(cs) == 2 && len(fresh(cs, apps)) == 1 })
	before := logs
	if _, logs = l.pods(2); len(fresh(logs, before)) != 1 {
		t.Errorf("%d of 2 sidecars are new after a container of the service was killed, want 1", len(fresh(logs, before)))
	}

	apps, logs = l.pods(2)
	sidecar := logs[0]
	l.must(sidecar.Node.Docker.ContainerKill(l.ctx, sidecar.ID, "KILL"))
	l.until("log", soon, "a new one", func(cs []cluster.Container) bool { return len(cs) == 2 && len(fresh(cs, logs)) == 1 })
	if now, _ := l.pods(2); !equal(ids(now), ids(apps)) {
		t.Error("a sidecar crashed, and its service was restarted")
	}

	dead := apps[0].Node
	if dead == at {
		dead = apps[1].Node
	}
	if dead != at {
		dead.PowerOff()
		l.elsewhere("app", 2, dead)
		l.elsewhere("log", 2, dead)
		l.must(dead.PowerOn(l.ctx))
		l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
		l.pods(2)
	}

	l.cli(at, "service", "rm", "app")
	l.count("app", 0)
	l.count("log", 0)
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		out, err := at.CLI(ctx, "service", "ps", "--no-trunc", "--format", "{{.CurrentState}} {{.Error}}", "log")
		if err == nil && !(strings.HasPrefix(out, "New") && strings.Contains(out, "there is no service app")) {
			err = fmt.Errorf("service ps says %q", out)
		}
		return err
	}))
	l.cli(at, "service", "rm", "log")
	l.podStack(at)
}

const podFile = `
services:
  app:
    image: IMAGE
  agent:
    image: IMAGE
    command: [sleep]
    network_mode: service:app
`

// podStack deploys a pod as a stack, twice, and removes it.
func (l *lab) podStack(at *cluster.Node) {
	l.t.Helper()
	file := filepath.Join(l.t.TempDir(), "compose.yml")
	l.must(os.WriteFile(file, []byte(strings.ReplaceAll(podFile, "IMAGE", cluster.Image)), 0o600))
	l.cli(at, "stack", "deploy", "--timeout", "30s", "-c", file, "shop")
	l.count("shop_agent", 1)
	l.exec(at, "shop_agent.1", "/demo", "health", "http://127.0.0.1:8080/")
	if out := l.cli(at, "stack", "deploy", "-c", file, "shop"); !strings.Contains(out, "no changes") {
		l.t.Errorf("deployed again, it says\n%s", out)
	}
	l.cli(at, "stack", "rm", "shop")
	if left := l.w.Running("shop_agent"); len(left) > 0 {
		l.t.Errorf("after stack rm %d sidecars run", len(left))
	}
}

// pods waits until so many tasks of app run, and beside each of them one of log.
func (l *lab) pods(n int) (apps, logs []cluster.Container) {
	l.t.Helper()
	apps = l.count("app", n)
	beside := func(cs []cluster.Container) error {
		taken := map[string]bool{}
		for _, c := range cs {
			info, err := c.Node.Docker.ContainerInspect(l.ctx, c.ID)
			if err != nil {
				return err
			}
			taken[info.HostConfig.NetworkMode.ConnectedContainer()] = true
		}
		for _, a := range apps {
			if !taken[a.ID] {
				return fmt.Errorf("no sidecar beside %s on %s", a.ID, a.Node.Name)
			}
		}
		return nil
	}
	logs = l.until("log", soon, fmt.Sprintf("one beside each of %d", n), func(cs []cluster.Container) bool { return len(cs) == n && beside(cs) == nil })
	return apps, logs
}
