package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/api/types/filters"
	types "github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

var (
	lineDeploy   = line{"a file of 200 services deployed, until committed", "s", "<= 3 s"}
	lineRedeploy = line{"the same file again: nothing written", "s", "<= 1 s"}
	lineOne      = line{"the same file with one service changed, until committed", "s", ""}
	lineStopAll  = line{"a stack of 200 services removed", "s", ""}
)

const stackServices = 200

// stackFile is a file of many services, of the kind that people have: with
// variables, labels, a health check, a network, a config. Their tasks wait for a
// node that nobody has, as it is the deploy that is measured.
func stackFile(release string) string {
	var b strings.Builder
	b.WriteString("networks:\n  back:\n    driver: overlay\nconfigs:\n  settings:\n    file: ./settings\nservices:\n")
	for i := range stackServices {
		fmt.Fprintf(&b, `  s%03d:
    image: %s
    command: ["sleep"]
    environment: {LOG_LEVEL: info, DATABASE: "postgres://db:5432/app", RELEASE: "%s"}
    networks: [back]
    configs: [{source: settings, target: /etc/settings}]
    healthcheck: {test: ["CMD", "/demo", "health"], interval: 5s, retries: 3}
    deploy:
      replicas: 1
      labels: {team: shop, tier: "%d"}
      placement: {constraints: ["node.labels.nowhere==true"]}
      resources: {limits: {cpus: "0.5", memory: 64M}, reservations: {memory: 32M}}
      update_config: {parallelism: 1, delay: 2s, order: start-first}
`, i, cluster.Image, map[bool]string{true: release, false: "1"}[i == 0], i%3)
	}
	return b.String()
}

// stack measures a whole stack: until the command that deploys it, detached,
// returns. Docker Swarm's is Docker's own command line at it.
func (b *bench) stack(ctx context.Context) error {
	leader, err := b.c.Leader(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-stack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "compose.yml")
	if err := os.WriteFile(filepath.Join(dir, "settings"), []byte("colour = green\n"), 0o600); err != nil {
		return err
	}
	command, args := leader.CLI, []string{"stack", "deploy", "--detach"}
	if b.who != ours { // which has no such flag everywhere, and waits for nothing
		command, args = leader.DockerCLI, args[:2]
	}
	deploy := func(l line, release string) (string, error) {
		if err := os.WriteFile(file, []byte(stackFile(release)), 0o600); err != nil {
			return "", err
		}
		start := time.Now()
		out, err := command(ctx, append(args, "--resolve-image", "never", "-c", file, "bench")...)
		if err == nil {
			b.since(l, start)
		}
		return out, err
	}
	_, err = deploy(lineDeploy, "1")
	if err == nil {
		err = b.unchanged(ctx, leader, func() (string, error) { return deploy(lineRedeploy, "1") })
	}
	if err == nil {
		_, err = deploy(lineOne, "2")
	}
	start := time.Now()
	_, gone := command(ctx, "stack", "rm", "bench")
	b.since(lineStopAll, start)
	return errors.Join(err, gone)
}

// unchanged fails where our deploy of what is there writes a service.
func (b *bench) unchanged(ctx context.Context, at *cluster.Node, deploy func() (string, error)) error {
	versions := func() (text string, err error) {
		list, err := at.API.ServiceList(ctx, types.ServiceListOptions{Filters: filters.NewArgs(filters.Arg("name", "bench_"))})
		for _, s := range list {
			text += fmt.Sprintln(s.Spec.Name, s.Version.Index)
		}
		return text, err
	}
	before, err := versions()
	if err != nil {
		return err
	}
	out, err := deploy()
	if err != nil || b.who != ours {
		return err
	}
	after, err := versions()
	if err == nil && (before != after || !strings.Contains(out, "no changes") || strings.Count(before, "\n") != stackServices) {
		err = fmt.Errorf("the same file again wrote something: %s", out)
	}
	return err
}
